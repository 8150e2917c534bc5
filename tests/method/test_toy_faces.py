"Toy faces: what a seed means, ranges, and that identity and motion are what they claim."
import pytest, torch
from mocogan_hd.core.basics import seeded
from mocogan_hd.method.toy_faces import DOMAINS, IDENTITY, MOTION, ToyFaces, render, sample_motion

both = pytest.mark.parametrize('domain', DOMAINS)
LOW, HIGH = torch.tensor(list(MOTION.values())).T
K = len(IDENTITY)
MIDDLE = torch.cat([torch.full((K,), .5), torch.tensor([0., 0, 0, .2, 0])]) # a face that looks straight ahead

@both
def test_a_seed_is_a_set_of_clips(domain):
    faces = ToyFaces(domain, 16)
    a = faces.clips(3, 5, 7)
    assert torch.equal(a, faces.clips(3, 5, seeded(7))) and not torch.equal(a, faces.clips(3, 5, 8))
    g = seeded(7); assert torch.equal(a, faces.clips(3, 5, g)) and not torch.equal(a, faces.clips(3, 5, g))
    assert a.shape == (3, 5, 3, 16, 16) and a.dtype == torch.float32 and a.min() >= -1 and a.max() <= 1
    torch.manual_seed(0); state = torch.get_rng_state(); faces.images(2, 0); assert torch.equal(torch.get_rng_state(), state)

@both
def test_clips_are_drawn_from_their_factors(domain):
    clips, identity, motion = ToyFaces(domain, 16).clips_with_factors(3, 4, 0)
    for i in range(3):
        for t in range(4): torch.testing.assert_close(render(identity[i:i+1], motion[i:i+1, t], domain, 16)[0], clips[i, t], atol=1e-5, rtol=0)

def test_domains_share_motion_and_no_look():
    people, robots = (ToyFaces(d, 16).clips_with_factors(4, 6, 5) for d in DOMAINS)
    assert torch.equal(people[1], robots[1]) and torch.equal(people[2], robots[2])
    assert (people[0] - robots[0]).abs().mean() > .1
    assert ToyFaces('people', 16).fingerprint != ToyFaces('robots', 16).fingerprint != ToyFaces('robots', 32).fingerprint

def test_factor_ranges():
    motion = sample_motion(2_000, 32, 0)
    assert (motion >= LOW).all() and (motion <= HIGH).all()
    used = (motion.amax((0, 1)) - motion.amin((0, 1))) / (HIGH - LOW)
    assert (used > .9).all(), used
    closed = (motion[..., -1] > .5).float().mean()
    assert .15 < closed < .4 # eyes are open most of the time
    assert (motion[..., :3].mean((0, 1)).abs() < 1).all() # poses are centred
    _, identity, _ = ToyFaces(resolution=16).clips_with_factors(1_000, 1, 0)
    assert identity.amin() >= 0 and identity.amax() <= 1 and ((identity.mean(0) - .5).abs() < .03).all()

def test_paths_are_smooth_and_move():
    motion = sample_motion(200, 16, 0)
    steps, width = motion.diff(dim=1).abs(), HIGH - LOW
    assert (steps[..., :4].amax((0, 1)) < .25*width[:4]).all() # the mouth is fastest: 2 pi .07 cycles a frame, half a range each way
    assert (steps[..., :3].amax((0, 1)) < .2*width[:3]).all()
    assert (motion.std(1).mean(0) > .03*width).all()

def test_interval_skips_moments():
    assert torch.equal(sample_motion(3, 5, 1, frame_stride=3), sample_motion(3, 13, 1)[:, ::3])
    faces = ToyFaces(resolution=16)
    torch.testing.assert_close(faces.clips(2, 4, 1, frame_stride=2), faces.clips(2, 7, 1)[:, ::2], atol=1e-5, rtol=0)

def test_images_look_like_frames():
    "Marginals of `images` and of clips' frames agree: the paths are stationary."
    faces, n = ToyFaces('people', 16), 1_000
    images, frames = faces.images(n, 0), faces.clips(n, 2, 1, frame_stride=8)[:, 1]
    error = images.std(0) * (2/n)**.5
    assert ((images.mean(0) - frames.mean(0)).abs() < 5*error + .01).all() and (images.std(0) - frames.std(0)).abs().mean() < .02
    a, b = sample_motion(4_000, 1, 0)[:, 0], sample_motion(4_000, 16, 1)[:, 15]
    assert ((a.mean(0) - b.mean(0)).abs() < .02*(HIGH - LOW)).all() and ((a.std(0) - b.std(0)).abs() < .02*(HIGH - LOW)).all()

@both
@pytest.mark.parametrize('factor', range(len(MIDDLE)), ids=[*IDENTITY, *MOTION])
def test_every_factor_shows(domain, factor):
    f = MIDDLE.repeat(2, 1)
    f[:, factor] = torch.tensor([.1, .9]) if factor < K else torch.stack([LOW, HIGH], 1)[factor - K]
    a, b = render(f[:, :K], f[:, K:], domain, 32)
    changed = ((a - b).abs().amax(0) > .1).float().mean()
    assert changed > .004, f'{changed:.4f} of the pixels change'

def test_poses_move_the_right_way():
    f = MIDDLE.repeat(3, 1)
    f[:, K] = torch.tensor([-30., 0, 30])
    left, middle, right = render(f[:, :K], f[:, K:], 'people', 32)
    torch.testing.assert_close(left, right.flip(-1), atol=1e-4, rtol=0) # a face is symmetric
    torch.testing.assert_close(middle, middle.flip(-1), atol=1e-4, rtol=0)

def test_double_precision_and_resolution():
    _, identity, motion = ToyFaces(resolution=16).clips_with_factors(2, 1, 0)
    fine = render(identity.double(), motion[:, 0].double(), 'people', 64)
    assert fine.dtype == torch.float64
    coarse = torch.nn.functional.avg_pool2d(fine, 4).float()
    assert (coarse - render(identity, motion[:, 0], 'people', 16)).abs().mean() < .06

@pytest.mark.parametrize('make, message', [
    (lambda: ToyFaces('cats'), r"domain 'cats' is unknown: choose one of people, robots"),
    (lambda: ToyFaces('people', 8), r'resolution 8 is too small'),
    (lambda: render(torch.zeros(1, 6), torch.zeros(1, 5), 'cats'), r"'cats'"),
    (lambda: render(torch.zeros(1, 8), torch.zeros(1, 5)), r'\(1, 8\)'),
    (lambda: render(torch.zeros(2, 6), torch.zeros(1, 5)), r'\(2, 6\) and \(1, 5\)')])
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message): make()
