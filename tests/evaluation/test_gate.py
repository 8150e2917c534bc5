"The gate: tracking finds what a generator can draw, and every reason to refuse one is named."
import json
from dataclasses import replace
import pytest, torch
from mocogan_hd.core.basics import seeded
from mocogan_hd.evaluation.feature_networks import FactorRegressor
from mocogan_hd.evaluation.gate import (COVERAGE, GateReport, Ruler, Tracking, coverage, gate, generated_frames, nearest_codes,
                             path_of_steps, track, tracked_report)
from mocogan_hd.method.frozen_generator import ImageGenerator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator
from mocogan_hd.method.stylegan2 import Generator
from mocogan_hd.method.toy_faces import IDENTITY, MOTION, ToyFaces

SETTINGS = Tracking(n_pca=8, lambda_=.3, steps=150, candidates=256)

def make_generator(seed=0, constant=False):
    "A tiny generator of random weights; with `constant` the same grey picture for all codes."
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Generator(16, 8, 8, 2, (16, 16, 8), lr_multiplier=1.)
    if constant: network.input.input.data.zero_()
    return ImageGenerator(network)

def make_regressor(seed=0):
    "An untrained regressor reads something, which is enough here."
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FactorRegressor('people', 16).eval().requires_grad_(False)

class OwnClips:
    "A clip source of what a generator itself draws, under the step rule."
    resolution, fingerprint = 16, 'own'
    def __init__(self, image_generator, pca): self.image_generator, self.pca = image_generator, pca
    def images(self, n, generator): return generated_frames(self.image_generator, n, generator)
    def clips(self, n, n_frames, generator, frame_stride=1):
        g = seeded(generator)
        w1 = self.image_generator.sample_latents(n, g)
        a = torch.randn(n, 1, SETTINGS.n_pca, generator=g) + .5*torch.randn(n, n_frames - 1, SETTINGS.n_pca, generator=g)
        return self.image_generator.synthesize(path_of_steps(w1, a, self.pca, SETTINGS.lambda_)).detach()

@pytest.fixture(scope='module')
def own():
    image_generator = make_generator()
    pca = fit_latent_pca(image_generator, 2_000)
    return image_generator, pca, make_regressor(), OwnClips(image_generator, pca)

# --- parts

def test_paths_obey_the_rule_of_the_motion_generator(own):
    image_generator, pca, _, _ = own
    G_M = MotionGenerator(8, pca, hidden=16, n_pca=5, lambda_=.3, a_std=.7, generator=seeded(0))
    w1, eps = torch.randn(3, 8, generator=seeded(1)), G_M.sample_eps(3, 6, seeded(2))
    want = G_M(w1, eps).trajectory.detach()
    states, a = [G_M.encoder(w1)], []
    for e in eps.unbind(1):
        states.append(G_M.decoder(e, states[-1]))
        a.append(states[-1][0] @ G_M.A + G_M.b)
    torch.testing.assert_close(path_of_steps(w1, torch.stack(a, 1), pca, .3).detach(), want)

def test_coverage_is_a_ratio_of_spreads(own):
    _, _, regressor, source = own
    frames = source.images(300, 0)
    same = coverage(regressor, frames, frames)
    assert list(same) == [*IDENTITY, *MOTION] and all(abs(v - 1) < 1e-6 for v in same.values())
    still = coverage(regressor, frames[:1].expand(300, -1, -1, -1), frames)
    assert all(v < 1e-3 for v in still.values())
    with pytest.raises(ValueError, match='the real frames do not differ in skin, hair'): coverage(regressor, frames, frames[:1].expand(2, -1, -1, -1))

def test_generated_frames_do_not_depend_on_the_global_generator(own):
    image_generator = own[0]
    torch.manual_seed(0); a = generated_frames(image_generator, 5, 3, batch_size=2)
    torch.manual_seed(1); b = generated_frames(image_generator, 5, 3, batch_size=2)
    assert a.shape == (5, 3, 16, 16) and torch.equal(a, b)

def test_the_ruler_adds_pixels_and_factors_in_their_own_units(own):
    _, _, regressor, source = own
    x = source.images(50, 0)
    ruler = Ruler(regressor, x, 2.)
    factors = torch.cat(regressor.parts(x)[1:], 1)
    want = (x[0] - x[1]).square().mean()/x.var(0).mean() + 2*((factors[0] - factors[1]).square()/factors.var(0)).mean()
    torch.testing.assert_close((ruler(x[:1]) - ruler(x[1:2])).square().sum(), want)
    pixels = Ruler(regressor, x, 0.)
    torch.testing.assert_close((pixels(x[:1]) - pixels(x[1:2])).square().sum(), (x[0] - x[1]).square().mean()/x.var(0).mean())

def test_the_first_guess_is_the_nearest_code(own):
    image_generator, _, regressor, _ = own
    codes = image_generator.sample_latents(20, 7)
    frames = image_generator.synthesize(codes)
    assert torch.equal(nearest_codes(image_generator, Ruler(regressor, frames, 1.), frames[[3, 11]], 20, seed=7), codes[[3, 11]])

# --- tracking

