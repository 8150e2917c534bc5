"Other people's files: what fits gives the same pictures, what does not is named, and nothing in a file is ever run."
import argparse, builtins, contextlib, copyreg, io, json, math, os, pickle, struct, subprocess, sys, types, zipfile
from collections import OrderedDict
import numpy as np
import pytest, torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from mocogan_hd.interop.checkpoints import read_checkpoint
from mocogan_hd.interop.pickle_machine import read_pickled
from mocogan_hd.method.frozen_generator import load_image_generator, save_image_generator
from mocogan_hd.method.stylegan2 import Generator

def network(resolution=32, widths=(8, 8, 6, 4), seed=0, n_mapping=3, z_dim=12, w_dim=10):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        G = Generator(resolution, z_dim, w_dim, n_mapping, widths)
        for layer in (G.conv1, *G.convs): nn.init.normal_(layer.noise.weight); nn.init.normal_(layer.activate.bias, std=.1)
    return G

# --- rosinality's files, which are the release's

def rosinality(path, legacy=False, **more):
    G = network()
    entries = dict(g={}, g_ema=G.state_dict(), latent_avg=torch.arange(10.), args=argparse.Namespace(size=32, lr=.002)) | more
    torch.save(entries, path, _use_new_zipfile_serialization=not legacy)
    return G

@pytest.mark.parametrize('legacy', [False, True])
def test_rosinality(tmp_path, legacy):
    G, g = rosinality(tmp_path/'a.pt', legacy), load_image_generator(tmp_path/'a.pt')
    assert g.origin == 'rosinality StyleGAN2 (.pt): 32 px, widths 8-8-6-4, 3 mapping layers' and g.network.architecture == G.architecture
    w = g.sample_latents(4, 0)
    assert torch.equal(g.synthesize(w), G.synthesis(w)) and torch.equal(g.truncate(w, 0.)[0], torch.arange(10.))
    assert not any(p.requires_grad for p in g.parameters()) and not g.training

@pytest.mark.parametrize('change', [lambda s: {'module.' + k: v for k, v in s.items()}, lambda s: {k: v.half() for k, v in s.items()},
                                    lambda s: {k: nn.Parameter(v) if v.ndim else v for k, v in s.items()}])
def test_bare_prefixed_and_half_state_dicts(tmp_path, change):
    torch.save(change(network().state_dict()), tmp_path/'a.pt')
    g = load_image_generator(tmp_path/'a.pt')
    w = g.sample_latents(2, 0)
    assert w.dtype == torch.float32
    torch.testing.assert_close(g.synthesize(w), network().synthesis(w), atol=.03, rtol=.01)

def test_early_files_without_noise(tmp_path):
    torch.save({'g_ema': {k: v for k, v in network().state_dict().items() if not k.startswith('noises')}}, tmp_path/'a.pt')
    a, b = load_image_generator(tmp_path/'a.pt'), load_image_generator(tmp_path/'a.pt')
    assert a.origin.endswith('no stored noise') and a.fingerprint == b.fingerprint

@pytest.mark.parametrize('resolution,multiplier', [(128, 2), (256, 1), (1024, 2)])
def test_published_sizes_are_recognised(resolution, multiplier):
    "on the meta device: all of the architecture is read from shapes"
    from mocogan_hd.interop.checkpoints import from_torch
    from mocogan_hd.method.stylegan2 import published_channels
    with torch.device('meta'): G = Generator(resolution, channels=published_channels(resolution, multiplier))
    state = {k: torch.zeros(()).expand(v.shape) for k, v in G.state_dict().items()} # no memory, as long as nobody copies
    import mocogan_hd.interop.checkpoints as c
    seen = {}
    with pytest.MonkeyPatch.context() as m:
        m.setattr(c, 'build', lambda make, architecture, tensors, where: seen.update(architecture))
        c.read_rosinality(state, 'a.pt')
    assert seen | dict(lr_multiplier=.01) == G.architecture

@pytest.mark.parametrize('damage,message', [
    (lambda s: s.pop('convs.2.conv.weight'), 'missing convs.2.conv.weight'), (lambda s: s.update(extra=torch.zeros(1)), 'unexpected extra'),
    (lambda s: s.update({'style.2.bias': torch.zeros(9)}), r'style.2.bias is \(9,\), expected \(10,\)'), (lambda s: s.pop('noises.noise_3'), 'missing noises.noise_3'),
    (lambda s: s.update({'conv1.noise.weight': 'text'}), "'conv1.noise.weight' is a str"), (lambda s: s.pop('input.input'), 'looked like rosinality StyleGAN2'), (lambda s: [s.pop(k) for k in list(s) if k.startswith('style')], '0 mapping layers')])
