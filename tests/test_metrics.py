"Closed forms, symmetries and refusals of the metrics."
import json, math
import pytest, torch
from mocogan_hd.basics import seeded
from mocogan_hd.feature_networks import FaceJudge
from mocogan_hd.metrics import (content_drift, content_drift_last, displacement, drift, drift_at_motion, drift_per_motion, fit_clip_space,
                                frechet_of_clips, look, measure, metric_name, motion_diversity, motion_magnitude,
                                motion_of_factors, motion_scale, noise_share, roughness)


def randn(*shape, seed=0): return torch.randn(*shape, generator=seeded(seed))
def walk(*shape, seed=0): return randn(*shape, seed=seed).cumsum(-2)


def test_frechet_refuses_unequal_or_too_few():
    with pytest.raises(ValueError, match='frames and features'): frechet_of_clips('f', randn(10, 8, 3), randn(10, 16, 3))
    with pytest.raises(ValueError, match='10 cannot be compared with 12'): frechet_of_clips('f', randn(10, 8, 3), randn(12, 8, 3))
    with pytest.raises(ValueError, match='at least 4 clips'): fit_clip_space(randn(3, 8, 3))
    with pytest.raises(ValueError, match='all alike'): fit_clip_space(torch.ones(8, 8, 3))


def test_clip_space_is_fitted_on_real_clips_alone_and_scaled():
    real = walk(40, 16, 10)
    space = fit_clip_space(real, 5)
    projected = space.project(real)
    assert projected.shape == (40, 10)
    torch.testing.assert_close(projected[:, :5].var(0).sum(), torch.tensor(1.).double())
    torch.testing.assert_close(projected[:, 5:].var(0).sum(), torch.tensor(1.).double())
    torch.testing.assert_close(projected.mean(0), torch.zeros(10).double(), atol=1e-9, rtol=0)


def test_frechet_of_clips_does_not_depend_on_units():
    a, b = walk(40, 16, 10), walk(40, 16, 10, seed=1)
    assert math.isclose(frechet_of_clips('', a, b).value, frechet_of_clips('', 100*a, 100*b).value, rel_tol=1e-6)


def test_bias_of_frechet_bootstrap_is_taken_out():
    m = frechet_of_clips('f', walk(60, 8, 6), walk(60, 8, 6, seed=1))
    assert 0 <= m.low < m.value < m.high


def test_drift_closed_forms():
    content = torch.zeros(2, 5, 9); content[:, 3:] = .5
    torch.testing.assert_close(drift(content), torch.tensor([[0., 0, .5, .5]]*2))
    assert content_drift('d', content).value == .25 and content_drift_last('d', content).value == .5
    turn = torch.tensor([[[1., 0], [0, 1], [-1, 0], [2, 0]]])
    torch.testing.assert_close(drift(turn, 'cosine'), torch.tensor([[1., 2., 0.]]))
    with pytest.raises(ValueError, match="'l1'"): drift(content, 'l1')


def test_motion_of_a_sine_has_its_amplitude():
    t = torch.arange(2000)/100*math.tau
    motion = torch.stack([3*torch.sin(t), 10*torch.cos(t)], -1)[None].repeat(4, 1, 1)
    values = [m.value for m in motion_of_factors('x', motion, ('yaw', 'roll'))]
    assert values == pytest.approx([3/2**.5, 10/2**.5], rel=1e-3)
    assert motion_magnitude('m', motion, motion).value == pytest.approx(1, rel=1e-5)
    assert motion_magnitude('m', .5*motion, motion).value == pytest.approx(.5, rel=1e-5)
    assert [m.name for m in motion_of_factors('x', motion, ('yaw', 'roll'))] == ['std_yaw_x', 'std_roll_x']


def test_magnitude_is_one_within_its_interval_as_often_as_it_says():
    "Two samples of the same motion; the interval has to hold the sampling of both."
    samples = [walk(60, 8, 3, seed=s) for s in range(80)]
    inside = sum(m.low < 1 < m.high for m in (motion_magnitude('m', a, b) for a, b in zip(samples[::2], samples[1::2])))
    assert inside >= 34, f'{inside} of 40'


