"Training the motion generator: what every term sees, what stays frozen, resuming, and runs that must stop."
import math
from dataclasses import replace
import pandas as pd, pytest, torch
import torch.nn.functional as F
from mocogan_hd.core.basics import seeded
from mocogan_hd.method.frozen_generator import ImageGenerator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.losses import info_nce
from mocogan_hd.method.stylegan2 import Generator
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.method.video_discriminator import condition_on_first
from mocogan_hd.method import motion_step, motion_training as module
from mocogan_hd.method.motion_step import draw_fakes, generator_losses, image_discriminator_loss, negatives, plays_backwards, train_step, video_discriminator_loss, video_input
from mocogan_hd.method.motion_trainer import MotionTrainer, MotionTraining, loss_weights
from mocogan_hd.method.motion_training import load_motion_generator, sample_fixed, train_motion_generator, vital_signs

FULL = MotionTraining(batch_size=2, n_frames=5, steps=4, n_pca=4, hidden=8, dv_width=4, dv_layers=1, di_width=2, queue=12)
RELEASE = replace(FULL, condition_on_first=True, image_loss='pair', penalty='channel', penalty_weight=10., penalty_every=1, g_steps=2, fresh_fakes=True, ema=0., lambda_f=0.)
VARIANTS = dict(full=FULL, no_mi=replace(FULL, lambda_m=0.), no_di=replace(FULL, image_loss='none'), no_dv=replace(FULL, video_loss=False), no_pca=replace(FULL, n_pca=None),
                no_lf=replace(FULL, lambda_f=0.), no_contr=replace(FULL, lambda_contr=0.), channel=replace(FULL, penalty='channel'), fresh=replace(FULL, fresh_fakes=True, g_steps=2),
                instance=replace(FULL, dv_norm='instance'), release=RELEASE)
each_variant = pytest.mark.parametrize('s', VARIANTS.values(), ids=VARIANTS)

def image_generator(seed=0, resolution=16):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ImageGenerator(Generator(resolution, 10, 10, 1, (8,)*(resolution.bit_length() - 2)))

@pytest.fixture(scope='module')
def G_I(): return image_generator()
@pytest.fixture(scope='module')
def pca(G_I): return fit_latent_pca(G_I, 500)
@pytest.fixture(scope='module')
def real(): return ToyFaces('people', 16).clips(2, 5, 0)

class Videos:
    "A clip source that counts, fails or spoils its clips from the k-th call on."
    resolution, fingerprint = 16, 'videos'
    def __init__(self, at=10**9, do=None): self.calls, self.at, self.do = 0, at, do
    def clips(self, n, n_frames, generator, frame_stride=1, shard=None):
        self.calls += 1
        if self.calls > self.at and isinstance(self.do, Exception): raise self.do
        clips = ToyFaces('people', 16).clips(n, n_frames, generator, frame_stride)
        return clips * self.do if self.calls > self.at else clips

def copy(module): return {k: v.detach().clone() for k, v in module.state_dict().items()}
def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

# --- one step

@each_variant
def test_every_variant_moves_its_players_and_nothing_frozen(G_I, pca, real, s):
    frozen, t = copy(G_I), MotionTrainer(G_I, pca, s)
    before = {k: [p.detach().clone() for p in n.parameters()] for k, n in t.nets.items()}
    buffers = {k: v.clone() for k, v in t.nets['G_M'].named_buffers()}
    losses, fakes = train_step(t, real)
    assert same(frozen, copy(G_I)) and all(p.grad is None and not p.requires_grad for p in G_I.parameters())
    assert all(torch.equal(v, buffers[k]) for k, v in t.nets['G_M'].named_buffers()) # the basis
    for k, n in t.nets.items():
        assert any((p != q).any() for p, q in zip(n.parameters(), before[k])), k
        assert all(p.requires_grad for p in n.parameters())
    want = ({'G_V', 'D_V', 'penalty'} if s.video_loss else set()) | ({'G_I', 'D_I'} if s.image_loss != 'none' else set())
    if s.image_loss == 'contrastive': want |= ({'L_f'} if s.lambda_f else set()) | ({'L_contr'} if s.lambda_contr else set())
    assert set(losses) == want | ({'L_m'} if s.lambda_m else set())
    assert t.step == 1 and all(math.isfinite(v) for v in losses.values()) and fakes.clips.shape == (2, 5, 3, 16, 16)
    assert set(t.nets) == {'G_M'} | ({'D_V'} if s.video_loss else set()) | ({'D_I'} if s.image_loss != 'none' else set())
    assert all(math.isfinite(v) for v in vital_signs(t, fakes, real).values())