def test_rosinality_strictly(tmp_path, damage, message):
    state = dict(network().state_dict()); damage(state)
    torch.save({'g_ema': state}, tmp_path/'a.pt')
    with pytest.raises(ValueError, match='a.pt') as e: load_image_generator(tmp_path/'a.pt')
    assert __import__('re').search(message, str(e.value)), e.value

def test_the_random_state_is_left_alone(tmp_path):
    rosinality(tmp_path/'a.pt')
    before = torch.get_rng_state(); load_image_generator(tmp_path/'a.pt'); assert torch.equal(before, torch.get_rng_state())

def test_our_own_file(tmp_path):
    save_image_generator(network(), tmp_path/'g.safetensors', half=False)
    g = load_image_generator(tmp_path/'g.safetensors')
    assert torch.equal(g.network(torch.ones(2, 12)), network()(torch.ones(2, 12)))
    save_file({'x': torch.zeros(1)}, tmp_path/'x.safetensors', metadata={'kind': json.dumps('latent_pca')})
    with pytest.raises(ValueError, match="x.safetensors holds 'latent_pca', expected a generator"): load_image_generator(tmp_path/'x.safetensors')
    with pytest.raises(ValueError, match='g.safetensors, .*has no classes'): load_image_generator(tmp_path/'g.safetensors', classes=3)

# --- NVIDIA's files: written as their persistence decorator writes them, without their code

def _reconstruct_persistent_obj(meta): raise AssertionError('run by an unpickler')
class EasyDict(dict): pass

class Persistent:
    "A module: pickled as a call with a dictionary of source code and state."
    def __init__(self, class_name, source, tensors, children, about): self.meta = (class_name, source, tensors, children, about)
    def __reduce__(self):
        class_name, source, tensors, children, about = self.meta
        buffers = ('resample_filter', 'noise_const', 'w_avg')
        state = dict(_init_args=(), _init_kwargs=EasyDict(about), training=False, _parameters=OrderedDict((k, nn.Parameter(v, False)) for k, v in tensors.items() if k not in buffers),
                     _buffers=OrderedDict((k, v) for k, v in tensors.items() if k in buffers), _non_persistent_buffers_set=set(), _backward_hooks=OrderedDict(),
                     _forward_hooks=OrderedDict(), _modules=OrderedDict(children), **about)
        return _reconstruct_persistent_obj, (dict(type='class', version=6, module_src=source, class_name=class_name, state=state),), None

def tree(tensors, about, source, prefix='', class_name='Generator'):
    heads = dict.fromkeys(k[len(prefix):].split('.')[0] for k in tensors if k.startswith(prefix) and '.' in k[len(prefix):])
    kind = lambda h: 'MappingNetwork' if h == 'mapping' else 'SynthesisNetwork' if h == 'synthesis' else 'ToRGBLayer' if h == 'torgb' else 'SynthesisLayer' if 'conv' in h else 'SynthesisBlock' if h[:1] == 'b' else 'FullyConnectedLayer'
    own = {k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix) and '.' not in k[len(prefix):]}
    attributes = {k[len(prefix):]: v for k, v in about.items() if k.startswith(prefix) and '.' not in k[len(prefix):]}
    return Persistent(class_name, source, own, [(h, tree(tensors, about, source, f'{prefix}{h}.', kind(h))) for h in heads], attributes)

@contextlib.contextmanager
def their_modules():
    "Let `pickle.dump` find the two names; nothing is defined behind them."
    persistence, util = types.ModuleType('torch_utils.persistence'), types.ModuleType('dnnlib.util')
    persistence._reconstruct_persistent_obj, util.EasyDict = _reconstruct_persistent_obj, EasyDict
    _reconstruct_persistent_obj.__module__, EasyDict.__module__ = 'torch_utils.persistence', 'dnnlib.util'
    modules = {'torch_utils': types.ModuleType('torch_utils'), 'torch_utils.persistence': persistence, 'dnnlib': types.ModuleType('dnnlib'), 'dnnlib.util': util}
    sys.modules.update(modules)
    try: yield
    finally:
        for m in modules: del sys.modules[m]

