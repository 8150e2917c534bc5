"""Run one notebook with papermill: to NAME.partial.ipynb first, to NAME.ipynb when every cell went well.

    python tools/run_notebook.py nbs/reproduce/3_evaluate.ipynb runs/toy_faces/full/seed-0/3_evaluate.ipynb \\
        preset=toy_faces variant=full seed=0 results=runs

Run it from the repository's root, with relative paths, so that no machine's path gets into the output.
What the cells print is shown live. When a cell fails, the notebook with the error stays as NAME.failed.ipynb.
"""
import json, logging, os, sys, time, warnings
from pathlib import Path


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


if __name__ == '__main__':
    if len(sys.argv) < 3: sys.exit(__doc__)
    try: sys.exit(run(sys.argv[1], sys.argv[2], **dict(map(parameter, sys.argv[3:]))))
    except KeyboardInterrupt: sys.exit(130)
