"Trajectories as objects, streams, fitted images and clips, factors over time."
import math
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from stand_ins import linear_models
from mocogan_hd.apps.steering import Trajectory, start
from mocogan_hd.apps.trajectories import (errors_ahead, factors_over_time, moves_in_chunks, nearest_starts, open_image,
                                          plot_factors, price_of_pull, save_stream)
from mocogan_hd.apps.video_generator import VideoGenerator
from mocogan_hd.core.basics import seeded
from mocogan_hd.data.video_data import VideoFolder
from mocogan_hd.evaluation.feature_networks import FactorRegressor
from mocogan_hd.method.frozen_generator import ImageGenerator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator
from mocogan_hd.method.sampling import first_codes, motion_noise, sample_clips
from mocogan_hd.method.stylegan2 import Generator
from mocogan_hd.method.toy_faces import IDENTITY, MOTION

D = 32
close = lambda a, b: torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)

@pytest.fixture(scope='module')
def models(): return linear_models()

@pytest.fixture
def two(models): return start(*models[:2], [0, 1], [0, 1], n_frames=7, seed=3)

@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    G_I = ImageGenerator(Generator(16, D, D, 2, (8, 8, 8)))
    return VideoGenerator(G_I, MotionGenerator(D, fit_latent_pca(G_I, 500), 8, 4, a_std=.5, generator=seeded(1)).requires_grad_(False))

# --- one object for a trajectory

def test_numbers_mean_what_they_mean_in_sampling(models, two):
    g, m, _ = models
    clips = sample_clips(g, m, 2, 7, 3)
    close(g.synthesize(two.codes, two.noise), clips)
    close(start(g, m, [1], [1], 7, 3).codes, two[1].codes)
    close(start(g, m, [5], [1, 2], 7, 3).codes[:, 0], first_codes(g, [5, 5], 3))

def test_tensors_instead_of_numbers(models, two):
    g, m, _ = models
    again = start(g, m, first_codes(g, [0, 1], 3), motion_noise(m, [0, 1], 7, 3), n_frames=99)
    close(again.codes, two.codes)
    assert again.noise is None and again.n_frames == 7
    assert len(start(g, m, first_codes(g, [0], 3), [0, 1, 2], 4)) == 3

def test_one_frame(models):
    t = start(*models[:2], [0], [0], n_frames=1)
    for x in (t, t.looped(), t.reversed(), t.frozen(), t.pulled(.5), t.scaled(3)): close(x.codes[:, 0], t.w1)
    assert t.looped().n_frames == 1

def test_changes_leave_the_first_trajectory_alone(models, two):
    before, pca = two.codes.clone(), models[2]
    for change in (two.scaled(2), two.reversed(), two.looped(), two.frozen(2), two.first(3), two.pulled(.1), two.on(two[0]),
                   two.along(pca, 0, 1.), two.along(pca, 1, [1.]*7)): assert isinstance(change, Trajectory)
    assert torch.equal(two.codes, before)

def test_strength_and_order(two):
    close(two.scaled(0).codes, two.w1[:, None].expand(-1, 7, -1))
    close(two.scaled(2.5).moves, 2.5*two.moves)
    close(two.scaled(-1).moves, -two.moves)
    close(two.reversed().reversed().codes, two.codes)
    close(two.looped().codes[:, 7:], two.codes[:, [5, 4, 3, 2, 1]])
    close(two.frozen(-1).codes[:, 0], two.codes[:, -1])
    close(two.first(3).codes, two.codes[:, :3])

def test_motion_of_one_on_the_content_of_another(two):
    moved = two[0].on(two[1])
    close(moved.moves, two.moves[:1]); close(moved.w1, two.w1[1:])
    close(moved.noise[0], two.noise[0][1:])
    both = two[0].on(two)
    assert len(both) == 2
    close(both.noise[0], two.noise[0]); close(both.moves[1], two.moves[0])
    with pytest.raises(ValueError, match='2 motions for 3 clips'): two.on(Trajectory(torch.zeros(3, 6), torch.zeros(3, 7, 6)))

def test_a_principal_direction(models, two):
    pca, unit = models[2], models[2].std[1]*models[2].components[1]
    for amount in (2, 2., np.float64(2), torch.tensor(2.)):
        shifted = two.along(pca, 1, amount)
        close(shifted.moves, two.moves); close(shifted.w1 - two.w1, (2*unit).expand(2, -1))
    for amounts in (list(range(7)), np.arange(7), torch.arange(7.)):
        moved = two.along(pca, 1, amounts)
        close(moved.w1, two.w1); close((moved.moves - two.moves)[1], torch.arange(7.)[:, None]*unit)

