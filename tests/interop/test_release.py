"The release's files: their measured layouts, its numbers through them, exact round trips, and what is refused."
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

import goldens
from goldens import N, U, close, contrastive_agrees, fill, golden, layout
from mocogan_hd.method.image_discriminator import ContrastiveImageDiscriminator, MemoryQueue, MomentumEncoder, PairImageDiscriminator
from mocogan_hd.method.frozen_generator import ImageGenerator
from mocogan_hd.method.latent_pca import LatentPCA, fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator
from mocogan_hd.interop.release import basis_fit, find_release, load_release, read_pca, write_pca, write_release
from mocogan_hd.interop.release_networks import (
    ContrastiveParts, describe, kind_of, named, read_image_discriminator, read_motion_generator, read_state,
    read_video_discriminator, write_release_file)
from mocogan_hd.method.sampling import interpolate_frames
from mocogan_hd.method.stylegan2 import Generator
from mocogan_hd.method.video_discriminator import VideoDiscriminator

@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield

def contrastive(resolution, width, queue=4096, features=256):
    d = ContrastiveImageDiscriminator(resolution, width, features)
    return ContrastiveParts(d, MomentumEncoder(d), nn.ModuleDict({k: MemoryQueue(None, queue, features) for k in ('first', 'later')}))

def basis(d=512, n=512):
    std = torch.linspace(2, .05, d)
    components = torch.from_numpy((goldens.rng(1001).standard_normal((d, d))/np.sqrt(d)).astype(np.float32))
    return LatentPCA(components, std, torch.zeros(d), std**2/(std**2).sum()).first(n)

def filled_state(case, **sizes):
    "What a file of the release holds: a layout, filled by the rule."
    return OrderedDict((k, fill(k.removeprefix('module.'), sizes.get(k.removeprefix('module.'), shape))) for k, (shape, _) in layout(case).items())

def as_the_release_writes(case, path, **sizes):
    torch.save(filled_state(case, **sizes), path)
    return path

# --- layouts

FULL = {'modelR': lambda: MotionGenerator(512, basis()), 'modelD_3d_in': lambda: VideoDiscriminator(6), 'modelD_3d_cross': lambda: VideoDiscriminator(3),
        'modelD_img_in': lambda: PairImageDiscriminator(), **{f'modelD_img_cross_{r}': lambda r=r: contrastive(r, 96) for r in (32, 64, 128, 256)}}

@pytest.mark.parametrize('case, entries', [('modelR', 14), ('modelD_3d_in', 38), ('modelD_3d_cross', 38), ('modelD_img_in', 38), ('modelD_img_cross_32', 115),
                                           ('modelD_img_cross_64', 155), ('modelD_img_cross_128', 171), ('modelD_img_cross_256', 195)])
def test_names_shapes_types_and_order(case, entries):
    if case == 'modelR': module = FULL[case]()
    else:
        with torch.device('meta'): module = FULL[case]()
    ours = {k: (tuple(v.shape), str(v.dtype).removeprefix('torch.')) for k, v in named(module).items()}
    assert ours == layout(case) and len(ours) == entries
    assert list(ours) == list(layout(case))

# --- the release's numbers, through its files

def test_motion_generator_from_a_file(tmp_path):
    G_M, g = read_motion_generator(as_the_release_writes('modelR', tmp_path/'modelR_epoch_0.pth'), basis()), golden('motion')
    out = G_M(N(5, 2, 512), N(3, 2, 15, 512))
    close(out.trajectory, g['w_traj'], 1e-6); close(out.eps_hat, g['e_rec'], 1e-6)
    assert (G_M.A.shape, G_M.lambda_, G_M.training) == ((384, 384), .2, False) and not any(p.requires_grad for p in G_M.parameters())

def test_video_discriminator_from_a_file(tmp_path):
    D_V, g = read_video_discriminator(as_the_release_writes('modelD_3d_cross', tmp_path/'modelD_3d_latest.pth')), golden('d3d_long')
    with torch.no_grad(): maps = D_V(U(44, 1, 3, 20, 32, 32).transpose(1, 2))
    close(maps[0][:, None], g['logit0'], 1.2e-5); close(maps[1][:, None], g['logit1'], 7.4e-6)

def test_pair_discriminator_from_a_file(tmp_path):
    D_I, g = read_image_discriminator(as_the_release_writes('modelD_img_in', tmp_path/'modelD_img_epoch_0.pth')), golden('dimg_in')
    x = U(45, 3, 6, 64, 64)
    with torch.no_grad(): maps = D_I(x[:, :3], x[:, 3:])
    for i in (0, 1): close(maps[i][:, None], g[f'logit{i}'], 1e-5)