@each_variant
def test_each_player_learns_from_its_own_losses_alone(G_I, pca, real, s):
    t, g = MotionTrainer(G_I, pca, s), seeded(0)
    others = {k: n for k, n in t.nets.items() if k != 'G_M'}
    for n in others.values(): n.requires_grad_(False)
    fakes = draw_fakes(t, g)
    sum(generator_losses(t, fakes, real, g).values()).backward()
    assert all(p.grad is None for n in others.values() for p in n.parameters())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for k, p in t.nets['G_M'].named_parameters() if s.lambda_m or not k.startswith('head'))
    t.nets['G_M'].zero_grad(set_to_none=True)
    for k, n in others.items():
        n.requires_grad_(True)
        sum((video_discriminator_loss if k == 'D_V' else image_discriminator_loss)(t, fakes, real, g).values()).backward()
        assert any(p.grad is not None and p.grad.any() for p in n.parameters())
    assert all(p.grad is None for p in (*t.nets['G_M'].parameters(), *G_I.parameters()))

def weights_of(net): return torch.cat([p.detach().flatten().clone() for p in net.parameters()])

@pytest.mark.parametrize('dv_first, steps, alone', [(0., 4, 0), (.5, 4, 2), (.3, 4, 2), (.26, 3, 1)])
def test_the_video_discriminator_may_learn_alone_at_first(G_I, pca, real, dv_first, steps, alone):
    t = MotionTrainer(G_I, pca, replace(FULL, dv_first=dv_first, steps=steps))
    for step in range(steps):
        before = {k: weights_of(n) for k, n in t.nets.items()}
        losses, _ = train_step(t, real)
        moved = {k for k, n in t.nets.items() if not torch.equal(before[k], weights_of(n))}
        assert moved == ({'D_V'} if step < alone else {'G_M', 'D_V', 'D_I'}), step
        assert ('G_V' in losses) == (step >= alone)

def test_nobody_waits_where_there_is_no_video_discriminator(G_I, pca, real):
    t = MotionTrainer(G_I, pca, replace(FULL, dv_first=.5, video_loss=False, steps=4))
    assert 'L_m' in train_step(t, real)[0]

@pytest.mark.parametrize('decay, rates', [(0., [1., 1, 1, 1]), (.5, [1., 1, 1, .5]), (1., [1., .75, .5, .25])])
def test_rates_fall_at_the_end_and_go_on_after_a_stop(G_I, pca, real, decay, rates):
    t = MotionTrainer(G_I, pca, replace(FULL, decay=decay, steps=4))
    first = {k: o.param_groups[0]['lr'] for k, o in t.opts.items()}
    for rate in rates:
        state, t = t.state_dict(), MotionTrainer(G_I, pca, t.settings)
        t.load_state_dict(state)
        train_step(t, real)
        for k, o in t.opts.items(): assert o.param_groups[0]['lr'] == pytest.approx(rate*first[k])

@pytest.mark.parametrize('momentum', [0., .5, .999])
def test_momentum_of_the_momentum_encoder(G_I, pca, real, momentum):
    t = MotionTrainer(G_I, pca, replace(FULL, momentum=momentum))
    before = weights_of(t.momentum.encoder)
    train_step(t, real)
    torch.testing.assert_close(weights_of(t.momentum.encoder), before.lerp(weights_of(t.nets['D_I']), 1 - momentum), atol=1e-6, rtol=0)

