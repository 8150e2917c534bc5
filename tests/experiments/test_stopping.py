"""Stopping means stopped: the signals of a person, of make and of the system, at a program that runs a notebook; and poor surroundings."""
import errno, os, resource, signal, subprocess, sys, time
from pathlib import Path
import psutil, pytest
from test_arguments import stub_notebook

root = Path(__file__).parents[2]
sys.path.insert(0, str(root/'tools'))
import guard, reproduce, run_notebook

ENV = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL', guard.GUARDED)}
CHILD = 'import subprocess, sys; subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])'
WAITS = ('print("waits")', 'import time\nfor _ in range(3_000): time.sleep(.1)')

def alive(p): return p.is_running() and p.status() != psutil.STATUS_ZOMBIE

def gone(processes, seconds=10):
    "those of the processes that are left after so many seconds"
    end = time.time() + seconds
    while time.time() < end and any(map(alive, processes)): time.sleep(.05)
    return [p for p in processes if alive(p)]

def heed():
    for s in (signal.SIGHUP, signal.SIGINT): signal.signal(s, signal.SIG_DFL)

class Run:
    "A notebook that waits, by run_notebook.py alone or under make."
    def __init__(self, folder, make=False, child=False):
        stub_notebook(folder/'a.ipynb', 'seed = 0', *([CHILD] if child else []), *WAITS)
        command = [sys.executable, str(root/'tools/run_notebook.py'), 'a.ipynb', 'out/a.ipynb']
        if make:
            (folder/'Makefile').write_text('a:\n\t@exec ' + ' '.join(command) + '\n')
            command = ['make', 'a']
        self.top = subprocess.Popen(command, cwd=folder, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                    preexec_fn=heed) # nohup and a shell's & hand down that signals are ignored
        for line in self.top.stdout:
            if 'waits' in line: break
        below = psutil.Process(self.top.pid).children(recursive=True)
        self.all = [psutil.Process(self.top.pid), *below]
        self.kernel = next(p for p in below if 'ipykernel_launcher' in ' '.join(p.cmdline()))
        self.program = below[0] if make else self.all[0]
    def rest(self): return self.top.stdout.read()

@pytest.mark.parametrize('make, at_make, sig', [
    (False, False, signal.SIGTERM), (False, False, signal.SIGHUP), (False, False, signal.SIGINT), (True, True, signal.SIGTERM), (True, True, signal.SIGHUP),
    (True, True, signal.SIGKILL), (True, False, signal.SIGTERM), (True, False, signal.SIGKILL)])
def test_all_are_gone_in_ten_seconds(tmp_path, make, at_make, sig):
    run = Run(tmp_path, make, child=True)
    assert len(run.all) >= 4 # program, papermill, kernel, and what the notebook started
    target = run.all[0] if at_make else run.program
    target.send_signal(sig)
    if sig == signal.SIGINT: time.sleep(.2); target.send_signal(sig) # an impatient second Ctrl-C
    kept = run.all if sig != signal.SIGKILL or at_make else run.all[:-1] # killed outright, the program cannot reach the grandchild
    assert not gone([p for p in kept if p.pid != run.all[-1].pid or sig != signal.SIGKILL])
    for p in run.all: 
        if alive(p): p.kill()
    run.top.wait(5)
    assert 'Traceback' not in run.rest()
    if sig != signal.SIGKILL: assert not list((tmp_path/'out').iterdir())

def test_a_kernel_that_dies_is_a_short_error(tmp_path):
    run = Run(tmp_path)
    run.kernel.kill()
    assert not gone(run.all)
    assert run.top.wait(5) == 1
    text = run.rest()
    assert 'its kernel was killed' in text and 'out/a.failed.ipynb' in text and len(text.splitlines()) < 6 and 'Traceback' not in text

