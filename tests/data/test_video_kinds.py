"What counts as a video: containers of all kinds, animations, photographs, pixels that are not square, parts in time."
from fractions import Fraction
import av, numpy as np, pytest
from PIL import Image
from mocogan_hd.core.media_files import Unusable
from mocogan_hd.data.image_files import FrameFiles, left_out, split_in_time
from mocogan_hd.data.video_files import Movie, find_videos, open_usable, open_video

def film(n=12, h=48, w=64):
    frames = np.full((n, h, w, 3), 60, np.uint8)
    for t in range(n): frames[t, 8:40, 2*t:2*t + 16] = 220
    return frames

def save(path, frames, codec, pix_fmt='yuv420p', rate=25, aspect=None):
    with av.open(str(path), 'w', format={'.mts': 'mpegts', '.m2ts': 'mpegts', '.apng': 'apng'}.get(path.suffix)) as c:
        s = c.add_stream(codec, rate=rate)
        s.height, s.width, s.pix_fmt = *frames.shape[1:3], pix_fmt
        if aspect: s.codec_context.sample_aspect_ratio = Fraction(*aspect)
        for f in frames: c.mux(s.encode(av.VideoFrame.from_ndarray(f, format='rgb24')))
        c.mux(s.encode())
    return path

KINDS = {'.3gp': 'libx264', '.mts': 'libx264', '.m2ts': 'mpeg2video', '.flv': 'flv', '.wmv': 'wmv2', '.ogv': 'libvpx', '.ts': 'libx264', '.mpg': 'mpeg2video', '.apng': 'apng'}

@pytest.mark.parametrize('suffix', KINDS)
def test_containers(tmp_path, suffix):
    try: save(tmp_path/f'a{suffix}', film(), KINDS[suffix], 'rgb24' if suffix == '.apng' else 'yuv420p')
    except (ValueError, av.FFmpegError): pytest.skip('cannot be written here')
    found, = find_videos(tmp_path)
    v = open_usable(found)
    assert v.n_frames == 12 and abs(v.frames().astype(int) - film()).mean() < 12 and v.rate == pytest.approx(25, rel=.05)

@pytest.mark.parametrize('suffix', ['.heic', '.avif', '.rm', '.mxf', '.y4m', '.7z', '.tar.gz', '.SVG'])
def test_what_is_not_read_is_named(tmp_path, suffix):
    save(tmp_path/'a.mp4', film(), 'libx264'); (tmp_path/f'b{suffix}').write_bytes(b'x')
    refused = {}
    assert len(find_videos(tmp_path, refused=refused)) == 1 and [p.name for p in refused] == [f'b{suffix}']

def test_animations(tmp_path):
    ims = [Image.fromarray(f) for f in film(5)]
    for name in ('a.png', 'b.gif', 'c.webp'): ims[0].save(tmp_path/name, save_all=True, append_images=ims[1:], duration=100)
    refused, seen = {}, {}
    for f in find_videos(tmp_path, refused=refused):
        try: seen[f.path.name] = (v := open_video(f)).n_frames, round(v.rate)
        except Unusable as e: refused[f.path] = e.reason
    assert seen == {'a.png': (5, 10), 'b.gif': (5, 10)} and len(refused) == 1 and 'animation' in [*refused.values()][0]

@pytest.mark.parametrize('aspect, size', [((16, 11), (93, 48)), ((8, 9), (64, 54)), ((1, 1), (64, 48)), ((2, 1), (128, 48))])
@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv'])
def test_pixels_become_square(tmp_path, name, aspect, size):
    v = Movie([save(tmp_path/name, film(), 'libx264', aspect=aspect)])
    assert v.size == size and v.frames([3]).shape == (1, *size[::-1], 3)

def scenes(n, seed=0): return np.random.default_rng(seed).integers(0, 255, (n, 4, 4, 3), dtype=np.uint8).repeat(12, 1).repeat(12, 2)

@pytest.mark.parametrize('names', [[f'IMG_{i}.png' for i in range(2031, 2037)], [f'holiday ({i}).png' for i in range(6)], ['cat.png', 'beach.png', 'me.png', 'x.png', 'y.png', 'z.png']])
def test_photographs_are_no_video(tmp_path, names):
    for f, name in zip(scenes(6), names): Image.fromarray(f).save(tmp_path/name)
    with pytest.raises(Unusable, match='holds 6 images that are no video'): find_videos(tmp_path)
    assert len(find_videos(tmp_path, 'frames')) == 1

def test_photographs_of_a_camera(tmp_path):
    for i, f in enumerate(film(6)):
        im = Image.fromarray(f); exif = im.getexif(); exif[0x0110] = 'a camera'; im.save(tmp_path/f'{i}.jpg', exif=exif)
    with pytest.raises(Unusable, match='name a camera'): find_videos(tmp_path)

def test_few_frames_of_a_video_are_one(tmp_path):
    for i, f in enumerate(film(6)): Image.fromarray(f).save(tmp_path/f'{i}.png')
    assert open_usable(find_videos(tmp_path)[0]).n_frames == 6

@pytest.mark.parametrize('n, fraction, gap, parts', [(12, .25, 0, (9, 3)), (12, .25, 2, (7, 3)), (2, .2, 0, (1, 1)), (100, .2, 5, (75, 20))])
def test_parts_in_time(tmp_path, n, fraction, gap, parts):
    v = Movie([save(tmp_path/'a.mp4', film(12).repeat(9, 0)[:n], 'libx264')])
    a, b = split_in_time(v, fraction, gap)
    assert (a.n_frames, b.n_frames) == parts and a.rate == b.rate == v.rate
    assert (b.frames() == v.frames()[-parts[1]:]).all() and (a.frames([0]) == v.frames([0])).all()

def test_too_short_to_split(tmp_path):
    v = Movie([save(tmp_path/'a.mp4', film(4), 'libx264')])
    with pytest.raises(Unusable, match='a.mp4 has 4 frames: too few'): split_in_time(v, .5, 3)
    with pytest.raises(ValueError, match='fraction 1'): split_in_time(v, 1)

def test_what_is_left_out_is_said(tmp_path):
    v, = find_videos(save(tmp_path/'one.mp4', film(1), 'libx264'))
    with pytest.raises(Unusable, match='one.mp4 has 1 frame: a video of at least 2'): open_usable(v)
    refused = {tmp_path/f'{i}.mp4': 'is empty' for i in range(30)}
    lines = left_out(refused, 3, tmp_path)
    assert len(lines) == 22 and lines[0] == f'left out: {tmp_path}/0.mp4 is empty' and lines[-2] == '... and 10 more' and '30 of 33' in lines[-1]
    with pytest.raises(ValueError, match='30 of 33'): left_out(refused, 3, tmp_path, 'error')
    with pytest.raises(ValueError, match='30 of 30'): left_out(refused, 0, tmp_path)
    with pytest.raises(ValueError, match="bad='x'"): left_out(refused, 0, tmp_path, 'x')
    assert left_out({}, 0, tmp_path, 'error') == []
