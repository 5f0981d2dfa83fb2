"""Each daemon shut in what it needs, before it hears its first stranger: declared in `reach`, kept by the kernel (landlock, seccomp).

`cell.contain(...)` is called once by servers/running/daemon.py, after the daemon's doors are bound and before any thread exists.
"""
