"Files that are fetched, checked and refused, from servers of our own; architectures at full size with random weights, never with the published ones."
import hashlib, http.server, threading, warnings, zipfile
from dataclasses import replace
import numpy as np
import pytest, torch
from torch import nn
from mocogan_hd.core.basics import seeded
from mocogan_hd.interop.published_networks import (PUBLISHED, C3D, C3DTganV2, VideoGptI3d, AlexLPIPS, FidelityInception, InceptionI3d, InceptionResnetV1,
                                                   ScriptedI3D, same_pad)
from mocogan_hd.interop.weights_cache import FILES, WeightFile, cache_folder, weight_file


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    "A cache folder of our own, and no addresses in the world."
    monkeypatch.setenv('MOCOGAN_HD_CACHE', str(tmp_path/'cache'))
    for name, f in FILES.items(): monkeypatch.setitem(FILES, name, replace(f, url=''))
    return tmp_path/'cache'

# --- fetching

CONTENT = b'0123456789'*1000
SHA = hashlib.sha256(CONTENT).hexdigest()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == '/missing': return self.send_error(404)
        self.send_response(200)
        self.send_header('Content-Length', str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:4000] if self.path == '/half' else CONTENT)
    def log_message(self, *_): pass

@pytest.fixture
def server():
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    s.asked = []
    thread = threading.Thread(target=s.serve_forever, daemon=True); thread.start()
    yield s
    s.shutdown(); s.server_close()

def known(monkeypatch, url, sha=''):
    monkeypatch.setitem(FILES, 'net.bin', WeightFile('net.bin', url, 'https://example.org/net', sha))

@pytest.mark.parametrize('sha', ['', SHA[:8], SHA])
def test_fetched_once_checked_and_written_down(server, monkeypatch, cache, sha):
    known(monkeypatch, f'http://127.0.0.1:{server.server_port}/whole', sha)
    for _ in range(2): assert weight_file('net.bin') == (cache/'net.bin', SHA)
    assert server.asked == ['/whole'] and (cache/'net.bin').read_bytes() == CONTENT
    assert (cache/'net.bin.sha256').read_text() == f'{SHA}  net.bin\n' and sorted(p.name for p in cache.iterdir()) == ['net.bin', 'net.bin.sha256']

@pytest.mark.parametrize('path, sha, error, message', [('half', '', FileNotFoundError, '4,000 of 10,000 bytes'), ('missing', '', FileNotFoundError, '404'), ('whole', 'deadbeef', ValueError, 'begins deadbeef')])
def test_what_does_not_arrive_whole_is_not_kept(server, monkeypatch, cache, path, sha, error, message):
    known(monkeypatch, f'http://127.0.0.1:{server.server_port}/{path}', sha)
    with pytest.raises(error, match=message): weight_file('net.bin')
    assert not list(cache.iterdir())

@pytest.mark.parametrize('url', ['http://127.0.0.1:9/net.bin', 'file:///nowhere/net.bin', 'http://nowhere.invalid/net.bin'])
def test_without_a_network_the_error_says_what_to_do(monkeypatch, cache, url):
    known(monkeypatch, url, SHA[:8])
    with pytest.raises(FileNotFoundError) as e: weight_file('net.bin')
    for words in ('net.bin is missing', str(cache), url, f'SHA-256 begins {SHA[:8]}', 'https://example.org/net'): assert words in str(e.value)
    known(monkeypatch, '')
    with pytest.raises(FileNotFoundError, match='no published checksum is known.*No direct address'): weight_file('net.bin')

def test_a_file_put_there_by_hand_is_trusted_once(monkeypatch, cache):
    known(monkeypatch, '')
    cache.mkdir(parents=True); (cache/'net.bin').write_bytes(CONTENT)
    assert weight_file('net.bin')[1] == SHA
    (cache/'net.bin').write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=f'when it was first seen here it was {SHA}'): weight_file('net.bin')
    (cache/'net.bin.sha256').write_text('')
    with pytest.raises(ValueError, match='does not begin with a SHA-256'): weight_file('net.bin')
    known(monkeypatch, '', 'deadbeef')
    with pytest.raises(ValueError, match='its publisher says'): weight_file('net.bin')

