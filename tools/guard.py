"""Stopping means stopped: run a command, and end it with all that it started when this process is told to stop.

    python tools/guard.py snakemake --cores 2     runs a Python module that ends with the process that started it

A process is told to stop by Ctrl-C, SIGTERM or SIGHUP, by the death of `make`, or by a signal that `make` got alone.
"""
import contextlib, ctypes, os, runpy, signal, subprocess, sys, tempfile, threading, time
from pathlib import Path
import psutil

GUARDED = 'MOCOGAN_HD_GUARDED' # set for commands that a guard of ours started
STOPPED = 130 # exit code of what was told to stop
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def adopt_orphans():
    "On Linux, become the parent of grandchildren whose parent dies, so that they are found."
    PR_SET_CHILD_SUBREAPER = 36
    if sys.platform == 'linux': ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def caught(pid):
    "The signals that a process handles itself, as bits. GNU make lets go of one when it got it, and then waits for its children."
    try: lines = Path(f'/proc/{pid}/status').read_text(encoding='utf-8').splitlines()
    except OSError: return 0
    mask = next((int(line.split()[1], 16) for line in lines if line.startswith('SigCgt')), 0)
    return mask & sum(1 << (s - 1) for s in SIGNALS)


class Stop:
    "Whether this process was told to stop. It is asked, and never raises: so a second Ctrl-C gives no traceback."
    def __init__(self):
        self.told = False
        for s in SIGNALS:
            if signal.getsignal(s) is not signal.SIG_IGN: signal.signal(s, self.tell) # nohup ignores SIGHUP
        adopt_orphans()
        self.parent, self.make = os.getppid(), None
        with contextlib.suppress(psutil.Error):
            above = psutil.Process().parents()[:2] # make itself, or its shell
            self.make = next((p for p in above if p.name() in ('make', 'gmake')), None)
        self.watched = self.make is not None or GUARDED in os.environ # by hand with nohup: goes on without its terminal
        self.caught = caught(self.make.pid) if self.make else 0
    def tell(self, *_): self.told = True
    def __bool__(self):
        orphan = self.watched and os.getppid() != self.parent
        signalled = bool(self.caught) and caught(self.make.pid) != self.caught
        self.told = self.told or orphan or signalled
        return self.told


def family(process):
    "A process and all below it."
    try: p = psutil.Process(process.pid); return [p, *p.children(recursive=True)]
    except psutil.Error: return []


def send(p, s):
    with contextlib.suppress(psutil.Error): p.send_signal(s)


def end(process, patience=3., ask=False):
    "End a process and all below it: its children are interrupted, and after `patience` seconds everything is killed."
    all_of_them = family(process)
    children = psutil.Process(process.pid).children() if all_of_them else []
    if ask: # it has to end others first, for example jobs of a cluster
        send(process, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired): process.wait(patience)
    process.kill()
    process.wait()
    for p in children: send(p, signal.SIGINT)
    left = [p for p in all_of_them if p.pid != process.pid]
    _, left = psutil.wait_procs(left, patience)
    for p in {*left, *psutil.Process().children(recursive=True)}: send(p, signal.SIGKILL)
    psutil.wait_procs(left, 1)


def supervise(command, stop, lines=None, patience=3., ask=False, **options):
    "Run a command to its end and return its exit code; end it when told to stop, and return `STOPPED`."
    if stop: return STOPPED
    env = {**os.environ, 'PYTHONUTF8': '1', GUARDED: '1'} | options.pop('env', {})
    piped = dict(stderr=subprocess.PIPE, encoding='utf-8', errors='backslashreplace') if lines else {}
    process = subprocess.Popen(list(map(str, command)), env=env, start_new_session=True, **piped, **options)
    if lines: (reader := threading.Thread(target=lines, args=[process.stderr], daemon=True)).start()
    while process.poll() is None:
        if stop: end(process, patience, ask); return STOPPED
        time.sleep(.1)
    if lines: reader.join(5)
    return process.returncode


def end_with_parent():
    "End this process when the one that started it is gone; what this one started does the same."
    parent = os.getppid()
    def watch():
        while os.getppid() == parent: time.sleep(.3)
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


# --- poor surroundings

FOLDERS = {'XDG_CACHE_HOME': '~/.cache', 'JUPYTER_RUNTIME_DIR': '~/.local/share/jupyter/runtime',
           'IPYTHONDIR': '~/.ipython', 'MPLCONFIGDIR': '~/.config/matplotlib'}


def writable(folder):
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder): return True
    except OSError: return False


def usable_folders():
    "Give Jupyter, Snakemake and matplotlib a temporary folder each where their own cannot be written; None where that fails too."
    wanted = {k: os.environ.get(k) or os.path.expanduser(v) for k, v in FOLDERS.items()}
    poor = [k for k, v in wanted.items() if not writable(v)]
    if not poor: return contextlib.nullcontext()
    folder = tempfile.TemporaryDirectory(prefix='mocogan-hd-')
    for k in poor: os.environ[k] = f'{folder.name}/{k}'; os.makedirs(os.environ[k])
    return folder


def plain_output():
    "What cannot be printed in this locale is escaped."
    for f in (sys.stdout, sys.stderr): f.reconfigure(errors='backslashreplace')


def in_words(error):
    "An `OSError` in one line."
    where = f'{error.filename}: ' if error.filename is not None else ''
    return f'{where}{error.strerror or error}'


if __name__ == '__main__':
    end_with_parent()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