def test_own_clips_are_tracked(own):
    "What the generator made under the rule, it can make again; and does so the same way twice, whatever the batches."
    image_generator, pca, regressor, source = own
    clips, others = source.clips(12, 6, 0), source.clips(12, 6, 1)
    tracked = track(image_generator, pca, clips, regressor, SETTINGS)
    report = tracked_report(regressor, tracked.clips, clips, others)
    assert report['ceiling'] > .9 and list(report['shares']) == list(MOTION), report
    assert report['tracked_frechet'] < report['real_frechet'] + .15 and tracked.loss.mean() < .05
    assert tracked.clips.shape == clips.shape and tracked.codes.shape == (12, 6, 8)
    whole = track(image_generator, pca, clips, regressor, replace(SETTINGS, steps=5))
    parts = track(image_generator, pca, clips, regressor, replace(SETTINGS, steps=5, batch_size=5))
    torch.testing.assert_close(whole.codes, parts.codes, atol=1e-3, rtol=0)
    assert all(p.grad is None for p in image_generator.parameters())

def test_steps_are_bounded(own):
    "No step is longer than lambda times the spread, along any direction, and none leaves the first directions."
    image_generator, pca, regressor, source = own
    far = source.images(12, 5).unflatten(0, (4, 3)) # frames that have nothing to do with each other
    steps = track(image_generator, pca, far, regressor, replace(SETTINGS, n_pca=3, lambda_=.1, steps=20)).codes.diff(dim=1)
    along = steps @ pca.components.T/pca.std
    assert along[..., :3].abs().max() <= .1 + 1e-4 and along[..., 3:].abs().max() < 1e-3

# --- the gate

def test_a_generator_passes_on_its_own_clips(own):
    image_generator, pca, regressor, source = own
    report = gate(image_generator, pca, regressor, source, SETTINGS, n_clips=12, n_frames=6, n_images=4_096)
    limits = {k: v for k, v in report.coverage.items() if v < COVERAGE}
    assert not limits and report.ceiling > .9 and report.n_clips == 12
    assert json.loads(json.dumps(report.row()))['passes'] == report.passes

def test_a_constant_generator_fails_with_every_reason(own):
    image_generator = make_generator(constant=True)
    pca = fit_latent_pca(image_generator, 2_000)
    report = gate(image_generator, pca, make_regressor(), ToyFaces('people', 16), replace(SETTINGS, steps=3), n_clips=8, n_frames=4, n_images=64)
    assert all(v == 0 for v in report.coverage.values()) and report.ceiling == 0 and report.identity_drift == 0
    assert not report.passes
    named = [r.split(' is ')[0] for r in report.reasons]
    assert named == [*(f'coverage of {k}' for k in (*IDENTITY, *MOTION)), 'ceiling', 'tracked_frechet']

GOOD = GateReport(dict(yaw=.95), .93, dict(yaw=.93), .05, .02, 1.15, 1.0, 64)

@pytest.mark.parametrize('change, reason', [
    (dict(coverage=dict(yaw=.94)), 'coverage of yaw is 0.940, at least 0.95 is asked for'), (dict(ceiling=.92), 'ceiling is 0.920, at least 0.93 is asked for'),
    (dict(identity_drift=.06), 'identity_drift is 0.060, at most 0.05 is allowed'), (dict(tracked_frechet=1.2), 'tracked_frechet is 1.200, at most 1.15 is allowed'),
    (dict(ceiling=float('nan')), 'ceiling is nan, at least 0.93 is asked for')])
def test_each_limit(change, reason):
    assert GOOD.passes and GOOD.reasons == []
    bad = replace(GOOD, **change)
    assert bad.reasons == [reason] and not bad.passes and bad.row()['reasons'] == [reason]

# --- refusals

@pytest.mark.parametrize('change, message', [(dict(steps=0), 'steps=0 must be positive'), (dict(lambda_=-.1), 'lambda_=-0.1'), (dict(factor_weight=-1.), 'factor_weight=-1.0')])
def test_impossible_settings(change, message):
    with pytest.raises(ValueError, match=message): replace(SETTINGS, **change)

def test_what_does_not_fit_is_refused(own):
    image_generator, pca, regressor, source = own
    clips = source.clips(4, 3, 0)
    for arguments, message in [((image_generator, pca, clips[0], regressor, SETTINGS), r'clips \(3, 3, 16, 16\): \(n, T, 3, 16, 16\)'),
                               ((image_generator, pca, clips[:, :1], regressor, SETTINGS), 'two frames or more'),
                               ((image_generator, pca, clips, FactorRegressor('people', 32), SETTINGS), 'factors-people looks at 32 px, the generator draws 16 px'),
                               ((make_generator(1), pca, clips, regressor, SETTINGS), 'the basis was measured on generator'),
                               ((image_generator, pca, clips, regressor, replace(SETTINGS, n_pca=9)), 'n_pca=9: the basis has 8 directions'),
                               ((image_generator, pca, clips[:1, :1].expand(4, 3, -1, -1, -1), regressor, SETTINGS), 'there is nothing to track')]:
        with pytest.raises(ValueError, match=message): track(*arguments)
    with pytest.raises(ValueError, match='n_clips=3, n_frames=16: at least 4 clips of 3 frames'): gate(image_generator, pca, regressor, source, SETTINGS, n_clips=3)
    with pytest.raises(ValueError, match='4 clips were tracked and 2 others given'): tracked_report(regressor, clips, clips, clips[:2])