def test_differences_hide_looks_and_keep_motion(G_I, pca, real):
    s = replace(FULL, differences=True, reverse=0.)
    assert torch.allclose(video_input(real + .1, s, False), video_input(real, s, False), atol=1e-6) # another look, the same motion
    assert not video_input(real[:, :1].expand_as(real), s, False).any() # a still clip
    assert torch.allclose(2*video_input(real, s, False)[:, -1], real[:, -1] - real[:, 0], atol=1e-6)
    losses, fakes = train_step(MotionTrainer(G_I, pca, s), real)
    assert {'G_V', 'D_V'} <= set(losses)

def test_signs(G_I, pca, real):
    "L_m and L_f are cosines, logged as they are, and have negative weights: they are maximised."
    t, g = MotionTrainer(G_I, pca, replace(FULL, lambda_m=3., lambda_f=5.)), seeded(0)
    fakes = draw_fakes(t, g)
    assert float(generator_losses(t, fakes._replace(eps_hat=fakes.eps), real, g)['L_m'].detach()) == pytest.approx(1)
    assert float(generator_losses(t, fakes._replace(eps_hat=-fakes.eps), real, g)['L_m'].detach()) == pytest.approx(-1)
    assert -1.001 <= float(generator_losses(t, fakes, real, g)['L_f'].detach()) <= 1.001
    assert loss_weights(t.settings) == dict(L_m=-3., L_f=-5., L_contr=FULL.lambda_contr, penalty=FULL.penalty_every*FULL.penalty_weight)

def test_the_same_view_twice_matches(G_I, pca, real, monkeypatch):
    monkeypatch.setattr(motion_step, 'random_views', lambda x, g, shard: x)
    t, g = MotionTrainer(G_I, pca, FULL), seeded(0)
    t.nets['D_I'].eval() # no power iteration between two calls
    fakes = draw_fakes(t, g)
    assert float(generator_losses(t, fakes._replace(later=fakes.first), real, g)['L_f'].detach()) == pytest.approx(1, abs=1e-5)

def test_first_frames_are_real_to_the_image_discriminator(G_I, pca, real, monkeypatch):
    monkeypatch.setattr(motion_step, 'random_views', lambda x, g, shard: x)
    t, seen = MotionTrainer(G_I, pca, FULL), {}
    fakes = draw_fakes(t, seeded(0))
    monkeypatch.setattr(motion_step, 'hinge_d', lambda real, fake: seen.update(real=real, fake=fake) or real.sum()*0)
    image_discriminator_loss(t, fakes, real, seeded(0))
    t.nets['D_I'].eval()
    torch.testing.assert_close(seen['real'], t.nets['D_I'](fakes.first.repeat(2, 1, 1, 1))[0])
    torch.testing.assert_close(seen['fake'], t.nets['D_I'](fakes.later.repeat(2, 1, 1, 1))[0])

# --- fakes

def test_fakes(G_I, pca):
    t = MotionTrainer(G_I, pca, replace(FULL, batch_size=6, n_frames=7))
    fakes = draw_fakes(t, seeded(1))
    assert torch.equal(fakes.first, fakes.clips[:, 0]) and torch.equal(fakes.trajectory[:, 0], G_I.sample_latents(6, seeded(1)))
    index = [[t for t in range(7) if torch.equal(fakes.later[i], fakes.clips[i, t])] for i in range(6)]
    assert all(len(i) == 1 and i[0] > 0 for i in index) and len({i[0] for i in index}) > 1 # a later frame, each clip its own
    torch.testing.assert_close(draw_fakes(t, seeded(1)).clips, fakes.clips)

def test_the_first_frame_has_no_gradient_and_later_ones_have(G_I, pca):
    t = MotionTrainer(G_I, pca, FULL)
    fakes = draw_fakes(t, seeded(0))
    later = torch.autograd.grad(fakes.later.square().sum(), t.nets['G_M'].A)[0]
    assert later.any() and not fakes.first.requires_grad

# --- the same numbers for less

