"""Find or make the virtual environment beside the checkout, and go on inside it.

Imported first by every script in bin/; standard library only, and readable by any Python 3, so that an old one can at least
say what is missing. Installs when the environment is new or setup.cfg changed, never otherwise; one start at a time. All
words go to standard error. FANCYMAIL_VENV names another place for the environment.
"""

import hashlib
import os
import re
import subprocess
import sys

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
VENV = os.path.abspath(os.environ.get("FANCYMAIL_VENV") or os.path.join(ROOT, ".venv"))
PYTHON = os.path.join(VENV, "bin", "python")
ATTEMPT = "FANCYMAIL_BOOTSTRAP"      # set for the one re-exec, so that a strange Python cannot make us loop


def enter(script, extra=""):
    """Return when this process runs in the environment with `extra` installed; otherwise make it and start over."""
    if sys.version_info < OLDEST:
        _find_newer(script)
    prepare(extra)
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        os.environ.pop(ATTEMPT, None)
        if sys.path and os.path.realpath(sys.path[0]) == os.path.join(ROOT, "bin"):
            del sys.path[0]
        return
    if os.environ.get(ATTEMPT):
        stop("the Python in " + VENV + " does not belong to it; remove that folder and start again")
    os.environ[ATTEMPT] = "1"
    sys.stdout.flush()
    os.execv(PYTHON, [PYTHON, os.path.realpath(script)] + sys.argv[1:])


def prepare(extra=""):
    """Make the environment and install what setup.cfg asks for, unless that was done."""
    if _installed(extra):
        return
    import fcntl
    lock = os.open(ROOT, os.O_RDONLY)         # the checkout's folder itself: no file to leave behind
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("waiting for another start, which is installing ...")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        if not _installed(extra):
            _make()
            _install(extra)
    finally:
        os.close(lock)


def say(text):
    """Tell the person at the terminal."""
    sys.stderr.write("fancymail: " + text + "\n")
    sys.stderr.flush()


def stop(text):
    """End with an explanation."""
    say(text)
    raise SystemExit(1)


def _stamp(extra):
    return os.path.join(VENV, "fancymail" + ("-" + extra if extra else "") + ".stamp")


def _wanted():
    """What an environment was made from: the requirements and the place of the checkout."""
    digest = hashlib.sha256(ROOT.encode())
    for name in ("setup.cfg", "pyproject.toml"):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def _installed(extra):
    """Whether the environment was made from these files; the test extra holds all that a run without it needs, a larger one all of that."""
    for name in {extra, "test", "test,fuzz"} if extra in ("", "test") else {extra}:
        try:
            with open(_stamp(name)) as file:
                if file.read().strip() == _wanted() and os.access(PYTHON, os.X_OK):
                    return True
        except OSError:
            continue
    return False


def _find_newer(script):
    """Start over with a newer Python of this machine, or say that one is needed."""
    from shutil import which
    for minor in range(19, OLDEST[1] - 1, -1):
        newer = which("python3.%d" % minor)
        if newer and not os.environ.get(ATTEMPT):
            os.environ[ATTEMPT] = "1"
            os.execv(newer, [newer, os.path.realpath(script)] + sys.argv[1:])
    stop("Python %d.%d or newer is needed, this is %s" % (OLDEST + (sys.version.split()[0],)))


def _make():
    """Make the environment, again when what is there does not work."""
    if os.access(PYTHON, os.X_OK) and subprocess.call([PYTHON, "-c", "import pip"], stderr=subprocess.DEVNULL) == 0:
        return
    try:
        import ensurepip    # noqa: F401
        import venv         # noqa: F401
    except ImportError:
        stop("this Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv")
    say("making a virtual environment in " + VENV)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode != 0:
        stop("cannot make the virtual environment:\n" + made.stdout.decode("utf-8", "replace").strip()
             + "\nFANCYMAIL_VENV=/some/folder chooses another place; on Debian and Ubuntu it needs: apt install python3-venv")


def _install(extra):
    """Run pip, showing on one line what it is at."""
    what = ROOT + ("[" + extra + "]" if extra else "")
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "-e", what]
    say("installing what setup.cfg asks for (once; about a minute)")
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT)
    heard = []
    for raw in pip.stdout:
        line = raw.decode("utf-8", "replace").rstrip()
        heard.append(line)
        _progress(line)
    _progress(None)
    if pip.wait() != 0:
        stop("pip could not install:\n  " + "\n  ".join(heard[-12:])
             + "\nIt needs the network, or PIP_INDEX_URL or PIP_FIND_LINKS; start again to continue.")
    with open(_stamp(extra), "w") as file:
        file.write(_wanted() + "\n")


def _progress(line):
    """Overwrite one line of a terminal; a log gets nothing but the first and the last word."""
    if not sys.stderr.isatty():
        return
    match = re.match(r"\s*(Collecting|Downloading|Installing collected|Building|Preparing|Obtaining)\s*(\S*)", line or "")
    if line is None:
        sys.stderr.write("\r\x1b[K")
    elif match:
        sys.stderr.write("\r\x1b[K  %s %s" % (match.group(1), os.path.basename(match.group(2))[:60]))
    sys.stderr.flush()
