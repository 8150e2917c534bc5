"""Tables say what ran, and only that."""
import json
import pandas as pd
import pytest
from mocogan_hd.report import collect, make_table, paired_differences, write_report

def put(folder, variant, seed, value, name='frechet_judge_8_16f'):
    path = folder/variant/f'seed-{seed}'/'metrics.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([dict(metric='frechet', name=name, value=value, low=value, high=value, n=8)]))

def test_nothing_measured_is_an_error_that_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match='run notebook 3 first'): collect(tmp_path)

def test_protocols_never_mix(tmp_path):
    put(tmp_path, 'full', 0, 1.); put(tmp_path, 'no_mi', 0, 1., 'frechet_judge_256_16f')
    with pytest.raises(ValueError, match='different protocols'): collect(tmp_path)

def test_means_deviations_and_paired_differences_over_seeds(tmp_path):
    for seed, (a, b) in enumerate([(1., 2.), (2., 2.5), (3., 6.)]): put(tmp_path, 'full', seed, a); put(tmp_path, 'no_di', seed, b)
    put(tmp_path, 'no_pca', 7, 1.)  # a seed that full has not
    table = make_table(collect(tmp_path))
    assert table.iloc[:, 0]['full'] == '2.000 ± 1.000 (3)' and table.iloc[:, 0]['no_mi'] == 'not run'
    assert 'no_pca' in table.index and 'no_dv' not in table.index
    difference = paired_differences(collect(tmp_path)).loc[('no_di', 'frechet')]
    assert difference.difference == pytest.approx(1.5) and difference.seeds == 3

def test_files_are_written(tmp_path):
    put(tmp_path, 'full', 0, 1.)
    write_report(tmp_path)
    assert pd.read_csv(tmp_path/'table.csv').variant.tolist() == ['real', 'static', 'full', 'no_mi', 'no_di']
    assert '| full' in (tmp_path/'table.md').read_text() and (tmp_path/'metrics.png').stat().st_size > 1000
