"""Run one notebook with papermill: to NAME.partial.ipynb first, to NAME.ipynb when every cell went well.

    python tools/run_notebook.py nbs/3_experiments/run/3_evaluate.ipynb runs/toy_faces/full/seed-0/3_evaluate.ipynb \\
        preset=toy_faces variant=full seed=0 results=runs

With `--gpus N` in front, it waits for one of N GPUs that no other notebook of this user holds, and shows the notebook that one
alone. On Slurm, which does so itself, the option does nothing.

Run it from the repository's root, with relative paths, so that no machine's path gets into the output.
What the cells print is shown live. When a cell fails, the notebook with the error stays as NAME.failed.ipynb.
"""
import contextlib, json, logging, os, re, sys, tempfile, time, warnings
from pathlib import Path
from filelock import FileLock, Timeout


class Live:
    "Shows printed lines as they come, each with the name of the run in front."
    def __init__(self, name): self.name, self.rest = name, ''
    def write(self, text):
        *lines, self.rest = (self.rest + text.replace('\r', '\n')).split('\n')
        for line in lines:
            if line.strip(): say(line if line.startswith(self.name) else f'{self.name}: {line}')
    def flush(self): pass


def say(text): sys.stdout.write(text + '\n'); sys.stdout.flush()


def parameter(text):
    "'seed=0' -> ('seed', 0); what is no JSON is a string"
    name, equals, value = text.partition('=')
    if not equals: raise SystemExit(f'expected name=value, got {text!r}')
    try: return name, json.loads(value)
    except json.JSONDecodeError: return name, value


def check_parameters(notebook, given):
    "papermill accepts a name that the notebook does not have, and then runs with the defaults"
    import nbformat, papermill
    cells = [c for c in nbformat.read(notebook, as_version=4).cells if 'parameters' in c.metadata.get('tags', [])]
    if len(cells) != 1: raise SystemExit(f'{notebook}: expected one cell tagged `parameters`, found {len(cells)}')
    allowed = sorted(papermill.inspect_notebook(str(notebook)))
    if (unknown := sorted(set(given) - set(allowed))):
        raise SystemExit(f'{notebook} has no parameter {", ".join(unknown)}; it has: {", ".join(allowed)}')


@contextlib.contextmanager
def own_gpu(n, wait=1.):
    "Hold one of the first `n` visible GPUs, by a lock that the system drops when this process ends, however it ends."
    if not n or 'SLURM_JOB_ID' in os.environ: yield; return
    devices = [d.strip() for d in os.environ.get('CUDA_VISIBLE_DEVICES', ','.join(map(str, range(n)))).split(',') if d.strip()][:n]
    if not devices: raise SystemExit(f'--gpus {n}: CUDA_VISIBLE_DEVICES is empty')
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
        time.sleep(wait)


def run(notebook, output, **given):
    os.environ.setdefault('PYDEVD_DISABLE_FILE_VALIDATION', '1')  # a debugger's warning, of no use here
    logging.getLogger('papermill').setLevel(logging.ERROR)
    warnings.filterwarnings('ignore')
    import nbformat, papermill
    notebook, output = Path(notebook), Path(output)
    if not notebook.exists(): raise SystemExit(f'{notebook} does not exist')
    check_parameters(notebook, given)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial, failed = output.with_suffix('.partial.ipynb'), output.with_suffix('.failed.ipynb')
    name = '/'.join(str(given[k]) if k != 'seed' else f'seed-{given[k]}' for k in ('preset', 'variant', 'seed') if k in given)
    name = name or output.stem
    say(f'{name}: {notebook.stem} starts')
    start, live = time.time(), Live(name)
    try:
        papermill.execute_notebook(str(notebook), str(partial), parameters=given, kernel_name='python3',
                                   progress_bar=False, stdout_file=live)
    except papermill.exceptions.PapermillExecutionError as e:
        partial.replace(failed)
        say(f'\n{name}: {notebook.stem} FAILED in code cell [{e.exec_count}] with {e.ename}: {e.evalue}\n'
            f'  the notebook with the error: {failed}\n')
        return 1
    nb = nbformat.read(partial, as_version=4)
    nb.metadata.papermill.output_path = str(output)
    nbformat.write(nb, partial)
    partial.replace(output)
    failed.unlink(missing_ok=True)
    say(f'{name}: {notebook.stem} finished in {(time.time() - start) / 60:.1f} min -> {output}')
    return 0


def main(argv):
    gpus = 0
    if argv[:1] == ['--gpus']:
        if not (len(argv) > 1 and argv[1].isdigit()): raise SystemExit(f'--gpus wants a number, got {argv[1:2]}')
        gpus, argv = int(argv[1]), argv[2:]
    if len(argv) < 2: raise SystemExit(__doc__)
    with own_gpu(gpus): return run(argv[0], argv[1], **dict(map(parameter, argv[2:])))


if __name__ == '__main__':
    try: sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt: sys.exit(130)
