"What lies on disks: every kind of image, movie and archive, whole, odd, damaged or hostile. Each gives the right frames, or an error that names it."
import io, os, struct, tarfile, zipfile
from fractions import Fraction
from pathlib import Path
import av, numpy as np, pytest
from PIL import Image
from mocogan_hd.core import media_files
from mocogan_hd.data import image_files, video_files
from mocogan_hd.data.image_files import FrameFiles, Strip
from mocogan_hd.data.video_files import Movie, find_videos, open_video, packet_index, read_frames, read_strip, read_video, resample, upright
from mocogan_hd.core.media_files import Unusable, content_hash, members, natural_key
from mocogan_hd.data.image_files import image_size, read_image

NAMES = ['فيديو', '视频 一', 'Видео', '🎈 party', 'with space', "quote'd", 'semi;colon', 'per%cent', 'a:b', '#hash', 'ünïcode', '-dash']

def film(n=24, h=48, w=64, seed=0): # moves, and every frame says its number in its corner
    base = np.random.default_rng(seed).integers(40, 200, (h, w, 3), dtype=np.uint8)
    frames = np.stack([np.roll(base, t, 1) for t in range(n)])
    frames[:, :16, :16] = (8*np.arange(n) % 250).astype(np.uint8)[:, None, None, None]
    return frames

def number(frames): return [round(float(f[2:14, 2:14].mean())/8) for f in frames]

def save(path, frames, codec='libx264', pix_fmt='yuv420p', rate=10, turn=None, stamps=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(f'file:{path}', 'w') as c:
        s = c.add_stream(codec, rate=rate, options={k.replace('_', '-'): str(v) for k, v in options.items()})
        s.height, s.width, s.pix_fmt = *frames.shape[1:3], pix_fmt
        if turn is not None: s.set_display_rotation(*turn) if isinstance(turn, tuple) else s.set_display_rotation(turn)
        for i, f in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(f), format='rgb24')
            if stamps is not None: frame.pts, frame.time_base = stamps[i], Fraction(1, rate)
            c.mux(s.encode(frame))
        c.mux(s.encode())
    return path

def image(path, array, **k):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **k)
    return path

# --- images

@pytest.mark.parametrize('mode, suffix', [('L', '.png'), ('L', '.jpg'), ('LA', '.png'), ('RGB', '.png'), ('RGB', '.bmp'), ('RGB', '.webp'), ('RGB', '.tif'), ('RGBA', '.png'), ('RGBA', '.tif'), ('P', '.png'), ('1', '.png'), ('CMYK', '.jpg'), ('CMYK', '.tif'), ('RGB', '.ppm'), ('L', '.pgm')])
def test_every_mode_becomes_rgb(tmp_path, mode, suffix):
    im = Image.new('RGB', (20, 12), (255, 255, 255)).convert(mode)
    im.save(tmp_path/f'x{suffix}', **({'lossless': True} if suffix == '.webp' else {}))
    a = read_image(tmp_path/f'x{suffix}')
    assert a.shape == (12, 20, 3) and a.dtype == np.uint8 and (a >= 253).all()

@pytest.mark.parametrize('dtype', [np.uint16, np.int32])
def test_sixteen_bits_lose_the_lower_byte(tmp_path, dtype):
    values = np.linspace(0, 65535, 256).round().astype(dtype)[None].repeat(8, 0)
    a = read_image(image(tmp_path/'x.tif', values))
    assert (a[0, :, 0] == values[0] >> 8).all() and (a[..., 0] == a[..., 2]).all()
    if dtype == np.uint16: assert (read_image(image(tmp_path/'x.png', values)) == a).all()

def test_values_of_unknown_range_are_refused(tmp_path):
    with pytest.raises(Unusable, match=r'f\.tif .*floating-point'): read_image(image(tmp_path/'f.tif', np.zeros((4, 4), np.float32)))
    with pytest.raises(Unusable, match=r'i\.tif .*32-bit'): read_image(image(tmp_path/'i.tif', np.full((4, 4), 70_000, np.int32)))