def test_a_pull(two):
    close(two.pulled(0).moves, two.moves)
    steps = two.moves.diff(dim=1)
    close(two.pulled(1).moves[:, 1:], steps)
    close(two.pulled(.25).moves[:, 2], .75*steps[:, 0] + steps[:, 1])
    close(two.pulled(.25).w1, two.w1)

@pytest.mark.parametrize('do, message', [
    (lambda t, p: t.first(0), 'n_frames = 0'), (lambda t, p: t.first(8), 'n_frames = 8, expected 1 to 7'),
    (lambda t, p: t.frozen(7), 'frame 7 of 7'), (lambda t, p: t.frozen(-8), 'frame -8'),
    (lambda t, p: t.pulled(1.5), 'pull = 1.5'), (lambda t, p: t.pulled(-.1), 'pull = -0.1'), (lambda t, p: t.pulled(math.nan), 'pull = nan'),
    (lambda t, p: t.along(p, 6, 1.), 'component 6'), (lambda t, p: t.along(p, 0, [1., 2.]), '2 amounts for 7 frames'),
    (lambda t, p: Trajectory(t.w1, t.moves[:1]), 'w1 has shape'), (lambda t, p: Trajectory(t.w1, t.moves[..., :2]), 'w1 has shape'),
    (lambda t, p: Trajectory(t.w1, t.moves[:, :0]), 'w1 has shape')])
def test_what_a_trajectory_refuses(do, message, models, two):
    with pytest.raises(ValueError, match=message): do(two, models[2])

def test_what_start_refuses(models):
    with pytest.raises(ValueError, match='at least one'): start(*models[:2], [], [0])
    with pytest.raises(ValueError, match='2 contents for 3 clips'): start(*models[:2], [0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match='n_frames = 0'): start(*models[:2], [0], [0], 0)
    with pytest.raises(IndexError): start(*models[:2], [0], [0])[1]

# --- streams

@pytest.mark.parametrize('frames, chunk', [(1, 16), (16, 16), (17, 16), (40, 16), (5, 1), (9, 4), (3, 100)])
def test_a_stream_is_the_clip(model, frames, chunk):
    chunks = list(model.stream(content=2, motion=5, frames=frames, chunk=chunk, seed=4))
    assert max(map(len, chunks)) <= chunk and sum(map(len, chunks)) == frames
    whole = model.render(model.trajectory(2, 5, frames, 4)).frames[0]
    close(torch.cat(chunks), whole)

def test_strength_pull_and_truncation_of_a_stream(model):
    t = model.trajectory(0, 0, 20, 0)
    want = model.render(t.pulled(.2).scaled(.5), truncation=.7).frames[0]
    close(torch.cat(list(model.stream(frames=20, chunk=6, strength=.5, pull=.2, truncation=.7))), want)

def test_a_stream_without_end_holds_one_chunk(models):
    g, m, _ = models
    g.largest = 0
    stream = VideoGenerator(g, m).stream(chunk=8)
    for _ in range(50): assert next(stream).shape == (8, 3, 4, 4)
    assert g.largest <= 8

@pytest.mark.parametrize('wrong', [dict(chunk=0), dict(frames=0), dict(pull=2.)])
def test_what_a_stream_refuses(model, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))): next(model.stream(**wrong))

def test_a_long_pull_stays_near(models):
    w1 = first_codes(models[0], [0], 0)
    def far(pull): return [m[:, -1].norm().item() for m in moves_in_chunks(models[1], w1, seeded(0), 400, 100, pull)][-1]
    assert far(.1) < .5*far(0.)

def test_a_stream_becomes_a_file(model, tmp_path):
    assert save_stream(model.stream(frames=11, chunk=4), tmp_path/'new/long.mp4', fps=12) == 11
    video = VideoFolder(tmp_path/'new', 16).videos[0]
    assert video.n_frames == 11 and video.size == (16, 16)
    with pytest.raises(ValueError, match='no frames'): save_stream(iter(()), tmp_path/'none.mp4')
    assert not (tmp_path/'none.mp4').exists() and not list(tmp_path.glob('.*'))

def test_the_price_of_a_pull(model):
    table = price_of_pull(model, (0., .1), frames=60, n=2)
    assert table.distance[.1] < table.distance[0.] and (table > 0).all(axis=None) and list(table.index) == [0., .1]

# --- fitting

def test_an_image_of_the_generator_is_found_again(model):
    image = model(seed=9, frames=1).frames[0, 0]
    found = model.fit(image, steps=150, candidates=64)
    assert found.error < .5*found.nearest and found.eps.shape == (1, 0, D) and found.drawn.shape == (1, 3, 16, 16)
    video = model.render(model.trajectory(found.w1, [0, 1, 2], 5))
    close(video.frames[:, 0], found.drawn.expand(3, -1, -1, -1))
    assert f'{found.error:.3f}' in repr(found)