def test_the_cache_folder(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path/'cache'
    monkeypatch.delenv('MOCOGAN_HD_CACHE')
    assert cache_folder().parts[-2:] == ('.cache', 'mocogan_hd') and cache_folder().is_absolute()

def test_the_registry_is_honest():
    for f in FILES.values():
        assert f.page.startswith('https://') and (not f.sha256 or len(f.sha256) == 64 or f.sha256 in f.name and f.confirmed)
    assert all(f in FILES for c in PUBLISHED.values() for f in c.files)

# --- architectures

def parameters(make):
    with torch.device('meta'): return sum(p.numel() for p in make().parameters())

def filled(make, seed=0):
    "Its state dict with small random numbers: batch norms as after a training."
    with torch.device('meta'): state = make().state_dict()
    g, out = seeded(seed), {}
    for k, v in state.items():
        if k.endswith('num_batches_tracked'): out[k] = torch.tensor(5)
        elif k.endswith(('running_var',)) or v.ndim == 1 and 'bn.weight' in k: out[k] = torch.rand(v.shape, generator=g) + .5
        else: out[k] = torch.randn(v.shape, generator=g)/max(v[0].numel(), 1)**.5 if v.ndim > 1 else .1*torch.randn(v.shape, generator=g)
    return out

def clips(n=1, T=16, side=32, seed=0): return torch.rand(n, T, 3, side, side, generator=seeded(seed))*2 - 1

@pytest.mark.parametrize('make, count', [(InceptionI3d, 12_697_264), (C3D, 78_409_573), (InceptionResnetV1, 27_910_327)])
def test_parameter_counts(make, count): assert parameters(make) == count

def test_i3d_reads_its_layout_strictly(tmp_path):
    state = filled(InceptionI3d)
    assert {'Conv3d_1a_7x7.conv3d.weight', 'Mixed_3b.b0.bn.running_mean', 'Mixed_5c.b3b.conv3d.weight', 'logits.conv3d.bias'} <= state.keys() and 'logits.bn.weight' not in state
    assert state['logits.conv3d.weight'].shape == (400, 1024, 1, 1, 1) and state['Conv3d_1a_7x7.conv3d.weight'].shape == (64, 3, 7, 7, 7)
    torch.save(state, tmp_path/'i3d.pt')
    network = InceptionI3d.read(tmp_path/'i3d.pt').eval()
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    with torch.no_grad(): x = network(clips())
    assert x.shape == (1, 400) and x.isfinite().all() and x.std() > 0
    torch.save({k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}, tmp_path/'old.pt') # files of 2018
    assert torch.equal(InceptionI3d.read(tmp_path/'old.pt').Mixed_3b.b0.conv3d.weight, state['Mixed_3b.b0.conv3d.weight'])
    for change, words in ((lambda s: s.pop('logits.conv3d.bias'), 'missing logits.conv3d.bias'), (lambda s: s.update(extra=torch.zeros(1)), 'unexpected extra'),
                          (lambda s: s.update({'logits.conv3d.bias': torch.zeros(600)}), 'expected .400')):
        other = dict(state); change(other); torch.save(other, tmp_path/'other.pt')
        with pytest.raises(ValueError, match=words): InceptionI3d.read(tmp_path/'other.pt')
    with pytest.raises(ValueError, match='9 frames'): network(clips(T=8))

def test_same_padding_gives_as_many_windows_as_tensorflow():
    for size in range(1, 12):
        for k in (1, 2, 3, 7):
            for s in (1, 2):
                x = same_pad(torch.zeros(1, 1, 1, 1, size), (1, 1, k), (1, 1, s))
                assert nn.functional.max_pool3d(x, (1, 1, k), (1, 1, s)).shape[-1] == -(-size//s), (size, k, s)

def write_c3d(folder, state):
    arrays = {k.replace('.weight', '/W').replace('.bias', '/b'): v.numpy() for k, v in state.items() if k != 'mean'}
    np.savez(folder/'c3d.npz', **arrays)
    np.savez(folder/'mean.npz', mean=state['mean'].numpy()[None])

def test_c3d_reads_chainers_layout(tmp_path):
    state = filled(C3D)
    write_c3d(tmp_path, state)
    network = C3D.read(tmp_path/'c3d.npz', tmp_path/'mean.npz').eval()
    assert torch.equal(network.conv1a.weight, state['conv1a.weight']) and torch.equal(network.mean, state['mean'])
    with torch.no_grad():
        a, b = network(clips()), network(clips()[:, :, [2, 1, 0]])
    assert a.shape == (1, 101) and a.isfinite().all() and not torch.allclose(a, b), 'channels have an order'
    with pytest.raises(ValueError, match='16 frames'): network(clips(T=8))
    np.savez(tmp_path/'small.npz', mean=np.zeros((3, 16, 112, 112)))
    with pytest.raises(ValueError, match='expected a mean of 3x16x128x171'): C3D.read(tmp_path/'c3d.npz', tmp_path/'small.npz')
    np.savez(tmp_path/'less.npz', **{'conv1a/W': np.zeros((64, 3, 3, 3, 3))})
    with pytest.raises(ValueError, match='missing conv1a.bias'): C3D.read(tmp_path/'less.npz', tmp_path/'mean.npz')

def cubic(x, size):
    "Cubic interpolation along the last axis in NumPy, written from its definition (Keys 1981, a = -3/4, as in OpenCV), edges repeated."
    n, out = x.shape[-1], np.zeros((*x.shape[:-1], size))
    for i in range(size):
        at = (i + .5)*n/size - .5
        for k in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            d = abs(at - k)
            weight = 1.25*d**3 - 2.25*d**2 + 1 if d <= 1 else -.75*(d**3 - 5*d**2 + 8*d - 4)
            out[..., i] += weight*x[..., min(max(k, 0), n - 1)]
    return out

def resized(frames, side): return cubic(cubic(frames, side).swapaxes(-1, -2), side).swapaxes(-1, -2)

@pytest.mark.parametrize('cls, side, rows, columns', [(C3D, 128, slice(8, 120), slice(8, 120)), (C3DTganV2, 112, slice(None), slice(None))])
@pytest.mark.parametrize('size', [64, 150])
def test_c3ds_preparations_are_those_of_numpy(cls, side, rows, columns, size):
    rng = np.random.default_rng(size)
    clip, mean = rng.integers(0, 256, (1, 16, 3, size, size)), rng.uniform(80, 120, (3, 16, 128, 171)).astype('f4')
    with torch.device('meta'): network = cls()
    network.mean = torch.from_numpy(mean)
    network.stages, network.fc6, network.fc7, network.fc8 = (), nn.Identity(), nn.Identity(), nn.Identity()
    network.prepared = lambda frames, prepared=network.prepared: prepared(frames) + 1_000 # relu keeps all
    found = network(torch.from_numpy(clip).float()/127.5 - 1).reshape(3, 16, 112, 112).numpy() - 1_000
    frames = resized(clip[0].astype(float)[:, ::-1].transpose(1, 0, 2, 3), side) # (3, 16, side, side), blue first
    own = mean[:, :, :, 21:149] if cls is C3D else mean[:, :, 8:120, 8:120]
    want = (frames - own)[..., rows, columns]
    assert np.abs(found - want).max() < .01
    for shift in (1, -1): # one pixel off is far away
        assert np.abs(found - np.roll(want, shift, -1)).mean() > 5 and np.abs(found - (frames - np.roll(own, shift, -1))[..., rows, columns]).mean() > 5

def test_the_two_families_of_fvd_differ_in_batch_norm_alone():
    torch.manual_seed(0)
    a, b = InceptionI3d().eval(), VideoGptI3d().eval()
    b.load_state_dict(a.state_dict())
    assert {m.eps for m in a.modules() if isinstance(m, nn.BatchNorm3d)} == {1e-3} and {m.eps for m in b.modules() if isinstance(m, nn.BatchNorm3d)} == {1e-5}
    assert PUBLISHED['i3d-videogpt'] is VideoGptI3d and PUBLISHED['c3d-tganv2'] is C3DTganV2

def test_npz_files_that_are_none(tmp_path):
    np.savez(tmp_path/'objects.npz', x=np.array([{'code': 1}], dtype=object))
    (tmp_path/'text.npz').write_text('hello')
    np.savez(tmp_path/'whole.npz', x=np.zeros(1000)); (tmp_path/'half.npz').write_bytes((tmp_path/'whole.npz').read_bytes()[:500])
    for name in ('objects', 'text', 'half'):
        with pytest.raises(ValueError, match=f'{name}.npz is not a whole .npz file'): C3D.read(tmp_path/f'{name}.npz', tmp_path/'whole.npz')

def test_facenet_reads_its_layout_strictly(tmp_path):
    state = filled(InceptionResnetV1)
    assert {'conv2d_1a.conv.weight', 'repeat_1.4.branch2.2.bn.running_var', 'mixed_6a.branch1.2.conv.weight', 'repeat_2.9.conv2d.bias', 'mixed_7a.branch2.2.conv.weight',
            'block8.branch1.1.conv.weight', 'last_linear.weight', 'last_bn.running_mean', 'logits.bias'} <= state.keys()
    assert state['repeat_2.0.branch1.1.conv.weight'].shape == (128, 128, 1, 7) and state['block8.conv2d.weight'].shape == (1792, 384, 1, 1) and 'last_linear.bias' not in state
    torch.save(state, tmp_path/'face.pt')
    network = InceptionResnetV1.read(tmp_path/'face.pt').eval()
    with torch.no_grad(): x = network(clips(1, 2, 128)[0])
    torch.testing.assert_close(x.norm(dim=1), torch.ones(2))
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())

@pytest.mark.parametrize('scores', [False, True])
def test_inception_is_torch_fidelitys_own(tmp_path, monkeypatch, scores):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    monkeypatch.setattr('torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url', lambda *a, **k: {}) # nothing is ever downloaded
    monkeypatch.setattr(FeatureExtractorInceptionV3, 'load_state_dict', lambda self, state: None)
    with torch.random.fork_rng(): torch.manual_seed(0); made = FeatureExtractorInceptionV3('inception-v3-compat', ['2048'])
    monkeypatch.undo()
    torch.save(made.state_dict(), tmp_path/'inception.pth')
    network, frames = FidelityInception.read(tmp_path/'inception.pth', scores=scores).eval(), clips(1, 2)[0]
    theirs = FeatureExtractorInceptionV3('inception-v3-compat', ['logits_unbiased' if scores else '2048'], feature_extractor_weights_path=str(tmp_path/'inception.pth'))
    bytes_ = ((frames + 1)*127.5).round().byte()
    with torch.no_grad(): assert torch.equal(network(frames), theirs(bytes_)[0])
    assert network.width == (1008 if scores else 2048) == network(frames).shape[1]
    torch.save({'x': torch.zeros(1)}, tmp_path/'other.pth')
    with pytest.raises(ValueError, match='other.pth does not fit InceptionV3'): FidelityInception.read(tmp_path/'other.pth')

def alexnet():
    import torchvision
    with torch.random.fork_rng(): torch.manual_seed(0); return torchvision.models.AlexNet().state_dict()

def test_lpips_gets_its_trunk_from_the_file(tmp_path):
    state = alexnet()
    torch.save(state, tmp_path/'alex.pth')
    network = AlexLPIPS.read(tmp_path/'alex.pth').eval()
    assert torch.equal(network.network.net.slice5[0].weight, state['features.10.weight'])
    a, b = clips(1, 3, 64)[0], clips(1, 3, 64, 1)[0]
    with torch.no_grad():
        assert network(a, a).abs().max() == 0 and network(a, b).shape == (3,) and network(a, b).min() > 0
        import lpips
        theirs = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False)
        theirs.net.load_state_dict({k: state[f'features.{k.partition(".")[2]}'] for k in theirs.net.state_dict()})
        torch.testing.assert_close(network(a, b), theirs(a, b).flatten())
    torch.save({k: v for k, v in state.items() if k != 'features.3.bias'}, tmp_path/'less.pth')
    with pytest.raises(ValueError, match='slice2.3.bias is'): AlexLPIPS.read(tmp_path/'less.pth')
    torch.save(state | {'features.13.weight': torch.zeros(1)}, tmp_path/'more.pth')
    with pytest.raises(ValueError, match='unexpected features.13.weight'): AlexLPIPS.read(tmp_path/'more.pth')