def nvidia_tensors(resolutions=(4, 8, 16, 32), widths=(8, 8, 6, 4), z_dim=12, w_dim=10, n_fc=2, n_classes=0, seed=0):
    g = torch.Generator().manual_seed(seed)
    def N(*shape, scale=1.): return torch.randn(shape, generator=g)*scale
    fir = torch.outer(f := torch.tensor([1., 3, 3, 1]), f)/64
    t = {}
    def dense(name, n_in, n_out, scale=1., bias=0.): t[f'{name}.weight'], t[f'{name}.bias'] = N(n_out, n_in, scale=scale), bias + N(n_out, scale=.1*scale)
    t['synthesis.b4.const'] = N(widths[0], 4, 4)
    for r, c, before in zip(resolutions, widths, (None, *widths)):
        t[f'synthesis.b{r}.resample_filter'] = fir
        for layer, n_in in (('conv0', before), ('conv1', c)):
            if n_in is None: continue
            name = f'synthesis.b{r}.{layer}'
            t |= {f'{name}.weight': N(c, n_in, 3, 3), f'{name}.noise_strength': N(scale=.5), f'{name}.bias': N(c, scale=.1), f'{name}.resample_filter': fir, f'{name}.noise_const': N(r, r)}
            dense(f'{name}.affine', w_dim, n_in, bias=1.)
        t |= {f'synthesis.b{r}.torgb.weight': N(3, c, 1, 1), f'synthesis.b{r}.torgb.bias': N(3, scale=.1)}
        dense(f'synthesis.b{r}.torgb.affine', w_dim, c, bias=1.)
    if n_classes: dense('mapping.embed', n_classes, w_dim)
    for i in range(n_fc): dense(f'mapping.fc{i}', (z_dim + (w_dim if n_classes else 0)) if i == 0 else w_dim, w_dim, scale=100.)
    t['mapping.w_avg'] = N(w_dim)
    return t

def nvidia(path, tensors=None, about={}, source='raise AssertionError', protocol=4, **entries):
    tensors = nvidia_tensors() if tensors is None else tensors
    about = {'img_resolution': 32, 'block_resolutions': [4, 8], 'mapping.fc0.weight_gain': .01/np.sqrt(12), 'synthesis.b4.conv1.act_gain': np.sqrt(2), 'synthesis.dtype': torch.float32, 'mapping.fc0.bias_gain': .01, 'mapping.fc0.activation': 'lrelu', 'synthesis.b8.architecture': 'skip'} | about
    with their_modules():
        G = tree(tensors, about, source)
        path.write_bytes(pickle.dumps(dict(training_set_kwargs=EasyDict(path='x.zip', resolution=32), G=None, D=tree({'b4.fc.weight': torch.zeros(2, 2)}, {}, source, class_name='Discriminator'),
                                           augment_pipe=None, G_ema=G) | entries, protocol=protocol))
    return tensors

