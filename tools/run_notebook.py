"""Run one notebook with papermill: to NAME.partial.ipynb first, to NAME.ipynb when every cell went well.

    python tools/run_notebook.py nbs/3_experiments/run/3_evaluate.ipynb runs/toy_faces/full/seed-0/3_evaluate.ipynb \\
        preset=toy_faces variant=full seed=0 results=runs

A value has the type of the parameter's default in the notebook: with results=1e5 the folder's name is 1e5.

With `--gpus N` in front, it waits for one of N GPUs that no other notebook of this user holds, and shows the notebook that one
alone. On Slurm, which does so itself, the option does nothing. With `--requested`, the Snakefile calls it: the output is named
below RESULTS/PRESET, and what was asked of `make reproduce` comes from the environment.

Run it from the repository's root, with relative paths, so that no machine's path gets into the output.
What the cells print is shown live. When a cell fails, the notebook with the error stays as NAME.failed.ipynb.
"""
import ast, contextlib, json, logging, os, re, signal, sys, tempfile, time, warnings
from pathlib import Path
from filelock import FileLock, Timeout

sys.path.insert(0, str(Path(__file__).resolve().parent))
import guard


class Wrong(SystemExit):
    "What is wrong with the command, in one line; exit code 2."
    def __init__(self, message): print(message, file=sys.stderr); super().__init__(2)


class Live:
    "Shows printed lines as they come, each with the name of the run in front."
    def __init__(self, name): self.name, self.rest = name, ''
    def write(self, text):
        *lines, self.rest = (self.rest + text.replace('\r', '\n')).split('\n')
        for line in lines:
            if line.strip(): say(line if line.startswith(self.name) else f'{self.name}: {line}')
    def flush(self): pass


def say(text): sys.stdout.write(text + '\n'); sys.stdout.flush()


# --- parameters

def defaults(notebook):
    "The parameters of a notebook with their default values."
    import nbformat
    try: cells = nbformat.read(notebook, as_version=4).cells
    except Exception as e: raise Wrong(f'{notebook} cannot be read as a notebook: {e}')
    cells = [c for c in cells if 'parameters' in c.metadata.get('tags', [])]
    if len(cells) != 1: raise Wrong(f'{notebook}: expected one cell tagged `parameters`, found {len(cells)}')
    lines = ast.parse(cells[0].source).body
    return {line.targets[0].id: ast.literal_eval(line.value) for line in lines if isinstance(line, ast.Assign)}


def split(text):
    "'seed=0' -> ('seed', '0')"
    name, equals, value = text.partition('=')
    if not equals: raise Wrong(f'expected name=value, got {text!r}')
    return name, value


def typed(name, value, default):
    "A text in the type of the default; another value must have that type."
    kind = type(default)
    if kind is str and isinstance(value, str): return value
    if isinstance(value, str):
        with contextlib.suppress(ValueError): value = json.loads(value)
    if kind is float and type(value) is int and abs(value) < 2**63: value = float(value)
    if kind is str and isinstance(value, list): return value # `augment` of own videos: a word, or a list of words
    if type(value) is not kind or value != value or value in (float('inf'), -float('inf')):
        expected = {int: 'a whole number', float: 'a number', bool: 'true or false', dict: 'JSON such as {"motion.steps": 10}', list: 'a list such as [0, 1]'}
        raise Wrong(f'{name}={value}: expected {expected.get(kind, "text")}')
    return value


def parameters(notebook, given):
    "Check names and types; papermill accepts a name that the notebook does not have, and then runs with the defaults."
    known = defaults(notebook)
    if unknown := sorted(set(given) - set(known)):
        raise Wrong(f'{notebook} has no parameter {", ".join(unknown)}; it has: {", ".join(sorted(known))}')
    return {k: typed(k, v, known[k]) for k, v in given.items()}


# --- one of several GPUs

@contextlib.contextmanager
def own_gpu(n, wait=1., stop=None):
    "Hold one of the first `n` visible GPUs, by a lock that the system drops when this process ends, however it ends."
    if not n or 'SLURM_JOB_ID' in os.environ: yield; return
    devices = [d.strip() for d in os.environ.get('CUDA_VISIBLE_DEVICES', ','.join(map(str, range(n)))).split(',') if d.strip()][:n]
    if not devices: raise Wrong(f'--gpus {n}: CUDA_VISIBLE_DEVICES is empty')
    folder, before = Path(tempfile.gettempdir())/f'mocogan-hd-gpus-{os.getuid()}', os.environ.get('CUDA_VISIBLE_DEVICES')
    folder.mkdir(exist_ok=True)
    while True:
        for device in devices:
            lock = FileLock(folder/re.sub(r'\W', '_', device))
            try: lock.acquire(blocking=False)
            except Timeout: continue
            os.environ['CUDA_VISIBLE_DEVICES'] = device
            try: yield device
            finally:
                os.environ.pop('CUDA_VISIBLE_DEVICES') if before is None else os.environ.update(CUDA_VISIBLE_DEVICES=before)
                lock.release()
            return
        if stop: raise SystemExit(guard.STOPPED)
        time.sleep(wait)