@pytest.mark.parametrize('resolution, errors', [
    (32, dict(train_logit_a=8.3e-7, train_proj_a=3e-6, train_logit_b=3.3e-6, train_proj_b=1.3e-6, u_conv1=6.1e-8, u_proj0=5.3e-8,
              eval_logit_a=8.1e-7, eval_proj_a=1.6e-6, ema_proj_a=2.4e-6, ema_proj_a_after_update=1.5e-6)),
    (64, dict(train_logit_a=1.1e-6, train_proj_a=8.6e-7, train_logit_b=6e-7, train_proj_b=4.8e-7, u_conv1=4.8e-8, u_proj0=5.7e-8,
              eval_logit_a=1.4e-6, eval_proj_a=5.2e-7, ema_proj_a=7.1e-7, ema_proj_a_after_update=5.1e-7)),
])
def test_contrastive_discriminator_from_a_file(tmp_path, monkeypatch, resolution, errors):
    case, short = f'modelD_img_cross_{resolution}', dict(q_real=(64, 256), q_fake=(64, 256))
    if resolution == 32: path = as_the_release_writes(case, tmp_path/'modelD_img_epoch_0.pth', **short)
    else: # 360 MB that need not be written
        path, state = 'unwritten.pth', {k.removeprefix('module.'): v for k, v in filled_state(case, **short).items()}
        monkeypatch.setattr('mocogan_hd.interop.release_networks.read_state', lambda path: state)
    d, slow, queues = read_image_discriminator(path)
    contrastive_agrees(d, slow, resolution, errors)
    assert torch.equal(queues['first'].rows, fill('q_real', (64, 256))) and torch.equal(queues['later'].rows, fill('q_fake', (64, 256)))

@pytest.fixture(scope='module')
def both(tmp_path_factory):
    "Image generator and motion generator of the goldens, and the golden z mapped."
    with torch.device('meta'): G = Generator(32)
    G.load_state_dict({k: fill(k, v.shape) for k, v in G.state_dict().items()}, assign=True)
    G_M = read_motion_generator(as_the_release_writes('modelR', tmp_path_factory.mktemp('r')/'modelR_epoch_0.pth'), basis())
    return G.requires_grad_(False), G_M, G.mapping(N(2, 2, 512)), golden('generator_more')

def no_noise(G): return [torch.zeros(1, 1, r, r) for r in G.noise_sizes]

def test_interpolated_frames_agree_with_the_release(both):
    "Twice the frame rate: codes halfway between neighbours, one noise map a clip for all of its frames."
    G, G_M, w1, g = both
    path = interpolate_frames(G_M(w1, N(3, 2, 15, 512)[:, :3]).trajectory)
    assert path.shape == (2, 7, 512)
    images = G.synthesis(path[:, [1, 4]].flatten(0, 1), [N(20 + i, 2, 1, r, r) for i, r in enumerate(G.noise_sizes)])
    close(images.unflatten(0, (2, 2)), g['interp'], 1.1e-5)

def test_long_clip_and_recovered_noise_agree_with_the_release(both):
    G, G_M, w1, g = both
    out = G_M(w1, N(3, 2, 15, 512))
    close(out.eps_hat[:, :2], g['rand_rec'], 3.9e-7)
    close(G.synthesis(out.trajectory[:, [8, 15]].flatten(0, 1), no_noise(G)).unflatten(0, (2, 2)), g['nonoise'], 5.4e-6)

def test_gradient_of_the_encoder_through_the_generator_agrees_with_the_release(both):
    G, G_M, w1, g = both
    G_M.encoder.bias_ih.requires_grad_()
    G.synthesis(G_M(w1, N(3, 2, 15, 512)[:, :3]).trajectory.flatten(0, 1), no_noise(G)).square().mean().backward()
    close(G_M.encoder.bias_ih.grad, g['grad/enc_cell.bias_ih'], 6.2e-8)
    G_M.encoder.bias_ih.requires_grad_(False)

# --- round trips

