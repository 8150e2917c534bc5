"Closed forms, symmetries and refusals of the metrics."
import json, math
import pytest, torch
from scipy.stats import binom
from mocogan_hd.core.basics import seeded
from mocogan_hd.evaluation.feature_networks import FactorRegressor
from mocogan_hd.evaluation.metrics import (content_distance, content_drift, content_drift_last, content_jump, displacement, drift, drift_at_motion, drift_per_motion, fit_clip_space,
                                frechet_of_clips, clip_features, measure, metric_name, motion_diversity, motion_magnitude, motion_of_factors, motion_scale,
                                noise_share, perceptual_diversity, perceptual_drift, roughness, time_asymmetry, time_asymmetry_of_factors)
from mocogan_hd.method.toy_faces import sample_motion


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
    regressor = FactorRegressor('people', 16).eval()
    clips = torch.rand(12, 6, 3, 16, 16, generator=seeded(0))*2 - 1
    seen, real = clip_features(regressor, clips), clip_features(regressor, clips.flip(0).roll(1, -1))
    grid = seen.motion.unflatten(0, (4, 3))
    rows = measure(regressor, seen, real, frame_stride=2, grid=grid)
    assert rows['frechet'].name == 'frechet_factors_12_6f_step2_16px' == metric_name('frechet', regressor, 12, 6, 2)
    assert rows['diversity'].name == 'diversity_factors_4x3_6f_step2_16px' and rows['std_yaw'].name == 'std_yaw_motion_factors_12_6f_step2_16px'
    assert len({m.name for m in rows.values()}) == len(rows)
    for m in rows.values(): json.dumps(m.row(), allow_nan=False)
    static = measure(regressor, clip_features(regressor, clips[:, :1].expand_as(clips)), real, frame_stride=2)
    assert static['drift'].value < 1e-5 and static['magnitude'].value < 1e-4
    with pytest.raises(ValueError, match='12 cannot be compared with 10'):
        measure(regressor, seen, clip_features(regressor, clips[:10]), frame_stride=2)


def sawtooth(a, b, periods=6):
    "(1, T, 1): up in a frames, down in b, whole periods of differences."
    return torch.cat([torch.cat([torch.arange(a)/a, 1 - torch.arange(b)/b]).repeat(periods), torch.zeros(1)])[None, :, None]


@pytest.mark.parametrize('a, b', [(1, 3), (2, 6), (4, 4), (5, 2)])
def test_time_asymmetry_of_a_sawtooth_is_known_and_turns_with_time(a, b):
    x = sawtooth(a, b)
    value = time_asymmetry('a', x, torch.ones(1)).value
    assert value == pytest.approx((b - a)/(a*b)**.5, abs=1e-6)
    assert time_asymmetry('a', x.flip(1), torch.ones(1)).value == pytest.approx(-value, abs=1e-9)
    assert time_asymmetry('a', -3*x, torch.ones(1)).value == pytest.approx(-value, abs=1e-6), 'a mirror turns it too'


def test_time_asymmetry_weighs_factors_by_their_motion_and_needs_no_motion():
    x = torch.cat([sawtooth(2, 6), sawtooth(6, 2), torch.zeros(1, 49, 1)], -1).repeat(5, 1, 1)
    assert time_asymmetry('a', x, torch.ones(3)).value == pytest.approx(0, abs=1e-9)
    assert time_asymmetry('a', x, torch.tensor([1., 1e6, 1.])).value == pytest.approx(4/12**.5, rel=1e-6)
    m = time_asymmetry('a', torch.ones(4, 9, 3), torch.ones(3))
    assert (m.value, m.low, m.high) == (0, 0, 0)
    rows = time_asymmetry_of_factors('x', x, ('up', 'down', 'still'))
    assert [m.name for m in rows] == ['asymmetry_up_x', 'asymmetry_down_x', 'asymmetry_still_x']
    assert [m.value for m in rows] == pytest.approx([4/12**.5, -4/12**.5, 0], abs=1e-6)


def test_time_asymmetry_of_a_trend_is_its_direction():
    line = torch.arange(16.)[None, :, None].expand(4, 16, 2)
    assert time_asymmetry('a', line, torch.ones(2)).value == pytest.approx(1)
    assert time_asymmetry('a', line.flip(1), torch.ones(2)).value == pytest.approx(-1)


