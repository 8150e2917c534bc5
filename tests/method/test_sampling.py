"Sampling: what a seed means, memory, and where it must refuse. The image generator is a small linear stand-in."
import pytest, torch
from mocogan_hd.core.basics import seeded
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator
from mocogan_hd.method.sampling import (clip_batches, content_motion_grid, edit, first_codes, interpolate_contents, interpolate_frames, motion_noise, same_content,
                                 sample_clips, spatial_noise, static_clips, synthesize_clips)

class Linear:
    "The face of an image generator: 4 x 4 pictures, linear in w, plus one noise map."
    latent_dim, resolution, fingerprint = 6, 4, 'linear'
    def __init__(self):
        self.weight, self.largest = torch.randn(6, 48, generator=seeded(0)), 0
    def sample_latents(self, n, generator): return torch.randn(n, 6, generator=seeded(generator)) * torch.linspace(2, .5, 6) + 1
    def sample_noise(self, n, generator): return [torch.randn(n, 1, 4, 4, generator=seeded(generator))]
    def truncate(self, w, psi): return 1 + psi * (w - 1)
    def synthesize(self, w, noise=None):
        frames = w.shape[:-1].numel()
        self.largest = max(self.largest, frames)
        images = (w @ self.weight).reshape(-1, 3, 4, 4)
        if noise: images = images + noise[0].repeat_interleave(frames // len(noise[0]), 0)
        return images.reshape(*w.shape[:-1], 3, 4, 4)

@pytest.fixture(scope='module')
def models():
    g = Linear()
    pca = fit_latent_pca(g, 500)
    return g, MotionGenerator(6, pca, hidden=8, n_pca=4, a_std=.5, head_width=8, generator=seeded(1)), pca

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

def test_grids(models):
    g, m, _ = models
    grid, many, clips = content_motion_grid(g, m, 3, 2, 5, 0), same_content(g, m, 3, 2, 5, 0), sample_clips(g, m, 3, 5, 0)
    assert grid.shape == many.shape == (3, 2, 5, 3, 4, 4)
    close(grid[1, 1], clips[1]); close(many[0, 0], clips[0])
    close(grid[:, 0, 0], grid[:, 1, 0]); close(many[:, 0, 0], clips[:, 0])
    trajectory = m(first_codes(g, [2], 0), motion_noise(m, [5], 5, 0)).trajectory.detach()
    close(many[2, 1], synthesize_clips(g, trajectory, spatial_noise(g, [2], 0))[0])
    motions = (many - many[:, :, :1]).flatten(2).flatten(0, 1)
    assert torch.pdist(motions).min() > 1e-3

def test_between_contents(models):
    g, m, _ = models
    line = interpolate_contents(g, m, 5, 4, 0, contents=(2, 0), motion=1)
    pair = [synthesize_clips(g, m(first_codes(g, [i], 0), motion_noise(m, [1], 4, 0)).trajectory.detach())[0] for i in (2, 0)]
    close(line[0], pair[0]); close(line[-1], pair[1])
    close(line[2, 0], (pair[0][0] + pair[1][0]) / 2)

def test_editing_leaves_the_motion(models):
    g, m, pca = models
    edited, plain = edit(g, m, pca, 1, [0., 2.], 5, 0), sample_clips(g, m, 1, 5, 0)[0]
    close(edited[0], plain)
    close(edited.diff(dim=1)[1], plain.diff(dim=0))
    close(edited[1, 3] - plain[3], (2 * pca.std[1] * pca.components[1] @ g.weight).reshape(3, 4, 4))

@pytest.mark.parametrize('make, message', [
    (lambda g, m, p: sample_clips(g, m, 0, 4, 0), 'n = 0'),
    (lambda g, m, p: sample_clips(g, m, 2, 0, 0), 'n_frames = 0'),
    (lambda g, m, p: static_clips(g, 2, 0, 0), 'n_frames = 0'),
    (lambda g, m, p: sample_clips(g, m, 2, 4, 0, batch_size=0), 'batch_size = 0'),
    (lambda g, m, p: sample_clips(g, m, 2, 4, 0, truncation=1.5), 'truncation = 1.5'),
    (lambda g, m, p: content_motion_grid(g, m, 2, 0, 4, 0), '2 contents x 0 motions'),
    (lambda g, m, p: same_content(g, m, 0, 2, 4, 0), '0 contents x 2 motions'),
    (lambda g, m, p: interpolate_contents(g, m, 1, 4, 0), 'n_steps = 1'),
    (lambda g, m, p: edit(g, m, p, 6, [1.], 4, 0), 'component 6, 0 to 5'),
    (lambda g, m, p: edit(g, m, p, 0, [], 4, 0), 'no amounts'),
    (lambda g, m, p: sample_clips(g, MotionGenerator(9, None), 2, 4, 0), r'expected \(B, 9\)'),
])
def test_refusals(models, make, message):
    with pytest.raises(ValueError, match=message): make(*models)