def losses_and_slope(G_I, pca, real, s):
    t = MotionTrainer(G_I, pca, s)
    terms = generator_losses(t, draw_fakes(t, seeded(0)), real, seeded(1))
    sum(terms.values()).backward()
    return {k: v.item() for k, v in terms.items()}, torch.cat([p.grad.flatten() for p in t.nets['G_M'].parameters()])

@pytest.mark.parametrize('s', [FULL, RELEASE], ids=['full', 'release'])
@pytest.mark.parametrize('chunk', [1, 3, 99])
def test_chunks_change_nothing(G_I, pca, real, s, chunk):
    (whole, slope), (parts, slope_of_parts) = (losses_and_slope(G_I, pca, real, replace(s, chunk=c)) for c in (None, chunk))
    assert parts == pytest.approx(whole, abs=1e-5)
    torch.testing.assert_close(slope_of_parts, slope, rtol=1e-3, atol=1e-5*float(slope.abs().max()))

def test_compiled_synthesis_changes_nothing(G_I, pca, real):
    "Compiled, and made again in the backward pass."
    (whole, slope), (compiled, slope_compiled) = (losses_and_slope(G_I, pca, real, replace(FULL, **more)) for more in ({}, dict(compile=True, chunk=4)))
    assert compiled == pytest.approx(whole, abs=1e-5) and '_images' not in vars(G_I) # the generator that was given stays as it was
    torch.testing.assert_close(slope_compiled, slope, rtol=1e-3, atol=1e-5*float(slope.abs().max()))

def test_bfloat16_is_near(G_I, pca, real):
    (whole, slope), (near, slope_near) = (losses_and_slope(G_I, pca, real, replace(FULL, precision=p)) for p in ('float32', 'bfloat16'))
    assert near == pytest.approx(whole, abs=.05) and near != whole
    assert F.cosine_similarity(slope, slope_near, 0) > .95

@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_steps_in_half_precision(G_I, pca, precision):
    t = MotionTrainer(G_I, pca, replace(FULL, precision=precision))
    for _ in range(3): losses, fakes = train_step(t, ToyFaces('people', 16).clips(2, 5, 0))
    assert fakes.clips.dtype == torch.float32 and all(map(math.isfinite, losses.values()))

def test_real_clips_are_scored_once_a_direction(G_I, pca, real, monkeypatch):
    t, calls = MotionTrainer(G_I, pca, replace(FULL, g_steps=6, image_loss='none', penalty_weight=0.)), []
    monkeypatch.setattr(t, 'judge', lambda name, x, judge=t.judge: calls.append(x.requires_grad) or judge(name, x))
    train_step(t, real)
    assert calls.count(True) == 6 and 2 <= calls.count(False) <= 4 # fakes of six steps; real forwards and backwards; two of the discriminator's step

def test_discriminators_see_pooled_frames(tmp_path, pca, G_I):
    s = replace(FULL, video_resolution=16)
    G32 = image_generator(resolution=32)
    t = MotionTrainer(G32, fit_latent_pca(G32, 500), s)
    fakes = draw_fakes(t, seeded(0))
    assert fakes.clips.shape == (2, 5, 3, 16, 16)
    train_step(t, ToyFaces('people', 16).clips(2, 5, 0))
    with pytest.raises(ValueError, match='a divisor of 16 is expected'): MotionTrainer(G_I, pca, replace(FULL, video_resolution=12))
    with pytest.raises(ValueError, match='the videos have 32 px, but the discriminators see generated frames at 16 px'):
        next(train_motion_generator(ToyFaces('people', 32), G32, fit_latent_pca(G32, 500), s, tmp_path))

# --- what D_V sees

def test_time_reversal():
    clips = torch.randn(2, 5, 3, 4, 4, generator=seeded(0))
    for s, plain in ((FULL, clips), (RELEASE, condition_on_first(clips))):
        assert torch.equal(video_input(clips, s, False), plain) and torch.equal(video_input(clips, s, True), plain.flip(1))
        g = seeded(0)
        assert [sum(plays_backwards(replace(s, reverse=p), g) for _ in range(20)) for p in (0., 1.)] == [0, 20]
        assert 80 < sum(plays_backwards(s, g) for _ in range(200)) < 120
    assert torch.equal(plain.flip(1)[:, 0, :3], clips[:, 0]) # a reversed clip still stands beside its own first frame