def reference(t, w=None, z=None, labels=None, clamp=math.inf):
    "StyleGAN2-ADA's forward pass by its formulas, one picture at a time: weights modulated, resampling with zeros between pixels."
    t = {k: v.double() for k, v in t.items()}
    def dense(x, name, factor=1.): return x @ (t[f'{name}.weight'].T*factor/math.sqrt(x.shape[-1])) + t[f'{name}.bias']*factor
    def norm(x): return x/(x.square().mean(-1, keepdim=True) + 1e-8).sqrt()
    def enlarge(x, before, after): # zeros, padding, filter
        f = t['synthesis.b4.resample_filter']*4
        zeros = x.new_zeros(*x.shape[:-2], 2*x.shape[-2], 2*x.shape[-1]); zeros[..., ::2, ::2] = x
        return F.conv2d(F.pad(zeros, (before, after)*2).transpose(0, 1), f.flip(0, 1)[None, None]).transpose(0, 1)
    def lrelu(x): return F.leaky_relu(x, .2)*math.sqrt(2)
    if w is None:
        w = norm(z.double())
        if labels is not None: w = torch.cat([w, norm(dense(F.one_hot(labels, t['mapping.embed.weight'].shape[1]).double(), 'mapping.embed'))], 1)
        for i in range(sum(k.startswith('mapping.fc') for k in t)//2): w = lrelu(dense(w, f'mapping.fc{i}', .01))
    images = []
    for v in w.double()[:, None]:
        def conv(x, name, up):
            W = t[f'{name}.weight']*dense(v, f'{name}.affine')[:, :, None, None]
            W = W/(W.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            x = F.conv2d(enlarge(x, 3, 2), W.flip(2, 3)) if up else F.conv2d(x, W, padding=1)
            return lrelu(x + t[f'{name}.noise_const']*t[f'{name}.noise_strength'] + t[f'{name}.bias'][:, None, None]).clamp(-clamp, clamp)
        x, image = t['synthesis.b4.const'][None], None
        for r in [2**k for k in range(2, 11) if f'synthesis.b{2**k}.conv1.weight' in t]:
            name = f'synthesis.b{r}'
            if r > 4: x = conv(x, f'{name}.conv0', True)
            x = conv(x, f'{name}.conv1', False)
            W = t[f'{name}.torgb.weight']*(dense(v, f'{name}.torgb.affine')/math.sqrt(x.shape[1]))[:, :, None, None]
            rgb = (F.conv2d(x, W) + t[f'{name}.torgb.bias'][:, None, None]).clamp(-clamp, clamp)
            image = rgb if image is None else rgb + enlarge(image, 2, 1)
        images.append(image)
    return torch.cat(images)

@pytest.mark.parametrize('protocol', [3, 4, 5])
def test_nvidia(tmp_path, protocol):
    t = nvidia(tmp_path/'n.pkl', protocol=protocol)
    g = load_image_generator(tmp_path/'n.pkl')
    assert g.origin == 'NVIDIA StyleGAN2 (.pkl): 32 px, widths 8-8-6-4, 2 mapping layers'
    z = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    images, expected = g.network(z), reference(t, z=z)
    assert expected.std() > .3
    torch.testing.assert_close(images.double(), expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(g.double().network(z.double()), expected, atol=1e-6, rtol=1e-6) # weights were float32
    assert torch.equal(g.mean_latent, t['mapping.w_avg'])

def test_nvidia_conditional(tmp_path):
    t = nvidia(tmp_path/'n.pkl', nvidia_tensors(n_classes=5))
    g = load_image_generator(tmp_path/'n.pkl', classes=3)
    assert g.origin.endswith('5 classes')
    z = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(g.synthesize(g.sample_latents(4, 0)).double(), reference(t, z=z, labels=torch.full((4,), 3)), atol=2e-5, rtol=1e-5)
    labels = torch.tensor([0, 1, 4, 2])
    torch.testing.assert_close(g.synthesize(g.network.mapping(z, labels)).double(), reference(t, z=z, labels=labels), atol=2e-5, rtol=1e-5)
    both, all_five = load_image_generator(tmp_path/'n.pkl', classes=[1, 3]), load_image_generator(tmp_path/'n.pkl')
    assert both.classes == [1, 3] and all_five.classes == [0, 1, 2, 3, 4] and both.fingerprint == g.fingerprint
    for wrong in (5, [-1], []):
        with pytest.raises(ValueError, match='classes .* do not exist: 0 to 4 do'): load_image_generator(tmp_path/'n.pkl', classes=wrong)
    with pytest.raises(ValueError, match='truncation 0.5'): load_image_generator(tmp_path/'n.pkl', truncation=.5)

def test_nvidia_clamp(tmp_path):
    "a small clamp, so that it matters"
    t = nvidia(tmp_path/'n.pkl', about={'synthesis.b4.conv1.conv_clamp': 1.})
    g, w = load_image_generator(tmp_path/'n.pkl'), torch.randn(3, 10)
    torch.testing.assert_close(g.synthesize(w).double(), reference(t, w, clamp=1.), atol=2e-5, rtol=1e-5)
    assert (reference(t, w, clamp=1.) - reference(t, w)).abs().max() > .1

@pytest.mark.parametrize('damage,message', [
    (lambda t: t.pop('synthesis.b8.conv0.affine.bias'), 'missing synthesis.b8.conv0.affine.bias'), (lambda t: t.update({'synthesis.b8.skip.weight': torch.zeros(1)}), 'unexpected synthesis.b8.skip.weight'),
    (lambda t: t.update({'synthesis.b16.conv1.bias': torch.zeros(5)}), r'convs.3.activate.bias is \(5,\), expected \(6,\)'),
    (lambda t: t.pop('mapping.fc1.weight'), 'n.pkl'), (lambda t: [t.pop(k) for k in list(t) if k.startswith('mapping')], 'StyleGAN2 is expected'),
    (lambda t: (t.clear(), t.update({'synthesis.L0_36_512.weight': torch.zeros(1)})), 'looks like StyleGAN3')])
def test_nvidia_strictly(tmp_path, damage, message):
    t = nvidia_tensors(); damage(t); nvidia(tmp_path/'n.pkl', t)
    with pytest.raises(ValueError, match='n.pkl') as e: load_image_generator(tmp_path/'n.pkl')
    assert __import__('re').search(message, str(e.value)), e.value

def test_nvidia_other_settings(tmp_path):
    nvidia(tmp_path/'n.pkl', about={'synthesis.b8.architecture': 'resnet'})
    with pytest.raises(ValueError, match="n.pkl .* settings .*'synthesis.b8.architecture': 'resnet'"): load_image_generator(tmp_path/'n.pkl')

def test_shared_and_strided_storages(tmp_path):
    "tensors that share a storage, and transposed ones"
    t = nvidia_tensors(); t['mapping.fc1.weight'] = t['mapping.fc1.weight'].T.contiguous().T
    assert not t['mapping.fc1.weight'].is_contiguous()
    nvidia(tmp_path/'n.pkl', t)
    assert torch.equal(load_image_generator(tmp_path/'n.pkl').network.style[2].weight, t['mapping.fc1.weight'])

def test_both_readers_give_one_network(tmp_path):
    "a network saved in NVIDIA's layout and converted to ours is the same after another round"
    nvidia(tmp_path/'n.pkl')
    g = load_image_generator(tmp_path/'n.pkl')
    torch.save({'g_ema': g.network.state_dict()}, tmp_path/'r.pt'); save_image_generator(g.network, tmp_path/'o.safetensors', half=False)
    assert load_image_generator(tmp_path/'r.pt').fingerprint == load_image_generator(tmp_path/'o.safetensors').fingerprint == g.fingerprint

# --- what is not read is named

def test_tensorflow_files(tmp_path):
    (tmp_path/'t.pkl').write_bytes(b'\x80\x03cdnnlib.tflib.network\nNetwork\nq\x00)\x81q\x01}q\x02X\x07\x00\x00\x00versionK\x04sb.')
    with pytest.raises(ValueError, match=r't.pkl is a TensorFlow-era .*legacy.py'): load_image_generator(tmp_path/'t.pkl')

@pytest.mark.parametrize('state,message', [
    ({'GAN': {'GE.initial_block': torch.zeros(1, 8, 4, 4), 'GE.blocks.0.to_style1.weight': torch.zeros(2, 2)}, 'version': '1.8'}, "lucidrains' stylegan2-pytorch"),
    ({'netG': {'main.0.weight': torch.zeros(100, 8, 4, 4)}}, 'DCGAN'), ({'cell.weight_ih': torch.zeros(1)}, 'motion generator'), ({'state_dict': {'decoder.convs.0.conv.weight': torch.zeros(1)}, 'latent_avg': torch.zeros(1)}, 'pSp, e4e'), ({'module.modelD.w': torch.zeros(1)}, 'discriminator'),
    ({'whatever': torch.zeros(1)}, "begin 'whatever'"), ([1, 2], 'holds a list'), (torch.zeros(3), 'holds a Tensor'), ({'g_ema': 3}, 'a int as "g_ema"'),
    ({'conv1.conv.modulation.weight': torch.zeros(1).expand(10**6, 10**6)}, 'declares 1,000,000,000,000 numbers')])
def test_other_networks(tmp_path, state, message):
    torch.save(state, tmp_path/'o.pt')
    with pytest.raises(ValueError, match=f'o.pt .*{message}'): load_image_generator(tmp_path/'o.pt')

def test_whole_modules_are_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path/'o.pt')
    with pytest.raises(ValueError, match="o.pt was not opened as a torch file: it wants 'torch.nn.modules.linear.Linear', which is code"): load_image_generator(tmp_path/'o.pt')

@pytest.mark.parametrize('length', [0x4b50, 0x4b3c, 0x4b80]) # the file then begins with PK, with <, with 80
def test_safetensors_that_begin_like_something_else(tmp_path, length):
    save_image_generator(network(), tmp_path/'g.safetensors', half=False)
    data = (tmp_path/'g.safetensors').read_bytes()
    n = int.from_bytes(data[:8], 'little')
    (tmp_path/'g').write_bytes(length.to_bytes(8, 'little') + data[8:8 + n].ljust(length) + data[8 + n:])
    assert torch.equal(load_image_generator(tmp_path/'g').network(torch.ones(1, 12)), network()(torch.ones(1, 12)))

@pytest.mark.parametrize('text,message', [
    (b'<!DOCTYPE html><html>Google Drive - virus scan', 'a web page'), (b'version https://git-lfs.github.com/spec/v1\noid sha256:4d', 'Git LFS pointer'), (b'', 'is empty'),
    (b'\x1f\x8b\x08\x00', 'gzip'), (b'\x89HDF\r\n\x1a\n', 'HDF5'), (b'GIF89a......', 'of no known kind')])
@pytest.mark.parametrize('name', ['a.pkl', 'a.pt', 'a.safetensors', 'a'])
def test_no_weights_at_all(tmp_path, text, message, name):
    (tmp_path/name).write_bytes(text)
    with pytest.raises(ValueError, match=name): load_image_generator(tmp_path/name)
    if text[:3] != b'GIF':
        with pytest.raises(ValueError, match=message): load_image_generator(tmp_path/name)

def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match='no.pt does not exist'): load_image_generator(tmp_path/'no.pt')
    with pytest.raises(ValueError, match='is a folder'): load_image_generator(tmp_path)

# --- malice: each of these would touch a canary, or exhaust the machine

class Call:
    def __init__(self, function, *args, state=None): self.reduced = (function, args) + ((state,) if state is not None else ())
    def __reduce__(self): return self.reduced

def touch(canary): return f'touch {canary}'
def python(canary): return f'open({str(canary)!r}, "w").close()'
def inner(blob): return Call(torch.storage._load_from_bytes, blob)
def in_legacy(thing): return torch_save(thing, legacy=True)
def torch_save(thing, legacy=False):
    stream = io.BytesIO(); torch.save(thing, stream, _use_new_zipfile_serialization=not legacy); return stream.getvalue()

LIVE = { # files that do touch the canary when they are unpickled
    'os.system': lambda c: pickle.dumps(Call(os.system, touch(c))),
    'os.system, protocol 0': lambda c: pickle.dumps(Call(os.system, touch(c)), protocol=0),
    'subprocess': lambda c: pickle.dumps(Call(subprocess.check_call, ['touch', str(c)])),
    'builtins.eval': lambda c: pickle.dumps({'G_ema': Call(eval, python(c))}),
    'builtins.exec': lambda c: pickle.dumps({'G_ema': Call(exec, python(c))}),
    'nested reduce': lambda c: pickle.dumps({'G_ema': Call(dict, [('state', Call(os.system, touch(c)))])}),
    'inside a list in a tuple': lambda c: pickle.dumps({'G_ema': ([Call(exec, python(c))],)}),
    'setstate': lambda c: pickle.dumps(Call(argparse.Namespace, state={'x': Call(exec, python(c))})),
    'getattr chain': lambda c: b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'" + touch(c).encode() + b"'\ntR.",
    'map over code': lambda c: pickle.dumps({'G_ema': Call(list, Call(map, exec, [python(c)]))}),
    'copyreg': lambda c: b"cbuiltins\nlist\n(ccopyreg\n__newobj__\n(cbuiltins\nmap\ncbuiltins\nexec\n(lp0\nS'" + python(c).replace("'", '"').encode() + b"'\natRtR.",
    'INST': lambda c: b"(S'" + touch(c).encode() + b"'\nios\nsystem\n.",
    'OBJ': lambda c: b"(cos\nsystem\nS'" + touch(c).encode() + b"'\no.",
    'a tensor from a storage of code': lambda c: pickle.dumps({'G_ema': Call(torch._utils._rebuild_tensor_v2, Call(exec, python(c)), 0, (1,), (1,), False, OrderedDict())}),
    'a dictionary key': lambda c: pickle.dumps({'G_ema': 1, 'k': [Call(exec, python(c))]}),
    'the old torch.save': lambda c: in_legacy({'g_ema': Call(exec, python(c))}),
}
SILENT = { # others
    'persistent id': lambda c: b'\x80\x02}X\x05\x00\x00\x00G_emacos\nsystem\nQs.',
    'persistent id, protocol 0': lambda c: b'Pos.system\n.',
    'extension registry': lambda c: b'\x80\x02\x82\x01.',
    'out of band buffer': lambda c: b'\x80\x05\x97.',
    'torch.save': lambda c: torch_save({'g_ema': Call(exec, python(c))}),
    'giant bytes': lambda c: b'\x80\x04\x8e' + struct.pack('<Q', 2**62) + b'x.',
    'giant text': lambda c: b'\x80\x04\x8d' + struct.pack('<Q', 2**40) + b'x.',
    'giant number': lambda c: b'\x80\x02\x8b\xff\xff\xff\x7fx.',
    'a million digits': lambda c: b'L' + b'9'*1_000_000 + b'L\n.',
    'instructions without end': lambda c: b'\x80\x02' + b'NN00'*700_000 + b'.',
    'deep nesting': lambda c: b'\x80\x02' + b']'*200_000 + b'a'*199_999 + b'.',
    'exponential tuples as key': lambda c: b'\x80\x02})' + b'2\x86'*60 + b'Ns.',
    'exponential lists': lambda c: pickle.dumps(laughs()),
    'nothing on the stack': lambda c: b'\x80\x02R.',
    'an unknown memo': lambda c: b'\x80\x02h\x07.',
    'no mark': lambda c: b'\x80\x02t.',
    'items into a number': lambda c: b'\x80\x02K\x01K\x02K\x03s.',
    'an unknown instruction': lambda c: b'\x80\x02\xff.',
    'protocol alone': lambda c: b'\x80\x04',
    'text': lambda c: b'import os; os.system("touch canary")',
}
def laughs():
    x = ['ha']
    for _ in range(40): x = [x]*10
    return {'G_ema': x}

@pytest.mark.parametrize('suffix', ['.pkl', '.pt', '.safetensors'])
@pytest.mark.parametrize('kind', [*LIVE, *SILENT])
def test_malice(tmp_path, kind, suffix):
    canary, file = tmp_path/'canary', tmp_path/f'evil{suffix}'
    file.write_bytes((LIVE | SILENT)[kind](canary))
    assert not canary.exists()
    with pytest.raises(ValueError, match=f'evil{suffix}') as e: load_image_generator(file)
    assert not canary.exists() and len(str(e.value)) < 1000

@pytest.mark.parametrize('kind', LIVE)
def test_the_malice_is_alive(tmp_path, kind):
    "the canary sings when these are simply unpickled: else the test above would show nothing"
    data = LIVE[kind](tmp_path/'canary')
    with contextlib.suppress(Exception):
        if kind == 'the old torch.save': torch.load(io.BytesIO(data), weights_only=False)
        else: pickle.loads(data)
    assert (tmp_path/'canary').exists()

def test_source_code_inside_is_not_run(tmp_path):
    canary = tmp_path/'canary'
    t = nvidia(tmp_path/'n.pkl', source=python(canary))
    assert str(canary).encode() in (tmp_path/'n.pkl').read_bytes()
    w = torch.randn(2, 10)
    torch.testing.assert_close(load_image_generator(tmp_path/'n.pkl').synthesize(w).double(), reference(t, w), atol=2e-5, rtol=1e-5)
    assert not canary.exists()

def nvidia_with(path, tensor, key='mapping.w_avg'):
    "NVIDIA's file with something else in the place of one tensor."
    with their_modules():
        G = tree(nvidia_tensors(), {'mapping.fc0.bias_gain': .01}, '')
        module = G
        for part in key.split('.')[:-1]: module = dict(module.meta[3])[part]
        reduce = module.__reduce__()
        state = reduce[1][0]['state']; state['_buffers'][key.split('.')[-1]] = tensor
        class Fixed:
            def __reduce__(self): return reduce
        for i, (k, v) in enumerate(G.meta[3]):
            if v is module: G.meta[3][i] = (k, Fixed())
        path.write_bytes(pickle.dumps({'G_ema': G}))

def rebuilt(storage, size=(2,), stride=(1,), offset=0): return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())

