"Steering clips: grids of content and motion, clips between contents, edited clips."
import pytest, torch
from stand_ins import linear_models
from mocogan_hd.apps.steering import content_motion_grid, edit, interpolate_contents, same_content
from mocogan_hd.method.sampling import (first_codes, interpolate_frames, motion_noise, sample_clips, spatial_noise,
                                        synthesize_clips)

@pytest.fixture(scope='module')
def models(): return linear_models()

close = lambda a, b: torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)

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

def test_settings_of_sampling_apply(models):
    g, m, pca = models
    options = dict(n_frames=5, seed=0, truncation=.5, interpolate=True, fresh_noise=False)
    want = sample_clips(g, m, 2, **options)
    close(content_motion_grid(g, m, 2, 2, **options)[1, 1], want[1]); close(same_content(g, m, 1, 1, **options)[0, 0], want[0])
    close(interpolate_contents(g, m, 2, **options)[0], want[0]); close(edit(g, m, pca, 0, [0.], content=1, **options)[0], want[1])

@pytest.mark.parametrize('make, message', [
    (lambda g, m, p: content_motion_grid(g, m, 2, 0, 4, 0), '2 contents x 0 motions'),
    (lambda g, m, p: same_content(g, m, 0, 2, 4, 0), '0 contents x 2 motions'),
    (lambda g, m, p: interpolate_contents(g, m, 1, 4, 0), 'n_steps = 1'),
    (lambda g, m, p: edit(g, m, p, 6, [1.], 4, 0), 'component 6, 0 to 5'),
    (lambda g, m, p: edit(g, m, p, 0, [], 4, 0), 'no amounts'),
    (lambda g, m, p: content_motion_grid(g, m, 2, 2, 0, 0), 'n_frames = 0'),
    (lambda g, m, p: edit(g, m, p, 0, [1.], 4, 0, truncation=2.), 'truncation = 2.0'),
])
def test_refusals(models, make, message):
    with pytest.raises(ValueError, match=message): make(*models)
