"""What holds for the whole repository, as one command: `python tools/check.py`.

Each check returns its offenders, one line each. The command prints every check with the number it looked at, lists the
offenders, and ends with exit code 1 if there are any.
"""
import ast, configparser, json, re, statistics, subprocess, sys, tomllib
from pathlib import Path
import nbformat

ROOT = Path(__file__).resolve().parent.parent
PARTS = ['core', 'method', 'evaluation', 'experiments', 'data', 'interop', 'apps']
# Lines of exported cells, and characters of a line: what is asked, and what the book must not fall behind.
GOAL = dict(median=10, ninety=22, longest=45, page=250, wide=0, words=8_000, lines=2_000)
LIMITS = {**GOAL, 'median': 11, 'longest': 48, 'page': 268, 'wide': 61, 'lines': 2_317}
WIDTH = 120


def name(path): return str(path.relative_to(ROOT))


def notebooks(folder='nbs', pattern='**/*.ipynb'):
    return {p: nbformat.read(p, as_version=4) for p in sorted((ROOT/folder).glob(pattern)) if '.ipynb_checkpoints' not in str(p)}


def outputs(nb): return [o for c in nb.cells if c.cell_type == 'code' for o in c.outputs]


def is_run(path): return path.parent.name in ('run', 'audits')


def exported(nb):
    "The lines of each exported cell, less directives and blank lines."
    cells = [c.source for c in nb.cells if c.cell_type == 'code' and c.source.lstrip().startswith(('#| export', '#|export'))]
    return [[line for line in s.splitlines() if line.strip() and not line.lstrip().startswith('#|')] for s in cells]


def words(nb): return sum(len(c.source.split()) for c in nb.cells if c.cell_type == 'markdown')


PAGES, RESULTS = notebooks(), notebooks('results')
CHAPTERS = {p: nb for p, nb in PAGES.items() if re.match(r'\d\d_', p.name) and not is_run(p)}
MODULES = sorted(p for part in PARTS for p in (ROOT/'mocogan_hd'/part).glob('*.py') if p.name != '__init__.py')


# --- notebooks

def titles():
    "every page begins with a title and one line that says what it is for; a chapter's title has its number"
    for path, nb in PAGES.items():
        lines = [line for line in nb.cells[0].source.split('\n') if line.strip()]
        part, n = path.parent.name[0], path.name[:2]
        number = '' if path not in CHAPTERS else f'{part} ' if n == '00' else f'{part}.{int(n)} '
        if not lines or not lines[0].startswith(f'# {number}'): yield f'{name(path)}: expected a title "# {number}..."'
        elif len(lines) < 2 or not re.match(r'> \S', lines[1]): yield f'{name(path)}: expected "> one line" below the title'


def parameters():
    "a notebook for papermill has one cell tagged `parameters`: without the tag it would run with the defaults"
    for path, nb in PAGES.items():
        n = sum('parameters' in c.metadata.get('tags', []) for c in nb.cells)
        if is_run(path) and n != 1: yield f'{name(path)}: {n} cells are tagged `parameters`'


def no_errors():
    "no notebook holds an error in its output"
    for path, nb in {**PAGES, **RESULTS}.items():
        for o in outputs(nb):
            if o.output_type == 'error': yield f'{name(path)}: {o.ename}: {o.evalue}'


def notebook_sizes():
    "no notebook is over 1.5 MB"
    for path in {**PAGES, **RESULTS}:
        if path.stat().st_size >= 1.5e6: yield f'{name(path)}: {path.stat().st_size/1e6:.1f} MB'


def modules_of_pages():
    "a chapter exports the module of its name"
    for path, nb in CHAPTERS.items():
        found = re.findall(r'^#\|\s*default_exp (\S+)', '\n'.join(c.source for c in nb.cells), re.M)
        part = path.parent.name[2:]
        if found and found not in ([f'{part}.{path.stem[3:]}'], ['__init__'], ['__main__']): yield f'{name(path)} exports {found}'


