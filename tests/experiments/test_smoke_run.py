"""The table of the small reproduction that `make test` has just run: every cell is there."""
import json, os, subprocess, sys
from pathlib import Path
import pandas as pd
import pytest

table = os.environ.get('MOCOGAN_HD_SMOKE_TABLE')
table = table and Path(table).resolve()
pytestmark = pytest.mark.skipif(not table, reason='`make test` runs the smoke preset and names its table')

def test_every_cell_of_the_table_was_measured():
    rows = pd.read_csv(table, dtype=str, keep_default_na=False).set_index('variant')
    assert {'static', 'full', 'no_mi', 'no_di'} <= set(rows.index)
    empty = [(r, c, v) for r in ('static', 'full', 'no_mi', 'no_di') for c, v in rows.loc[r].items()
             if v.strip().lower() in ('', 'nan', 'none', 'inf', '-inf', 'not run')]
    assert not empty

def test_no_step_left_a_failed_or_unfinished_notebook():
    folder = Path(table).parent
    assert not [*folder.rglob('*.failed.ipynb'), *folder.rglob('*.partial.ipynb')]
    assert len([*folder.rglob('*.ipynb')]) == 1 + 2*3 + 1 + 1  # generator, three variants, static, tables

def test_from_nothing_to_the_same_numbers_bit_for_bit(tmp_path):
    "The generator is trained again, then one variant, the network that measures, and every number."
    run = subprocess.run([sys.executable, 'tools/reproduce.py', '--preset', 'smoke', '--variants', 'full', '--results', str(tmp_path)], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    first, again = Path(table).resolve().parent, tmp_path/'smoke'
    for record in ('image_generator/run.json', 'full/seed-0/run.json', 'static/seed-0/evaluation.json'):
        a, b = (json.loads((folder/record).read_text()) for folder in (first, again))
        for k in ('generator', 'network'): assert a.get(k) == b.get(k), (record, k)
    for name in ('real', 'static', 'full'): assert (again/name/'seed-0/metrics.json').read_bytes() == (first/name/'seed-0/metrics.json').read_bytes(), name
