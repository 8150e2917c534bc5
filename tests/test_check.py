"The command that checks the whole repository finds what it looks for."
import sys
from pathlib import Path
import nbformat

sys.path.insert(0, str(Path(__file__).parent.parent/'tools'))
import check

def notebook(*cells):
    make = nbformat.v4.new_code_cell
    return nbformat.v4.new_notebook(cells=[make(c) for c in cells])

def test_machine_paths_are_found():
    assert check.machine_paths({'text': ['File "/home/me/x.py"']}) and check.machine_paths('data in /tmp/clips')
    assert not check.machine_paths({'image/png': '/tmp/clips', 'text': 'https://example.org/home/me and nbs/home/x'})

def test_only_exported_lines_are_counted():
    nb = notebook('#| export\nx = 1\n\n#| hide\ny = 2', 'z = 3')
    assert check.exported(nb) == [['x = 1', 'y = 2']]

def test_a_page_that_grows_is_an_offender(monkeypatch):
    page = check.ROOT/'nbs/1_method/99_new.ipynb'
    monkeypatch.setattr(check, 'PAGES', {page: notebook('#| export\n' + 'x = 1\n'*400)})
    assert any('longest is 400' in o for o in check.cells())

def test_an_import_from_a_later_page_is_an_offender(monkeypatch, tmp_path):
    module = tmp_path/'method'/'losses.py'
    module.parent.mkdir()
    module.write_text('from .sampling import sample_clips\nfrom ..data.sets import x\nfrom ..core.basics import seeded\n')
    monkeypatch.setattr(check, 'MODULES', [module])
    monkeypatch.setattr(check, 'ROOT', tmp_path)
    assert [o.split(' imports ')[1] for o in check.downhill()] == ['method.sampling, which comes later', 'data.sets, which comes later']

def test_a_missing_number_in_a_title_is_an_offender(monkeypatch):
    page = check.ROOT/'nbs/1_method/10_losses.ipynb'
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell('# Losses\n\n> One line.')])
    monkeypatch.setattr(check, 'PAGES', {page: nb}); monkeypatch.setattr(check, 'CHAPTERS', {page: nb})
    assert list(check.titles()) == ['nbs/1_method/10_losses.ipynb: expected a title "# 1.10 ..."']