def test_the_beginning_of_a_clip_and_its_continuation(model):
    clip = model(seed=9, frames=6).frames[0]
    found = model.fit(clip[:3], steps=60, candidates=64)
    assert found.error < found.nearest and found.eps.shape == (1, 2, D)
    t = model.continued(found, 6, n=2)
    frames = model.render(t).frames
    close(frames[:, :3], found.drawn.expand(2, -1, -1, -1, -1))
    assert not torch.equal(frames[0, 3:], frames[1, 3:])
    assert model.continued(found, 3).n_frames == 3
    with pytest.raises(ValueError, match='frames = 2, but 3 are known'): model.continued(found, 2)

def test_a_search_does_not_depend_on_what_ran_before(model):
    image = model(seed=9, frames=1).frames[0, 0]
    torch.manual_seed(1); a = model.fit(image, steps=3, candidates=16)
    torch.manual_seed(2); b = model.fit(image, steps=3, candidates=16)
    assert torch.equal(a.w1, b.w1)

def test_features_beside_pixels(model):
    image = model(seed=9, frames=1).frames[0, 0]
    network = FactorRegressor('people', 32).eval().requires_grad_(False)
    found = [model.fit(image, f, steps=30, candidates=16) for f in (None, network)]
    assert not torch.equal(found[0].w1, found[1].w1) and found[1].error < found[1].nearest

@pytest.mark.parametrize('frames', [torch.zeros(3, 8, 8), torch.zeros(2, 3, 16, 8), torch.zeros(1, 16, 16), torch.full((3, 16, 16), 200.),
                                    torch.full((3, 16, 16), math.nan)])
def test_frames_that_do_not_fit(model, frames):
    with pytest.raises(ValueError): model.fit(frames, steps=1, candidates=4)

@pytest.mark.parametrize('wrong', [dict(starts=0), dict(candidates=0), dict(steps=-1)])
def test_searches_that_cannot_be(model, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))): model.fit(torch.zeros(3, 16, 16), **wrong)

def test_a_search_of_no_steps_is_the_nearest_image(model):
    found = model.fit(model(seed=9, frames=1).frames[0, 0], steps=0, candidates=16)
    assert found.error == pytest.approx(found.nearest, rel=1e-4)
    assert 'data:image/gif' in found._repr_html_() and 'pixel error' in found._repr_html_()

def test_starts_are_the_nearest(model):
    image = model(seed=9, frames=1).frames[0, 0]
    codes, least = nearest_starts(model.image_generator, image, 3, 40, 0)
    errors = [(model.image_generator.synthesize(c[None])[0] - image).square().mean().sqrt().item() for c in codes]
    assert errors == sorted(errors) and errors[0] == pytest.approx(least, rel=1e-4)

@pytest.mark.parametrize('size, mode', [((40, 20), 'RGB'), ((20, 40), 'L'), ((16, 16), 'RGBA'), ((5, 9), 'P')])
def test_images_of_any_shape(size, mode, tmp_path):
    Image.new(mode, size, 'white' if mode != 'P' else 0).save(tmp_path/'own.png')
    image = open_image(tmp_path/'own.png', 16)
    assert image.shape == (3, 16, 16) and image.std() < 1e-6 and image.abs().max() == 1

def test_the_middle_of_an_image(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40, 0] = 255
    Image.fromarray(wide).save(tmp_path/'own.png')
    assert open_image(tmp_path/'own.png', 16)[0, :, 3:-3].min() > .9

def test_an_image_that_is_none(tmp_path):
    (tmp_path/'own.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='own.png'): open_image(tmp_path/'own.png', 16)

def test_errors_ahead():
    real = torch.arange(6.).reshape(6, 1, 1, 1).expand(6, 3, 4, 4)/10 # constant velocity
    table = errors_ahead(torch.stack([real, real + .5]), real, 2)
    assert list(table.index) == [3, 4, 5, 6]
    assert table.velocity.max() < 1e-6 and np.allclose(table.static, [.1, .2, .3, .4]) and np.allclose(table.model, .25)
    for k in (1, 6):
        with pytest.raises(ValueError, match=f'k = {k}'): errors_ahead(real[None], real, k)

# --- factors

def test_factors_over_time():
    network = FactorRegressor('people', 32).eval()
    clip = torch.rand(5, 3, 32, 32)*2 - 1
    table = factors_over_time(clip, network)
    assert table.shape == (5, len(IDENTITY) + len(MOTION)) and {'yaw', 'mouth'} <= set(table.columns) and isinstance(table, pd.DataFrame)
    figure = plot_factors(clip, network)
    assert [len(ax.lines) for ax in figure.axes] == [0, len(MOTION), len(IDENTITY)]
