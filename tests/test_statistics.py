"Closed forms and refusals of Frechet distances, intervals, and statistics that are kept in a fixed amount of memory."
import json, math
import pytest, torch
from mocogan_hd.basics import seeded
from mocogan_hd.statistics import Metric, bootstrap, frechet_distance, frechet_from_features


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