def test_real_and_fake_are_reversed_apart(G_I, pca, real, monkeypatch):
    t, drawn = MotionTrainer(G_I, pca, replace(FULL, penalty_weight=0.)), []
    fakes, original = draw_fakes(t, seeded(0)), motion_step.video_input
    monkeypatch.setattr(motion_step, 'video_input', lambda c, s, backwards: drawn.append(backwards) or original(c, s, backwards))
    g = seeded(0)
    for _ in range(40): video_discriminator_loss(t, fakes, real, g)
    assert set(zip(drawn[::2], drawn[1::2])) == {(a, b) for a in (False, True) for b in (False, True)}

@pytest.mark.parametrize('penalty', ['r1', 'channel'])
def test_penalty_comes_when_due_and_as_strong(G_I, pca, real, penalty):
    t = MotionTrainer(G_I, pca, replace(FULL, penalty=penalty, penalty_every=3, reverse=0.))
    once = MotionTrainer(G_I, pca, replace(FULL, penalty=penalty, penalty_every=1, reverse=0.))
    fakes = draw_fakes(t, seeded(0))
    for step in range(5):
        t.step = step
        terms = video_discriminator_loss(t, fakes, real, seeded(5))
        assert ('penalty' in terms) == (step % 3 == 0)
        if step == 0: assert float(terms['penalty'].detach()) == pytest.approx(float(video_discriminator_loss(once, fakes, real, seeded(5))['penalty'].detach()), rel=1e-5)
    assert loss_weights(t.settings)['penalty'] == 3*loss_weights(once.settings)['penalty']
    assert 'penalty' not in video_discriminator_loss(MotionTrainer(G_I, pca, replace(FULL, penalty_weight=0.)), fakes, real, seeded(0))

# --- queue and momentum encoder

def test_queues_hold_views_of_their_own_frames(G_I, pca, real, monkeypatch):
    monkeypatch.setattr(motion_step, 'random_views', lambda x, g, shard: x)
    t = MotionTrainer(G_I, pca, replace(FULL, g_steps=2))
    before = {k: q.rows.clone() for k, q in t.queues.items()}
    for k in range(2):
        fakes = draw_fakes(t, seeded(k))
        generator_losses(t, fakes, real, seeded(0))
        for name, frames in (('first', fakes.first), ('later', fakes.later)):
            torch.testing.assert_close(t.queues[name].rows[2*k:2*k + 2], F.normalize(t.momentum(frames), dim=1))
            assert torch.equal(t.queues[name].rows[2*k + 2:], before[name][2*k + 2:]) and not t.queues[name].rows.requires_grad
    assert not torch.equal(t.queues['first'].rows[:2], t.queues['later'].rows[:2])

def test_negatives_show_other_frames(G_I, pca, real, monkeypatch):
    "Fakes that are used again are not their own negatives: with features that ignore the view, L_contr would be log 2 at least."
    monkeypatch.setattr(motion_step, 'random_views', lambda x, g, shard: x)
    again, fresh = (MotionTrainer(G_I, pca, replace(FULL, fresh_fakes=f)) for f in (False, True))
    for t in (again, fresh):
        for k in range(8): # the queue of 12 rows goes round
            fakes = draw_fakes(t, seeded(k)); generator_losses(t, fakes, real, seeded(0))
            for name in ('first', 'later'):
                rows, newest = t.queues[name].rows, F.normalize(t.momentum(getattr(fakes, name)), dim=1)
                nearest = (negatives(t, name)[:, None] - newest).abs().amax(2).amin(0)
                assert (len(negatives(t, name)), bool((nearest < 1e-6).all())) == ((12, True) if t is fresh else (10, False))
                assert {tuple(r.tolist()) for r in negatives(t, name)} <= {tuple(r.tolist()) for r in rows}
    perfect = F.normalize(torch.eye(2, 8), dim=1)
    assert info_nce(perfect, perfect, perfect, .07) > math.log(2) - .01 and info_nce(perfect, perfect, perfect[:0], .07) < .01

