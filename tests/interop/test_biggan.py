"BigGAN: pictures of the two ports, one by recorded numbers of the port itself, one by the formulas; files that do not fit."
import json, math, zlib
import numpy as np
import pytest, torch
import torch.nn.functional as F
from mocogan_hd.interop.biggan import BigGAN, at_truncation, published_biggan
from mocogan_hd.method.frozen_generator import load_image_generator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator
from goldens import FOLDER, golden, rng

DEEP = dict(channel_width=4, z_dim=8, class_embed_dim=8, num_classes=5, output_dim=64, n_stats=51, eps=1e-4, attention_layer_position=4,
            layers=[[up, a, b] for a, b in ((16, 8), (8, 4), (4, 2), (2, 1)) for up, a, b in ((False, a, a), (True, a, b))])

def fill(key, shape):
    "The value of a state-dict entry of either port, from its key."
    n = rng(zlib.crc32(key.encode())).standard_normal(tuple(shape)).astype(np.float32)
    last = key.split('.')[-1]
    if last in ('weight_u', 'weight_v', 'u0'): n = n/np.float32(np.linalg.norm(n.astype(np.float64)))
    elif last in ('running_means', 'stored_mean'): n = n*np.float32(.3)
    elif last in ('running_vars', 'stored_var'): n = np.abs(n) + np.float32(.5)
    elif last in ('weight_orig', 'weight', 'gain') and len(shape) == 1: n = 1 + n*np.float32(.1)
    elif last == 'weight_orig' and 'embeddings' not in key: n = n*np.float32(3.)
    elif last == 'weight': n = n*np.float32(1/math.sqrt(math.prod(shape[1:])))
    elif last == 'bias': n = n*np.float32(.1)
    return torch.from_numpy(np.ascontiguousarray(n))

def filled(shapes):
    "A whole state dict; the singular vectors come from two steps of the power iteration, so that sigma is near, and not at, the largest singular value."
    state = {k: fill(k, s) for k, s in shapes.items()}
    for key in [k for k in state if k.endswith('weight_u')]:
        W, u = state[key.replace('weight_u', 'weight_orig')].flatten(1).double(), state[key].double()
        for _ in range(2): v = F.normalize(u @ W, dim=0); u = F.normalize(W @ v, dim=0)
        state[key], state[key.replace('weight_u', 'weight_v')] = u.float(), v.float()
    return state

def inputs(): return torch.from_numpy(rng(7).standard_normal((2, 8)).astype(np.float32)), torch.tensor([1, 4])

# --- BigGAN-deep: numbers recorded from pytorch-pretrained-biggan itself

def deep_state(): return filled({k: tuple(map(int, s.split('x'))) for k, s in (line.split(' ') for line in np.load(FOLDER/'biggan_deep.npz')['keys'])})
def port(name):
    with np.load(FOLDER/'biggan_deep.npz') as a: return torch.from_numpy(a[name])

def deep_file(folder, state=None, config=DEEP):
    torch.save(deep_state() if state is None else state, folder/'small-pytorch_model.bin')
    if config: (folder/'small-config.json').write_text(json.dumps(config))
    return folder/'small-pytorch_model.bin'

@pytest.mark.parametrize('truncation', [1., .4, .43])
def test_deep_port_in_numbers(tmp_path, truncation):
    g = load_image_generator(deep_file(tmp_path), truncation=truncation)
    assert g.origin == 'BigGAN-deep of pytorch-pretrained-biggan: 64 px, 8 blocks, 5 classes' and g.latent_dim == 16
    z, labels = inputs()
    images, expected = g.network(z, labels), port(f'images_{truncation}')
    assert expected.std() > .05
    torch.testing.assert_close(images[:, :, 1::3, 2::3], expected, atol=10*float(port(f'error_{truncation}')) + 1e-6, rtol=0)

