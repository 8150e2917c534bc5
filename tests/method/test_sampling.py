"Sampling: what a seed means, memory, and where it must refuse. The image generator is a small linear stand-in."
import pytest, torch
from stand_ins import linear_models
from mocogan_hd.core.basics import seeded
from mocogan_hd.method.motion_generator import MotionGenerator
from mocogan_hd.method.sampling import (Sampling, clip_batches, first_codes, interpolate_frames, motion_noise,
                                        sample_clips, spatial_noise, static_clips, synthesize_clips)

@pytest.fixture(scope='module')
def models(): return linear_models()

close = lambda a, b: torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)

def test_a_clip_is_its_seed_and_numbers(models):
    g, m, _ = models
    seven = sample_clips(g, m, 7, 10, seed=3)
    assert seven.shape == (7, 10, 3, 4, 4) and seven.dtype == torch.float32 and not seven.requires_grad
    close(sample_clips(g, m, 3, 10, seed=3), seven[:3])
    for batch_size in (1, 4, 10, 25, 1000): close(sample_clips(g, m, 7, 10, seed=3, batch_size=batch_size), seven)
    close(sample_clips(g, m, 2, 4, seed=3)[0, 0], seven[0, 0])
    assert (sample_clips(g, m, 7, 10, seed=4) - seven).abs().amax((1, 2, 3, 4)).min() > .1
    assert len({float(c.sum()) for c in seven}) == 7

def test_global_randomness_is_neither_used_nor_moved(models):
    g, m, _ = models
    torch.manual_seed(0); a = sample_clips(g, m, 2, 5, seed=3); state = torch.get_rng_state()
    torch.manual_seed(0); assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9); assert torch.equal(sample_clips(g, m, 2, 5, seed=3), a)

@pytest.mark.parametrize('n, T, batch_size', [(5, 3, 7), (2, 50, 8), (1, 1, 1), (9, 4, 4)])
def test_memory_is_bounded(models, n, T, batch_size):
    g, m, _ = models
    g.largest = 0
    sample_clips(g, m, n, T, seed=0, batch_size=batch_size)
    assert g.largest <= batch_size
    assert sum(map(len, clip_batches(g, m, [(i, 0) for i in range(n)], T, 0, batch_size=batch_size))) == n

def test_static_clips_show_the_same_contents(models):
    g, m, _ = models
    still, clips = static_clips(g, 4, 6, seed=5), sample_clips(g, m, 4, 6, seed=5)
    close(still[:, 0], clips[:, 0])
    assert not still.diff(dim=1).any() and clips.diff(dim=1).abs().amax((1, 2, 3, 4)).min() > 1e-3
    close(static_clips(g, 4, 6, seed=5, truncation=.5)[:, 0], sample_clips(g, m, 4, 6, seed=5, truncation=.5)[:, 0])
    still[0, 0] = 0; assert still[0, 1].any()

def test_noise_is_shared_by_the_frames_of_a_clip_alone(models):
    g, m, _ = models
    fresh, stored = sample_clips(g, m, 3, 5, seed=0), sample_clips(g, m, 3, 5, seed=0, fresh_noise=False)
    added = (fresh - stored)
    close(added, added[:, :1, :1].expand_as(added))
    assert (added[0] - added[1]).abs().max() > .1

def test_truncation_acts_after_the_motion(models):
    g, m, _ = models
    trajectory = m(first_codes(g, range(2), 0), motion_noise(m, range(2), 5, 0)).trajectory.detach()
    close(sample_clips(g, m, 2, 5, 0, truncation=.3), synthesize_clips(g, 1 + .3*(trajectory - 1), spatial_noise(g, range(2), 0)))
    frozen = sample_clips(g, m, 2, 5, 0, truncation=0., fresh_noise=False)
    close(frozen, frozen[:1, :1].expand_as(frozen))

def test_frame_interpolation(models):
    g, m, _ = models
    x = torch.randn(2, 5, 6, generator=seeded(0))
    y = interpolate_frames(x)
    assert y.shape == (2, 9, 6) and torch.equal(y[:, ::2], x)
    close(y[:, 1::2], (x[:, 1:] + x[:, :-1]) / 2)
    assert torch.equal(interpolate_frames(x[:, :1]), x[:, :1])
    assert sample_clips(g, m, 2, 8, 0, interpolate=True, batch_size=4).shape[1] == 15

@pytest.mark.parametrize('make, message', [
    (lambda g, m, p: sample_clips(g, m, 0, 4, 0), 'n = 0'),
    (lambda g, m, p: sample_clips(g, m, 2, 0, 0), 'n_frames = 0'),
    (lambda g, m, p: static_clips(g, 2, 0, 0), 'n_frames = 0'),
    (lambda g, m, p: next(clip_batches(g, m, [(0, 0)], -1, 0)), 'n_frames = -1'),
    (lambda g, m, p: Sampling(0, 0), 'n_frames = 0'),
    (lambda g, m, p: sample_clips(g, m, 2, 4, 0, batch_size=0), 'batch_size = 0'),
    (lambda g, m, p: sample_clips(g, m, 2, 4, 0, truncation=1.5), 'truncation = 1.5'),
    (lambda g, m, p: sample_clips(g, MotionGenerator(9, None), 2, 4, 0), r'expected \(B, 9\)'),
])
def test_refusals(models, make, message):
    with pytest.raises(ValueError, match=message): make(*models)
