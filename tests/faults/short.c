/* Preloaded into every process of a suite (tests/faults/test_loops.py): writes to files often write less than they were given, as they may. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t some(int file, size_t count)
{
    struct stat status;
    if (count <= 100 || fstat(file, &status) || !S_ISREG(status.st_mode) || random() % 10 < 3)
        return count;
    return 1 + random() % count;
}

ssize_t write(int file, const void *data, size_t count)
{
    static ssize_t (*next)(int, const void *, size_t);
    if (!next)
        next = dlsym(RTLD_NEXT, "write");
    return next(file, data, some(file, count));
}

ssize_t pwrite64(int file, const void *data, size_t count, off64_t offset)
{
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next)
        next = dlsym(RTLD_NEXT, "pwrite64");
    return next(file, data, some(file, count), offset);
}

ssize_t pwrite(int file, const void *data, size_t count, off_t offset)
{
    return pwrite64(file, data, count, offset);
}