def test_the_port_interpolates_the_other_way_round(tmp_path):
    "at 20.25 of its grid's steps the port weighs the two neighbours as ours does at 20.75: the same pictures, mirrored in the step"
    g, z, labels = load_image_generator(deep_file(tmp_path)), *inputs()
    def at(t): g.network.truncation = t; return g.network(z, labels)[:, :, 1::3, 2::3]
    torch.testing.assert_close(at(.415), port('images_0.405'), atol=1e-5, rtol=0)
    assert (at(.405) - port('images_0.405')).abs().max() > .003

def test_without_config_every_second_block_doubles(tmp_path):
    assert load_image_generator(deep_file(tmp_path, config=None)).fingerprint == load_image_generator(deep_file(tmp_path)).fingerprint
    (tmp_path/'small-config.json').write_text(json.dumps(DEEP | dict(layers=DEEP['layers'][:-1])))
    with pytest.raises(ValueError, match='small-config.json lists 7 layers, .*small-pytorch_model.bin has 8'): load_image_generator(tmp_path/'small-pytorch_model.bin')

# --- BigGAN: against the formulas

def shallow_state(n_classes=6, class_dim=4, piece=3, widths=(32, 16, 8), place=1, norm='', scalar=True):
    shapes = {'shared.weight': (n_classes, class_dim), 'linear.weight': (widths[0]*16, piece), 'linear.bias': (widths[0]*16,)}
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        for j, n in ((1, a), (2, b)):
            shapes |= {f'blocks.{i}.0.conv{j}.weight': (b, n, 3, 3), f'blocks.{i}.0.conv{j}.bias': (b,)}
            shapes |= {f'blocks.{i}.0.bn{j}.{k}.weight': (n, class_dim + piece) for k in ('gain', 'bias')} | {f'blocks.{i}.0.bn{j}.{norm}stored_{k}': (n,) for k in ('mean', 'var')}
        shapes |= {f'blocks.{i}.0.conv_sc.weight': (b, a, 1, 1), f'blocks.{i}.0.conv_sc.bias': (b,)}
        if i == place - 1:
            shapes |= {f'blocks.{i}.1.{k}.weight': s for k, s in dict(theta=(b//8, b, 1, 1), phi=(b//8, b, 1, 1), g=(b//2, b, 1, 1), o=(b, b//2, 1, 1)).items()} | {f'blocks.{i}.1.gamma': () if scalar else (1,)}
    shapes |= {f'output_layer.0.{k}': (widths[-1],) for k in ('gain', 'bias', f'{norm}stored_mean', f'{norm}stored_var')} | {'output_layer.2.weight': (3, widths[-1], 3, 3), 'output_layer.2.bias': (3,)}
    for k in [k for k in shapes if k.endswith('.weight') and k != 'shared.weight']: shapes |= {k[:-6] + 'u0': (1, shapes[k][0]), k[:-6] + 'sv0': (1,)}
    return {k: fill(k, s) for k, s in shapes.items()}

def shallow_reference(s, z, y, piece=3):
    "the formulas of the paper in float64: spectral norm by one step of the power iteration, attention by einsum"
    s = {k: v.double() for k, v in s.items()}
    def weight(k):
        W = s[f'{k}.weight']; M = W.flatten(1)
        v = s[f'{k}.u0'] @ M; v = v/v.norm(); u = v @ M.T; u = u/u.norm()
        return W/(v @ M.T @ u.T).squeeze()
    def conv(x, k, pad): return F.conv2d(x, weight(k), s.get(f'{k}.bias'), padding=pad)
    def norm(x, k, c):
        x = (x - s[f'{k}.stored_mean'][:, None, None])/(s[f'{k}.stored_var'][:, None, None] + 1e-5).sqrt()
        return x*(1 + c @ weight(f'{k}.gain').T)[..., None, None] + (c @ weight(f'{k}.bias').T)[..., None, None]
    def up(x): return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    e, (first, *pieces) = s['shared.weight'][y], z.double().split(piece, 1)
    x = (first @ weight('linear').T + s['linear.bias']).reshape(len(z), -1, 4, 4)
    for i, p in enumerate(pieces):
        c, k = torch.cat([e, p], 1), f'blocks.{i}.0'
        h = conv(up(norm(x, f'{k}.bn1', c).relu()), f'{k}.conv1', 1)
        x = conv(norm(h, f'{k}.bn2', c).relu(), f'{k}.conv2', 1) + conv(up(x), f'{k}.conv_sc', 0)
        if f'blocks.{i}.1.gamma' in s:
            k = f'blocks.{i}.1'
            def pool(x): return x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
            q, key, value = conv(x, f'{k}.theta', 0), pool(conv(x, f'{k}.phi', 0)), pool(conv(x, f'{k}.g', 0))
            a = torch.einsum('ncij,ncxy->nijxy', q, key).flatten(3).softmax(-1).unflatten(3, key.shape[2:])
            x = x + s[f'{k}.gamma']*conv(torch.einsum('nijxy,ncxy->ncij', a, value), f'{k}.o', 0)
    x = (x - s['output_layer.0.stored_mean'][:, None, None])/(s['output_layer.0.stored_var'][:, None, None] + 1e-5).sqrt()
    x = x*s['output_layer.0.gain'][:, None, None] + s['output_layer.0.bias'][:, None, None]
    return conv(x.relu(), 'output_layer.2', 1).tanh()

@pytest.mark.parametrize('place,scalar', [(1, True), (2, False)])
def test_shallow_port(tmp_path, place, scalar):
    s = shallow_state(place=place, scalar=scalar); torch.save(s, tmp_path/'G_ema.pth')
    g = load_image_generator(tmp_path/'G_ema.pth')
    assert g.origin == 'BigGAN of BigGAN-PyTorch: 16 px, widths 32-16, z 9, 6 classes' and g.latent_dim == 13
    z, y = torch.from_numpy(rng(3).standard_normal((4, 9))), torch.tensor([0, 5, 2, 2])
    expected = shallow_reference(s, z, y)
    assert expected.std() > .1
    torch.testing.assert_close(g.network(z.float(), y).double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(g.synthesize(g.network.mapping(z.float(), y), g.sample_noise(4, 0)).double(), expected, atol=1e-5, rtol=0)

def test_other_forms_of_batch_norm(tmp_path):
    "the same statistics under the names of the port's other batch norms"
    s = shallow_state()
    def wrapped(k): return k.replace('.stored', '.bn.running') if 'stored' in k else k
    torch.save(s, tmp_path/'a.pth'); torch.save({wrapped(k): v for k, v in s.items()} | {'blocks.0.0.bn1.bn.num_batches_tracked': torch.tensor(3)}, tmp_path/'b.pth')
    assert load_image_generator(tmp_path/'a.pth').fingerprint == load_image_generator(tmp_path/'b.pth').fingerprint

@pytest.mark.parametrize('state', [deep_state, shallow_state])
def test_strictly(tmp_path, state):
    whole = state()
    for key in list(whole)[::len(whole)//8]:
        torch.save({k: v for k, v in whole.items() if k != key}, tmp_path/'G.pth')
        if 'sv0' in key: continue # a record of the training, not used
        with pytest.raises(ValueError, match='G.pth (looked like|is a) BigGAN'): load_image_generator(tmp_path/'G.pth')
    torch.save(whole | {'blocks.0.0.conv9.weight': torch.zeros(1)}, tmp_path/'G.pth')
    with pytest.raises(ValueError, match='G.pth looked like BigGAN.* unexpected blocks.0.0.conv9.weight'): load_image_generator(tmp_path/'G.pth')
    key = next(k for k in whole if k.endswith('.bias') and 'conv' in k)
    torch.save(whole | {key: torch.zeros(999)}, tmp_path/'G.pth')
    with pytest.raises(ValueError, match=r'G.pth looked like BigGAN.* is \(999,\), expected'): load_image_generator(tmp_path/'G.pth')

# --- what moves

def test_motion_cannot_change_a_fixed_class(tmp_path):
    torch.save(shallow_state(), tmp_path/'G_ema.pth')
    one, both = load_image_generator(tmp_path/'G_ema.pth', classes=2), load_image_generator(tmp_path/'G_ema.pth', classes=[2, 4])
    e = one.network.embedding.weight[2]
    assert torch.equal(one.sample_latents(5, 0)[:, 9:], e.expand(5, -1))
    def clip(g):
        pca = fit_latent_pca(g, 2000)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            motion = MotionGenerator(g.latent_dim, pca, hidden=16, n_pca=13, lambda_=.5, a_std=1.)
        w = g.sample_latents(3, 1)
        return pca, w, motion(w, motion.sample_eps(3, 8, torch.Generator().manual_seed(2)))[0]
    pca, w, trajectory = clip(one)
    assert pca.std[8] > .9 and pca.std[9:].max() < 1e-6*pca.std[0]
    torch.testing.assert_close(trajectory[..., 9:], e.expand(3, 8, -1), atol=1e-6, rtol=0)
    assert (trajectory[:, -1, :9] - w[:, :9]).abs().max() > .5
    assert one.synthesize(trajectory).shape == (3, 8, 3, 16, 16)
    pca, w, trajectory = clip(both) # two classes: one more direction, and motion may blend them
    assert (pca.std > 1e-3).sum() == 10
    assert (trajectory[:, -1, 9:] - w[:, 9:]).abs().max() > .01

def test_truncation(tmp_path):
    g, tight = load_image_generator(deep_file(tmp_path), classes=1), load_image_generator(deep_file(tmp_path), classes=1, truncation=.3)
    a, b = g.sample_latents(4000, 0), tight.sample_latents(4000, 0)
    assert a[:, :8].abs().max() <= 2 and 1.9 < a[:, :8].abs().max() and b[:, :8].abs().max() <= .6 and torch.equal(a[:, 8:], b[:, 8:])
    torch.testing.assert_close(g.truncate(a, .5), torch.cat([.5*a[:, :8], a[:, 8:]], 1))
    assert tight.network.truncation == .3 and not torch.allclose(g.synthesize(b[:2]), tight.synthesize(b[:2])) # other statistics
    for wrong in (0., 1.5, -1.):
        with pytest.raises(ValueError, match=f'truncation {wrong}'): load_image_generator(tmp_path/'small-pytorch_model.bin', truncation=wrong)
    torch.save(shallow_state(), tmp_path/'G_ema.pth')
    assert load_image_generator(tmp_path/'G_ema.pth').sample_latents(4000, 0)[:, :9].abs().max() > 3 # not truncated unless asked to

def test_statistics_between():
    stats = torch.rand(51, 7)
    for t in (0., .02, .58, 1.): torch.testing.assert_close(at_truncation(stats, t), stats[round(t*50)])
    assert torch.equal(at_truncation(stats[:1], .37), stats[0])

def test_half_precision(tmp_path):
    torch.save(shallow_state(), tmp_path/'G_ema.pth')
    g = load_image_generator(tmp_path/'G_ema.pth'); w = g.sample_latents(3, 0)
    images = g.synthesize(w, dtype=torch.bfloat16)
    assert images.dtype == torch.float32 and 0 < (images - g.synthesize(w)).abs().max() < .1

def test_frozen_and_differentiable(tmp_path):
    torch.save(shallow_state(), tmp_path/'G_ema.pth')
    g = load_image_generator(tmp_path/'G_ema.pth'); w = g.sample_latents(2, 0)[:, None].repeat(1, 3, 1).requires_grad_()
    g.synthesize(w, chunk=1).square().mean().backward()
    assert (w.grad.abs().amax(-1) > 0).all() and all(p.grad is None for p in g.parameters())

@pytest.mark.parametrize('resolution,parameters', [(128, 70_433_988)])
def test_published_size(resolution, parameters):
    with torch.device('meta'): assert sum(p.numel() for p in BigGAN(**published_biggan('biggan', resolution)).parameters()) == parameters
