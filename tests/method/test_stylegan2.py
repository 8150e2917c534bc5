"StyleGAN2: against the authors' numbers through mapping, motion and synthesis; the public layout; where it must refuse."
import numpy as np, pytest, torch
from torch.nn import functional as F
import goldens
from goldens import N, close, golden
from test_motion_generator import SHAPES, from_release
from mocogan_hd.core.basics import seeded
from mocogan_hd.interop.release_networks import MOTION_NAMES
from mocogan_hd.method.stylegan2 import Discriminator, Generator, ModulatedConv2d, check_resolution, minibatch_std, published_channels, truncate

ERROR = dict(style_w=4.3e-6, latents=4.4e-6, nonoise=5.4e-6, buffernoise=1e-5, trainnoise=1.1e-5, trunc07=5e-6) # of the release's float32

# --- the authors' numbers

@pytest.fixture(scope='module')
def arrays(): return golden('generator')

@pytest.fixture(scope='module')
def published():
    with torch.device('meta'): G = Generator(32)
    state = {k: goldens.fill(k, v.shape) for k, v in G.state_dict().items()}
    G.load_state_dict(state, strict=True, assign=True)
    return G.requires_grad_(False)

@pytest.fixture(scope='module')
def clip(published, tmp_path_factory):
    "The motion generator's output for the golden z and the noise of a short clip, with gradients to its weights."
    G_M = from_release(tmp_path_factory.mktemp('release'))
    return G_M, G_M(published.mapping(N(2, 2, 512)), N(3, 2, 15, 512)[:, :3]).trajectory

def test_mapping(published, arrays): close(published.mapping(N(2, 2, 512)), arrays['style_w'], ERROR['style_w'])

def test_trajectory(clip, arrays): close(clip[1].detach(), arrays['latents'], ERROR['latents'])

def no_noise(G): return [torch.zeros(1, 1, r, r) for r in G.noise_sizes]

def test_clips_without_noise_and_gradients_through_the_generator(published, clip, arrays):
    G_M, trajectory = clip
    images = published.synthesis(trajectory.flatten(0, 1), no_noise(published))
    close(images.detach().unflatten(0, (2, 4))[:, [0, 3]], arrays['nonoise'], ERROR['nonoise'])
    images.square().mean().backward()
    assert all(p.grad is None for p in published.parameters())
    ours = dict(G_M.named_parameters())
    for key in SHAPES:
        if key.startswith('fc'): continue # H does not see the pictures
        part, dot, rest = key.partition('.')
        want, have = float(arrays[f'gradnorm/{key}']), float(ours[MOTION_NAMES[part] + dot + rest].grad.norm())
        assert abs(have - want) <= 1e-4*want + 1e-9, (key, have, want)
    close(G_M.b.grad, arrays['grad/b'], 4.2e-7)

@torch.no_grad()
def test_stored_noise_is_the_default(published, clip, arrays):
    close(published.synthesis(clip[1][:, 3])[:, None], arrays['buffernoise'], ERROR['buffernoise'])

@torch.no_grad()
def test_one_noise_map_a_clip(published, clip, arrays):
    noise = [N(20 + i, 2, 1, r, r) for i, r in enumerate(published.noise_sizes)]
    images = published.synthesis(clip[1][:, [0, 3]].flatten(0, 1), noise)
    close(images.unflatten(0, (2, 2)), arrays['trainnoise'], ERROR['trainnoise'])

@torch.no_grad()
def test_truncation_after_the_motion(published, clip, arrays):
    w = truncate(clip[1][:, [1, 3]], N(4, 1, 512)[0]*.3, .7)
    close(published.synthesis(w.flatten(0, 1), no_noise(published)).unflatten(0, (2, 2)), arrays['trunc07'], ERROR['trunc07'])

# --- the public layout