def test_nohup_goes_on_after_its_terminal(tmp_path):
    stub_notebook(tmp_path/'a.ipynb', 'seed = 0', 'print("waits")', 'import time; time.sleep(1)')
    p = subprocess.Popen(['nohup', sys.executable, str(root/'tools/run_notebook.py'), 'a.ipynb', 'a.out.ipynb'], cwd=tmp_path, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in p.stdout:
        if 'waits' in line: break
    p.send_signal(signal.SIGHUP)
    p.stdout.read()
    assert p.wait(20) == 0 and (tmp_path/'a.out.ipynb').exists()

# --- make reproduce, with a command that stands for Snakemake

def test_a_stopped_reproduction_says_how_to_go_on_and_frees_its_lock(tmp_path, monkeypatch, capsys):
    class Told(guard.Stop):
        def __bool__(self): return super().__bool__() or (tmp_path/'smoke/started').exists()
    half = tmp_path/'smoke/full/seed-0/.metrics-0123abcd.json'
    def command(request): return [sys.executable, '-c', f'import pathlib, time; p = pathlib.Path({str(half)!r}); p.parent.mkdir(parents=True); p.touch(); '
                                  f'pathlib.Path({str(tmp_path/"smoke/started")!r}).touch(); time.sleep(100)']
    handlers = {s: signal.getsignal(s) for s in guard.SIGNALS}
    monkeypatch.setattr(reproduce, 'snakemake', command)
    monkeypatch.setattr(guard, 'adopt_orphans', lambda: None)
    try:
        code = reproduce.run(reproduce.reproduce, ['--preset=smoke', '--seeds=2', f'--results={tmp_path}'], Told())
    finally:
        for s, h in handlers.items(): signal.signal(s, h)
    assert code == guard.STOPPED and not half.exists()
    assert f'To go on: python tools/reproduce.py --preset=smoke --seeds=2 --results={tmp_path}' in capsys.readouterr().out
    reproduce.lock(tmp_path/'smoke').close() # free

def test_one_run_at_a_time(tmp_path, capsys):
    with reproduce.lock(tmp_path/'smoke'):
        assert reproduce.run(reproduce.reproduce, ['--preset=smoke', f'--results={tmp_path}'], None) == 2
    assert 'Another `make` works in' in capsys.readouterr().err

# --- poor surroundings

@pytest.mark.parametrize('bad', ['file', 'proc', 'dev'])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, bad, capsys):
    (tmp_path/'file').touch()
    results = dict(file=tmp_path/'file', proc='/proc/runs', dev='/dev/null/runs')[bad]
    assert reproduce.run(reproduce.reproduce, ['--preset=smoke', f'--results={results}'], None) == 2
    err = capsys.readouterr().err
    assert err.startswith('Cannot go on: ') and str(results) in err and len(err.splitlines()) == 1

@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_system_error_is_one_line(monkeypatch, tmp_path, capsys, number):
    def refuse(*_, **__): raise OSError(number, os.strerror(number), 'runs/x')
    monkeypatch.setattr(Path, 'mkdir', refuse)
    assert reproduce.run(reproduce.reproduce, ['--preset=smoke', f'--results={tmp_path}'], None) == 2
    assert capsys.readouterr().err == f'Cannot go on: runs/x: {os.strerror(number)}\n'

def test_a_disk_that_fills_leaves_nothing_half_written(tmp_path):
    stub_notebook(tmp_path/'a.ipynb', 'seed = 0', 'print("x"*300_000)')
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    r = subprocess.run([sys.executable, root/'tools/run_notebook.py', 'a.ipynb', 'out/a.ipynb'], cwd=tmp_path, env=ENV, capture_output=True, text=True, preexec_fn=limit, timeout=60)
    assert r.returncode == 1 and 'FAILED because a file could not be written' in r.stdout and 'Traceback' not in r.stdout + r.stderr, r
    assert not list((tmp_path/'out').iterdir())

@pytest.mark.parametrize('env', [dict(HOME='/proc/nobody'), dict(HOME='/dev/null', XDG_CACHE_HOME='/dev/null/x'), dict(LANG='C', LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')])
def test_unwritable_homes_and_a_plain_locale(tmp_path, env):
    stub_notebook(tmp_path/'a.ipynb', 'name = "é"', 'print("é", name)')
    r = subprocess.run([sys.executable, root/'tools/run_notebook.py', 'a.ipynb', 'out/a.ipynb'], cwd=tmp_path, env=ENV | env, capture_output=True, timeout=60)
    assert r.returncode == 0 and (tmp_path/'out/a.ipynb').exists() and b'Traceback' not in r.stderr, r