SMALL = {'motion': lambda: MotionGenerator(24, small_basis(), hidden=10, n_pca=7, eps_dim=5, head_width=6), 'video': lambda: VideoDiscriminator(3, 4, n_layers=2),
         'video, three scales': lambda: VideoDiscriminator(6, 2, n_scales=3, n_layers=1), 'video without norm': lambda: VideoDiscriminator(6, 2, norm=None),
         'pair': lambda: PairImageDiscriminator(4), 'contrastive': lambda: contrastive(16, 2, 12, 8), 'contrastive 64': lambda: contrastive(64, 2, 5, 8)}

def small_basis(d=24):
    std = torch.linspace(2, .1, d)
    return LatentPCA(torch.linalg.qr(torch.randn(d, d))[0].T.contiguous(), std, torch.randn(d), std**2/(std**2).sum(), 'f', 5_000)

def read(name, path):
    if name == 'motion': return read_motion_generator(path, small_basis(), lambda_=.4)
    return read_video_discriminator(path) if name.startswith('video') else read_image_discriminator(path)

@pytest.mark.parametrize('name', SMALL)
@pytest.mark.parametrize('old', [False, True], ids=['zip', 'before torch 1.6'])
def test_round_trip(name, old, tmp_path):
    net = SMALL[name]()
    if isinstance(net, ContrastiveParts): # used: other vectors u and v, queue rows that are not of length 1, a pointer on its way
        net.discriminator(torch.randn(2, 3, *[net.discriminator.settings['resolution']]*2))
        for q in net.queues.values(): q.push(torch.randn(3, 8)); q.rows.mul_(3)
    path = tmp_path/'x.pth'
    write_release_file(net, path)
    if old: torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    ours, again = named(net), named(read(name, path))
    assert list(ours) == list(again)
    for k in ours: assert torch.equal(ours[k], again[k]) and ours[k].dtype == again[k].dtype, k
    write_release_file(read(name, path), tmp_path/'y.pth')
    first, second = (torch.load(p, weights_only=True) for p in (path, tmp_path/'y.pth'))
    assert list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)

def test_what_is_read_can_be_trained_on(tmp_path):
    net = contrastive(16, 2, 12, 8)
    write_release_file(net, tmp_path/'x.pth')
    d, slow, queues = read_image_discriminator(tmp_path/'x.pth')
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(d.eval()(x), net.discriminator.eval()(x))
    score, projection = d.train()(x)
    (score.sum() + projection.sum()).backward()
    assert d.blocks[0].conv1.weight_orig.grad.abs().sum() > 0 and slow.encoder.training and not any(p.requires_grad for p in slow.parameters())

def test_the_release_can_load_what_is_written(tmp_path):
    "Its loader is load_state_dict into a wrapper, with torch's note on spectral norm."
    net = contrastive(16, 2, 12, 8)
    write_release_file(net, tmp_path/'x.pth')
    state = torch.load(tmp_path/'x.pth', weights_only=True)
    assert state._metadata['module.modelD.blocks.0.0.conv1'] == {'version': 1, 'spectral_norm': {'weight.version': 1}}
    layer = nn.utils.spectral_norm(nn.Conv2d(3, 8, 3))
    part = 'module.modelD_ema.blocks.0.0.conv1'
    own = OrderedDict((k.removeprefix(part + '.'), v) for k, v in state.items() if k.startswith(part + '.'))
    own._metadata = {'': state._metadata[part]}
    layer.load_state_dict(own, strict=True)
    assert torch.equal(layer.weight_u, net.momentum.encoder.blocks[0].conv1.weight_u)

def test_a_wrapped_motion_generator_is_read_too(tmp_path):
    net = SMALL['motion']()
    torch.save({'module.' + k: v for k, v in named(net).items()}, tmp_path/'x.pth')
    assert torch.equal(read('motion', tmp_path/'x.pth').A, net.A) and read('motion', tmp_path/'x.pth').lambda_ == .4

def test_what_has_no_form_in_the_release(tmp_path):
    with pytest.raises(ValueError, match='without a PCA basis'): write_release_file(MotionGenerator(24, None, hidden=4), tmp_path/'x.pth')
    net = contrastive(16, 2, 12, 8)
    net.queues['later'].push(torch.randn(2, 8))
    with pytest.raises(ValueError, match=r'rows \[0, 2\]'): write_release_file(net, tmp_path/'x.pth')
    assert not list(tmp_path.iterdir())

# --- refusals

def broken(name, change, path):
    state = dict(named(SMALL[name]()))
    change(state)
    torch.save(state, path)
    return path

def put(k, v): return lambda s: s.__setitem__(k, v)