def test_a_queue_shorter_than_a_batch(G_I, pca, real):
    t = MotionTrainer(G_I, pca, replace(FULL, queue=1))
    for _ in range(3): losses, _ = train_step(t, real)
    assert math.isfinite(losses['L_contr'])

def test_momentum_encoder_follows_after_the_discriminators_step(G_I, pca, real):
    t = MotionTrainer(G_I, pca, FULL)
    old = [p.clone() for p in t.momentum.parameters()]
    train_step(t, real)
    for m, o, p in zip(t.momentum.parameters(), old, t.nets['D_I'].parameters()):
        torch.testing.assert_close(m, .999*o + .001*p, atol=1e-6, rtol=1e-5); assert m.grad is None

def test_averaging(G_I, pca, real):
    t = MotionTrainer(G_I, pca, replace(FULL, ema=.75)); train_step(t, real)
    first = t.nets['G_M'].A.detach().clone()
    torch.testing.assert_close(t.motion_generator.A.detach(), first)
    train_step(t, real)
    torch.testing.assert_close(t.motion_generator.A.detach(), .75*first + .25*t.nets['G_M'].A.detach())
    plain = MotionTrainer(G_I, pca, replace(FULL, ema=0.))
    assert plain.motion_generator is plain.nets['G_M']

# --- randomness and resuming

def test_a_step_is_seed_and_number(G_I, pca, real):
    def trainer(s, global_seed): torch.manual_seed(global_seed); return MotionTrainer(G_I, pca, s)
    a, b, c = trainer(FULL, 0), trainer(FULL, 1), trainer(replace(FULL, seed=1), 0)
    state = torch.get_rng_state()
    losses = [train_step(t, real)[0] for t in (a, b, c)]
    assert torch.equal(torch.get_rng_state(), state)
    assert losses[0] == losses[1] != losses[2]
    a.step = 3; b.step = 4
    assert not torch.equal(train_step(a, real)[1].eps, train_step(b, real)[1].eps)
    assert torch.equal(sample_fixed(a), sample_fixed(a))

@pytest.mark.parametrize('s', [replace(FULL, fresh_fakes=True, g_steps=2), RELEASE, replace(FULL, image_loss='none', dv_norm='instance')], ids=['contrastive', 'release', 'no_di'])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, G_I, pca, s):
    *_, whole = train_motion_generator(Videos(), G_I, pca, s, tmp_path/'whole', save_every=2)
    with pytest.raises(OSError): list(train_motion_generator(Videos(3, OSError('power cut')), G_I, pca, s, tmp_path/'parts', save_every=2))
    source = Videos()
    *_, parts = train_motion_generator(source, G_I, pca, s, tmp_path/'parts', save_every=2)
    assert source.calls == 2 and parts.step == 4 and torch.equal(whole.clips, parts.clips)
    assert whole.losses.drop(columns='minutes').equals(parts.losses.drop(columns='minutes'))
    a, b = (torch.load(tmp_path/k/'checkpoint.pt', weights_only=True) for k in ('whole', 'parts'))
    assert all(same(a['modules'][k], b['modules'][k]) for k in a['modules']) and a['modules'].keys() == b['modules'].keys()
    once_more = Videos(); *_, again = train_motion_generator(once_more, G_I, pca, s, tmp_path/'parts')
    assert once_more.calls == 0 and torch.equal(again.clips, whole.clips) and again.losses.step.tolist() == [2, 4]

def test_losses_are_means_and_show_the_penalty(tmp_path, G_I, pca):
    *_, last = train_motion_generator(Videos(), G_I, pca, replace(FULL, penalty_every=4), tmp_path, save_every=4)
    assert {'penalty', 'D_V', 'L_contr', 'motion', 'spread'} <= set(last.losses) and last.losses.notna().all(None) and len(last.losses) == 1

