"MobileStyleGAN: its files are read strictly and within bounds, and it draws what OpenVINO's runtime draws."
import re
from pathlib import Path
import numpy as np, pytest, torch
from mocogan_hd.interop.mobile_stylegan import (FACE_FILES, MobileStyleGAN, inverse_haar, load_ffhq_faces, read_constants,
                                                read_mobile_stylegan, synthesis_weights)
from mocogan_hd.interop.preview import add_preview, fit_preview, load_preview, save_preview
from mocogan_hd.interop.weights_cache import cache_folder
from mocogan_hd.method.frozen_generator import ImageGenerator, load_image_generator, save_image_generator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_trainer import MotionTraining
from mocogan_hd.method.motion_training import load_motion_generator, train_motion_generator
from mocogan_hd.method.toy_faces import ToyFaces

there = all((cache_folder()/name).exists() for name in FACE_FILES)
SIZES = dict(z_dim=16, channels=(16, 16, 8), n_mapping=2)

@pytest.fixture
def faces():
    torch.manual_seed(0)
    return ImageGenerator(MobileStyleGAN(**SIZES))

def ir(folder, constants, part='Synthesis'):
    "Write constants as OpenVINO's intermediate representation."
    layers, numbers = [], b''
    for name, x in constants:
        shape = ', '.join(map(str, x.shape))
        layers.append(f'<layer name="{name}" type="Const"><data element_type="f32" shape="{shape}" '
                      f'offset="{len(numbers)}" size="{4*x.numel()}"/></layer>')
        numbers += x.detach().contiguous().numpy().tobytes()
    xml, numbers_file = Path(folder)/f'{part}Network.xml', Path(folder)/f'{part}Network.bin'
    xml.write_text(f'<net><layers>{"".join(layers)}</layers></net>')
    numbers_file.write_bytes(numbers)
    return xml, numbers_file

def haar_by_filters(x):
    "The inverse transform as four transposed convolutions with outer products of the Haar filters."
    s = .5**.5
    low, high = torch.tensor([s, s]), torch.tensor([s, -s])
    c = x.shape[1]//4
    parts = x[:, :c], *x[:, c:].unflatten(1, (c, 3)).unbind(2)
    filters = torch.outer(low, low), torch.outer(high, low), torch.outer(low, high), torch.outer(high, high)
    return sum(torch.nn.functional.conv_transpose2d(p, f.expand(c, 1, 2, 2), stride=2, groups=c) for p, f in zip(parts, filters))

def test_inverse_haar_is_the_transposed_convolution():
    x = torch.randn(2, 12, 5, 5)
    torch.testing.assert_close(inverse_haar(x), haar_by_filters(x))

@pytest.mark.skipif(not there, reason='the weights of random-face are not in the cache')
def test_the_published_network_draws_what_openvino_draws():
    "Made with OpenVINO 2026.4 in f32: codes of z of seed 3, the picture averaged to 16 px, and 8 x 8 of its pixels."
    golden, people = np.load(Path(__file__).with_name('mobile_stylegan_golden.npz')), load_ffhq_faces()
    w = people.sample_latents(1, 3)
    assert np.abs(w.numpy() - golden['w']).max() < 1e-4
    image = people.synthesize(w)[0].numpy()
    assert np.abs(image.reshape(3, 16, 64, 16, 64).mean((2, 4)) - golden['small']).max() < 1e-3
    assert np.abs(image[:, 500:508, 500:508] - golden['corner']).max() < 1e-3

@pytest.mark.parametrize('change, message', [
    (dict(offset='-4'), 'bytes at -4'), (dict(offset='1000000000'), 'the file of numbers has'), (dict(size='8'), 'has 8 bytes'),
    (dict(shape='1000000, 1000000'), 'of shape'), (dict(shape='-2, -8'), 'of shape'), (dict(shape='two'), 'is not described'),
    (dict(offset=''), 'is not described')])
def test_a_constant_must_lie_in_the_file(tmp_path, change, message):
    xml, numbers = ir(tmp_path, [('a', torch.ones(4, 4))])
    text = xml.read_text()
    for key, value in change.items(): text = re.sub(f'{key}="[^"]*"', f'{key}="{value}"', text)
    xml.write_text(text)
    with pytest.raises(ValueError, match=message) as e: read_constants(xml, numbers)
    assert str(xml) in str(e.value)