def declared(count):
    "An old torch.save of a float storage that declares more than it brings."
    blob = in_legacy(torch.zeros(77)._typed_storage() if hasattr(torch.zeros(1), '_typed_storage') else torch.zeros(77).storage())
    assert blob.count(b'KM') >= 1
    return blob.replace(b'KM', b'J' + struct.pack('<i', count))

FLOATS = in_legacy(torch.zeros(4)._typed_storage())
INSIDE = {
    'code in the storage': lambda c: rebuilt(inner(in_legacy(Call(exec, python(c))))),
    'a plain pickle as storage': lambda c: rebuilt(inner(pickle.dumps(Call(exec, python(c))))),
    'a zip as storage': lambda c: rebuilt(inner(torch_save(torch.zeros(4)._typed_storage()))),
    'a storage by another function': lambda c: rebuilt(Call(exec, python(c))),
    'a tensor by another function': lambda c: Call(exec, python(c)),
    'eval for a shape': lambda c: rebuilt(inner(FLOATS), size=Call(eval, python(c))),
    'too large a shape': lambda c: rebuilt(inner(FLOATS), size=(10**6, 10**6), stride=(0, 0)),
    'beyond the storage': lambda c: rebuilt(inner(FLOATS), size=(2,), offset=3),
    'a negative stride': lambda c: rebuilt(inner(FLOATS), stride=(-1,)),
    'a shape of texts': lambda c: rebuilt(inner(FLOATS), size=('a',)),
    'too large a storage': lambda c: rebuilt(inner(declared(2**30))),
    'a negative storage': lambda c: rebuilt(inner(declared(-5))),
    'a cut storage': lambda c: rebuilt(inner(FLOATS[:-9])),
    'a tensor instead of a storage': lambda c: rebuilt(inner(in_legacy(torch.zeros(4)))),
    'a number': lambda c: 3,
}