class Script(nn.Module):
    "Takes what StyleGAN-V's port takes; `width` logits."
    def __init__(self, width: int = 400):
        super().__init__()
        self.width = width
        self.p = nn.Parameter(torch.ones(1))
    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> torch.Tensor:
        assert rescale and resize and return_features
        x = torch.nn.functional.interpolate(x/127.5 - 1, [x.shape[2], 12, 12])
        return self.p*x.transpose(1, 2).flatten(1)[:, :self.width]

def write_script(path, width=400):
    with warnings.catch_warnings(): warnings.simplefilter('ignore'); torch.jit.script(Script(width)).save(str(path))

def test_torchscript_from_the_cache_to_features(cache):
    cache.mkdir(parents=True); write_script(cache/'i3d_torchscript.pt')
    network, x = ScriptedI3D.load(), clips(2)
    assert network.sha256 == hashlib.sha256((cache/'i3d_torchscript.pt').read_bytes()).hexdigest() and not any(p.requires_grad for p in network.parameters())
    want = nn.functional.interpolate(x[:, 0], (12, 12)).flatten(1)
    torch.testing.assert_close(network(x)[:, :400], want[:, :400], atol=1/127, rtol=0)

def test_torchscript_files_that_are_none(cache):
    cache.mkdir(parents=True); write_script(cache/'i3d_torchscript.pt', 7)
    with pytest.raises(ValueError, match='gives .1, 7. .*another network'): ScriptedI3D.load()(clips())
    whole = (cache/'i3d_torchscript.pt').read_bytes()
    (cache/'i3d_torchscript.pt').write_bytes(whole[:len(whole)//2])
    with pytest.raises(ValueError, match='damaged, cut off'): ScriptedI3D.load()
    (cache/'i3d_torchscript.pt.sha256').unlink()
    with pytest.raises(ValueError, match='is not a whole TorchScript file'): ScriptedI3D.load()

def test_code_in_a_weight_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self): return (open, (str(tmp_path/'ran'), 'w'))
    torch.save({'x': Evil()}, tmp_path/'evil.pth')
    for cls in (InceptionI3d, InceptionResnetV1, FidelityInception, AlexLPIPS):
        with pytest.raises(ValueError, match='evil.pth'): cls.read(tmp_path/'evil.pth')
    assert not (tmp_path/'ran').exists()
    (tmp_path/'text.pth').write_text('hello')
    with pytest.raises(ValueError, match='text.pth'): InceptionI3d.read(tmp_path/'text.pth')
    with pytest.raises(FileNotFoundError): InceptionI3d.read(tmp_path/'nowhere.pth')
