"Closed forms and refusals of Frechet distances, intervals, and statistics that are kept in a fixed amount of memory."
import json, math
import pytest, torch
from mocogan_hd.core.basics import seeded
from mocogan_hd.evaluation.statistics import (Metric, Moments, ScoreSums, bootstrap, frechet_distance, frechet_from_features, frechet_of_moments, inception_score,
                                   jackknife, mean_of_moments)


def randn(*shape, seed=0): return torch.randn(*shape, generator=seeded(seed))


def test_frechet_of_commuting_covariances():
    q, _ = torch.linalg.qr(randn(6, 6).double())
    a, b = torch.rand(2, 6, generator=seeded(1)).double()
    mu = randn(6, seed=2).double()
    expected = (mu**2).sum() + (a.sqrt() - b.sqrt()).pow(2).sum()
    torch.testing.assert_close(frechet_distance(mu, q@a.diag()@q.T, 0*mu, q@b.diag()@q.T), expected)


def test_frechet_against_scipy_and_symmetric():
    from scipy.linalg import sqrtm
    x, y = randn(300, 12) @ randn(12, 12, seed=1), randn(300, 12, seed=2) @ randn(12, 12, seed=3) + 1
    (ma, ca), (mb, cb) = ((z.double().mean(0), z.double().T.cov()) for z in (x, y))
    theirs = ((ma - mb)**2).sum() + (ca + cb).trace() - 2*torch.tensor(sqrtm((ca@cb).numpy()).real).trace()
    torch.testing.assert_close(frechet_distance(ma, ca, mb, cb), theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(frechet_from_features(x, y), frechet_from_features(y, x))


@pytest.mark.parametrize('n', [2, 5, 20])
def test_frechet_of_singular_covariances_is_finite_and_zero_to_itself(n):
    x = randn(n, 50)
    assert frechet_from_features(x, x) < 1e-5
    assert torch.isfinite(frechet_from_features(x, randn(n, 50, seed=1)))
    constant = torch.ones(n, 50)
    torch.testing.assert_close(frechet_from_features(constant, constant + 2), torch.tensor(200.).double())


def test_bootstrap_is_reproducible_and_covers():
    x = randn(300)
    a, b, c = (bootstrap('m', torch.mean, x, seed=s) for s in (0, 0, 1))
    assert a == b != c and a.low < a.value < a.high and a.n == 300
    covered = sum(m.low < 0 < m.high for m in (bootstrap('m', torch.mean, randn(100, seed=s), seed=s) for s in range(60)))
    assert 50 <= covered <= 60


def test_bootstrap_together_keeps_rows_together():
    x = randn(50)
    m = bootstrap('difference', lambda a, b: (a - b).abs().max(), x, x, together=True)
    assert (m.value, m.low, m.high) == (0, 0, 0)
    assert bootstrap('difference', lambda a, b: (a - b).abs().max(), x, x).high > 0


def test_rows_are_json():
    row = Metric('x', math.nan, math.nan, 1., 5).row()
    assert row == dict(name='x', value=None, low=None, high=1., n=5)
    json.dumps(row, allow_nan=False)


def test_frechet_refuses_unequal_or_too_few():
    with pytest.raises(ValueError, match='10 cannot be compared with 9'): frechet_from_features(randn(10, 3), randn(9, 3))
    with pytest.raises(ValueError, match='1 sample'): frechet_from_features(randn(1, 3), randn(1, 3))


# --- moments

def stream(x, groups=20, batch=16, first=0):
    m = Moments(x.shape[1], groups)
    for at in range(0, len(x), batch): m.add(x[at:at + batch], list(range(first + at, first + min(at + batch, len(x)))))
    return m


@pytest.mark.parametrize('n, groups', [(2, 20), (7, 20), (33, 2), (1500, 20)])
def test_moments_are_those_of_all_rows(n, groups):
    x = randn(n, 5).double()*10 + 1e4
    count, mean, cov = stream(x, groups).total()
    assert count == n
    torch.testing.assert_close(mean, x.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(cov, x.T.cov(), rtol=1e-6, atol=1e-6)


def test_moments_do_not_depend_on_batches_at_all():
    x = randn(1300, 7)
    a, b, c = (stream(x, batch=k).whole() for k in (1, 64, 1300))
    for other in (b, c): assert torch.equal(a.scatter, other.scatter) and torch.equal(a.mean, other.mean)


@pytest.mark.parametrize('of', [2, 3, 4])
def test_shares_of_processes_make_the_whole(of):
    x, whole = randn(700, 6), Moments(6)
    whole.add(x, list(range(700)))
    parts = [Moments(6) for _ in range(of)]
    for i, p in enumerate(parts): p.add(x[i::of], list(range(700))[i::of])
    merged = Moments(6)
    for p in parts:
        for g, sums in enumerate(zip(p.whole().count, p.mean, p.scatter)): merged._join(g, *sums)
    assert len(merged) == 700
    exact = 20 % of == 0  # each group is the work of one process: only a product's rounding, which hangs on how memory is aligned, may differ
    for a, b in zip(merged.total()[1:], whole.total()[1:]): torch.testing.assert_close(a, b, rtol=1e-13 if exact else 1e-10, atol=1e-14 if exact else 1e-12)
    other = stream(randn(700, 6, seed=1))
    assert frechet_of_moments('f', merged, other)[0].value == pytest.approx(frechet_of_moments('f', whole, other)[0].value, rel=1e-9)


def test_memory_does_not_grow():
    m = Moments(4)
    def numbers(): return sum(t.numel() for t in (m.count, m.mean, m.scatter)) + sum(r.numel() for w in m.waiting for r in w)
    m.add(randn(1000, 4), list(range(1000)))
    a = numbers()
    for k in range(1, 6): m.add(randn(1000, 4), list(range(1000*k, 1000*k + 1000)))
    assert numbers() <= a + 20*32*4 and len(m) == 6000


def test_moments_on_disk(tmp_path):
    m = stream(randn(90, 3))
    m.save(tmp_path/'m.safetensors', dict(network='x'))
    again = Moments.load(tmp_path/'m.safetensors')
    assert len(again) == 90 and torch.equal(again.scatter, m.scatter) and torch.equal(again.mean, m.mean)
    with pytest.raises(FileNotFoundError): Moments.load(tmp_path/'nowhere.safetensors')
    whole = (tmp_path/'m.safetensors').read_bytes()
    (tmp_path/'half.safetensors').write_bytes(whole[:len(whole)//2])
    with pytest.raises(ValueError, match='half.safetensors is not a whole'): Moments.load(tmp_path/'half.safetensors')
    from safetensors.torch import save_file
    save_file({'x': torch.zeros(1)}, tmp_path/'other.safetensors')
    with pytest.raises(ValueError, match='holds x'): Moments.load(tmp_path/'other.safetensors')


@pytest.mark.parametrize('call, message', [
    (lambda: Moments(0), 'width 0'), (lambda: Moments(3, 1), 'groups 1'), (lambda: Moments(3).add(torch.zeros(2, 4), [0, 1]), 'rows of width 3'),
    (lambda: Moments(3).add(torch.tensor([[1, 2, math.nan]]), [5]), 'items 5 to 5 are not all finite'), (lambda: Moments(3).total(), '0 samples are too few'),
    (lambda: frechet_of_moments('f', stream(randn(9, 3)), stream(randn(8, 3))), '9 cannot be compared with 8'),
    (lambda: frechet_of_moments('f', stream(randn(9, 3)), stream(randn(9, 4))), 'width'), (lambda: mean_of_moments('m', stream(randn(9, 2))), '2 wide')])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message): call()


# --- intervals from groups

def test_frechet_of_moments_is_that_of_features():
    a, b = randn(200, 12), randn(200, 12, seed=1)*1.2 + .1
    m, extra = frechet_of_moments('f', stream(a), stream(b))
    assert m.value == pytest.approx(frechet_from_features(a, b).item(), rel=1e-9) and m.low < m.value < m.high and m.n == 200
    left = [frechet_from_features(*(x[torch.arange(200) % 20 != g] for x in (a, b))).item() for g in range(20)]
    assert extra['standard_error'] == pytest.approx((19*torch.tensor(left).double().var(correction=0).item())**.5, rel=1e-6)


def test_frechet_agrees_with_torch_fidelity_when_singular():
    import torch_fidelity.metric_fid as theirs
    for n, f in ((600, 30), (24, 80)):
        a, b = randn(n, f), randn(n, f, seed=1)*1.5
        want = float(theirs.fid_statistics_to_metric(*(dict(mu=x.double().mean(0).numpy(), sigma=x.double().T.cov().numpy()) for x in (a, b)), False)['frechet_inception_distance'])
        assert frechet_of_moments('f', stream(a), stream(b))[0].value == pytest.approx(want, rel=1e-4)


def test_a_jackknife_of_a_mean_is_the_textbooks():
    x = randn(400, 1)
    m, extra = jackknife('m', lambda g: stream(x).total(g)[1], list(range(20)), 400)
    assert abs(extra['bias']) < 1e-9
    groups = torch.stack([x[torch.arange(400) % 20 == g].mean() for g in range(20)])
    assert extra['standard_error'] == pytest.approx((groups.std()/20**.5).item(), rel=1e-4)
    mean = mean_of_moments('m', stream(x))[0]
    assert mean.value == pytest.approx(x.mean().item()) and mean.high - mean.low == pytest.approx(2*1.96*x.std().item()/20, rel=1e-6)


def test_the_interval_holds_the_number_it_speaks_of():
    "It is one of the expectation at this count: the mean of many experiments."
    results = [frechet_of_moments('f', stream(randn(200, 6, seed=2*s)), stream(randn(200, 6, seed=2*s + 1) + .3))[0] for s in range(60)]
    centre = sum(m.value for m in results)/60
    assert sum(m.low < centre < m.high for m in results) >= 50


def test_too_few_for_an_interval():
    m, extra = frechet_of_moments('f', stream(randn(2, 3)), stream(randn(2, 3, seed=1)))
    assert math.isfinite(m.value) and math.isnan(m.low) and extra['standard_error'] is None
    json.dumps(m.row(), allow_nan=False)


# --- inception score

def scores(logits, loops=1, batch=16):
    s = ScoreSums(logits.shape[1], len(logits)//loops, loops)
    for at in range(0, len(logits), batch): s.add(logits[at:at + batch], list(range(at, min(at + batch, len(logits)))))
    return s


@pytest.mark.parametrize('loops', [1, 4])
def test_inception_score_is_torch_fidelitys(loops):
    import torch_fidelity.metric_isc as theirs
    x = 3*randn(400, 30)
    m, extra = inception_score('is', scores(x, loops))
    want = theirs.isc_features_to_metric(x, splits=loops, shuffle=False)
    assert m.value == pytest.approx(want['inception_score_mean'], rel=1e-9) and m.low < m.value < m.high
    if loops > 1: assert extra['std_over_loops'] == pytest.approx(want['inception_score_std'], rel=1e-9)
    else: assert extra['std_over_loops'] is None


def test_inception_score_of_huge_scores_and_its_refusals():
    assert inception_score('is', scores(1e4*torch.eye(5).repeat(8, 1)))[0].value == pytest.approx(5)
    with pytest.raises(ValueError, match='39 items'): inception_score('is', (s := ScoreSums(5, 40), s.add(randn(39, 5), list(range(39))))[0])
    with pytest.raises(ValueError, match='item 40 is beyond'): ScoreSums(5, 40).add(randn(1, 5), [40])
    with pytest.raises(ValueError, match='not all finite'): ScoreSums(2, 40).add(torch.tensor([[1., math.inf]]), [3])