@pytest.mark.parametrize('kind', INSIDE)
def test_malice_inside_a_good_file(tmp_path, kind):
    canary = tmp_path/'canary'
    nvidia_with(tmp_path/'n.pkl', INSIDE[kind](canary))
    with pytest.raises(ValueError, match='n.pkl') as e: load_image_generator(tmp_path/'n.pkl')
    assert not canary.exists() and len(str(e.value)) < 1000

def test_the_same_file_is_good_without_it(tmp_path):
    nvidia_with(tmp_path/'n.pkl', torch.arange(10.))
    assert torch.equal(load_image_generator(tmp_path/'n.pkl').mean_latent, torch.arange(10.))

@pytest.mark.parametrize('writer,name', [(nvidia, 'n.pkl'), (rosinality, 'r.pt'), (lambda p: rosinality(p, legacy=True), 'l.pt')])
def test_cut_off_and_flipped(tmp_path, writer, name):
    writer(tmp_path/name); whole = (tmp_path/name).read_bytes()
    for n in (1, 10, 100, len(whole)//3, len(whole)//2, len(whole) - 1):
        (tmp_path/name).write_bytes(whole[:n])
        with pytest.raises(ValueError, match=name): load_image_generator(tmp_path/name)
    g = torch.Generator().manual_seed(0)
    for place in torch.randint(len(whole), (40,), generator=g).tolist(): # a flipped bit gives the file's name, or numbers
        (tmp_path/name).write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1:])
        with contextlib.suppress(ValueError): load_image_generator(tmp_path/name)

