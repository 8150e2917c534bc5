import pytest
import torch

from goldens import U, close, filled, golden, patch_key
from mocogan_hd.method.video_discriminator import PatchGAN, VideoDiscriminator, condition_on_first

@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield

def build(channels): return filled(VideoDiscriminator(channels), patch_key())

@pytest.fixture(scope='module')
def networks(): return {c: build(c) for c in (3, 6)}

def clip_input(n, *shape): return U(n, *shape).transpose(1, 2) # the golden inputs have channels first

@pytest.mark.parametrize('case, channels, frames, seed, errors', [
    ('d3d_in', 6, 15, 40, (1.5e-5, 1e-5, 5.9e-8, 3.4e-8, 1.5e-7, 8.4e-6, 4.3e-6)),
    ('d3d_cross', 3, 16, 41, (2.2e-5, 1.4e-5, 1.4e-7, 1.2e-8, 1.4e-7, 8e-6, 2.8e-6)),
])
def test_agrees_with_the_release(networks, case, channels, frames, seed, errors):
    g, d, x = golden(case), networks[channels], clip_input(seed, 2, channels, frames, 64, 64)
    fresh = {k: v.clone() for k, v in d.state_dict().items() if 'running' in k or 'tracked' in k}
    d.train()
    features, hooks = [], []
    for scale in d.scales:
        hooks += [layer.register_forward_hook(lambda m, i, o: features.append(o)) for layer in scale.layers]
    with torch.no_grad():
        maps = d(x)
        for h in hooks: h.remove()
        for i in (0, 1): close(maps[i][:, None], g[f'logit{i}'], errors[i])
        assert [list(f.shape) for f in features] == g['shapes'].int().tolist()
        close(torch.stack([torch.stack([f.mean(), f.std()]) for f in features]), g['feat_mean_std'], errors[2])
        close(d.scales[0].layers[1][1].running_mean, g['rm'], errors[3])
        close(d.scales[0].layers[1][1].running_var, g['rv'], errors[4])
        d.load_state_dict(fresh, strict=False); d.eval()
        maps = d(x)
        for i in (0, 1): close(maps[i][:, None], g[f'eval_logit{i}'], errors[5 + i])
    d.train()

def test_long_clips_pool_time(networks):
    g, d = golden('d3d_long'), networks[3]
    with torch.no_grad(): maps = d(clip_input(44, 1, 3, 20, 32, 32))
    close(maps[0][:, None], g['logit0'], 1.2e-5)
    close(maps[1][:, None], g['logit1'], 7.4e-6)

def test_train_mode_does_not_use_running_statistics():
    d, x = VideoDiscriminator(width=4, n_layers=1), torch.randn(1, 4, 3, 16, 16)
    first = d(x)[0]
    for m in d.modules():
        if hasattr(m, 'running_mean'): m.running_mean.add_(5)
    torch.testing.assert_close(d(x)[0], first, rtol=0, atol=0)
    assert not torch.allclose(d.eval()(x)[0], first)

@pytest.mark.parametrize('size, n_layers, n_scales, ok', [
    (16, 3, 2, True), (15, 3, 2, False), (8, 3, 1, True), (8, 2, 2, True), (7, 2, 2, False), (16, 3, 3, False),
])
def test_space_limits(size, n_layers, n_scales, ok):
    d, x = VideoDiscriminator(width=2, n_layers=n_layers, n_scales=n_scales), torch.randn(1, 4, 3, size, 20)
    if ok: assert len(d(x)) == n_scales
    else:
        with pytest.raises(ValueError, match=f'{size} x 20 pixels are too few'): d(x)

def test_other_bad_inputs():
    d = VideoDiscriminator(width=2)
    with pytest.raises(ValueError, match='of 2 frames are too short'): d(torch.randn(1, 2, 3, 32, 32))
    with pytest.raises(ValueError, match='at least 2'): condition_on_first(torch.randn(1, 1, 3, 32, 32))
    with pytest.raises(ValueError, match='expected 3 channels'): d(torch.randn(1, 4, 6, 32, 32))
    with pytest.raises(ValueError, match=r'\(B, T, C, H, W\)'): d(torch.randn(4, 3, 32, 32))
    with pytest.raises(ValueError, match='batch'): PatchGAN(3, norm='batch')

def test_narrow_networks_start_with_the_signal_of_the_published_width():
    torch.manual_seed(0)
    x = torch.rand(2, 16, 3, 32, 32)*2 - 1
    heard = {w: min(m.std().item() for m in VideoDiscriminator(3, w, norm=None)(x)) for w in (8, 64)}
    assert heard[8] > heard[64] > .01
    for w in (4, 8, 64): assert VideoDiscriminator(3, w).scales[1].layers[2][0].weight.std().item() == pytest.approx(.02*(64/w)**.5, rel=.05)

def test_three_frames_three_scales_and_double_precision():
    d = VideoDiscriminator(width=2, n_scales=3, n_layers=1, norm=None).double()
    maps = d(torch.randn(1, 3, 3, 32, 32, dtype=torch.float64))
    assert [m.dtype for m in maps] == [torch.float64] * 3
    assert maps[0].shape == (1, 4, 19, 19)

def test_time_is_pooled_at_every_scale_of_a_long_clip():
    d = VideoDiscriminator(width=2, n_scales=3, n_layers=1)
    assert [m.shape[1] for m in d(torch.randn(1, 32, 3, 16, 16))] == [19, 11, 7]

def test_gradients_reach_every_frame_twice():
    d, x = VideoDiscriminator(width=2, n_layers=2), torch.randn(1, 4, 3, 16, 16, requires_grad=True)
    grad, = torch.autograd.grad(sum(m.sum() for m in d(x)), x, create_graph=True)
    assert (grad.flatten(2).norm(dim=2) > 0).all()
    grad.square().sum().backward()
    assert d.scales[1].layers[0][0].weight.grad.abs().sum() > 0
