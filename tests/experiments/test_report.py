"""Tables say what ran, and only that."""
import json
import pandas as pd
import pytest
from mocogan_hd.experiments.report import (CLAIMS, PAPER_ABLATION, ROWS, beside_paper, cells, collect, differences, holm, make_table, plot_differences,
                                          plot_metrics, sweep, verdicts, write_report)

def put(folder, variant, seed, value, name='frechet_factors_8_16f'):
    path = folder/variant/f'seed-{seed}'/'metrics.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([dict(metric='frechet', name=name, value=value, low=value, high=value, n=8)]))

def test_nothing_measured_is_an_error_that_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match='run notebook 3 first'): collect(tmp_path)

def test_protocols_never_mix(tmp_path):
    put(tmp_path, 'full', 0, 1.); put(tmp_path, 'no_mi', 0, 1., 'frechet_factors_256_16f')
    with pytest.raises(ValueError, match='different protocols'): collect(tmp_path)

def test_means_deviations_and_differences_over_seeds(tmp_path):
    for seed, (a, b) in enumerate([(1., 2.), (2., 2.5), (3., 6.)]): put(tmp_path, 'full', seed, a); put(tmp_path, 'no_di', seed, b)
    put(tmp_path, 'no_pca', 7, 1.)  # a seed that full has not
    table = make_table(collect(tmp_path))
    assert table.iloc[:, 0]['full'] == '2.000 ± 1.000 (3)' and table.iloc[:, 0]['no_mi'] == 'not run'
    assert 'no_pca' in table.index and 'no_dv' not in table.index
    difference = differences(collect(tmp_path)).loc[('no_di', 'frechet')]
    assert difference.difference == pytest.approx(1.5) and difference.seeds == 3

def test_files_are_written(tmp_path):
    put(tmp_path, 'full', 0, 1.)
    write_report(tmp_path)
    assert pd.read_csv(tmp_path/'table.csv').variant.tolist() == ['real', 'static', 'full', 'no_mi', 'no_di']
    assert '| full' in (tmp_path/'table.md').read_text() and (tmp_path/'metrics.png').stat().st_size > 1000

def several(folder, variant, metrics):
    for seed, values in enumerate(zip(*metrics.values())):
        path = folder/variant/f'seed-{seed}'/'metrics.json'
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps([dict(metric=k, name=f'{k}_factors_8_16f', value=v, low=v, high=v, n=8) for k, v in zip(metrics, values)]))

def said(frame): return verdicts(frame).set_index(['metric']).verdict

def test_a_claim_is_judged_by_the_interval_over_seeds(tmp_path):
    several(tmp_path, 'full', dict(diversity=[1.1, 1.2, 1.15], drift_at_motion=[.1, .12, .11], magnitude=[.9, .8, 1.], spread=[1.2, 1.3, 1.1]))
    several(tmp_path, 'no_mi', dict(diversity=[.6, .61, .62], magnitude=[.9, .6, .5]))
    several(tmp_path, 'no_di', dict(drift_at_motion=[.2, .21, .22], magnitude=[.9, .6, .5], spread=[1.5, 1.1, 1.3]))
    frame = collect(tmp_path)
    assert said(frame)['diversity'] == 'open: too little motion to judge' # no_mi moves 0.67 of real
    assert said(frame)['drift_at_motion'] == 'supported' # compares frames of equal motion
    assert said(frame)['spread'] == 'open: could not have been seen'
    moving = frame.assign(value=frame.value.where(frame.metric != 'magnitude', .9))
    assert said(moving)['diversity'] == 'supported'
    assert len(verdicts(frame)) == 3 and {c.variant for c in CLAIMS} <= set(ROWS) # only what was run

@pytest.mark.parametrize('full, other, verdict', [
    ([1., 1.01, .99], [1.5, 1.51, 1.49], 'supported'), ([1., 1.01, .99], [.5, .51, .49], 'refuted'),
    ([1., 1.01, .99], [1.02, 1.01, 1.], 'equivalent'), ([1., 1.3, .7], [1.2, 1.5, .9], 'open: could not have been seen'),
    ([1., 1.01, .99], [1.05, 1.06, 1.04], 'supported'), ([1.], [2.], 'open: one seed')])