def test_zip_bomb(tmp_path):
    rosinality(tmp_path/'r.pt')
    with zipfile.ZipFile(tmp_path/'r.pt') as z, zipfile.ZipFile(tmp_path/'bomb.pt', 'w', zipfile.ZIP_DEFLATED) as bomb:
        for e in z.infolist(): bomb.writestr(e.filename, b'\0'*50_000_000 if e.filename.endswith('data/0') else z.read(e))
    assert (tmp_path/'bomb.pt').stat().st_size < 200_000
    with pytest.raises(ValueError, match=r'bomb.pt would unpack to 50,\d\d\d,\d\d\d bytes'): load_image_generator(tmp_path/'bomb.pt')
    with zipfile.ZipFile(tmp_path/'other.pt', 'w') as z: z.writestr('readme.txt', 'weights')
    with pytest.raises(ValueError, match='other.pt is a zip archive, but torch.save did not write it'): load_image_generator(tmp_path/'other.pt')

def test_too_large_a_storage_in_an_old_file(tmp_path):
    (tmp_path/'l.pt').write_bytes(in_legacy({'g_ema': {'x': torch.zeros(77)}}).replace(b'KM', b'J' + struct.pack('<i', 2**27)))
    with pytest.raises(ValueError, match='l.pt was not opened as a torch file: it is damaged'): load_image_generator(tmp_path/'l.pt')

