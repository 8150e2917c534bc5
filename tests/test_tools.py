"""The scripts behind `make`: running one notebook, writing the README, noticing differences."""
import subprocess, sys
from pathlib import Path
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

root = Path(__file__).parent.parent
tools = root/'tools'

def write(path, *cells, tag=True):
    cells = [new_code_cell('preset = "toy_faces"\nseed = 0', metadata={'tags': ['parameters']} if tag else {}), *map(new_code_cell, cells)]
    nbformat.write(new_notebook(cells=cells, metadata={'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}}), path)

def run(cwd, tool, *args): return subprocess.run([sys.executable, tools/tool, *args], cwd=cwd, capture_output=True, text=True)

def test_a_finished_notebook_has_its_name_and_its_parameters(tmp_path):
    write(tmp_path/'a.ipynb', 'print(f"{preset}: step {seed}")')
    r = run(tmp_path, 'run_notebook.py', 'a.ipynb', 'out/deep/a.ipynb', 'preset=smoke', 'seed=3')
    assert r.returncode == 0, r.stderr
    assert 'smoke: step 3' in r.stdout  # printed live
    nb = nbformat.read(tmp_path/'out/deep/a.ipynb', as_version=4)
    assert nb.metadata.papermill.output_path == 'out/deep/a.ipynb'
    assert str(tmp_path) not in (tmp_path/'out/deep/a.ipynb').read_text()
    assert [p.name for p in (tmp_path/'out/deep').iterdir()] == ['a.ipynb']

def test_a_failed_notebook_stays_with_its_error_and_fails_the_command(tmp_path):
    write(tmp_path/'a.ipynb', 'raise FloatingPointError("step 7: loss_d is nan")')
    r = run(tmp_path, 'run_notebook.py', 'a.ipynb', 'out/a.ipynb')
    assert r.returncode == 1
    assert 'loss_d is nan' in r.stdout and 'out/a.failed.ipynb' in r.stdout
    assert [p.name for p in (tmp_path/'out').iterdir()] == ['a.failed.ipynb']

@pytest.mark.parametrize('tag, given, message', [
    (True, 'variannt=full', 'has no parameter variannt; it has: preset, seed'), (False, 'seed=1', 'found 0'), (True, 'seed', 'name=value')])
def test_wrong_parameters_fail_before_anything_runs(tmp_path, tag, given, message):
    write(tmp_path/'a.ipynb', tag=tag)
    r = run(tmp_path, 'run_notebook.py', 'a.ipynb', 'out/a.ipynb', given)
    assert r.returncode == 1 and message in r.stderr and not (tmp_path/'out').exists()

def test_readme_links_start_at_the_root(tmp_path):
    (tmp_path/'nbs').mkdir()
    text = '# T\n[page](01_clips.ipynb) ![clip](../results/x/a.gif) [web](https://a.org/b) [here](#t) <img src="../results/b.png">'
    nbformat.write(new_notebook(cells=[new_markdown_cell(text), new_code_cell('#| hide\nx = 1')]), tmp_path/'nbs/index.ipynb')
    assert run(tmp_path, 'readme.py').returncode == 0
    readme = (tmp_path/'README.md').read_text()
    for part in ('(nbs/01_clips.ipynb)', '(results/x/a.gif)', '(https://a.org/b)', '(#t)', 'src="results/b.png"'): assert part in readme
    assert 'x = 1' not in readme

def test_unchanged_names_the_file_that_differs(tmp_path):
    (tmp_path/'a.txt').write_text('1'); (tmp_path/'b.txt').write_text('1')
    same = run(tmp_path, 'unchanged.py', '*.txt', '--', sys.executable, '-c', 'pass')
    assert same.returncode == 0
    differ = run(tmp_path, 'unchanged.py', '*.txt', '--', sys.executable, '-c', "open('b.txt', 'w').write('2')")
    assert differ.returncode == 1 and 'changed: b.txt' in differ.stderr and 'a.txt' not in differ.stderr

def test_an_unknown_preset_is_named_with_the_allowed_ones(tmp_path):
    r = run(root, 'reproduce.py', '--preset', 'toy_facs', '--results', str(tmp_path/'runs'))
    assert r.returncode == 1 and "'toy_facs'" in r.stderr and 'smoke' in r.stderr and not (tmp_path/'runs').exists()