def links():
    "links and images between pages, results and files lead somewhere"
    for path, nb in PAGES.items():
        for target in re.findall(r'(?:\]\(|src=")([^)"\s]+)', '\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown')):
            if re.match(r'[a-z]+:|#', target): continue
            if not (path.parent/target.split('#')[0]).exists(): yield f'{name(path)}: {target} does not exist'


# --- the bars of the book

def cells():
    "exported cells are short (median, nine in ten, longest), pages export few lines, and lines are at most 120 characters"
    sizes, wide, longest_page = [], 0, 0
    for nb in PAGES.values():
        own = exported(nb)
        sizes += map(len, own)
        wide += sum(len(line) > WIDTH for cell in own for line in cell)
        longest_page = max(longest_page, sum(map(len, own)))
    sizes.sort()
    found = dict(median=statistics.median(sizes), ninety=sizes[int(.9*len(sizes))], longest=sizes[-1], page=longest_page, wide=wide)
    print(f'    {sum(sizes)} exported lines in {len(sizes)} cells')
    yield from beyond(found)


def beyond(found):
    "Print each figure beside its goal; yield those over the limit."
    for key, value in found.items():
        print(f'    {key}: {value:g}, asked {GOAL[key]}')
        if value > LIMITS[key]: yield f'{key} is {value:g}, it was {LIMITS[key]} and {GOAL[key]} is asked'


def one_evening():
    "part 1 is one evening: few words, few exported lines"
    part = [nb for path, nb in CHAPTERS.items() if path.parent.name == '1_method']
    print(f'    the whole book: {sum(map(words, PAGES.values()))} words')
    yield from beyond(dict(words=sum(map(words, part)), lines=sum(len(c) for nb in part for c in exported(nb))))


def readme():
    "the README has at most 600 words beside tables and code"
    text = re.sub(r'```.*?```', '', (ROOT/'README.md').read_text(encoding='utf-8'), flags=re.S)
    n = len(re.sub(r'^\|.*$|!\[[^]]*\]|\]\([^)]*\)', '', text, flags=re.M).split())
    print(f'    README: {n} words')
    if n > 600: yield f'README.md has {n} words'


# --- machine paths

_MACHINE = re.compile(r'(?<![\w.~:/])/(?:work|root|home|tmp|Users|private|var/folders)/[\w.-]+')


def strings(x):
    "All strings in `x`, less encoded images."
    if isinstance(x, str): yield re.sub(r'[A-Za-z0-9+/=\n]{300,}', '', x)
    elif isinstance(x, dict): yield from (s for k, v in x.items() if not re.match('image/|application/pdf', str(k)) for s in strings(v))
    elif isinstance(x, list): yield from (s for v in x for s in strings(v))


def machine_paths(x): return [m for s in strings(x) for m in _MACHINE.findall(s)]


def no_machine_paths():
    "neither pages nor results show a path of the machine that made them"
    for path, nb in PAGES.items():
        yield from (f'{name(path)}: {m}' for m in machine_paths([dict(o) for o in outputs(nb)]))
    for path in sorted(p for s in ('ipynb', 'json', 'md', 'csv') for p in (ROOT/'results').rglob(f'*.{s}')):
        text = path.read_text(encoding='utf-8')
        found = machine_paths(json.loads(text) if path.suffix in ('.ipynb', '.json') else text)
        yield from (f'{name(path)}: {m}' for m in found)


# --- package

def imported(path):
    "The modules of this package that a file imports, as (part, module)."
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom):
            parts = (node.module or '').split('.')
            if node.level == 2 and len(parts) == 1: yield from ((parts[0], a.name) for a in node.names)
            elif node.level == 2: yield parts[0], parts[-1]
            elif node.level == 1: yield path.parent.name, parts[-1]
            elif parts[0] == 'mocogan_hd' and len(parts) > 2: yield parts[1], parts[2]
        elif isinstance(node, ast.Import):
            yield from (tuple(a.name.split('.')[1:3]) for a in node.names if a.name.startswith('mocogan_hd.'))