def test_time_asymmetry_of_toy_motion_is_zero_as_often_as_it_says():
    "Sums of sinusoids of random phase are reversible: the interval has to hold 0."
    samples = [sample_motion(60, 16, s) for s in range(40)]
    inside = sum(m.low < 0 < m.high for m in (time_asymmetry('a', x, motion_scale(x)) for x in samples))
    assert inside >= binom.ppf(.001, 40, .95), f'{inside} of 40'


def test_content_jump_closed_forms():
    slow = torch.linspace(0, .9, 10)[None, :, None].repeat(6, 1, 9)                # steps of .1
    cut = slow.clone(); cut[:3, 5:] += .4                                          # one of .5 in half of the clips
    assert content_jump('j', slow, slow).value == pytest.approx(1)
    assert content_jump('j', cut, slow).value == pytest.approx((5 + 1)/2, rel=1e-5)
    assert content_jump('j', slow[:, :1].expand_as(slow), slow).value == 0
    m = content_jump('j', slow, torch.zeros(6, 10, 9))
    assert math.isnan(m.value) and m.row()['value'] is None
    torch.testing.assert_close(content_distance(slow[:, 0], slow[:, -1]), torch.full((6,), .9))


def test_a_cut_and_a_slow_change_of_the_same_size_differ_in_jump_alone():
    t, content = torch.linspace(0, 1, 16), torch.rand(50, 1, 9, generator=seeded(0))
    other, noise = content.roll(1, 0), .01*randn(50, 16, 9)
    change = lambda amount: content + (other - content)*amount[None, :, None] + noise
    cut, slow, real = change((t > .5).float()), change(t), change(0*t)
    assert content_drift_last('d', cut).value == pytest.approx(content_drift_last('d', slow).value)
    assert content_jump('j', cut, real).low > 5*content_jump('j', slow, real).high


def mean_abs(a, b): return (a - b).abs().mean((1, 2, 3))


def test_perceptual_metrics_take_any_distance():
    level = torch.tensor([0., 1, 3])[None, :, None, None, None].expand(4, 3, 3, 8, 8)
    assert perceptual_drift('d', level, mean_abs) == perceptual_drift('d', iter(level), mean_abs), 'clips may come one by one'
    assert perceptual_drift('d', level, mean_abs).value == 2 and perceptual_drift('d', level, mean_abs).n == 4
    assert perceptual_drift('d', level[:, :1].expand_as(level), mean_abs).value == 0
    grid = torch.stack([level, 2*level, level], 1)                                 # pairs: (1+3)/2, 0, (1+3)/2
    m = perceptual_diversity('d', grid, mean_abs)
    assert m.value == pytest.approx(4/3) and m.n == 4
    assert perceptual_diversity('d', level[:, None].expand(-1, 3, -1, -1, -1, -1), mean_abs).value == 0
    asked = []
    perceptual_drift('d', level.requires_grad_(), lambda a, b: asked.append((a.shape, b.shape)) or mean_abs(a, b))
    assert asked == [((2, 3, 8, 8), (2, 3, 8, 8))]*4
    with pytest.raises(ValueError, match='two motions'): perceptual_diversity('d', grid[:, :1], mean_abs)
    with pytest.raises(ValueError, match='two motions'): perceptual_diversity('d', level, mean_abs)


# --- graded damage, on the true factors: a quick form of nbs/3_experiments/audits/validate_metrics.ipynb, where the networks read them

def permute(x, share, g):
    "Permute this share of the frames of each clip among themselves."
    out = x.clone()
    for i in range(len(x)):
        where = torch.randperm(x.shape[1], generator=g)[:round(share*x.shape[1])]
        out[i, where] = x[i, where[torch.randperm(len(where), generator=g)]]
    return out

def hold(x, share):
    "The last frames stand still."
    keep = max(x.shape[1] - round(share*x.shape[1]), 1)
    return torch.cat([x[:, :keep], x[:, keep - 1:keep].expand(-1, x.shape[1] - keep, -1)], 1)