def test_transparency_lies_over_black(tmp_path):
    a = np.zeros((1, 4, 4), np.uint8); a[..., :3], a[..., 3] = 200, (0, 128, 255, 255)
    assert read_image(image(tmp_path/'x.png', a))[0, :, 0].tolist() == [0, 100, 200, 200]
    p = Image.fromarray(np.array([[0, 1]], np.uint8)).convert('P'); p.putpalette([250]*6); p.save(tmp_path/'p.png', transparency=0)
    assert read_image(tmp_path/'p.png')[0, :, 0].tolist() == [0, 250]

@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_turned_photograph_stands(tmp_path, orientation):
    from PIL import ImageOps
    im = Image.fromarray(film(1)[0]); exif = im.getexif(); exif[0x0112] = orientation
    im.save(tmp_path/'x.png', exif=exif)
    want = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path/'x.png')))
    assert (read_image(tmp_path/'x.png') == want).all() and image_size(tmp_path/'x.png') == want.shape[1::-1] == ((48, 64) if orientation > 4 else (64, 48))

@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp', '.webp', '.tif'])
def test_damaged_images_are_named(tmp_path, suffix):
    path = image(tmp_path/f'x{suffix}', film(1)[0])
    data = path.read_bytes()
    for name, bad in (('empty', b''), ('text', b'this is no picture'), ('half', data[:len(data)//2])):
        (tmp_path/f'{name}{suffix}').write_bytes(bad)
        with pytest.raises(Unusable, match=f'{name}{suffix} is empty' if not bad else f'{name}{suffix} cannot be read as an image: .+'): read_image(tmp_path/f'{name}{suffix}')
    with pytest.raises(Unusable) as e: read_image(tmp_path/f'text{suffix}')
    assert str(tmp_path) not in e.value.reason, 'a reason is shown in tables, beside the name'

def test_a_flipped_byte_in_a_png_is_noticed(tmp_path):
    path = image(tmp_path/'x.png', film(1)[0]); data = bytearray(path.read_bytes()); data[len(data)//2] ^= 255; path.write_bytes(data)
    with pytest.raises(Unusable, match=r'x\.png cannot be read'): read_image(path)

def test_missing_unreadable_and_huge_images(tmp_path, monkeypatch):
    with pytest.raises(Unusable, match='gone.png cannot be read as an image: No such file'): read_image(tmp_path/'gone.png')
    path = image(tmp_path/'x.png', film(1)[0])
    with monkeypatch.context() as m:
        m.setattr(image_files, 'MAX_PIXELS', 1000)
        with pytest.raises(Unusable, match=r'x\.png holds 3,072 pixels, at most 1,000 are read'): read_image(path)
    def refuse(*a, **k): raise PermissionError(13, 'Permission denied', str(path))
    monkeypatch.setattr(Image, 'open', refuse)
    with pytest.raises(Unusable, match=r'x\.png cannot be read as an image: Permission denied$'): read_image(path)

def test_animations_among_images_are_refused(tmp_path):
    ims = [Image.fromarray(f) for f in film(3)]
    for suffix in ('.png', '.webp'):
        ims[0].save(tmp_path/f'x{suffix}', save_all=True, append_images=ims[1:])
        with pytest.raises(Unusable, match='is an animation'): read_image(tmp_path/f'x{suffix}')

# --- strips and frames

def test_strips_lie_and_stand(tmp_path):
    frames = film(5, 16, 16)
    for name, array in (('lies', np.concatenate(list(frames), 1)), ('stands', np.concatenate(list(frames), 0))):
        s = Strip([image(tmp_path/f'{name}.png', array)])
        assert (s.n_frames, s.size) == (5, (16, 16)) and (s.frames() == frames).all() and (s.frames([1, 4]) == frames[[1, 4]]).all()
    assert (read_strip(tmp_path/'lies.png') == frames).all()
    with pytest.raises(Unusable, match='81x16'): Strip([image(tmp_path/'odd.png', np.zeros((16, 81, 3), np.uint8))])

def test_only_the_frames_asked_for_are_opened(tmp_path, monkeypatch):
    files = [image(tmp_path/f'{t}.png', f) for t, f in enumerate(film(9))]
    v, opened, read = FrameFiles(files), [], image_files.read_image
    monkeypatch.setattr(image_files, 'read_image', lambda f: opened.append(f.name) or read(f))
    assert number(v.frames([2, 5, 8])) == [2, 5, 8] and opened == ['2.png', '5.png', '8.png']

def test_a_folder_with_one_frame_of_another_size(tmp_path):
    files = [image(tmp_path/f'{t}.png', f) for t, f in enumerate(film(3))] + [image(tmp_path/'3.png', film(1, 50, 64)[0])]
    with pytest.raises(Unusable, match=r'3\.png is 64x50, but the first frame, 0\.png, is 64x48'): read_frames(files)

# --- movies

MOVIES = {'h264': ('a.mp4', dict(g=7, bf=2)), 'open gop': ('a.mp4', dict(x264_params='keyint=7:open-gop=1:bframes=3:scenecut=0')), 'h264 mkv': ('a.mkv', dict(g=7, bf=2)),
          'hevc': ('a.mp4', dict(codec='libx265', x265_params='keyint=7:open-gop=1:log-level=none')), 'vp9': ('a.webm', dict(codec='libvpx-vp9', g=7, lag_in_frames=10, auto_alt_ref=1)),
          'vp8': ('a.webm', dict(codec='libvpx', g=7, auto_alt_ref=1, lag_in_frames=8)), 'mpeg4 avi': ('a.avi', dict(codec='mpeg4', g=7, bf=2)), 'mjpeg mov': ('a.mov', dict(codec='mjpeg', pix_fmt='yuvj420p')),
          'mpeg2': ('a.mpg', dict(codec='mpeg2video', g=7, bf=2, rate=25)), 'wmv': ('a.wmv', dict(codec='wmv2', g=7)), 'gif': ('a.gif', dict(codec='gif', pix_fmt='rgb8'))}

@pytest.mark.parametrize('name, options', MOVIES.values(), ids=MOVIES)
def test_part_of_a_movie_is_part_of_the_whole(tmp_path, name, options):
    path = save(tmp_path/name, film(), **options)
    with av.open(str(path)) as c: plain = np.stack([f.to_ndarray(format='rgb24') for f in c.decode(video=0)])
    v = Movie([path])
    assert v.n_frames == 24 == len(plain) and v.size == (64, 48) and v.rate == pytest.approx(options.get('rate', 10), rel=.01)
    assert (v.frames() == plain).all()
    for start in range(24):
        for stop in {start + 1, min(start + 5, 24)}: assert (v.frames(range(start, stop)) == plain[start:stop]).all(), (start, stop)
    assert (v.frames(range(3, 24, 4)) == plain[3::4]).all() and v.frames([5, 5, 6]).shape[0] == 3

def test_decoding_begins_at_a_key_frame_and_ends_with_the_clip(tmp_path, monkeypatch):
    v = Movie([save(tmp_path/'a.mp4', film(60), g=10, sc_threshold=0)])
    seen, start = [], Movie._from
    monkeypatch.setattr(Movie, '_from', lambda self, *a: ((seen.append(i), (i, f))[1] for i, f in start(self, *a)))
    v.frames([44, 47])
    assert seen[0] == 40 and seen[-1] == 47

def test_nothing_is_decoded_to_count_an_mp4(tmp_path, monkeypatch):
    path = save(tmp_path/'a.mp4', film())
    monkeypatch.setattr(Movie, '_whole', None) # what decodes to count
    assert Movie([path]).n_frames == 24

def test_a_seek_that_goes_too_far_is_noticed(tmp_path):
    v = Movie([save(tmp_path/'a.mp4', film(), g=6, bf=0, sc_threshold=0)])
    plain = v.frames()
    v.index = v.index._replace(keys=np.array([v.index.stamps[0], v.index.stamps[7] - 1])) # a lie: no key frame is there, the decoder starts at 6
    assert (v.frames([8, 9]) == plain[[8, 9]]).all()

@pytest.mark.parametrize('turn', [90, -90, 180, (0, True), (0, False, True), (90, True)])
def test_a_lying_film_stands(tmp_path, turn):
    frames = film(4)
    path = save(tmp_path/'a.mp4', frames, pix_fmt='yuv444p', crf=1, turn=turn)
    with av.open(str(path)) as c: f = next(c.decode(video=0)); a, b, _, m, d = np.frombuffer(bytes(f.side_data.get('DISPLAYMATRIX')), np.int32)[:5]//65536
    got, (h, w) = Movie([path]).frames()[0], frames[0].shape[:2]
    y, x = np.mgrid[:h, :w]
    X, Y = a*x + m*y, b*x + d*y # where the matrix sends each pixel
    want = np.zeros_like(got); want[Y - Y.min(), X - X.min()] = frames[0]
    assert got.shape[:2] == ((w, h) if a == 0 else (h, w)) and abs(got.astype(int) - want).mean() < 3 and Movie([path]).size == got.shape[1::-1]
    if turn == 90: assert abs(got.astype(int) - np.rot90(frames[0])).mean() < 3 # counter-clockwise

def test_upright_leaves_what_is_upright():
    f = film(1)[0]
    assert upright(f, None) is f and (upright(f, (65536, 0, 0, 65536)) == f).all()

def test_variable_rate(tmp_path):
    stamps = [0, 1, 2, 3, 10, 11, 12, 20]
    for name in ('a.mp4', 'a.mkv'):
        path = save(tmp_path/name, film(8), stamps=stamps, rate=10, bf=0)
        assert number(Movie([path]).frames()) == list(range(8))
        v = Movie([path], fps=10)
        assert number(v.frames()) == [0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7] and v.rate == 10
        assert number(v.frames([3, 4, 11, 20])) == [3, 3, 5, 7]
        assert number(Movie([path], fps=5).frames()) == [0, 2, 3, 3, 3, 4, 6, 6, 6, 6, 7]
    with pytest.raises(ValueError, match='fps 0'): Movie([path], fps=0)

@pytest.mark.parametrize('rate, fps', [(30, 30), (25, 25), (30, 15), (24, 12), (10, 20), (50, 25)])
@pytest.mark.parametrize('unit', [None, 1000, 90_000])
def test_resampling_to_a_whole_ratio_is_even(rate, fps, unit):
    times = np.arange(40)/rate if unit is None else np.round(np.arange(40)/rate*unit)/unit + 1.5
    order = resample(times, fps)
    assert len(order) == round(40*fps/rate) and order.tolist() == (np.arange(len(order))*rate//fps).tolist()

def test_a_single_frame(tmp_path):
    for name, options in (('a.mp4', {}), ('a.avi', dict(codec='mpeg4')), ('a.gif', dict(codec='gif', pix_fmt='rgb8'))):
        v = Movie([save(tmp_path/name, film(1), **options)])
        assert v.n_frames == 1 and v.frames().shape == (1, 48, 64, 3) and len(Movie([tmp_path/name], fps=5).frames()) == 1

def test_odd_sizes(tmp_path):
    v = Movie([save(tmp_path/'a.mkv', film(4, 47, 63), codec='ffv1', pix_fmt='bgr0')])
    assert v.size == (63, 47) and (v.frames() == film(4, 47, 63)).all()
    assert Movie([save(tmp_path/'a.mp4', film(4, 47, 63), pix_fmt='yuv444p')]).frames().shape == (4, 47, 63, 3)

@pytest.mark.parametrize('pix_fmt, codec', [('gray', 'ffv1'), ('gray16le', 'ffv1'), ('yuv420p10le', 'libx264'), ('rgb48le', 'ffv1')])
def test_grey_and_deep_movies_become_rgb(tmp_path, pix_fmt, codec):
    frames = np.full((3, 32, 32, 3), 180, np.uint8)
    assert abs(Movie([save(tmp_path/'a.mkv', frames, codec=codec, pix_fmt=pix_fmt)]).frames().astype(int) - 180).max() <= 2

def test_a_transparent_gif_lies_over_black(tmp_path):
    ims = []
    for t in range(3):
        a = np.zeros((16, 16), np.uint8); a[:, 4*t:4*t + 4] = 1
        im = Image.fromarray(a).convert('P'); im.putpalette([255, 255, 255, 200, 100, 50]); ims.append(im)
    ims[0].save(tmp_path/'a.gif', save_all=True, append_images=ims[1:], transparency=0, disposal=2, duration=100, optimize=False)
    frames = Movie([tmp_path/'a.gif']).frames()
    assert [f[3].tolist() == [[200, 100, 50] if 4*t <= x < 4*t + 4 else [0, 0, 0] for x in range(16)] for t, f in enumerate(frames)] == [True]*3

def test_frames_that_are_not_there(tmp_path):
    for v in (Strip([image(tmp_path/'s.png', np.zeros((8, 32, 3), np.uint8))]), FrameFiles([image(tmp_path/f'{t}.png', f) for t, f in enumerate(film(4))]), Movie([save(tmp_path/'a.mp4', film(4))])):
        for wanted in ([-1], [4], [2, 1], range(2, 6)):
            with pytest.raises(ValueError, match='numbers from 0 to 3 that do not descend'): v.frames(wanted)

def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path/'a.mp4'), 'w') as c:
        s = c.add_stream('aac', rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format='fltp', layout='mono'); frame.sample_rate = 44100
        c.mux(s.encode(frame)); c.mux(s.encode())
    with pytest.raises(Unusable, match='a.mp4 holds no video stream'): Movie([tmp_path/'a.mp4'])

@pytest.mark.parametrize('suffix', ['.mp4', '.webm', '.avi', '.mkv', '.gif'])
def test_empty_and_foreign_files_under_a_movies_name(tmp_path, suffix):
    (tmp_path/f'a{suffix}').write_bytes(b'')
    with pytest.raises(Unusable, match=f'a{suffix} is empty'): Movie([tmp_path/f'a{suffix}'])
    (tmp_path/f'b{suffix}').write_bytes(b'<html>404 not found</html>'*40)
    with pytest.raises(Unusable, match=f'b{suffix} cannot be read as a video: .+') as e: Movie([tmp_path/f'b{suffix}'])
    assert str(tmp_path) not in e.value.reason

def test_truncated_movies(tmp_path):
    for name, options in (('a.mp4', dict(movflags='+faststart')), ('a.mp4', {}), ('a.mkv', dict(g=6)), ('a.webm', dict(codec='libvpx', g=6))):
        data = save(tmp_path/name, film(60), **options).read_bytes()
        (tmp_path/name).write_bytes(data[:len(data)//2])
        with pytest.raises(Unusable, match=f'{name} (is cut off|cannot be read as a video)'): Movie([tmp_path/name])

def test_damage_inside_is_named_with_its_frame(tmp_path):
    data, rng, noticed = save(tmp_path/'a.mp4', film(40), g=8).read_bytes(), np.random.default_rng(0), 0
    with av.open(str(tmp_path/'a.mp4')) as c: plain = [f.to_ndarray(format='rgb24') for f in c.decode(video=0)]
    for k in range(12):
        bad = bytearray(data); p = int(rng.integers(len(data)//8, len(data)*7//8)); bad[p:p + 60] = rng.bytes(60)
        (tmp_path/'b.mp4').write_bytes(bad)
        try: v = Movie([tmp_path/'b.mp4']); v.frames()
        except Unusable as e: noticed += 1; assert 'b.mp4' in str(e)
        else: assert v.n_frames == len(plain)
    assert noticed >= 8

def test_a_file_that_is_not_a_movie_opens_nothing_else(tmp_path):
    "A playlist under a movie's name could make the decoder read other files, or the network."
    save(tmp_path/'secret.mp4', film(3))
    for name, text in (('list.mp4', f'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n'), ('list.avi', f"ffconcat version 1.0\nfile '{tmp_path}/secret.mp4'\n")):
        (tmp_path/name).write_text(text)
        with pytest.raises(Unusable, match=name): Movie([tmp_path/name])

def test_frames_of_absurd_size(tmp_path, monkeypatch):
    path = save(tmp_path/'a.mp4', film(3))
    monkeypatch.setattr(video_files, 'MAX_PIXELS', 1000)
    with pytest.raises(Unusable, match='a.mp4 holds 3,072 pixels a frame, at most 1,000 are read'): Movie([path])

def test_unreadable_movies_and_folders(tmp_path, monkeypatch):
    path = save(tmp_path/'v'/'a.mp4', film(3))
    def refuse(*a, **k): raise PermissionError(13, 'Permission denied', str(path))
    with monkeypatch.context() as m:
        m.setattr(video_files.av, 'open', refuse)
        with pytest.raises(Unusable, match='a.mp4 cannot be read as a video: Permission denied$'): Movie([path])
    scandir = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda p: refuse() if Path(p).name == 'v' else scandir(p))
    save(tmp_path/'w'/'b.mp4', film(3))
    refused = {}
    assert [v.path.name for v in find_videos(tmp_path, refused=refused)] == ['b.mp4']
    assert list(refused.values()) == ['cannot be searched: Permission denied']

def test_a_file_that_changes_or_goes_is_named(tmp_path):
    path = save(tmp_path/'a.mp4', film(6))
    v = Movie([path])
    save(path, film(7))
    with pytest.raises(Unusable, match='a.mp4 has changed since it was first looked at'): v.frames([0])
    path.unlink()
    with pytest.raises(Unusable, match='a.mp4 cannot be read as a file: No such file'): v.frames([0])
    f = FrameFiles([image(tmp_path/f'{t}.png', x) for t, x in enumerate(film(3))])
    os.utime(tmp_path/'1.png', (1, 1))
    assert number(f.frames([0, 2])) == [0, 2]
    with pytest.raises(Unusable, match='1.png has changed'): f.frames()

# --- finding

def below(found, root): return [(v.reader, str(v.path.relative_to(root)), len(v.files)) for v in found]

@pytest.mark.parametrize('name', NAMES)
def test_names_in_any_script(tmp_path, name):
    frames = film(3)
    save(tmp_path/name/f'{name}.mp4', frames)
    for t, f in enumerate(frames): image(tmp_path/f'{name} frames'/f'{name} {t}.png', f)
    with zipfile.ZipFile(tmp_path/f'{name}.zip', 'w') as z: z.write(tmp_path/name/f'{name}.mp4', f'{name}.mp4')
    with tarfile.open(tmp_path/f'{name}.tar', 'w') as t: t.add(tmp_path/name/f'{name}.mp4', f'{name}.mp4')
    found = find_videos(tmp_path)
    assert len(found) == 4
    for v in found: assert len(open_video(v).frames()) == 3

def test_what_is_no_video_is_passed_over(tmp_path):
    save(tmp_path/'a.mp4', film(3))
    for name in ('notes.txt', 'a.json', 'a.mp4.part', '.DS_Store', '._a.mp4', 'Thumbs.db', 'a.srt', 'noending'): (tmp_path/name).write_bytes(b'x')
    (tmp_path/'.trash').mkdir(); save(tmp_path/'.trash'/'b.mp4', film(3))
    assert below(find_videos(tmp_path), tmp_path) == [('video', 'a.mp4', 1)]

def test_links(tmp_path):
    save(tmp_path/'real'/'a.mp4', film(3))
    (tmp_path/'set').mkdir()
    (tmp_path/'set'/'linked').symlink_to(tmp_path/'real', target_is_directory=True)
    (tmp_path/'real'/'loop').symlink_to(tmp_path/'real', target_is_directory=True)
    (tmp_path/'set'/'gone.mp4').symlink_to(tmp_path/'nowhere.mp4')
    with pytest.raises(Unusable, match='gone.mp4 is no file: a broken link'): find_videos(tmp_path/'set')
    (tmp_path/'set'/'twin').symlink_to(tmp_path/'real'); (tmp_path/'set'/'self').symlink_to(tmp_path/'set')
    (tmp_path/'real'/'back').symlink_to(tmp_path/'set')
    refused = {}
    assert [str(v.path.relative_to(tmp_path/'set')) for v in find_videos(tmp_path/'set', refused=refused)] == ['linked/a.mp4', 'twin/a.mp4'] and list(refused) == [tmp_path/'set'/'gone.mp4']

def test_an_unreadable_first_image_does_not_decide_the_form(tmp_path):
    for i in range(3): image(tmp_path/f'{i}.png', np.zeros((8, 32, 3), np.uint8))
    (tmp_path/'0.png').write_bytes(b'no picture')
    assert below(find_videos(tmp_path), tmp_path) == [('strip', f'{i}.png', 1) for i in range(3)]

def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='no videos in'): find_videos(tmp_path)
    with pytest.raises(FileNotFoundError, match='there is no folder, zip or tar'): find_videos(tmp_path/'x')
    (tmp_path/'a.txt').write_text('')
    with pytest.raises(FileNotFoundError, match='there is no folder, zip or tar'): find_videos(tmp_path/'a.txt')
    with pytest.raises(ValueError, match="form 'stripes'"): find_videos(tmp_path, 'stripes')

# --- archives

def pack(path, files): # name -> bytes
    if path.suffix == '.zip':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
            for n, b in files.items(): z.writestr(n, b)
    else:
        with tarfile.open(path, 'w') as t:
            for n, b in files.items(): i = tarfile.TarInfo(n); i.size = len(b); t.addfile(i, io.BytesIO(b))
    return path

each_archive = pytest.mark.parametrize('suffix', ['.zip', '.tar'])
def png(frame): b = io.BytesIO(); Image.fromarray(frame).save(b, 'png'); return b.getvalue()

@each_archive
def test_an_archive_is_a_folder(tmp_path, suffix):
    frames, mp4 = film(6), save(tmp_path/'x'/'a.mp4', film(9)).read_bytes()
    files = {'a.mp4': mp4, 'a.json': b'{}', 'a.cls': b'3', 'walk/10.png': png(frames[2]), 'walk/2.png': png(frames[1]), 'walk/1.png': png(frames[0]),
             'strips/s.png': png(np.concatenate(list(frames[:, :16, :16]), 1)), '__MACOSX/._a.mp4': b'x', 'sub/.hidden.png': b'x'}
    archive = pack(tmp_path/f'set{suffix}', files)
    assert below(find_videos(archive), archive) == [('video', 'a.mp4', 1), ('strip', 'strips/s.png', 1), ('frames', 'walk', 3)]
    movie, strip, walk = map(open_video, find_videos(archive))
    assert number(movie.frames([2, 7])) == [2, 7] and number(walk.frames()) == [0, 1, 2] and strip.n_frames == 6
    assert content_hash(movie.files[0]) == content_hash(tmp_path/'x'/'a.mp4')

def test_keys_of_a_webdataset(tmp_path):
    frames = film(6)
    tar = pack(tmp_path/'000.tar', {f'{key}.{t:04d}.png': png(frames[t]) for key in ('run', 'walk') for t in range(3)} | {'run.json': b'{}', 'jump.mp4': save(tmp_path/'a.mp4', frames).read_bytes(), 'jump.txt': b''})
    (tmp_path/'a.mp4').unlink()
    assert below(find_videos(tmp_path), tmp_path) == [('video', '000.tar/jump.mp4', 1), ('frames', '000.tar/run', 3), ('frames', '000.tar/walk', 3)]
    assert number(open_video(find_videos(tar)[1]).frames()) == [0, 1, 2]

@each_archive
@pytest.mark.parametrize('name', ['../out.png', '/etc/out.png', 'a/../../out.png', '..\\out.png', 'C:\\out.png'])
def test_names_that_lead_out(tmp_path, suffix, name):
    archive = pack(tmp_path/f'set{suffix}', {name: png(film(1)[0]), 'good.png': png(film(1)[0])})
    with pytest.raises(Unusable, match='leads out of its archive'): members(archive)
    refused = {}
    found = find_videos(archive, refused=refused)
    assert [len(v.files) for v in found] == [1] and len(refused) == 1 and 'leads out' in [*refused.values()][0]
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name]

@each_archive
def test_bombs(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(media_files, 'MAX_IMAGE_BYTES', 10_000)
    archive = pack(tmp_path/f'set{suffix}', {'bomb.bmp': bytes(200_000), 'good.png': png(np.zeros((8, 8, 3), np.uint8)), 'inner.zip': b'PK'})
    refused = {}
    assert [m.name for m in members(archive, refused)] == ['good.png']
    assert 'would unpack to' in refused[archive/'bomb.bmp'] and 'archive inside an archive' in refused[archive/'inner.zip']

def test_a_zip_that_lies_about_sizes(tmp_path):
    archive = pack(tmp_path/'set.zip', {'bomb.bmp': bytes(200_000)})
    data = archive.read_bytes().replace(struct.pack('<I', 200_000), struct.pack('<I', 100))
    archive.write_bytes(data)
    m, = members(archive)
    assert m.size == 100
    with pytest.raises(Unusable, match='bomb.bmp cannot be read'): read_image(m)

def test_bad_members_and_archives(tmp_path):
    good = png(film(1)[0])
    zipped = pack(tmp_path/'set.zip', {'good/1.png': good, 'bad/1.png': good})
    data = bytearray(zipped.read_bytes()); at = data.rindex(b'IDAT', 0, data.index(b'PK\1\2')) if b'IDAT' in data else len(good); data[at + 20] ^= 255; zipped.write_bytes(data)
    refused, results = {}, {}
    for v in find_videos(zipped, refused=refused):
        try: results[v.path.name] = len(open_video(v).frames())
        except Unusable as e: results[v.path.name] = str(e)
    assert results['good'] == 1 and 'bad/1.png cannot be read' in results['bad']
    tar = pack(tmp_path/'set.tar', {'a.png': good, 'b.png': good})
    tar.write_bytes(tar.read_bytes()[:512 + -(-len(good)//512)*512 + 512 + 100])
    refused = {}
    assert [m.name for m in members(tar, refused)] == ['a.png'] and 'is cut off' in refused[tar/'b.png']
    for name in ('text.zip', 'text.tar', 'empty.zip'):
        (tmp_path/name).write_bytes(b'' if 'empty' in name else b'no archive'*100)
        with pytest.raises(Unusable, match=f'{name} (cannot be read as an archive|is empty)'): members(tmp_path/name)

def test_links_and_devices_in_archives(tmp_path):
    with tarfile.open(tmp_path/'set.tar', 'w') as t:
        for name, kind in (('link.png', tarfile.SYMTYPE), ('hard.png', tarfile.LNKTYPE), ('device.png', tarfile.CHRTYPE), ('pipe.png', tarfile.FIFOTYPE)):
            i = tarfile.TarInfo(name); i.type, i.linkname = kind, '/etc/passwd'; t.addfile(i)
    refused = {}
    assert members(tmp_path/'set.tar', refused) == [] and len(refused) == 4
    with zipfile.ZipFile(tmp_path/'set.zip', 'w') as z: i = zipfile.ZipInfo('link.png'); i.external_attr = 0o120777 << 16; z.writestr(i, '/etc/passwd')
    with pytest.raises(Unusable, match='link.png is a link'): members(tmp_path/'set.zip')

def test_compressed_tars_say_what_to_do(tmp_path):
    (tmp_path/'a.tar.gz').write_bytes(b'x')
    with pytest.raises(Unusable, match='a.tar.gz is a compressed tar.*decompress it'): find_videos(tmp_path)

def test_a_zip_that_is_replaced_is_noticed(tmp_path):
    archive = pack(tmp_path/'set.zip', {f'{t}.png': png(f) for t, f in enumerate(film(3))})
    v = open_video(find_videos(archive)[0])
    pack(archive, {f'{t}.png': png(f) for t, f in enumerate(film(4))})
    with pytest.raises(Unusable, match='set.zip/0.png has changed'): v.frames()

def test_natural_order():
    assert sorted(['b', '2', '10', 'a1'], key=natural_key) == ['2', '10', 'a1', 'b']
    assert sorted(['x٢', 'x١٠'], key=natural_key) == ['x٢', 'x١٠'] # digits of other scripts count too
