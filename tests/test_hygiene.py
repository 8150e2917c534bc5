"""What holds for the whole repository: notebooks, package, published results, settings."""
import ast, configparser, json, re, subprocess, tomllib
from pathlib import Path
import nbformat
import pytest

root = Path(__file__).parent.parent
chapters = sorted((root/'nbs').glob('[0-9]*.ipynb'))
reproduce = sorted((root/'nbs').glob('*/run/*.ipynb')) + sorted((root/'nbs').glob('*/audits/*.ipynb'))
pages = sorted({*(root/'nbs').rglob('*.ipynb')} - set(reproduce)) + reproduce
published = sorted((root/'results').rglob('*.ipynb'))
modules = sorted(p for p in (root/'mocogan_hd').glob('*.py') if not p.name.startswith('_'))

def name(path): return str(path.relative_to(root))
def read(path): return nbformat.read(path, as_version=4)
def outputs(nb): return [o for c in nb.cells if c.cell_type == 'code' for o in c.outputs]
each_page = pytest.mark.parametrize('path', pages, ids=name)
each_notebook = pytest.mark.parametrize('path', pages + published, ids=name)
each_module = pytest.mark.parametrize('path', modules, ids=name)

# --- notebooks

@each_page
def test_title_and_summary(path):
    first = read(path).cells[0]
    assert first.cell_type == 'markdown', 'the first cell is the title'
    lines = [l for l in first.source.split('\n') if l.strip()]
    assert re.match(r'# \S', lines[0]), f'expected "# Title", found {lines[0]!r}'
    assert len(lines) > 1 and re.match(r'> \S', lines[1]), 'expected "> one line that says what this page is for"'

@pytest.mark.parametrize('path', reproduce, ids=name)
def test_one_parameters_cell(path):
    "without the tag papermill runs with the defaults, and exit code 0"
    assert sum('parameters' in c.metadata.get('tags', []) for c in read(path).cells) == 1

@each_notebook
def test_no_error_output(path):
    errors = [f'{o.ename}: {o.evalue}' for o in outputs(read(path)) if o.output_type == 'error']
    assert not errors

@each_notebook
def test_notebook_size(path): assert path.stat().st_size < 1.5e6

@pytest.mark.parametrize('path', chapters, ids=name)
def test_chapter_exports_the_module_of_its_name(path):
    exports = re.findall(r'^#\|\s*default_exp (\S+)', '\n'.join(c.source for c in read(path).cells), re.M)
    assert exports == [path.stem[3:]]

# --- machine paths

_machine = re.compile(r'(?<![\w.~:/])/(?:work|root|home|tmp|Users|private|var/folders)/[\w.-]+')

def strings(x, skip=re.compile(r'^(image/|application/pdf)')):
    "all strings in `x`, less encoded images"
    if isinstance(x, str): yield re.sub(r'[A-Za-z0-9+/=\n]{300,}', '', x)
    elif isinstance(x, dict): yield from (s for k, v in x.items() if not skip.match(str(k)) for s in strings(v))
    elif isinstance(x, list): yield from (s for v in x for s in strings(v))

def machine_paths(x): return [m for s in strings(x) for m in _machine.findall(s)]

@each_page
def test_no_machine_paths_in_outputs(path):
    assert not machine_paths([dict(o) for o in outputs(read(path))])

@pytest.mark.parametrize('path', sorted(p for s in ('ipynb', 'json', 'md', 'csv') for p in (root/'results').rglob(f'*.{s}')), ids=name)
def test_no_machine_paths_in_results(path):
    text = path.read_text(encoding='utf-8')
    assert not machine_paths(json.loads(text) if path.suffix in ('.ipynb', '.json') else text)

def test_the_search_for_machine_paths_finds_them():
    assert machine_paths({'text': ['File "/home/me/x.py"']}) and machine_paths('data in /tmp/clips')
    assert not machine_paths({'image/png': '/tmp/clips', 'text': 'https://example.org/home/me and nbs/home/x'})

# --- package

def imported(path):
    "modules of this package that `path` imports, anywhere in the file"
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom):
            inside = node.level > 0 or (node.module or '').split('.')[0] == 'mocogan_hd'
            if not inside: continue
            tail = (node.module or '').removeprefix('mocogan_hd').strip('.')
            found |= {tail.split('.')[0]} if tail else {a.name for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split('.')[1] for a in node.names if a.name.startswith('mocogan_hd.')}
    return found

@each_module
def test_imports_run_downhill(path):
    order = {p.stem[3:]: int(p.stem[:2]) for p in chapters}
    assert path.stem in order, f'{path.name} has no notebook'
    uphill = sorted(m for m in imported(path) if order[m] >= order[path.stem])
    assert not uphill, f'{path.stem} ({order[path.stem]}) imports {uphill}'

def code(path):
    "the source less comments and docstrings"
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str): node.value.value = ''
    return ast.unparse(tree)

@each_module
def test_no_device_names(path):
    "models live where their parameters live; only the run record may ask a device what it is"
    if path.stem == 'experiments': return
    assert not re.search(r'cuda|\bmps\b|\bxpu\b', code(path))

@each_module
def test_weights_are_read_safely(path):
    text = code(path)
    assert not re.search(r'\bpickle\b|\bjoblib\b|allow_pickle=True', text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith('torch.load'):
            assert any(k.arg == 'weights_only' and ast.unparse(k.value) == 'True' for k in node.keywords), ast.unparse(node)

# --- repository

def test_file_sizes():
    try: files = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=root, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError): pytest.skip('not a git checkout')
    large = {f: s for f in files.split('\0') if f and (root/f).is_file() and (s := (root/f).stat().st_size) >= 8e6}
    assert not large

def test_one_version():
    ini = configparser.ConfigParser(); ini.read(root/'settings.ini')
    project = tomllib.loads((root/'pyproject.toml').read_text())['project']
    citation = re.search(r'^version: (\S+)', (root/'CITATION.cff').read_text(), re.M)[1]
    init = re.search(r'__version__ = "(.+)"', (root/'mocogan_hd/__init__.py').read_text())[1]
    assert {ini['DEFAULT']['version'], project['version'], citation} == {init}

def test_constraints_hold_what_the_project_asks_for():
    "every direct dependency has one exact version, and it is the installed one"
    from importlib.metadata import version
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name as canonical
    project = tomllib.loads((root/'pyproject.toml').read_text())['project']
    pinned = dict(l.split('==') for l in (root/'constraints.txt').read_text().splitlines() if not l.startswith('#'))
    pinned = {canonical(k): v for k, v in pinned.items()}
    for r in map(Requirement, project['dependencies'] + project['optional-dependencies']['dev']):
        assert r.specifier.contains(pinned[canonical(r.name)]), r
        assert version(r.name).split('+')[0] == pinned[canonical(r.name)], r