def test_the_file_is_the_averaged_generator(tmp_path, G_I, pca):
    *_, last = train_motion_generator(Videos(), G_I, pca, FULL, tmp_path)
    G_M = load_motion_generator(tmp_path/'motion_generator.safetensors', G_I)
    state = torch.load(tmp_path/'checkpoint.pt', weights_only=True)['modules']
    assert torch.equal(G_M.A, state['ema']['module.A']) and not torch.equal(G_M.A, state['G_M']['A'])
    assert not G_M.training and not any(p.requires_grad for p in G_M.parameters())
    g = seeded(0)
    w1, eps = G_I.sample_latents(4, g), G_M.sample_eps(4, 5, g)
    torch.testing.assert_close(G_I.synthesize(G_M(w1, eps).trajectory, G_I.sample_noise(4, g)), last.clips)

# --- refusals

@pytest.mark.parametrize('change, message', [
    (dict(image_loss='hinge'), "image_loss='hinge' is unknown: choose one of .*'contrastive', 'pair', 'none'"), (dict(penalty='wgan'), "penalty='wgan'"), (dict(dv_norm='batch'), "dv_norm='batch'"),
    (dict(batch_size=0), 'batch_size=0 must be positive'), (dict(steps=-1), 'steps=-1'), (dict(g_steps=0), 'g_steps=0'), (dict(lr=0.), 'lr=0.0'), (dict(temperature=0.), 'temperature=0.0'),
    (dict(dv_width=0), 'dv_width=0'), (dict(n_pca=0), 'n_pca=0: give at least 1 direction, or None'), (dict(reverse=1.5), 'reverse=1.5'), (dict(ema=1.), 'ema=1.0'),
    (dict(decay=1.5), 'decay=1.5'), (dict(dv_first=1.), 'dv_first=1.0'), (dict(momentum=1.), 'momentum=1.0'),
    (dict(differences=True, condition_on_first=True), 'choose one'), (dict(n_frames=3, differences=True), 'n_frames=3: D_V needs at least 4'),
    (dict(n_frames=2), 'n_frames=2'), (dict(n_frames=3, condition_on_first=True), 'n_frames=3: D_V needs at least 4'), (dict(video_loss=False, image_loss='none'), 'nothing to learn from')])
def test_impossible_settings(change, message):
    with pytest.raises(ValueError, match=message): replace(FULL, **change)

@pytest.mark.parametrize('s', [replace(FULL, n_frames=3), replace(RELEASE, n_frames=4)])
def test_the_shortest_clips(G_I, pca, s): train_step(MotionTrainer(G_I, pca, s), ToyFaces('people', 16).clips(2, s.n_frames, 0))

def test_refused_before_the_first_step(tmp_path, G_I, pca):
    source = Videos()
    def run(G_I, pca, s): return next(train_motion_generator(source, G_I, pca, s, tmp_path/'run'))
    with pytest.raises(ValueError, match='the videos have 16 px, but the discriminators see generated frames at 32 px'): run(image_generator(resolution=32), pca, FULL)
    with pytest.raises(ValueError, match=f'the PCA was measured on generator {G_I.fingerprint}, this one is'): run(image_generator(1), pca, FULL)
    with pytest.raises(ValueError, match='n_pca = 48, the basis has 1 to 10 directions'): run(G_I, pca, replace(FULL, n_pca=48))
    assert source.calls == 0 and not (tmp_path/'run').exists()

def test_other_settings_generators_and_kinds_are_refused(tmp_path, G_I, pca):
    list(train_motion_generator(Videos(), G_I, pca, FULL, tmp_path, stop_at=2))
    before = (tmp_path/'checkpoint.pt').read_bytes()
    stranger = image_generator(1)
    for g, p, s, message in [(G_I, pca, replace(FULL, lambda_m=.5), r"checkpoint.pt was made with other settings .*'lambda_m': \(1.0, 0.5\)"),
                             (G_I, pca, replace(FULL, hidden=9), r"'hidden': \(8, 9\)"), (G_I, pca, replace(FULL, n_pca=None), r"'n_pca': \(4, None\)"),
                             (stranger, fit_latent_pca(stranger, 500), FULL, rf"'generator': \('{G_I.fingerprint}', '{stranger.fingerprint}'\)")]:
        with pytest.raises(ValueError, match=message): next(train_motion_generator(Videos(), g, p, s, tmp_path))
    assert (tmp_path/'checkpoint.pt').read_bytes() == before