def test_verdicts(tmp_path, full, other, verdict):
    several(tmp_path, 'full', dict(frechet=full)); several(tmp_path, 'no_dv', dict(frechet=other))
    assert said(collect(tmp_path))['frechet'] == verdict

def test_many_claims_need_more(tmp_path):
    "A difference that is significant alone is open among several: Holm's correction over the family."
    metrics = dict(spread=[1., 1.2, 1.1, 1.3], drift_at_motion=[.1, .2, .15, .12], magnitude=[1., 1., 1., 1.])
    several(tmp_path, 'full', metrics)
    several(tmp_path, 'no_di', metrics | dict(spread=[1.25, 1.5, 1.3, 1.45]))
    frame = collect(tmp_path)
    alone = differences(frame).loc[('no_di', 'spread')].p
    assert alone < .05 < 2*alone and verdicts(frame).set_index('metric')['p (Holm)']['spread'] == pytest.approx(2*alone, abs=1e-3)
    assert said(frame)['spread'].startswith('open')

def test_holms_rule():
    "The example of Holm's rule in R's `p.adjust`: 0.01 0.02 0.03 0.04 becomes 0.04 0.06 0.06 0.06."
    assert holm(pd.Series([.01, .02, .03, .04])).round(6).tolist() == [.04, .06, .06, .06]
    assert holm(pd.Series([.5, .9])).tolist() == [1., 1.]

def test_a_sweep_stands_beside_what_it_starts_from_and_not_in_the_table(tmp_path):
    for seed in range(3): put(tmp_path, 'full', seed, 1. + seed); put(tmp_path, 'no_mi', seed, 2.)
    for seed in range(2): put(tmp_path, 'full+lambda_m=5', seed, 3.)
    frame = collect(tmp_path)
    part, order = sweep(frame)
    assert order == ['full', 'full+lambda_m=5'] and set(part.seed) == {0, 1}
    assert cells(part, order).iloc[:, 0].tolist() == ['1.500 ± 0.707 (2)', '3.000 ± 0.000 (2)']
    assert 'full+lambda_m=5' not in make_table(frame).index and 'full+lambda_m=5' not in differences(frame).index
    write_report(tmp_path)
    assert 'lambda_m=5' not in (tmp_path/'table.md').read_text()
    part, order = sweep(frame[~frame.variant.str.contains('[+]')])
    assert part.empty and order == []

def test_the_interval_is_welchs(tmp_path):
    several(tmp_path, 'full', dict(spread=[0., 0., 0.])); several(tmp_path, 'no_di', dict(spread=[1., 2., 3.]))
    d = differences(collect(tmp_path)).loc[('no_di', 'spread')]
    assert (d.low, d.high) == pytest.approx((2 - 4.3027/3**.5, 2 + 4.3027/3**.5), abs=1e-3) # all scatter on one side: two degrees of freedom
    assert plot_differences(collect(tmp_path)).axes

def test_rows_of_a_plot_line_up_where_a_metric_has_no_first_row(tmp_path):
    several(tmp_path, 'real', dict(frechet=[.1])); several(tmp_path, 'full', dict(frechet=[1.], spread=[1.]))
    a, b = plot_metrics(collect(tmp_path), ('frechet', 'spread')).axes
    assert a.get_ylim() == b.get_ylim() and b.collections[-1].get_offsets()[0, 1] == 1

def test_the_papers_figures_have_a_column_of_their_own_with_marks(tmp_path):
    put(tmp_path, 'full', 0, 1.)
    table = beside_paper(make_table(collect(tmp_path)))
    assert table.iloc[:, -1]['full'].endswith('[P]') and table.iloc[:, -1]['no_mi'] == '–' and set(PAPER_ABLATION) <= set(ROWS)
    assert all('[M] unconfirmed' in v for k, v in PAPER_ABLATION.items() if k != 'full')
