"Training the image generator: losses, augmentation, resuming, and runs that must stop."
from dataclasses import asdict, replace
import pandas as pd, pytest, torch
from mocogan_hd.core.basics import seeded
from mocogan_hd.method.frozen_generator import load_image_generator
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.method import image_training as module
from mocogan_hd.method.losses import r1_penalty
from mocogan_hd.method.image_training import (
    ImageTrainer, ImageTraining, d_loss, g_loss, mix_styles, path_lengths, path_penalty,
    random_cuts, train_image_generator)

TINY = ImageTraining(resolution=16, latent_dim=8, n_mapping=1, channels=(8, 8, 4), d_channels=(8, 8, 4), batch_size=4, n_images=32) # 8 steps

class Pictures:
    "A clip source that counts, fails or spoils its pictures at the k-th call."
    resolution, fingerprint = 16, 'pictures'
    def __init__(self, at=10**9, do=None): self.calls, self.at, self.do = 0, at, do
    def images(self, n, generator, shard=None):
        self.calls += 1
        if self.calls > self.at and isinstance(self.do, Exception): raise self.do
        images = ToyFaces('people', 16).images(n, generator)
        return images * self.do if self.calls > self.at else images

def weights(path): return torch.load(path, weights_only=True)

# --- formulas

def test_losses():
    fake, real = torch.tensor([-1., 2.]), torch.tensor([3., .5])
    sp = lambda x: (1 + x.exp()).log()
    torch.testing.assert_close(d_loss(fake, real), sp(fake).mean() + sp(-real).mean())
    torch.testing.assert_close(g_loss(fake), sp(-fake).mean())
    assert torch.isfinite(d_loss(torch.tensor([1e4]), torch.tensor([-1e4])))

def test_r1_is_the_mean_of_squared_norms():
    w, x = torch.randn(3, 4, 4, generator=seeded(0)), torch.randn(5, 3, 4, 4, generator=seeded(1)).requires_grad_()
    scores = (w*x).sum((1, 2, 3))**2 / 2 # gradient: score times w
    want = ((w*x).sum((1, 2, 3))**2 * w.square().sum()).mean()
    torch.testing.assert_close(r1_penalty(scores, x, gamma=2.), want)

def test_lazy_r1_enters_every_16th_step_with_its_weight():
    "The penalty of step 0 moves D, that of step 1 is not there."
    def moved(settings, step):
        t = ImageTrainer(settings); t.step = step
        before = torch.cat([p.detach().flatten().clone() for p in t.D.parameters()])
        t.train_step(ToyFaces('people', 16).images(4, 0))
        return torch.cat([p.detach().flatten() for p in t.D.parameters()]) - before
    with_, without = (replace(TINY, r1_gamma=g) for g in (10., 0.))
    assert not torch.equal(moved(with_, 0), moved(without, 0)) and torch.equal(moved(with_, 1), moved(without, 1))

# --- path length and style mixing

def test_path_lengths_are_norms_of_the_jacobian_times_noise():
    J, y = torch.randn(3*4*2, 5, generator=seeded(0)), torch.randn(6, 3, 4, 2, generator=seeded(1))
    w = torch.randn(6, 5, generator=seeded(2)).requires_grad_()
    torch.testing.assert_close(path_lengths((w @ J.T).reshape(6, 3, 4, 2), w, y), (y.flatten(1) @ J).norm(dim=1)/8**.5)
    torch.testing.assert_close(path_penalty(torch.tensor([1., 4.]), 2.), torch.tensor((1. + 4.)/2))

def test_path_lengths_of_a_generator_equal_an_explicit_jacobian():
    G = ImageTrainer(TINY).G
    w, y, noise = torch.randn(2, 8, generator=seeded(0)), torch.randn(2, 3, 16, 16, generator=seeded(1)), G.sample_noise(2, 0)
    w = w.requires_grad_()
    lengths = path_lengths(G.synthesis(w, noise), w, y)
    for i in range(2):
        J = torch.autograd.functional.jacobian(lambda v: G.synthesis(v[None], [m[i:i+1] for m in noise]).flatten(), w[i].detach())
        torch.testing.assert_close(lengths[i], (y[i].flatten() @ J).norm()/16)
    lengths.sum().backward()
    assert G.conv1.conv.weight.grad.abs().max() > 0

def test_the_path_penalty_enters_every_kth_step_and_moves_its_mean():
    def after(step, **change):
        t = ImageTrainer(replace(TINY, path_length_every=3, path_length_decay=.5, **change)); t.step = step
        t.train_step(ToyFaces('people', 16).images(4, 0))
        return torch.cat([p.detach().flatten() for p in t.G.parameters()]), t.mean_path_length
    (w0, a0), (w1, a1), (w2, a2) = after(3, path_length_weight=2.), after(3, path_length_weight=4.), after(4, path_length_weight=2.)
    assert not torch.equal(w0, w1) and a0 == a1 > 0 and a2 == 0
    assert torch.equal(w2, after(4, path_length_weight=4.)[0]) # between the k-th steps its weight does not matter