@pytest.mark.parametrize('name, change, message', [
    ('motion', lambda s: s.pop('fc2.bias'), r'missing fc2.bias \(5,\) float32'),
    ('motion', lambda s: s.pop('fc1.bias'), r'fc1.bias is missing'),
    ('motion', put('fc3.bias', torch.zeros(3)), r'unexpected fc3.bias'),
    ('motion', put('b', torch.zeros(8)), r'b is \(8,\) float32, expected \(7,\) float32'),
    ('motion', put('b', torch.zeros(7, dtype=torch.float64)), r'b is \(7,\) float64, expected \(7,\) float32'),
    ('motion', put('b', 'seven'), r'b is str, expected \(7,\) float32'),
    ('motion', put('w', torch.zeros(10, 30)), r'uses 30 directions, but the basis has 24'),
    ('motion', put('enc_cell.weight_ih', torch.zeros(40, 32)), r'codes of latent width 32, but the basis has latent width 24'),
    ('video', lambda s: s.pop('module.netD.scale1_layer0.0.bias'), r'looks like a video discriminator \(cross-domain.*missing netD.scale1_layer0.0.bias'),
    ('video', put('module.netD.scale0_layer1.1.weight', torch.ones(8)), r'unexpected netD.scale0_layer1.1.weight'),
    ('pair', put('module.netD.scale0_layer4.0.bias', torch.zeros(2)), r'looks like a pair image discriminator \(in-domain.*expected \(1,\)'),
    ('contrastive', lambda s: s.pop('module.q_real'), r'q_real is missing'),
    ('contrastive', put('module.q_ptr', torch.zeros(2, dtype=torch.int64)), r'q_ptr is \(2,\) int64, expected \(1,\) int64'),
    ('contrastive', put('module.modelD.blocks.7.0.conv1.bias', torch.ones(3)), r'its blocks are those of no resolution'),
    ('contrastive', lambda s: s.pop('module.modelD_ema.proj1.weight_u'), r'missing modelD_ema.proj1.weight_u'),
])
def test_a_file_is_read_whole_or_refused(name, change, message, tmp_path):
    path = broken(name, change, tmp_path/'bad.pth')
    with pytest.raises(ValueError, match=message) as e: read(name, path)
    assert 'bad.pth' in str(e.value)

@pytest.mark.parametrize('asked, given, message', [
    ('video', 'pair', r'is a pair image discriminator \(in-domain training, 6 channels\), expected a video discriminator'),
    ('video', 'contrastive', r'is a contrastive image discriminator \(cross-domain training, 16 px.*expected a video discriminator'),
    ('pair', 'video', r'is a video discriminator \(cross-domain training, 3 channels\), expected a pair image discriminator or a contrastive'),
    ('motion', 'video', r'expected a motion generator'), ('video', 'motion', r'is a motion generator'),
])
def test_the_wrong_file_is_named(asked, given, message, tmp_path):
    write_release_file(SMALL[given](), tmp_path/'x.pth')
    with pytest.raises(ValueError, match=message): read(asked, tmp_path/'x.pth')

class Malice:
    def __reduce__(self): return (open, ('pwned', 'w'))

def test_foreign_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='nowhere.pth'): read_state('nowhere.pth')
    (tmp_path/'evil.pth').write_bytes(pickle.dumps({'w': Malice()}, protocol=2)); torch.save({'w': Malice()}, 'evil2.pth')
    (tmp_path/'text.pth').write_text('hello'); (tmp_path/'empty.pth').touch()
    torch.save(torch.zeros(3), 'tensor.pth'); torch.save({'w': torch.zeros(2, 2)}, 'cut.pth')
    (tmp_path/'cut.pth').write_bytes((tmp_path/'cut.pth').read_bytes()[:-200])
    for name in ('evil.pth', 'evil2.pth', 'text.pth', 'empty.pth', 'tensor.pth', 'cut.pth'):
        with pytest.raises(ValueError, match=name): read_state(name)
    assert not (tmp_path/'pwned').exists()
    torch.save({'g_ema': {}, 'd': {}}, 'g.pt'); torch.save({}, 'none.pt'); torch.save({'step': 3}, 'ours.pt')
    with pytest.raises(ValueError, match=r"is an image generator's training file \(entry g_ema\), expected a video"): read_video_discriminator('g.pt')
    with pytest.raises(ValueError, match='holds nothing'): read_video_discriminator('none.pt')
    with pytest.raises(ValueError, match="holds 'step'"): read_video_discriminator('ours.pt')
    assert kind_of({}) is None and "weights" in describe({'style.1.weight': 0})