def layout(resolution, d=512):
    "Names and shapes of the public checkpoints (`g_ema`), written out from their description."
    width = dict(zip((4, 8, 16, 32, 64, 128, 256, 512, 1024), (512,)*5 + (256, 128, 64, 32)))
    keys = {'input.input': (1, 512, 4, 4), 'noises.noise_0': (1, 1, 4, 4)}
    for i in range(1, 9): keys |= {f'style.{i}.weight': (d, d), f'style.{i}.bias': (d,)}
    def modulated(name, a, b, kernel): keys.update({f'{name}.conv.weight': (1, b, a, kernel, kernel), f'{name}.conv.modulation.weight': (a, d), f'{name}.conv.modulation.bias': (a,)})
    def styled(name, a, b):
        modulated(name, a, b, 3); keys.update({f'{name}.noise.weight': (1,), f'{name}.activate.bias': (b,)})
    def rgb(name, a):
        modulated(name, a, 3, 1); keys[f'{name}.bias'] = (1, 3, 1, 1)
    styled('conv1', 512, 512); rgb('to_rgb1', 512)
    for j, r in enumerate(s for s in list(width)[1:] if s <= resolution):
        styled(f'convs.{2*j}', width[r//2], width[r]); styled(f'convs.{2*j + 1}', width[r], width[r]); rgb(f'to_rgbs.{j}', width[r])
        keys |= {f'convs.{2*j}.conv.blur.kernel': (4, 4), f'to_rgbs.{j}.upsample.kernel': (4, 4),
                 f'noises.noise_{2*j + 1}': (1, 1, r, r), f'noises.noise_{2*j + 2}': (1, 1, r, r)}
    return keys

@pytest.mark.parametrize('resolution, entries', [(32, 81), (64, 99), (128, 117), (256, 135), (512, 153), (1024, 171)])
def test_state_dict_is_the_public_layout(resolution, entries):
    with torch.device('meta'): G = Generator(resolution)
    ours = {k: tuple(v.shape) for k, v in G.state_dict().items()}
    assert ours == layout(resolution) and len(ours) == entries
    assert all(v.dtype == torch.float32 for v in G.state_dict().values())
    assert set(dict(G.named_buffers())) == {k for k in ours if k.startswith('noises.') or k.endswith('kernel')}

def test_blur_kernels():
    G = Generator(16, 8, 8, 1, (4, 4, 4))
    for name, kernel in G.named_buffers():
        if name.endswith('kernel'): torch.testing.assert_close(kernel, goldens.fill('kernel', (4, 4)))

# --- small networks

def small(resolution=16, **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Generator(resolution, **dict(z_dim=12, w_dim=10, n_mapping=2, channels=(8,)*(resolution.bit_length() - 2)) | kwargs)

def draw(*shape, seed=1): return torch.randn(*shape, generator=seeded(seed))

def loud(G):
    for layer in (G.conv1, *G.convs): torch.nn.init.ones_(layer.noise.weight)
    return G

@pytest.mark.parametrize('resolution', [16, 32, 64])
def test_resolutions(resolution):
    G, D = small(resolution), Discriminator(resolution, (8,)*(resolution.bit_length() - 2))
    images = G(draw(3, 12))
    assert images.shape == (3, 3, resolution, resolution) and D(images).shape == (3,)
    assert [n.shape[-1] for n in G.noises.buffers()] == G.noise_sizes == [n.shape[-1] for n in G.sample_noise(2, 0)]

def test_samples_of_a_batch_are_independent():
    G, w = loud(small()), draw(4, 10)
    noise = G.sample_noise(4, 3)
    torch.testing.assert_close(G.synthesis(w, noise)[2:3], G.synthesis(w[2:3], [n[2:3] for n in noise]), atol=1e-5, rtol=1e-4)

def test_noise_maps_belong_to_consecutive_rows():
    G, w = loud(small()), draw(6, 10)
    noise = G.sample_noise(2, 3)
    torch.testing.assert_close(G.synthesis(w, noise), G.synthesis(w, [n.repeat_interleave(3, 0) for n in noise]))
    torch.testing.assert_close(G.synthesis(w, [n[:1] for n in noise]), G.synthesis(w, [n[:1].expand(6, -1, -1, -1) for n in noise]))

def test_noise_is_seeded_and_apart():
    G = small()
    a, b = G.sample_noise(2, 3), G.sample_noise(2, seeded(3))
    assert all(torch.equal(x, y) for x, y in zip(a, b)) and not torch.equal(a[1], a[2]) and not torch.equal(a[0][0], a[0][1])
    assert G.double().sample_noise(1, 0)[0].dtype == torch.float64

def test_the_scale_of_the_constant_style_is_demodulated_away():
    m = ModulatedConv2d(4, 6, 3, 5).double()
    torch.nn.init.zeros_(m.modulation.weight)
    x, w = draw(2, 4, 8, 8).double(), draw(2, 5).double()
    y = m(x, w)
    torch.nn.init.constant_(m.modulation.bias, 7.)
    torch.testing.assert_close(m(x, w), y, atol=1e-6, rtol=1e-6)

@pytest.mark.parametrize('make, message', [
    (lambda: Generator(48), r'resolution 48 is not possible: choose one of 16, 32, 64, 128, 256, 512, 1024'),
    (lambda: Discriminator(48), r'resolution 48 is not possible'),
    (lambda: Generator(2048), r'resolution 2048'), (lambda: Generator(8), r'resolution 8 '), (lambda: published_channels(100), r'resolution 100'),
    (lambda: check_resolution(0), r'resolution 0'),
    (lambda: small(32, channels=(8, 8, 8)), r'3 widths \(8, 8, 8\) do not fit 32 px'),
    (lambda: Discriminator(16, (8, 8, 8, 8)), r'4 widths .*do not fit 16 px'),
    (lambda: small().synthesis(draw(2, 10), small().sample_noise(2, 0)[:3]), r'3 noise maps given, 5 layers'),
    (lambda: small().synthesis(draw(2, 10), small(32).sample_noise(2, 0)), r'7 noise maps given, 5 layers'),
    (lambda: small().synthesis(draw(6, 10), small().sample_noise(4, 0)), r'4 sets of noise maps .*6'),
])
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message): make()

# --- discriminator

def test_minibatch_std_is_of_groups_of_neighbours():
    x = draw(8, 3, 4, 4)
    y = minibatch_std(x, group=4)
    assert torch.equal(y[:, :3], x)
    for i in range(8):
        want = x[i//4*4:i//4*4 + 4].std(0, correction=0).mean()
        torch.testing.assert_close(y[i, 3], want.expand(4, 4), atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize('n', [1, 2, 3, 5, 6, 16])
def test_any_batch(n):
    D = Discriminator(16, (8, 8, 8))
    assert D(draw(n, 3, 16, 16)).shape == (n,)

def test_double_backward():
    "R1 differentiates the gradient at pictures: autograd against finite differences, in double precision."
    with torch.random.fork_rng():
        torch.manual_seed(0)
        D = Discriminator(16, (4, 4, 4)).double()
    x = draw(4, 3, 16, 16).double().requires_grad_()
    r1 = lambda: torch.autograd.grad(D(x).sum(), x, create_graph=True)[0].square().sum((1, 2, 3)).mean()
    r1().backward()
    for parameter in (D.from_rgb.weight, D.blocks[0].conv2.weight, D.conv.weight, D.linear[1].weight):
        i = parameter.grad.abs().argmax()
        def at(step):
            flat = parameter.data.view(-1); old = flat[i].item()
            flat[i] = old + step; value = r1().item(); flat[i] = old
            return value
        slope = (at(1e-5) - at(-1e-5)) / 2e-5
        assert abs(slope - parameter.grad.view(-1)[i].item()) <= 1e-4*abs(slope) and slope
    assert D.linear[1].bias.grad is None or not D.linear[1].bias.grad.any()
