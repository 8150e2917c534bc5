"""The table of the small reproduction that `make test` has just run: every cell is there."""
import os
from pathlib import Path
import pandas as pd
import pytest

table = os.environ.get('MOCOGAN_HD_SMOKE_TABLE')
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
