"Augmentation: DiffAugment, and the views of the contrastive image discriminator."
import math
import pytest, torch
from goldens import U, close, golden
from mocogan_hd.core.basics import seeded
from mocogan_hd.core.processes import Shard
from mocogan_hd.method.augmentation import AUGMENTATIONS, affine, augment, cut, cutout_boxes, random_views

# --- DiffAugment

@pytest.mark.parametrize('policy', [*[(k,) for k in AUGMENTATIONS], tuple(AUGMENTATIONS)])
def test_augmentations_are_seeded_shaped_and_differentiable(policy):
    x = torch.rand(6, 3, 16, 16, generator=seeded(0)).requires_grad_()
    y = augment(x, policy, 3)
    assert y.shape == x.shape and torch.equal(y, augment(x, policy, 3)) and not torch.equal(y, augment(x, policy, 4))
    y.square().sum().backward()
    assert torch.isfinite(x.grad).all() and (x.grad.abs().amax((1, 2, 3)) > 0).all()
    assert not torch.equal(y[0] - x[0], y[1] - x[1]) # each picture its own

def test_augmentations_do_what_they_say():
    x = torch.ones(400, 3, 16, 16)
    holes = (augment(x, ('cutout',), 0) == 0)
    assert (holes[:, 0] == holes[:, 2]).all() and .1 < holes.float().mean() < .25 and holes[:, 0].flatten(1).sum(1).max() <= 64
    shown = augment(x, ('translation',), 0)[:, 0]
    assert (shown.amin((0,))[2:-2, 2:-2] == 1).all() and (shown.flatten(1).mean(1) < 1).any() and (shown.flatten(1).mean(1) >= (14/16)**2).all()
    coloured = augment(torch.zeros(400, 3, 4, 4), ('colour',), 0)
    assert coloured.abs().max() <= .5 and coloured.mean().abs() < .05 # a grey picture can only change its brightness

@pytest.mark.parametrize('make', [lambda x, shard: augment(x, tuple(AUGMENTATIONS), 3, shard), lambda x, shard: random_views(x, seeded(3), shard)])
def test_the_parts_of_a_batch_are_those_of_the_whole(make):
    x = torch.rand(6, 3, 16, 16, generator=seeded(0))
    torch.testing.assert_close(torch.cat([make(Shard(i, 3).take(x), Shard(i, 3)) for i in range(3)]),
                               torch.cat([Shard(i, 3).take(make(x, Shard())) for i in range(3)]))

# --- views

def test_affine_agrees_with_the_release():
    g = golden('augment')
    angle, tx, ty, scale = g['affine_params'].float()[:, None]
    close(affine(U(90, 3, 24, 24)[None], angle, tx, ty, scale)[0], g['affine_out'], 4.8e-6) # the array is float32: so far is it from the same map in float64

def test_cutout_agrees_with_the_release():
    ratio, side, u1, u2, *expected = golden('augment')['cutout'].T
    boxes = cutout_boxes((24, 24), ratio, side, u1, u2)
    assert boxes.tolist() == torch.stack(expected).tolist()
    images = cut(torch.ones(len(side), 3, 24, 24), boxes)
    for image, (y, x, h, w) in zip(images, boxes.T.int().tolist()):
        assert (image == 0).sum() == 3 * h * w and (image[:, y:y + h, x:x + w] == 0).all()

def test_cutouts_are_small_squares_near_a_border():
    size = 32
    views = random_views(torch.ones(200, 3, size, size), torch.Generator().manual_seed(0), colour=0, angle=0, shift=0, scale=0)
    for hole in (views < 0.5).all(1):
        y, x = hole.any(1).nonzero()[:, 0], hole.any(0).nonzero()[:, 0]
        top, bottom, left, right = y.min(), y.max(), x.min(), x.max()
        assert hole.sum() == len(y) * len(x) and len(y) == len(x) and 3 <= len(y) <= size // 4
        assert min(bottom, right) <= size // 4 or max(top, left) >= size * 3 // 4 - 1 # up to rounding

def test_kinds_of_views_and_their_shares():
    n = 1200
    images = torch.linspace(0.2, 0.8, 16).expand(n, 3, 16, 16) # rises from left to right
    views = random_views(images, torch.Generator().manual_seed(0), cutout=0, angle=0, shift=0, scale=0, colour=2)
    same = lambda a, b: (a - b).abs().amax((2, 3)) < 1e-4 # (n, 3): channels that agree
    plain, flipped = same(views, images).all(1), same(views, images.flip(3)).all(1)
    tinted = ~(plain | flipped)
    one_channel = tinted & (same(views, images).sum(1) == 2)
    for share, expected in ((plain, 1 / 2), (flipped, 1 / 6), (tinted, 1 / 3), (one_channel, 1 / 6)):
        assert abs(share.float().mean() - expected) < 0.04

def test_flip_and_rotation_by_affine_maps():
    x, zero, one = torch.rand(1, 3, 8, 8), torch.zeros(1), torch.ones(1)
    torch.testing.assert_close(affine(x, zero, zero, zero, one), x)
    torch.testing.assert_close(affine(x, torch.tensor([math.pi]), zero, zero, one), x.flip(2, 3), atol=1e-5, rtol=0)
    shifted = affine(x, zero, torch.tensor([0.25]), zero, one) # a quarter of half the width: one pixel of eight
    torch.testing.assert_close(shifted[..., :-1], x[..., 1:], atol=1e-5, rtol=0)

def test_views_of_other_shapes_and_precision():
    g = torch.Generator().manual_seed(0)
    assert random_views(torch.rand(3, 3, 16, 24, dtype=torch.float64), g).dtype == torch.float64
    assert random_views(torch.rand(1, 3, 8, 8), g, cutout=0, colour=0, angle=0, shift=0, scale=0).shape == (1, 3, 8, 8)

def test_unknown_ranges_are_refused():
    with pytest.raises(TypeError, match='flip'): random_views(torch.zeros(1, 3, 8, 8), seeded(0), flip=1)