def on_factors(damage):
    "Values at strengths 0, 1/4, ... 1 of (magnitude, roughness, time asymmetry, diversity) of faces with sawtooth mouths."
    g, n, T = seeded(0), 240, 16
    motion = sample_motion(n, T, g)
    phase = (torch.arange(T) + torch.randint(8, (n, 1), generator=g)) % 8
    motion[..., 3] = torch.minimum(phase/2, (8 - phase)/6)
    scale, rows = motion_scale(motion), []
    for share in (0, .25, .5, .75, 1):
        x = damage(motion, share, g)
        rows.append([m.value for m in (motion_magnitude('m', x, motion), roughness('r', x, scale), time_asymmetry('a', x, scale),
                                       motion_diversity('d', x.unflatten(0, (40, 6)), scale))])
    return torch.tensor(rows).T

def ordered(x, sign): return bool((sign*x.diff() > 0).all())


def test_freeze_is_seen_by_magnitude_and_diversity():
    magnitude, rough, arrow, diversity = on_factors(lambda x, s, g: hold(x, s))
    assert ordered(magnitude, -1) and ordered(diversity, -1)
    assert magnitude[-1] == rough[-1] == arrow[-1] == diversity[-1] == 0


def test_shuffle_is_seen_by_roughness_and_ends_the_arrow():
    magnitude, rough, arrow, _ = on_factors(permute)
    assert ordered(rough, 1) and rough[-1] == pytest.approx(3, rel=.1)
    torch.testing.assert_close(magnitude, torch.ones(5))
    assert arrow[0] > .8 and abs(arrow[-1]) < .05


def test_reversal_is_seen_by_time_asymmetry_alone():
    def turn(x, s, g): k = round(s*len(x)); return torch.cat([x[:k].flip(1), x[k:]])
    magnitude, rough, arrow, _ = on_factors(turn)
    assert ordered(arrow, -1) and arrow[-1] == pytest.approx(-arrow[0].item(), rel=1e-5)
    torch.testing.assert_close(magnitude, torch.ones(5)); torch.testing.assert_close(rough, rough[:1].expand(5))


def test_less_and_more_motion_are_measured_as_such():
    for factor in (.5, 2.):
        m = on_factors(lambda x, s, g: x.mean(1, keepdim=True) + (x - x.mean(1, keepdim=True))*(1 + s*(factor - 1)))
        expected = 1 + torch.linspace(0, 1, 5)*(factor - 1)
        torch.testing.assert_close(m[0], expected); torch.testing.assert_close(m[3], m[3, 0]*expected)
        torch.testing.assert_close(m[1:3], m[1:3, :1].expand(2, 5), rtol=1e-3, atol=1e-4)


def test_swaps_are_seen_by_drift_and_jump_in_proportion_to_their_share():
    g = seeded(0)
    content = torch.rand(100, 1, 9, generator=g) + .02*randn(100, 16, 9, seed=1)
    real = torch.rand(100, 1, 9, generator=g) + .02*randn(100, 16, 9, seed=2)
    def swap(s): k = round(s*100); x = content.clone(); x[:k, 8:] += (content.mean(1, keepdim=True).roll(1, 0) - content.mean(1, keepdim=True))[:k]; return x
    found = [(content_drift('d', x).value, content_drift_last('d', x).value, content_jump('j', x, real).value) for x in map(swap, (0, .05, .25, .5, 1))]
    for values in zip(*found): assert ordered(torch.tensor(values), 1)
    assert content_jump('j', swap(.05), real).low > content_jump('j', swap(0), real).high, 'one swap in twenty is enough to be seen'


def test_repeated_motions_lower_diversity_and_noise_share():
    motion = sample_motion(240, 16, 0).unflatten(0, (40, 6)); scale = motion_scale(motion.flatten(0, 1))
    def repeat(k): return torch.cat([motion[:, :1].expand(-1, k, -1, -1), motion[:, k:]], 1)
    for metric in (motion_diversity, noise_share):
        assert ordered(torch.tensor([metric('x', repeat(k), scale).value for k in (1, 3, 5, 6)]), -1), metric
        assert metric('x', repeat(6), scale).value == 0