def test_scale_common_or_not():
    motion = randn(20, 16, 3)*torch.tensor([1., 2., 4.])
    assert motion_scale(motion).tolist() == pytest.approx([1, 2, 4], rel=.2)
    common = motion_scale(motion, common=True)
    assert common.unique().numel() == 1 and common[0].item() == pytest.approx((21/3)**.5, rel=.1)
    with pytest.raises(ValueError, match='do not move'): motion_scale(torch.zeros(4, 5, 3))


def test_roughness_of_known_paths():
    noise, one = randn(200, 100, 3), torch.ones(3)
    assert roughness('r', noise, one).value == pytest.approx(3, rel=.03)
    assert roughness('r', noise.cumsum(1), one).value == pytest.approx(2, rel=.03)
    line = torch.arange(16.)[None, :, None].expand(4, 16, 3)
    assert roughness('r', line, one).value == 0 and roughness('r', torch.zeros(4, 16, 3), one).value == 0
    x = walk(50, 16, 3)
    assert roughness('r', x, one).value == pytest.approx(roughness('r', x.flip(1), one).value, rel=1e-5), 'time has no arrow here'


def test_diversity_and_noise_share_of_known_grids():
    scale, C, M, T = torch.ones(4), 40, 8, 10
    start = randn(C, 1, 1, 4)
    same = start + torch.cat([torch.zeros(C, 1, 1, 4), walk(C, 1, T - 1, 4)], 2).expand(C, M, T, 4)
    assert motion_diversity('d', same, scale).value == 0 and noise_share('n', same, scale).value == 0
    free = start + torch.cat([torch.zeros(C, M, 1, 4), walk(C, M, T - 1, 4, seed=1)], 2)
    assert noise_share('n', free, scale).value > .95
    mixed = noise_share('n', same + free - start, scale)
    assert mixed.low < .5 < mixed.high and mixed.n == C
    assert motion_diversity('d', 2*free, scale).value == pytest.approx(2*motion_diversity('d', free, scale).value)
    assert math.isnan(noise_share('n', start.expand(C, M, T, 4), scale).value)
    pair = torch.zeros(2, 2, 3, 4); pair[:, 1, 1:] = 1.
    assert motion_diversity('d', pair, scale).value == 1


@pytest.mark.parametrize('shape', [(4, 1, 10, 3), (4, 10, 3)])
def test_grids_that_are_none(shape):
    for fn in (motion_diversity, noise_share):
        with pytest.raises(ValueError, match='grid'): fn('x', torch.zeros(shape), torch.ones(3))


def test_drift_relative_to_motion():
    d, moved = torch.full((5, 10), .2), torch.full((5, 10), 2.)
    assert drift_per_motion('x', d, moved).value == pytest.approx(.1)
    assert math.isnan(drift_per_motion('x', 0*d, 0*moved).value)
    grows = torch.linspace(.1, 1, 10).expand(5, 10)
    assert drift_at_motion('x', .3*grows, grows, at=.5).value == pytest.approx(.15, rel=.05)
    assert drift_at_motion('x', .3*grows, grows, at=.5, within=.05).value == pytest.approx(.15, rel=1e-5)
    assert math.isnan(drift_at_motion('x', d, moved, at=50.).value)
    assert displacement(torch.zeros(2, 5, 3), torch.ones(3)).shape == (2, 4)


def test_measure_names_spell_the_protocol_and_all_values_are_plain():
    judge = FaceJudge('people', 16).eval()
    clips = torch.rand(12, 6, 3, 16, 16, generator=seeded(0))*2 - 1
    seen, real = look(judge, clips), look(judge, clips.flip(0).roll(1, -1))
    grid = seen.motion.unflatten(0, (4, 3))
    rows = measure(judge, seen, real, interval=2, grid=grid)
    assert rows['frechet'].name == 'frechet_judge_12_6f_step2_16px' == metric_name('frechet', judge, 12, 6, 2)
    assert rows['diversity'].name == 'diversity_judge_4x3_6f_step2_16px' and rows['std_yaw'].name == 'std_yaw_motion_judge_12_6f_step2_16px'
    assert len({m.name for m in rows.values()}) == len(rows)
    for m in rows.values(): json.dumps(m.row(), allow_nan=False)
    static = measure(judge, look(judge, clips[:, :1].expand_as(clips)), real, interval=2)
    assert static['drift'].value < 1e-5 and static['magnitude'].value < 1e-4
    with pytest.raises(ValueError, match='12 cannot be compared with 10'):
        measure(judge, seen, look(judge, clips[:10]), interval=2)