def test_mixed_styles_change_at_the_cut():
    a, b, cut = torch.randn(3, 4, generator=seeded(0)), torch.randn(3, 4, generator=seeded(1)), torch.tensor([1, 5, 6])
    mixed = mix_styles(a, b, cut, 6)
    for i in range(3):
        for k in range(6): assert torch.equal(mixed[i, k], (a if k < cut[i] else b)[i])
    cuts = random_cuts(4_000, 6, .5, seeded(0))
    assert set(cuts.tolist()) == {1, 2, 3, 4, 5, 6} and .46 < (cuts < 6).float().mean() < .54

def test_layers_draw_with_their_own_codes():
    "One code for all layers is the plain picture; the code of the last layer changes the picture's colours alone."
    G = ImageTrainer(TINY).G.eval()
    w, other = G.mapping(torch.randn(2, 8, generator=seeded(0))), G.mapping(torch.randn(2, 8, generator=seeded(1)))
    plain, n = G.synthesis(w), G.n_layers
    assert torch.equal(G.synthesis(w[:, None].expand(-1, n, -1)), plain)
    last = G.synthesis(mix_styles(w, other, torch.tensor([n - 1, n]), n))
    assert not torch.equal(last[0], plain[0]) and torch.equal(last[1], plain[1])
    with pytest.raises(ValueError, match=f'2 codes a picture given, {n} layers want one each'): G.synthesis(w[:, None].expand(-1, 2, -1))

# --- settings

@pytest.mark.parametrize('change, message', [
    (dict(resolution=24), 'resolution 24 is not possible: choose one of 16'), (dict(batch_size=0), 'batch_size=0 must be positive'), (dict(lr=-1.), 'lr=-1.0'),
    (dict(path_length_weight=-1.), 'path_length_weight=-1.0 must not be negative'), (dict(style_mixing=1.5), 'style_mixing=1.5 must be from 0 to 1'),
    (dict(path_length_every=0), 'path_length_every=0'), (dict(path_length_weight=2., batch_size=1), 'needs batch_size=2 or more'),
    (dict(n_images=0), 'n_images=0'), (dict(augment=('flip',)), r"\['flip'\] unknown, choose from \['colour', 'translation', 'cutout'\]")])
def test_impossible_settings(change, message):
    with pytest.raises(ValueError, match=message): replace(TINY, **change)

def test_refused_before_the_first_step(tmp_path):
    source = Pictures()
    with pytest.raises(ValueError, match='the pictures have 16 px, the settings say 32'):
        train_image_generator(source, replace(TINY, resolution=32, channels=(8,)*4, d_channels=(8,)*4), tmp_path/'run')
    with pytest.raises(ValueError, match=r'4 widths .* do not fit 16 px'): train_image_generator(source, replace(TINY, channels=(8,)*4), tmp_path/'run')
    assert source.calls == 0 and not (tmp_path/'run').exists()

# --- resuming

@pytest.mark.parametrize('change', [dict(augment=('colour', 'cutout')), dict(path_length_weight=2., path_length_every=2, style_mixing=.5)])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, change):
    settings = replace(TINY, **change)
    whole = train_image_generator(Pictures(), settings, tmp_path/'whole')
    with pytest.raises(OSError): train_image_generator(Pictures(5, OSError('power cut')), settings, tmp_path/'parts', save_every=3)
    assert weights(tmp_path/'parts'/'checkpoint.pt')['step'] == 3
    source = Pictures()
    parts = train_image_generator(source, settings, tmp_path/'parts', save_every=3)
    assert source.calls == 5 and load_image_generator(whole).fingerprint == load_image_generator(parts).fingerprint
    a, b = (weights(tmp_path/k/'checkpoint.pt') for k in ('whole', 'parts'))
    assert a['mean_path_length'] == b['mean_path_length'] and (a['mean_path_length'] > 0) == (settings.path_length_weight > 0)
    assert a['step'] == b['step'] == 8 and all(torch.equal(a[n][k], b[n][k]) for n in ('G', 'D', 'ema') for k in a[n])
    log = pd.read_csv(tmp_path/'parts'/'losses.csv')
    assert log.step.is_unique and log.step.is_monotonic_increasing and log.step.iloc[-1] == 8 and log.minutes.is_monotonic_increasing
    assert len(list((tmp_path/'parts').glob('samples-*.png'))) == 3

def test_a_finished_run_is_not_run_again(tmp_path):
    first = load_image_generator(train_image_generator(Pictures(), TINY, tmp_path)).fingerprint
    source = Pictures()
    assert load_image_generator(train_image_generator(source, TINY, tmp_path)).fingerprint == first and source.calls == 0

