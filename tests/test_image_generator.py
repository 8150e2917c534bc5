"The frozen generator: what it passes through, what it refuses, files that are broken."
import json
import pytest, torch
from safetensors.torch import load_file, save_file
from mocogan_hd.basics import seeded
from mocogan_hd.image_generator import ImageGenerator, load_image_generator, load_strictly, read_header, save_image_generator, shipped
from mocogan_hd.stylegan2 import Generator

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
    with pytest.raises(ValueError, match='g.safetensors is not a whole safetensors file'): load_image_generator(file)

def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no.safetensors does not exist'): load_image_generator(tmp_path/'no.safetensors')
    with pytest.raises(ValueError, match=tmp_path.name): load_image_generator(tmp_path)

def test_files_of_another_kind(tmp_path):
    save_file({'x': torch.zeros(1)}, tmp_path/'bare.safetensors')
    with pytest.raises(ValueError, match='bare.safetensors holds .*expected a generator of kind stylegan2'): load_image_generator(tmp_path/'bare.safetensors')
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
    monkeypatch.setattr('mocogan_hd.image_generator.save_file', half_way)
    with pytest.raises(OSError): save_image_generator(network(seed=1), file)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]

def test_shipped_names():
    with pytest.raises(FileNotFoundError, match="no generator named 'cats' is shipped"): shipped('cats')