@pytest.mark.parametrize('text', ['', 'no XML', '<net>', '<net><layer/></net>'])
def test_what_is_no_network_is_named(tmp_path, text):
    xml, numbers = tmp_path/'a.xml', tmp_path/'a.bin'
    xml.write_text(text); numbers.write_bytes(b'')
    with pytest.raises(ValueError, match=re.escape(str(xml))): read_constants(xml, numbers)

def test_missing_weights_are_listed(tmp_path):
    ir(tmp_path, [('1', torch.ones(16, 16)), ('2', torch.ones(16))], 'Mapping')
    ir(tmp_path, [('m.input.input', torch.ones(1, 16, 4, 4))])
    with pytest.raises(ValueError, match='missing map.1.weight'): read_mobile_stylegan(tmp_path, **SIZES)

def test_unnamed_filters_go_to_the_bias_that_follows():
    filter_, noise = torch.randn(8, 4, 1, 1), torch.randn(1, 1, 8, 8)
    state = synthesis_weights([('7', torch.ones(1, 1, 1, 1)), ('Mul_1', filter_), ('8', noise), ('m.layers.0.conv1.bias', torch.zeros(1, 8, 1, 1))])
    assert set(state) == {f'layers.0.conv1.{k}' for k in ('conv.weight', 'noise', 'conv.bias')}
    assert state['layers.0.conv1.conv.weight'] is filter_ and state['layers.0.conv1.noise'] is noise

def test_it_is_saved_and_opened_as_any_generator(faces, tmp_path):
    save_image_generator(faces.network, tmp_path/'g.safetensors', half=False)
    again, w = load_image_generator(tmp_path/'g.safetensors'), faces.sample_latents(2, 0)
    assert again.fingerprint == faces.fingerprint and torch.equal(again.synthesize(w), faces.synthesize(w))
    assert faces.sample_noise(2, 0) == []

def test_the_preview_is_seen_by_the_discriminators_and_gradients_pass(faces):
    preview = fit_preview(faces, 8, n=12, held_out=4)
    add_preview(faces, preview)
    w = faces.sample_latents(2, 1).requires_grad_(True)
    drawn = faces.synthesize(w, resolution=8)
    assert torch.equal(drawn, preview(w)) and faces.synthesize(w).shape[-1] == 32
    drawn.sum().backward()
    assert w.grad.abs().sum() > 0
    assert faces.synthesize(w, resolution=16).shape[-1] == 16 # no preview of this side: averaged

def test_the_fit_is_least_squares(faces):
    "No other read-out explains the fitted pictures better: a nudge of any weight makes the error larger."
    preview = fit_preview(faces, 8, n=12, held_out=4, seed=3)
    w = faces.sample_latents(16, 3)[:12]
    target = torch.nn.functional.avg_pool2d(faces.synthesize(w), 4)
    def error(): return (preview(w) - target).square().mean()
    best = error()
    for _ in range(5):
        nudge = .05*torch.randn_like(preview.read_out)
        preview.read_out += nudge
        assert error() > best
        preview.read_out -= nudge

def test_a_preview_belongs_to_its_generator(faces, tmp_path):
    preview = fit_preview(faces, 8, n=12, held_out=4)
    save_preview(preview, tmp_path/'p.safetensors', faces)
    assert load_preview(tmp_path/'p.safetensors', faces).r2 == preview.r2
    with pytest.raises(ValueError, match='was fitted to generator'): load_preview(tmp_path/'p.safetensors', ImageGenerator(MobileStyleGAN(**SIZES)))
    with pytest.raises(ValueError, match='no features'): fit_preview(ImageGenerator(_plain()))

def _plain():
    from mocogan_hd.method.stylegan2 import Generator
    return Generator(16, 16, 16, 2, (8, 8, 8))

def test_motion_is_trained_through_the_preview(faces, tmp_path):
    "The whole way with tiny networks: preview, three steps, a motion generator that the full generator draws."
    add_preview(faces, fit_preview(faces, 16, n=12, held_out=4))
    pca = fit_latent_pca(faces, 500)
    s = MotionTraining(n_frames=6, batch_size=2, steps=3, video_resolution=16, n_pca=8, hidden=8, dv_layers=1, di_width=4, queue=16, differences=True)
    for _ in train_motion_generator(ToyFaces(resolution=16), faces, pca, s, tmp_path): pass
    G_M = load_motion_generator(tmp_path/'motion_generator.safetensors', faces)
    w = G_M(faces.sample_latents(2, 0), G_M.sample_eps(2, 6, torch.Generator().manual_seed(0))).trajectory
    assert faces.synthesize(w).shape == (2, 6, 3, 32, 32)