def test_a_run_may_go_on_in_other_chunks(tmp_path, G_I, pca):
    list(train_motion_generator(Videos(), G_I, pca, FULL, tmp_path, stop_at=2))
    *_, last = train_motion_generator(Videos(), G_I, pca, replace(FULL, chunk=2), tmp_path)
    assert last.step == 4

def test_files_of_strangers_are_refused(tmp_path, G_I, pca):
    list(train_motion_generator(Videos(), G_I, pca, replace(FULL, steps=1), tmp_path))
    path = tmp_path/'motion_generator.safetensors'
    with pytest.raises(ValueError, match=f'motion_generator.safetensors was trained with image generator {G_I.fingerprint}, this one is'): load_motion_generator(path, image_generator(1))
    pca.save(tmp_path/'pca.safetensors')
    with pytest.raises(ValueError, match="pca.safetensors holds 'latent_pca', expected a motion_generator"): load_motion_generator(tmp_path/'pca.safetensors', G_I)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match='motion_generator.safetensors is not a whole safetensors file'): load_motion_generator(path, G_I)

# --- runs that must stop

@pytest.mark.parametrize('s, loss', [(FULL, 'G_V'), (RELEASE, 'G_V'), (replace(RELEASE, video_loss=False), 'G_I')], ids=['full', 'release', 'pair'])
def test_nan_stops_the_run_and_the_last_checkpoint_is_good(tmp_path, G_I, pca, s, loss):
    with pytest.raises(FloatingPointError, match=f'{loss} is nan at step 4'):
        list(train_motion_generator(Videos(3, float('nan')), G_I, pca, s, tmp_path, save_every=2))
    state = torch.load(tmp_path/'checkpoint.pt', weights_only=True)
    assert state['step'] == 2 and all(torch.isfinite(v).all() for m in state['modules'].values() for v in m.values() if v.is_floating_point())
    assert not (tmp_path/'motion_generator.safetensors').exists()
    *_, last = train_motion_generator(Videos(), G_I, pca, s, tmp_path)
    assert last.step == 4 and torch.isfinite(last.clips).all()

def test_weights_that_are_no_numbers_are_not_saved(tmp_path, G_I, pca, monkeypatch):
    step = module.train_step
    def spoilt(trainer, real):
        out = step(trainer, real)
        if trainer.step == 4: trainer.nets['G_M'].b.data[0] = float('inf')
        return out
    monkeypatch.setattr(module, 'train_step', spoilt)
    with pytest.raises(FloatingPointError, match='G_M.b is inf at step 4'): list(train_motion_generator(Videos(), G_I, pca, FULL, tmp_path, save_every=2))
    assert torch.load(tmp_path/'checkpoint.pt', weights_only=True)['step'] == 2

def test_a_checkpoint_is_never_half_written(tmp_path, G_I, pca, monkeypatch):
    list(train_motion_generator(Videos(), G_I, pca, FULL, tmp_path, stop_at=2))
    before = (tmp_path/'checkpoint.pt').read_bytes()
    def half_way(state, path): open(path, 'wb').write(before[:100]); raise OSError('disk full')
    monkeypatch.setattr(module.torch, 'save', half_way)
    with pytest.raises(OSError): list(train_motion_generator(Videos(), G_I, pca, FULL, tmp_path, save_every=2))
    monkeypatch.undo()
    assert (tmp_path/'checkpoint.pt').read_bytes() == before and not list(tmp_path.glob('.*'))
    *_, last = train_motion_generator(Videos(), G_I, pca, FULL, tmp_path, save_every=2)
    assert last.losses.step.tolist() == [2, 4]
