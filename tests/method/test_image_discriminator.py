import math
import re

import pytest
import torch
from torch import nn

from goldens import U, close, contrastive_agrees, filled, golden, patch_key
from mocogan_hd.method.image_discriminator import ContrastiveImageDiscriminator, MemoryQueue, MomentumEncoder, PairImageDiscriminator

@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield

def release_key(prefix):
    names = {'shared': 'proj0', 'project1': 'proj1', 'project2': 'proj2', 'score': 'linear'}
    def key(k):
        k = re.sub(r'^blocks\.(\d+)', r'blocks.\1.0', k)
        first, rest = k.split('.', 1)
        return f'{prefix}.{names.get(first, first)}.{rest}'
    return key

@pytest.mark.parametrize('resolution, errors', [
    (32, dict(train_logit_a=8.3e-7, train_proj_a=3e-6, train_logit_b=3.3e-6, train_proj_b=1.3e-6, u_conv1=6.1e-8, u_proj0=5.3e-8,
              eval_logit_a=8.1e-7, eval_proj_a=1.6e-6, ema_proj_a=2.4e-6, ema_proj_a_after_update=1.5e-6)),
])
def test_contrastive_agrees_with_the_release(monkeypatch, resolution, errors):
    monkeypatch.setattr(nn.init, 'orthogonal_', lambda w: w) # everything is filled below
    d = filled(ContrastiveImageDiscriminator(resolution), release_key('modelD'))
    slow = MomentumEncoder(d, copy_buffers=False)
    filled(slow.encoder, release_key('modelD_ema'))
    contrastive_agrees(d, slow, resolution, errors)

def test_pair_agrees_with_the_release():
    g, d, x = golden('dimg_in'), filled(PairImageDiscriminator(), patch_key()), U(45, 3, 6, 64, 64)
    fresh = {k: v.clone() for k, v in d.state_dict().items()}
    features = []
    hooks = [layer.register_forward_hook(lambda m, i, o: features.append(o)) for s in d.scales for layer in s.layers]
    with torch.no_grad():
        maps = d(x[:, :3], x[:, 3:])
        for h in hooks: h.remove()
        for i in (0, 1): close(maps[i][:, None], g[f'logit{i}'], 1e-5)
        close(torch.stack([torch.stack([f.mean(), f.std()]) for f in features]), g['feat_mean_std'], 1.6e-7)
        d.load_state_dict(fresh); d.eval()
        maps = d(x[:, :3], x[:, 3:])
        close(maps[0][:, None], g['eval_logit0'], 6.6e-6)
        close(maps[1][:, None], g['eval_logit1'], 2.5e-6)

def test_queue_order_agrees_with_the_release():
    "Batch number k is stored as a direction; the ring must hold what the release's bank holds."
    g = golden('losses')
    b, length, used = g['contrastive_dims'].int().tolist()
    queue = MemoryQueue(torch.Generator(), length, 2)
    for k in range(1, used // b + 2): queue.push(torch.tensor([[math.cos(k / 20), math.sin(k / 20)]]).repeat(b, 1))
    held = torch.atan2(queue.rows[:, 1], queue.rows[:, 0]) * 20
    close(held.round(), g['bank_real_col0'], 0)
    assert queue.pointer == g['bank_ptr']

@pytest.mark.parametrize('sizes', [(3, 4), (7,), (20,), (5, 13, 1), (1,) * 9])
def test_queue_keeps_the_latest_rows(sizes):
    queue, count = MemoryQueue(torch.Generator().manual_seed(0), 7, 2), 0
    for n in sizes:
        k = torch.arange(count, count + n); count += n
        queue.push(torch.stack([torch.cos(k / 20), torch.sin(k / 20)], dim=1) * 3)
    held = (torch.atan2(queue.rows[:, 1], queue.rows[:, 0]) * 20).round().long()
    expected = {k % 7: k for k in range(count)}
    assert all(held[slot] == k for slot, k in expected.items()) and queue.pointer == count % 7
    torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(7))

def test_queue_is_saved_and_does_not_break_a_graph():
    queue = MemoryQueue(torch.Generator().manual_seed(0), 8, 4)
    x = torch.randn(2, 4, requires_grad=True)
    loss = (x @ queue.rows.T).square().sum()
    queue.push(x)
    loss.backward()
    other = MemoryQueue(torch.Generator().manual_seed(1), 8, 4)
    other.load_state_dict(queue.state_dict())
    assert other.rows.equal(queue.rows) and other.pointer == 2

@pytest.mark.parametrize('resolution', [16, 32, 64, 128, 256])
def test_resolutions(resolution):
    d = ContrastiveImageDiscriminator(resolution, width=2, feature_dim=8)
    score, projection = d(torch.randn(2, 3, resolution, resolution))
    assert score.shape == (2, 1) and projection.shape == (2, 8)
    assert d.settings == dict(resolution=resolution, width=2, feature_dim=8)

@pytest.mark.parametrize('resolution', [0, 8, 33, 48, 512])
def test_bad_resolution(resolution):
    with pytest.raises(ValueError, match=str(resolution)): ContrastiveImageDiscriminator(resolution)

def test_full_width_layout():
    "One copy has the release's parameters, the entries of its state dict, and its shapes."
    with torch.device('meta'): d = ContrastiveImageDiscriminator(128)
    assert sum(p.numel() for p in d.parameters()) == 86_958_625
    assert 2 * len(d.state_dict()) + 3 == 171
    assert d.state_dict()['blocks.4.conv2.weight_v'].shape == (13824,)

def test_twice_differentiable_in_double_precision():
    d = ContrastiveImageDiscriminator(16, width=2, feature_dim=32).double()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    score, projection = d(x)
    grad, = torch.autograd.grad(score.sum() + projection.sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert d.shared.weight_orig.grad.abs().sum() > 0 and score.dtype == torch.float64

def test_momentum_encoder_follows_a_used_network():
    d = ContrastiveImageDiscriminator(16, width=2).double()
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    for _ in range(3): d(x)
    slow = MomentumEncoder(d)
    assert not any(p.requires_grad for p in slow.parameters()) and not slow.train().encoder.training
    torch.testing.assert_close(slow(x), d.eval()(x)[1])
    before = {k: v.clone() for k, v in slow.encoder.named_buffers()}
    slow(x)
    assert all(v.equal(before[k]) for k, v in slow.encoder.named_buffers()) # evaluation: no power iteration
    d.train()(x)
    slow.update(d)
    assert all(a.equal(b) for a, b in zip(slow.encoder.buffers(), d.buffers()))

def test_momentum_encoder_as_the_release_leaves_buffers_behind():
    d = ContrastiveImageDiscriminator(16, width=2)
    slow = MomentumEncoder(d, copy_buffers=False)
    assert slow.encoder.training
    u = slow.encoder.shared.weight_u.clone()
    d(torch.randn(2, 3, 16, 16)); slow.update(d)
    assert slow.encoder.shared.weight_u.equal(u) and not d.shared.weight_u.equal(u)

def test_pair_bad_input():
    with pytest.raises(ValueError, match='expected 6 channels'): PairImageDiscriminator(width=2)(torch.rand(1, 1, 32, 32), torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match='8 x 8'): PairImageDiscriminator(width=2)(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