def test_modules_without_end(tmp_path):
    "a module that is its own child, and an exponential tree of shared children"
    child = Persistent('X', '', {}, [], {})
    for _ in range(11): child = Persistent('X', '', {}, [(str(i), child) for i in range(9)], {})
    loop = [('a', None)]; loop[0] = ('a', Persistent('X', '', {}, loop, {}))
    with their_modules(): (tmp_path/'n.pkl').write_bytes(pickle.dumps({'G_ema': child}))
    with pytest.raises(ValueError, match='n.pkl: it has more than 10,000 modules'): load_image_generator(tmp_path/'n.pkl')

def test_the_reader_knows_what_plain_pickles_hold():
    things = [1, -5, 2**80, 1.5, 'text', b'bytes', None, True, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1], {}, {'a': [1, {'b': (2,)}]}, OrderedDict(a=1, b=2)]
    for protocol in range(6):
        if protocol > 2: assert read_pickled(io.BytesIO(pickle.dumps(bytearray(b'x') if protocol == 5 else b'x', protocol)))[0] == b'x'
        keep = [t for t in things if not (isinstance(t, (bytes, OrderedDict)) and protocol < 3)]
        assert read_pickled(io.BytesIO(pickle.dumps(keep, protocol)))[0] == keep
    assert read_pickled(io.BytesIO(pickle.dumps({1, 2})))[0] == [1, 2]