def downhill():
    "a module imports earlier pages of its own part and lower parts only"
    order = {(p.parent.name[2:], p.stem[3:]): (PARTS.index(p.parent.name[2:]), int(p.name[:2])) for p in CHAPTERS}
    for path in MODULES:
        here = path.parent.name, path.stem
        if here not in order: yield f'{name(path)} has no page'; continue
        for there in imported(path):
            if there not in order: yield f'{name(path)} imports {".".join(there)}, which has no page'
            elif order[there] >= order[here]: yield f'{name(path)} imports {".".join(there)}, which comes later'


def code(path):
    "The source less comments and docstrings."
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if text: node.value.value = ''
    return ast.unparse(tree)


def no_device_names():
    "models live where their parameters live; only the run record asks a device what it is"
    for path in MODULES:
        if path.stem not in ('records', 'presets') and re.search(r'cuda|\bmps\b|\bxpu\b', code(path)): yield name(path)


def safe_reading():
    "no file of weights can run code"
    for path in MODULES:
        text = code(path)
        if re.search(r'\bpickle\b|\bjoblib\b|allow_pickle=True', text): yield f'{name(path)} uses pickle'
        for node in ast.walk(ast.parse(text)):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith('torch.load')): continue
            if not any(k.arg == 'weights_only' and ast.unparse(k.value) == 'True' for k in node.keywords):
                yield f'{name(path)}: {ast.unparse(node)}'


# --- repository

def checksums():
    "tensors are written and read by core.files, with a checksum"
    for path in MODULES:
        for call in re.findall(r'\b(?:save_file|load_file)\(', path.read_text(encoding='utf-8')):
            if path.stem != 'files': yield f'{name(path)} calls {call[:-1]}'


def file_sizes():
    "no file in git is over 8 MB"
    asked = ['git', 'ls-files', '-co', '--exclude-standard', '-z']
    files = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout.split('\0')
    for f in files:
        if f and (ROOT/f).is_file() and (ROOT/f).stat().st_size >= 8e6: yield f


def one_version():
    "settings.ini, pyproject.toml, CITATION.cff and the package name the same version"
    ini = configparser.ConfigParser(); ini.read(ROOT/'settings.ini')
    found = {ini['DEFAULT']['version'], tomllib.loads((ROOT/'pyproject.toml').read_text())['project']['version'],
             re.search(r'^version: (\S+)', (ROOT/'CITATION.cff').read_text(), re.M)[1],
             re.search(r'__version__ = "(.+)"', (ROOT/'mocogan_hd/__init__.py').read_text())[1]}
    if len(found) > 1: yield f'versions {sorted(found)}'


def constraints():
    "every direct dependency has one exact version in constraints.txt, and it is the installed one"
    from importlib.metadata import version
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name as canonical
    project = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
    lines = [line for line in (ROOT/'constraints.txt').read_text().splitlines() if not line.startswith('#')]
    pinned = {canonical(k): v for k, v in (line.split('==') for line in lines)}
    for r in map(Requirement, project['dependencies'] + project['optional-dependencies']['dev']):
        exact = pinned.get(canonical(r.name))
        if not exact or not r.specifier.contains(exact): yield f'{r}: constraints.txt has {exact}'
        elif version(r.name).split('+')[0] != exact: yield f'{r.name} {version(r.name)} is installed, {exact} is asked for'


CHECKS = [titles, parameters, no_errors, notebook_sizes, modules_of_pages, links, cells, one_evening, readme, no_machine_paths,
          downhill, no_device_names, safe_reading, checksums, file_sizes, one_version, constraints]


def main():
    bad = 0
    for check in CHECKS:
        offenders = list(check())
        print(f'{"FAILED" if offenders else "ok":7}{check.__name__}: {check.__doc__}', *offenders, sep='\n    ')
        bad += bool(offenders)
    print(f'{len(CHECKS) - bad} of {len(CHECKS)} checks passed; {len(PAGES)} pages, {len(RESULTS)} notebooks in results')
    return bool(bad)


if __name__ == '__main__': sys.exit(main())