def test_other_settings_are_refused_by_value(tmp_path):
    train_image_generator(Pictures(), TINY, tmp_path, stop_at=2)
    for other, message in [(replace(TINY, lr=1e-3), r"checkpoint.pt was made with other settings .*'lr': \(0.003, 0.001\)"),
                           (replace(TINY, channels=(8, 4, 4)), r"'channels': \(\[8, 8, 4\], \[8, 4, 4\]\)"), (replace(TINY, seed=1), r"'seed': \(0, 1\)")]:
        with pytest.raises(ValueError, match=message): train_image_generator(Pictures(), other, tmp_path)
    assert weights(tmp_path/'checkpoint.pt')['step'] == 2

# --- runs that must stop

def test_nan_stops_the_run_and_the_last_checkpoint_is_good(tmp_path):
    with pytest.raises(FloatingPointError, match='loss_D is nan at step 6'):
        train_image_generator(Pictures(5, float('inf')), TINY, tmp_path, save_every=4)
    state = weights(tmp_path/'checkpoint.pt')
    assert state['step'] == 4 and all(torch.isfinite(v).all() for n in ('G', 'D', 'ema') for v in state[n].values() if v.is_floating_point())
    assert not (tmp_path/'image_generator.safetensors').exists()
    healed = train_image_generator(Pictures(), TINY, tmp_path)
    assert load_image_generator(healed).fingerprint == load_image_generator(train_image_generator(Pictures(), TINY, tmp_path/'never ill')).fingerprint

def test_nan_in_the_penalty_alone_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'r1_penalty', lambda scores, images, gamma: scores.sum()*float('nan'))
    with pytest.raises(FloatingPointError, match='r1 is nan at step 1'): train_image_generator(Pictures(), TINY, tmp_path)

def test_weights_that_are_no_numbers_are_not_saved(tmp_path, monkeypatch):
    "An infinite gradient behind a finite loss spoils the weights of the very step that is saved."
    step = ImageTrainer.train_step
    def spoilt(self, real):
        losses = step(self, real)
        if self.step == 4: self.G.input.input.data[0, 0, 0, 0] = float('nan')
        return losses
    monkeypatch.setattr(ImageTrainer, 'train_step', spoilt)
    with pytest.raises(FloatingPointError, match='G.input.input is nan at step 4'): train_image_generator(Pictures(), TINY, tmp_path, save_every=2)
    assert weights(tmp_path/'checkpoint.pt')['step'] == 2 and torch.isfinite(weights(tmp_path/'checkpoint.pt')['G']['input.input']).all()

def test_a_checkpoint_is_never_half_written(tmp_path, monkeypatch):
    train_image_generator(Pictures(), TINY, tmp_path, stop_at=3)
    before = (tmp_path/'checkpoint.pt').read_bytes()
    def half_way(state, path): open(path, 'wb').write(before[:100]); raise OSError('disk full')
    monkeypatch.setattr(module.torch, 'save', half_way)
    with pytest.raises(OSError): train_image_generator(Pictures(), TINY, tmp_path, save_every=5)
    monkeypatch.undo()
    assert (tmp_path/'checkpoint.pt').read_bytes() == before and not list(tmp_path.glob('.*'))
    train_image_generator(Pictures(), TINY, tmp_path)
    assert pd.read_csv(tmp_path/'losses.csv').step.is_unique

def test_discriminator_weights_are_back_after_a_step():
    t = ImageTrainer(TINY); t.train_step(ToyFaces('people', 16).images(4, 0))
    assert all(p.requires_grad for p in (*t.D.parameters(), *t.G.parameters()))

def test_global_randomness_is_not_moved():
    torch.manual_seed(3); state = torch.get_rng_state()
    t = ImageTrainer(TINY); t.train_step(ToyFaces('people', 16).images(4, 0))
    assert torch.equal(torch.get_rng_state(), state)

def test_the_rate_falls_to_zero_at_the_end():
    t = ImageTrainer(replace(TINY, decay=.5))
    rates = []
    for i in range(8):
        t.train_step(ToyFaces('people', 16).images(4, i)); rates.append(t.opt_G.param_groups[0]['lr'])
    torch.testing.assert_close(torch.tensor(rates), TINY.lr*torch.tensor([1.]*5 + [3/4, 2/4, 1/4]))

def test_averaged_weights_have_the_half_life():
    t = ImageTrainer(replace(TINY, ema_images=8)) # two steps
    t.train_step(ToyFaces('people', 16).images(4, 0))
    old = t.ema.module.input.input.clone()
    for i in range(2):
        t.step += 1
        with torch.no_grad(): t.G.input.input.fill_(5.)
        t.ema.update_parameters(t.G)
    torch.testing.assert_close(t.ema.module.input.input, (old + 5)/2)