# --- running

def files(output):
    "Where the notebook lies while it runs, and when it failed."
    output = Path(output)
    return output.with_suffix('.partial.ipynb'), output.with_suffix('.failed.ipynb')


def title(output, given):
    name = '/'.join(str(given[k]) if k != 'seed' else f'seed-{given[k]}' for k in ('preset', 'variant', 'seed') if k in given)
    return name or Path(output).stem


def no_template(path): return str(path).replace('{', '{{').replace('}', '}}') # papermill fills in what stands in braces


def execute(notebook, output, given):
    "Run the cells in this process's kernel, and return the exit code."
    os.environ.setdefault('PYDEVD_DISABLE_FILE_VALIDATION', '1')  # a debugger's warning, of no use here
    for name in ('papermill', 'traitlets'): logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings('ignore')
    import nbformat, papermill
    from nbclient.exceptions import DeadKernelError
    output, (partial, failed) = Path(output), files(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    what = f'{title(output, given)}: {Path(notebook).stem}'
    say(f'{what} starts')
    start = time.time()
    def lost(why):
        if partial.exists(): partial.replace(failed)
        say(f'\n{what} FAILED {why}\n  the notebook so far: {failed}\n')
        return 1
    try:
        papermill.execute_notebook(no_template(notebook), no_template(partial), parameters=given, kernel_name='python3',
                                   progress_bar=False, stdout_file=Live(title(output, given)))
        nb = nbformat.read(partial, as_version=4)
        nb.metadata.papermill.output_path = str(output)
        nbformat.write(nb, partial)
    except papermill.exceptions.PapermillExecutionError as e:
        partial.replace(failed)
        say(f'\n{what} FAILED in code cell [{e.exec_count}] with {e.ename}: {e.evalue}\n  the notebook with the error: {failed}\n')
        return 1
    except DeadKernelError: return lost('because its kernel was killed, which a machine does when memory runs out')
    except OSError as e:
        partial.unlink(missing_ok=True)
        say(f'\n{what} FAILED because a file could not be written: {guard.in_words(e)}\n')
        return 1
    partial.replace(output)
    failed.unlink(missing_ok=True)
    say(f'{what} finished in {(time.time() - start) / 60:.1f} min -> {output}')
    return 0


def run(notebook, output, stop=None, **given):
    "Run a notebook in a process of its own; told to stop, end that process, its kernel and all below."
    if not Path(notebook).exists(): raise Wrong(f'{notebook} does not exist')
    given = parameters(notebook, given)
    job = json.dumps(dict(notebook=str(notebook), output=str(output), given=given))
    code = guard.supervise([sys.executable, __file__, '--inner'], stop or guard.Stop(), env=dict(MOCOGAN_HD_JOB=job))
    if code in (guard.STOPPED, -signal.SIGKILL): files(output)[0].unlink(missing_ok=True)
    if code == -signal.SIGKILL: say(f'\n{title(output, given)}: {Path(notebook).stem} FAILED because it was killed\n')
    return code if code >= 0 else 1


def requested(notebook, below, given):
    "Notebook, output and parameters of a job of the Snakefile, with what `make reproduce` was asked for."
    from mocogan_hd.experiments.arguments import REQUEST, Request
    request = Request(**json.loads(os.environ[REQUEST]))
    asked = dict(preset=request.preset, results=request.results, overrides=request.overrides, processes=request.processes)
    source = f'nbs/3_experiments/run/{notebook}.ipynb'
    known = defaults(source)
    return source, request.folder/below/f'{notebook}.ipynb', {k: v for k, v in asked.items() if k in known} | given


def main(argv, stop):
    if argv[:1] == ['--inner']:
        guard.end_with_parent()
        return execute(**json.loads(os.environ.pop('MOCOGAN_HD_JOB')))
    gpus, ours = 0, False
    if argv[:1] == ['--gpus']:
        if not (len(argv) > 1 and re.fullmatch('[0-9]{1,4}', argv[1])): raise Wrong(f'--gpus wants a number, got {argv[1:2]}')
        gpus, argv = int(argv[1]), argv[2:]
    if argv[:1] == ['--requested']: ours, argv = True, argv[1:]
    if len(argv) < 2: raise Wrong(__doc__)
    notebook, output, given = argv[0], argv[1], dict(map(split, argv[2:]))
    if ours: notebook, output, given = requested(notebook, output, given)
    with own_gpu(gpus, stop=stop): return run(notebook, output, stop, **given)


if __name__ == '__main__':
    guard.plain_output()
    inner = sys.argv[1:2] == ['--inner']
    try:
        with contextlib.nullcontext() if inner else guard.usable_folders():
            sys.exit(main(sys.argv[1:], None if inner else guard.Stop()))
    except OSError as e: print(f'Cannot go on: {guard.in_words(e)}', file=sys.stderr); sys.exit(2)