# --- the basis

def test_pca_round_trip(tmp_path):
    pca = small_basis()
    write_pca(pca, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {f'{k}.npy' for k in ('pca_comp', 'pca_stdev', 'pca_var_ratio', 'style_mean', 'style_var')}
    again = read_pca(tmp_path)
    for k in ('components', 'std', 'mean', 'variance_ratio'): assert torch.equal(getattr(pca, k), getattr(again, k))
    with pytest.raises(ValueError, match='keeps all 24 directions, this basis has 7'): write_pca(pca.first(7), tmp_path)

def test_written_statistics_are_those_of_the_codes(tmp_path):
    w = torch.randn(500, 6) @ torch.randn(6, 6) + 2
    class Codes:
        latent_dim, fingerprint = 6, 'table'
        def sample_latents(self, n, g): return w
    write_pca(fit_latent_pca(Codes(), 500, batch_size=500), tmp_path)
    for name, want in dict(style_mean=w.mean(0), style_var=w.var(0, correction=0)).items():
        np.testing.assert_allclose(np.load(tmp_path/f'{name}.npy'), want, rtol=1e-4, atol=1e-5)

def test_pca_with_two_files_and_doubles(tmp_path):
    pca = small_basis()
    write_pca(pca, tmp_path)
    for k in ('style_mean', 'style_var', 'pca_var_ratio'): (tmp_path/f'{k}.npy').unlink()
    np.save(tmp_path/'pca_stdev.npy', pca.std.double().numpy())
    with pytest.raises(FileNotFoundError, match='style_mean.npy'): read_pca(tmp_path)
    again = read_pca(tmp_path, mean=torch.ones(24))
    assert torch.equal(again.std, pca.std) and again.mean.eq(1).all()
    torch.testing.assert_close(again.variance_ratio, pca.variance_ratio)

@pytest.mark.parametrize('name, value, message', [
    ('pca_comp', np.array([{'a': 1}], dtype=object), 'pca_comp.npy cannot be read'),
    ('pca_comp', np.zeros(24, np.float32), r'pca_comp.npy is \(24,\)'),
    ('pca_comp', np.full((24, 24), np.nan, np.float32), 'finite'),
    ('pca_stdev', np.ones(12, np.float32), r'pca_stdev.npy is \(12,\), expected \(24,\)'),
    ('pca_stdev', np.arange(24, dtype=np.float32), 'not a falling list'),
    ('pca_stdev', np.ones(24, np.int64), 'expected finite floats'),
    ('style_mean', np.ones((1, 24), np.float32), r'style_mean.npy is \(1, 24\)'),
])
def test_bad_arrays(name, value, message, tmp_path):
    write_pca(small_basis(), tmp_path)
    np.save(tmp_path/f'{name}.npy', value, allow_pickle=True)
    with pytest.raises(ValueError, match=message): read_pca(tmp_path)

# --- the folder

def generator(d=24, n_mapping=2): return ImageGenerator(Generator(16, d, d, n_mapping, (8, 8, 8)))

def release_folder(folder, G_I=None):
    G_I = G_I or generator()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({'g_ema': G_I.network.state_dict(), 'latent_avg': torch.zeros(24)}, folder/'faces.pt')
    write_pca(fit_latent_pca(G_I, 3_000), folder/'pca_stats'/'faces')
    net = MotionGenerator(24, small_basis(), hidden=10, n_pca=7, head_width=6)
    for epoch in (9, 10, 2): write_release_file(net, folder/'run'/f'modelR_epoch_{epoch}.pth')
    write_release_file(VideoDiscriminator(6, 2), folder/'run'/'modelD_3d_epoch_9.pth')
    return folder, G_I, net

def test_a_folder_is_searched(tmp_path):
    folder, G_I, net = release_folder(tmp_path/'r')
    release = load_release(folder)
    assert release.files.epoch == 10 and release.files.motion.name == 'modelR_epoch_10.pth' and release.files.video_discriminator is None
    assert release.image_generator.fingerprint == G_I.fingerprint and torch.equal(release.motion_generator.A, net.A)
    nine = find_release(folder, epoch=9)
    assert (nine.epoch, nine.video_discriminator.name, nine.image_discriminator) == (9, 'modelD_3d_epoch_9.pth', None)
    assert find_release(folder, motion=folder/'run/modelR_epoch_2.pth').epoch == 2
    assert load_release(folder, lambda_=.5).motion_generator.lambda_ == .5

def test_latest_serves_where_no_epoch_is_numbered(tmp_path):
    folder, *_ = release_folder(tmp_path/'r')
    (folder/'run/modelR_epoch_9.pth').rename(folder/'run/modelR_latest.pth')
    for e in (10, 2): (folder/f'run/modelR_epoch_{e}.pth').unlink()
    files = find_release(folder)
    assert files.motion.name == 'modelR_latest.pth' and files.epoch is None
    with pytest.raises(FileNotFoundError, match='no modelR_epoch_3.pth'): find_release(folder, epoch=3)

@pytest.mark.parametrize('gone, message', [('faces.pt', r'no image generator \(\*\.pt\)'), ('pca_stats/faces/pca_comp.npy', 'no pca_comp.npy'),
                                           ('run', 'no modelR_epoch_N.pth'), ('.', 'there is no folder'), ('pca_stats/faces/pca_stdev.npy', 'pca_stdev.npy')])
def test_what_is_missing_is_said(gone, message, tmp_path):
    folder, *_ = release_folder(tmp_path/'r')
    (folder/gone).rename(tmp_path/'gone')
    with pytest.raises(FileNotFoundError, match=message): load_release(folder)

def test_too_much_is_said(tmp_path):
    folder, *_ = release_folder(tmp_path/'r')
    torch.save({}, folder/'another.pt')
    with pytest.raises(ValueError, match='another.pt, faces.pt; name the one that is meant'): load_release(folder)
    assert load_release(folder, image_generator=folder/'faces.pt').files.image_generator.name == 'faces.pt'
    write_release_file(SMALL['motion'](), folder/'second/modelR_epoch_10.pth')
    with pytest.raises(ValueError, match='2 of modelR_epoch_10.pth'): find_release(folder, image_generator=folder/'faces.pt')
    with pytest.raises(FileNotFoundError, match='its epochs are 2, 9, 10'): find_release(folder, epoch=4, image_generator=folder/'faces.pt')

def test_a_whole_run_in_the_releases_form(tmp_path):
    G_I = generator()
    pca = fit_latent_pca(G_I, 3_000)
    nets = MotionGenerator(24, pca, hidden=10, n_pca=7), VideoDiscriminator(3, 2), contrastive(16, 2, 12, 8)
    write_release(tmp_path, G_I, pca, nets[0], 5, *nets[1:])
    release = load_release(tmp_path)
    assert release.image_generator.fingerprint == G_I.fingerprint and torch.equal(release.motion_generator.components, pca.components[:7])
    assert release.files[3:] == (5, tmp_path/'modelD_3d_epoch_5.pth', tmp_path/'modelD_img_epoch_5.pth')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['SHA256SUMS', 'image_generator.pt', 'modelD_3d_epoch_5.pth', 'modelD_img_epoch_5.pth', 'modelR_epoch_5.pth', 'pca_stats']
    with pytest.raises(ValueError, match='StyleGAN2 only'): write_release(tmp_path, ImageGenerator(Odd()), pca, nets[0])

def test_a_generator_with_another_learning_rate_of_its_mapping(tmp_path):
    "The layout has no place for it: what is written must be rescaled, or all codes are others."
    G_I = ImageGenerator(Generator(16, 24, 24, 2, (8, 8, 8), lr_multiplier=.1))
    pca = fit_latent_pca(G_I, 3_000)
    write_release(tmp_path, G_I, pca, MotionGenerator(24, pca, hidden=10, n_pca=7))
    again = load_release(tmp_path).image_generator
    torch.testing.assert_close(again.sample_latents(5, 0), G_I.sample_latents(5, 0))

class Odd(nn.Module):
    w_dim, resolution = 24, 16

def test_strangers_are_refused(tmp_path):
    folder, G_I, _ = release_folder(tmp_path/'r')
    other, _, _ = release_folder(tmp_path/'other', generator(n_mapping=4))
    with pytest.raises(ValueError, match='was not measured on'): load_release(folder, pca=other/'pca_stats/faces')
    assert load_release(folder, pca=other/'pca_stats/faces', any_basis=True).motion_generator.latent_dim == 24
    assert basis_fit(read_pca(folder/'pca_stats/faces'), G_I) < 1.2
    write_pca(small_basis(32), tmp_path/'wide')
    with pytest.raises(ValueError, match='basis of latent width 32, but .* has latent width 24'): load_release(folder, pca=tmp_path/'wide')
