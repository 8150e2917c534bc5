"Sets of videos: what is drawn, what is left out and why, what happens when a file breaks, and a loop that does not wait."
import pickle, threading, time, warnings, zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from mocogan_hd.data.video_data import VideoFolder, check_boxes, cut_grid, has_data, imitate_weizmann, sky_timelapse, weizmann
from mocogan_hd.data.clip_sets import VideoSet, Video, held_out_groups, resize_frames, split_videos
from mocogan_hd.core.media_files import natural_key
from mocogan_hd.core.prefetch import prefetch
from mocogan_hd.core.basics import seeded, tensors_hash
from mocogan_hd.core.processes import Shard
from mocogan_hd.method.clips import save_mp4
from mocogan_hd.core.media_files import Unusable
from mocogan_hd.data.video_files import read_strip
from mocogan_hd.method.toy_faces import ToyFaces


def strip(path, n=6, side=8, mode='RGB', vertical=False, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (side, n*side) if vertical else (n*side, side), value if mode == 'L' else (value,)*len(mode)).save(path)


def frames(folder, names, side=8):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names): Image.new('RGB', (side, side), (i, i, i)).save(folder/name)


@pytest.mark.parametrize('names', [['img_0000.png', 'img_0001.png', 'img_0002.png'], ['1.png', '2.png', '10.png'], ['a.png', 'b.png', 'c.png'],
                                   ['frame-9.png', 'frame-10.png', 'frame-11.png'], ['0.5.png', '0.6.png', '0.10.png']])
def test_any_name_in_natural_order(tmp_path, names):
    frames(tmp_path/'v', names)
    assert VideoFolder(tmp_path, 8).videos[0].read()[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_stray_files_are_no_frames(tmp_path):
    frames(tmp_path/'v', ['1.png', '2.png'])
    for name in ('.DS_Store', 'notes.txt', '.3.png'): (tmp_path/'v'/name).write_bytes(b'x')
    (tmp_path/'.cache').mkdir(); frames(tmp_path/'.cache', ['1.png'])
    assert [v.n_frames for v in VideoFolder(tmp_path, 8).videos] == [2]


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'RGB'])
@pytest.mark.parametrize('vertical', [False, True])
def test_strips_of_every_kind_become_rgb(tmp_path, mode, vertical):
    strip(tmp_path/'s.png', mode=mode, vertical=vertical)
    videos = VideoFolder(tmp_path, 4)
    assert videos.videos[0].read().shape == (6, 3, 4, 4) and videos.labels == ['']
    assert (videos.videos[0].read() == (39 if mode == 'RGBA' else 100)).all() # transparency lies over black


def test_vertical_strip_keeps_order(tmp_path):
    Image.fromarray(np.repeat(np.arange(5, dtype=np.uint8), 8)[:, None, None].repeat(8, 1).repeat(3, 2)).save(tmp_path/'s.png')
    assert VideoFolder(tmp_path, 8).videos[0].read()[:, 0, 3, 3].tolist() == [0, 1, 2, 3, 4]


def test_form_decides_where_a_look_cannot(tmp_path):
    strip(tmp_path/'v'/'1.png', n=3); strip(tmp_path/'v'/'2.png', n=3)
    assert len(VideoFolder(tmp_path, 8)) == 2
    assert len(VideoFolder(tmp_path, 8, form='frames')) == 1
    with pytest.raises(ValueError, match='stripes'): VideoFolder(tmp_path, 8, form='stripes')


def test_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'): VideoFolder(tmp_path/'nowhere', 8)
    with pytest.raises(FileNotFoundError, match='no videos in'): VideoFolder(tmp_path, 8)
    strip(tmp_path/'odd'/'1.png'); Image.new('RGB', (50, 8)).save(tmp_path/'odd'/'2.png')
    with pytest.raises(ValueError, match=r'2\.png is 50x8'): VideoFolder(tmp_path/'odd', 8, bad='error')
    frames(tmp_path/'mixed', ['1.png', '2.png']); Image.new('RGB', (9, 8)).save(tmp_path/'mixed'/'3.png')
    with pytest.raises(ValueError, match=r'3\.png is 9x8.*8x8'): VideoFolder(tmp_path/'mixed', 8)
    with pytest.raises(ValueError, match='resolution 0'): VideoFolder(tmp_path/'odd', 0)


@pytest.mark.parametrize('name', ['1.png', '1.jpg', '1.mp4'])
def test_corrupt_files(tmp_path, name):
    (tmp_path/name).write_bytes(b'this is no picture')
    with pytest.raises(ValueError, match=name): VideoFolder(tmp_path, 8)


def test_truncated_image(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 192, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path/'whole.jpg')
    data = (tmp_path/'whole.jpg').read_bytes(); (tmp_path/'whole.jpg').unlink()
    (tmp_path/'half.jpg').write_bytes(data[:len(data)//2])
    with pytest.raises(ValueError, match='half.jpg'): VideoFolder(tmp_path, 8)


def test_exactly_long_enough(tmp_path):
    strip(tmp_path/'a.png', n=31); strip(tmp_path/'b.png', n=30)
    videos = VideoFolder(tmp_path, 8)
    with pytest.warns(UserWarning, match='b.png'): assert videos.clips(3, 16, 0, frame_stride=2).shape == (3, 16, 3, 8, 8)
    assert videos.report(16, 2).usable.tolist() == [True, False]
    with pytest.raises(ValueError, match='n_frames 16 with frame_stride 3 needs 46'): videos.clips(1, 16, 0, frame_stride=3)
    with pytest.raises(ValueError, match='frame_stride 0'): videos.clips(1, 16, 0, frame_stride=0)


def test_every_start_is_reached_and_the_last_frame_used(tmp_path):
    Image.fromarray(np.repeat(np.arange(7, dtype=np.uint8), 8)[None, :, None].repeat(8, 0).repeat(3, 2)).save(tmp_path/'s.png')
    clips = VideoFolder(tmp_path, 8).clips(200, 3, 0, frame_stride=2)
    assert set(((clips[:, 0, 0, 0, 0] + 1)*127.5).round().int().tolist()) == {0, 1, 2}
    assert ((clips[:, -1, 0, 0, 0] + 1)*127.5).round().max() == 6
    images = VideoFolder(tmp_path, 8).images(300, 0)
    assert len(images[:, 0, 0, 0].unique()) == 7


def test_clips_spread_evenly_over_videos(tmp_path):
    for i in range(5): strip(tmp_path/f'{i}.png', n=5 + 20*i, value=10*i)
    values = VideoFolder(tmp_path, 8).clips(52, 4, 0)[:, 0, 0, 0, 0]
    assert sorted(values.unique(return_counts=True)[1].tolist()) == [10, 10, 10, 11, 11]


def test_same_seed_same_clips_and_generator_moves_on(tmp_path):
    for i in range(5): strip(tmp_path/f'{i}.png', value=10*i)
    videos = VideoFolder(tmp_path, 8)
    assert torch.equal(videos.clips(3, 4, 7), videos.clips(3, 4, 7))
    g = seeded(7)
    assert torch.equal(videos.clips(5, 4, g), videos.clips(5, 4, 7)) and videos.clips(5, 4, g).shape == (5, 4, 3, 8, 8)


def test_kept_or_read_again_is_the_same(tmp_path):
    for i in range(3): strip(tmp_path/f'{i}.png', value=10*i, side=16)
    a, b = VideoFolder(tmp_path, 8), VideoFolder(tmp_path, 8, keep=False)
    assert torch.equal(a.clips(4, 3, 1), b.clips(4, 3, 1)) and a.fingerprint == b.fingerprint


def test_fingerprint_follows_contents_and_settings(tmp_path):
    for i in range(5): strip(tmp_path/'x'/f'{i}.png', value=10*i)
    prints = {VideoFolder(tmp_path/'x', 8).fingerprint, VideoFolder(tmp_path/'x', 4).fingerprint, VideoFolder(tmp_path/'x', 8, 'train').fingerprint,
              VideoFolder(tmp_path/'x', 8, 'test').fingerprint}
    again = VideoFolder(tmp_path/'x', 8).fingerprint
    assert again in prints
    (tmp_path/'x').rename(tmp_path/'y')
    assert VideoFolder(tmp_path/'y', 8).fingerprint == again, 'where the folder lies must not matter'
    strip(tmp_path/'y'/'2.png', value=99)
    prints.add(VideoFolder(tmp_path/'y', 8).fingerprint)
    assert len(prints) == 5


def test_split_keeps_groups_together(tmp_path):
    for i in range(20): strip(tmp_path/f'{i}.png')
    pair = lambda path: f'pair {int(path.stem)//2}'
    train, test = (VideoFolder(tmp_path, 8, s, group=pair) for s in ('train', 'test'))
    assert not set(train.groups) & set(test.groups) and len(train) == 16 and len(test) == 4
    assert held_out_groups(list('abcde')) == held_out_groups(list('edcba')*2)
    with pytest.raises(ValueError, match="'val'"): VideoFolder(tmp_path, 8, 'val')
    with pytest.raises(ValueError, match='one group'): VideoFolder(tmp_path, 8, 'train', group=lambda p: 'same')
    with pytest.raises(ValueError, match='nobody'): VideoFolder(tmp_path, 8, 'test', test={'nobody'})


def test_weizmann_layout(tmp_path, monkeypatch):
    imitate_weizmann(tmp_path/'weizmann', torch.rand(36, 3, 3, 16, 16, generator=seeded(0))*2 - 1)
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path))
    assert has_data('weizmann') and not has_data('sky_timelapse')
    everything = weizmann(None, 16, 'all')
    assert len(everything) == 72 and sorted(set(everything.groups)) == [f'person {i}' for i in range(9)]
    assert sorted(set(everything.labels)) == ['bend', 'jumping jack', 'one-hand wave', 'two-hand wave']
    assert [v.label for v in everything.videos] == everything.labels
    assert set(weizmann(None, 16, 'test').groups) == {'person 4', 'person 7'}
    strip(tmp_path/'weizmann'/'0'/'mine.png')
    with pytest.raises(ValueError, match='mine.png'): weizmann(None, 16)
    monkeypatch.delenv('MOCOGAN_HD_DATA')
    assert not has_data('weizmann')
    with pytest.raises(FileNotFoundError, match='MOCOGAN_HD_DATA'): weizmann(None, 16)


def test_grid_of_another_size():
    with pytest.raises(ValueError, match='1042x782, not 100x90'): cut_grid(np.zeros((2, 90, 100, 3), np.uint8), 6, 8, 128, 2)


@pytest.mark.skipif(not has_data('sky_timelapse'), reason='the sky clips are not in MOCOGAN_HD_DATA')
def test_sky_tiles():
    videos = sky_timelapse(None, 64, 'all')
    assert len(videos) == 48 and all(v.n_frames == 32 for v in videos.videos)
    borders = torch.stack([v.read()[0, :, 0].float() for v in videos.videos])   # a row of the gap would be of one colour
    assert borders.std(-1).mean() > 3
    assert (len(sky_timelapse(None, 64, 'train')), len(sky_timelapse(None, 64, 'test'))) == (38, 10)


def test_resize_keeps_uint8_and_centre():
    frames = np.zeros((2, 10, 30, 3), np.uint8); frames[:, :, 10:20] = 255
    small = resize_frames(frames, 5)
    assert small.dtype == torch.uint8 and small.shape == (2, 3, 5, 5) and (small == 255).all()


def test_natural_key_mixes_numbers_and_words():
    assert sorted(['b', '2', '10', 'a1'], key=natural_key) == ['2', '10', 'a1', 'b']


# --- the same clips as ever

def hash_of(source, n_frames=8): return tensors_hash({'clips': source.clips(9, n_frames, 3, 2), 'images': source.images(9, 4)})

RECORDED = { # before readers, crops and offsets were rewritten
    ('weizmann', 'train'): ('74a3dba0d8e89971', '96b713d2514ccde2', '76f54d35e8223c38'), ('weizmann', 'test'): ('ceca9416a7586c38', '5f3bc059e170055a', '6217e4333976fea5'),
    ('weizmann', 'all'): ('fb76518103713603', 'e5352e43e5499607', '50ee226f56840074'),
    ('sky_timelapse', 'train'): ('90144305803769aa', '85ef14b993caf821', '5b9da9ede94272be'), ('sky_timelapse', 'test'): ('b6ba733e2c0d61c6', '10ab7392472f88c5', '05e6824fa1995201')}

@pytest.mark.parametrize('name, split', RECORDED)
def test_real_clips_are_those_of_earlier_runs(name, split):
    if not has_data(name): pytest.skip(f'{name} is not in MOCOGAN_HD_DATA')
    videos = (weizmann if name == 'weizmann' else sky_timelapse)(None, 32, split)
    assert (videos.fingerprint, tensors_hash({'x': videos.clips(9, 8, 3, 2)}), tensors_hash({'x': videos.images(9, 4)})) == RECORDED[name, split]

def made_up(root):
    "Strips and frames from a fixed generator, without lossy codecs."
    rng = np.random.default_rng(0)
    for i in range(4):
        a = rng.integers(0, 255, (24, 24*(20 + i), 3), dtype=np.uint8)
        (root/f'strips {i % 2}').mkdir(parents=True, exist_ok=True); Image.fromarray(a).save(root/f'strips {i % 2}'/f'{i}.png')
    (root/'frames').mkdir()
    for t in range(22): Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(root/'frames'/f'img_{t}.png')

MADE_UP = {'all': ('bd3bd2255456cd1a', 'e9fedc8b58127071', 'f3541b2ccbdad6a4'),
           'train': ('d8892f48dea6ab65', '27823aaf9be14af3', 'd6bf5c95a10f3379'),
           'test': ('ac16f1ed764da467', 'a57ab370cf23e56c', '7762f441cce62884')}

@pytest.mark.parametrize('split', MADE_UP)
@pytest.mark.parametrize('keep', [True, False])
def test_made_up_clips_are_those_of_earlier_runs(tmp_path, split, keep):
    made_up(tmp_path)
    videos = VideoFolder(tmp_path, 16, split, keep=keep)
    assert (videos.fingerprint, tensors_hash({'x': videos.clips(9, 8, 3, 2)}), tensors_hash({'x': videos.images(9, 4)})) == MADE_UP[split]

# --- draws

def numbered(root, lengths, side=8):
    "Strips whose frames have a brightness that tells video and frame: 40*i + t."
    root.mkdir(parents=True, exist_ok=True)
    for i, n in enumerate(lengths): Image.fromarray(np.repeat((40*i + np.arange(n)).astype(np.uint8), side)[None, :, None].repeat(side, 0).repeat(3, 2)).save(root/f'{i}.png')
    return root

def numbers(clips): return ((clips[:, :, 0, 0, 0] + 1)*127.5).round().int().tolist()

def test_fixed_offsets(tmp_path):
    videos = VideoFolder(numbered(tmp_path, [20, 9, 31]), 8)
    start, centre = ({c[0]//40: [t % 40 for t in c] for c in numbers(videos.clips(3, 4, 0, 2, offset=o))} for o in ('start', 'centre'))
    assert start == {k: [0, 2, 4, 6] for k in range(3)} and centre == {0: [6, 8, 10, 12], 1: [1, 3, 5, 7], 2: [12, 14, 16, 18]}
    once, again, other = (sorted(numbers(videos.clips(3, 4, g, 2, offset=o))) for g, o in ((0, 5), (1, 5), (0, 6)))
    assert once == again != other
    assert len({tuple(map(tuple, sorted(numbers(videos.clips(3, 4, 0, 2, offset=o))))) for o in range(30)}) > 10
    with pytest.raises(ValueError, match="offset 'middle' is unknown"): videos.clips(1, 4, 0, offset='middle')

@pytest.mark.parametrize('of', [1, 2, 3, 6])
@pytest.mark.parametrize('bad', [None, '1.png'])
def test_any_number_of_processes_and_threads_draws_the_same(tmp_path, of, bad):
    videos = VideoFolder(numbered(tmp_path, [20, 9, 31, 12]), 8, keep=False, bad='skip')
    if bad: (tmp_path/bad).write_bytes(b'gone bad')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        want, pictures = videos.clips(6, 4, 1, 2), videos.images(6, 2)
        fresh = [pickle.loads(pickle.dumps(videos)) if bad is None else videos for _ in range(of)]
        with ThreadPoolExecutor(3) as pool:
            parts = list(pool.map(lambda i: fresh[i].clips(6, 4, 1, 2, Shard(i, of)), range(of)))
            single = list(pool.map(lambda i: fresh[i].images(6, 2, Shard(i, of)), range(of)))
    assert torch.equal(torch.cat(parts), want) and torch.equal(torch.cat(single), pictures)

# --- crops

def test_boxes(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (5, 24, 40, 3), dtype=np.uint8)
    (tmp_path/'v').mkdir()
    for t, f in enumerate(frames): Image.fromarray(f).save(tmp_path/'v'/f'{t}.png')
    box = (3, 2, 19, 18)
    fixed = VideoFolder(tmp_path, 16, boxes={'v': box})
    assert (fixed.videos[0].read().permute(0, 2, 3, 1).numpy() == frames[:, 2:18, 3:19]).all()
    moving = [(t, t, t + 16, t + 16) for t in range(5)]
    for keep in (True, False):
        got = VideoFolder(tmp_path, 16, boxes={'v': np.array(moving)}, keep=keep).clips(1, 2, 0, 2, offset='start')
        want = np.stack([frames[t, t:t + 16, t:t + 16] for t in (0, 2)])
        assert torch.equal(((got[0] + 1)*127.5).round().byte().permute(0, 2, 3, 1), torch.from_numpy(want))
    prints = {VideoFolder(tmp_path, 16, boxes=b).fingerprint for b in (None, {'v': box}, {'v': moving}, {'v': (3, 2, 19, 17)})}
    assert len(prints) == 4
    assert (resize_frames(frames, 8, (0, 4, 40, 20)) == resize_frames(frames[:, 4:20, 12:28], 8)).all(), 'of a wide box the middle square counts'

@pytest.mark.parametrize('box, message', [((0, 0, 41, 24), 'inside 40x24'), ((-1, 0, 8, 8), 'inside 40x24'), ((8, 0, 8, 8), 'left < right'), ((0, 0, 8), r'shape \(3,\)'),
                                          (np.zeros((4, 4), int), r'shape \(4, 4\)'), ((0, 0, 8.5, 8), 'whole pixels')])
def test_impossible_boxes(tmp_path, box, message):
    (tmp_path/'v').mkdir()
    for t in range(5): Image.new('RGB', (40, 24)).save(tmp_path/'v'/f'{t}.png')
    with pytest.raises(ValueError, match=message): VideoFolder(tmp_path, 16, boxes={'v': box})
    with pytest.raises(ValueError, match='v .*has no box'): VideoFolder(tmp_path, 16, boxes={})

# --- what cannot be used

def mixed(root):
    numbered(root/'good', [20, 9, 31])
    (root/'good'/'3.png').write_bytes(b'no picture')
    (root/'bad').mkdir(); (root/'bad'/'empty.mp4').write_bytes(b'')
    (root/'bad'/'frames').mkdir()
    for t in range(4): Image.new('RGB', (8, 8)).save(root/'bad'/'frames'/f'{t}.png')
    (root/'bad'/'frames'/'2.png').write_bytes((root/'bad'/'frames'/'1.png').read_bytes()[:40])
    with zipfile.ZipFile(root/'some.zip', 'w') as z: z.writestr('../out.png', b'x'); z.write(root/'good'/'0.png', 'inside/9.png')
    return root

def test_refused_by_name_all_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"4 of 8 videos.*bad/empty\.mp4 is empty.*bad/frames holds a bad file: 2\.png cannot be read.*good/3\.png cannot.*out\.png has a name.*bad='skip' leaves them out"): VideoFolder(mixed(tmp_path), 8, bad='error')
    with pytest.raises(ValueError, match="bad='ignore' is unknown"): VideoFolder(tmp_path, 8, bad='ignore')

@pytest.mark.parametrize('keep', [True, False])
def test_skipped_by_name_and_in_the_report(tmp_path, keep):
    with pytest.warns(UserWarning) as caught: videos = VideoFolder(mixed(tmp_path), 8, keep=keep)
    *lines, count = str(caught[0].message).splitlines()
    assert len(lines) == 4 and lines[0] == 'bad/empty.mp4 is empty (0 bytes): left out' and count.startswith('4 of 8 videos')
    assert [v.name for v in videos.videos] == ['good/0.png', 'good/1.png', 'good/2.png', 'some.zip/inside/9.png'] and '4 more cannot be used' in repr(videos)
    assert videos.labels == ['good', 'good', 'good', 'inside'], 'an archive is no label'
    report = videos.report(12).set_index('name')
    assert len(report) == 8 and report.usable.sum() == 3 and report.reason['good/1.png'] == '12 frames needed' and report.reason['bad/empty.mp4'] == 'is empty (0 bytes)'
    assert (report.usable == (report.reason == '')).all() and not report.reason.str.contains(str(tmp_path), regex=False).any()

def test_nothing_usable(tmp_path):
    (tmp_path/'a.mp4').write_bytes(b''); (tmp_path/'b.mp4').write_bytes(b'x')
    with pytest.raises(ValueError, match='2 of 2 videos.*a.mp4 is empty'): VideoFolder(tmp_path, 8, bad='skip')

def test_a_broken_file_moves_no_other_between_train_and_test(tmp_path):
    numbered(tmp_path, [9]*15)
    whole = {s: {v.name for v in VideoFolder(tmp_path, 8, s).videos} for s in ('train', 'test')}
    for i in range(15):
        data = (tmp_path/f'{i}.png').read_bytes(); (tmp_path/f'{i}.png').write_bytes(b'x')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            for s in ('train', 'test'): assert {v.name for v in VideoFolder(tmp_path, 8, s, bad='skip').videos} == whole[s] - {f'{i}.png'}
        (tmp_path/f'{i}.png').write_bytes(data)

# --- a folder that changes while a run is on

def test_a_file_that_breaks_is_named(tmp_path):
    videos = VideoFolder(numbered(tmp_path, [9, 9, 9]), 8, keep=False, bad='error')
    want = videos.clips(3, 4, 0)
    (tmp_path/'1.png').write_bytes(b'')
    with pytest.raises(Unusable, match=r'1\.png has changed since it was first looked at'): videos.clips(3, 4, 0)
    (tmp_path/'1.png').unlink()
    with pytest.raises(Unusable, match=r'1\.png cannot be read as a file: No such file'): videos.images(30, 0)
    kept = VideoFolder(numbered(tmp_path/'kept', [9, 9, 9]), 8); clips = kept.clips(3, 4, 0)
    (tmp_path/'kept'/'1.png').unlink()
    assert torch.equal(kept.clips(3, 4, 0), clips) and torch.equal(clips, want)

def test_a_file_that_breaks_is_replaced_and_named_at_once(tmp_path):
    videos = VideoFolder(numbered(tmp_path, [9, 8, 7]), 8, keep=False)
    before = numbers(videos.clips(6, 3, 0))
    (tmp_path/'1.png').unlink()
    with pytest.warns(UserWarning, match=r'1\.png in .* cannot be read as a file: No such file.*other videos take its place'): after = numbers(videos.clips(6, 3, 0))
    for a, b in zip(before, after): assert b == (a if a[0]//40 != 1 else [80 + (a[0] - 40) % 5 + k for k in range(3)]) # video 2 has 5 starts
    with warnings.catch_warnings():
        warnings.simplefilter('error') # said once
        assert numbers(videos.clips(6, 3, 0)) == after and len(videos.images(40, 0)) == 40
    assert videos.report(3).set_index('name').reason['1.png'] == 'cannot be read as a file: No such file or directory'
    (tmp_path/'0.png').unlink(); (tmp_path/'2.png').unlink()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(ValueError, match=r'no video in .* can be read any more: 1\.png'): videos.clips(6, 3, 0)

def test_new_files_are_not_of_the_set(tmp_path):
    videos = VideoFolder(numbered(tmp_path, [9, 9]), 8, keep=False)
    want = videos.clips(4, 3, 0)
    numbered(tmp_path/'new', [9])
    assert torch.equal(videos.clips(4, 3, 0), want) and len(videos) == 2

# --- forms

def test_an_archive_of_a_folder_is_the_folder(tmp_path):
    made_up(tmp_path/'v')
    with zipfile.ZipFile(tmp_path/'v.zip', 'w') as z:
        for f in (tmp_path/'v').rglob('*.png'): z.write(f, f.relative_to(tmp_path/'v'))
    a, b = VideoFolder(tmp_path/'v', 16), VideoFolder(tmp_path/'v.zip', 16, keep=False)
    assert a.fingerprint == b.fingerprint and a.labels == b.labels and hash_of(a) == hash_of(b)

def test_a_rate_is_asked_for(tmp_path):
    save_mp4(ToyFaces(resolution=32).clips(1, 20, 0)[0], tmp_path/'a.mp4', fps=10)
    a, b = VideoFolder(tmp_path, 16), VideoFolder(tmp_path, 16, fps=5)
    assert (a.videos[0].n_frames, b.videos[0].n_frames) == (20, 10) and a.fingerprint != b.fingerprint and (a.videos[0].rate, b.videos[0].rate) == (10, 5)
    assert torch.equal(a.videos[0].read()[::2], b.videos[0].read())

def test_movies_kept_or_read_in_part(tmp_path):
    for i, clip in enumerate(ToyFaces(resolution=32).clips(3, 40, 0)): save_mp4(clip, tmp_path/f'{i}.mp4', fps=10)
    assert hash_of(VideoFolder(tmp_path, 16)) == hash_of(VideoFolder(tmp_path, 16, keep=False))

def test_videos_that_read_as_a_whole_still_do(tmp_path):
    "A set may be made of any functions that return frames."
    frames = torch.randint(0, 255, (9, 3, 8, 8), dtype=torch.uint8, generator=seeded(0))
    videos = VideoSet([Video('a', '', 'a', 9, (8, 8), lambda frames=frames: frames)], 8, 'made up', 'hash')
    assert torch.equal(((videos.clips(1, 5, 0, 2, offset='start')[0] + 1)*127.5).round().byte(), frames[::2])

# --- reading ahead

def alive(): return [t for t in threading.enumerate() if t.name.startswith('prefetch')]

@pytest.mark.parametrize('depth, workers', [(0, 1), (1, 1), (2, 1), (3, 4)])
def test_ahead_keeps_the_order(depth, workers):
    done = []
    def fn(i): time.sleep(.002*(i % 3)); done.append(i); return i*i
    with prefetch(fn, range(20), depth, workers) as items: assert list(items) == [i*i for i in range(20)]
    assert sorted(done) == list(range(20)) and not alive()

def test_ahead_reads_one_step_ahead_and_no_further():
    done = []
    with prefetch(lambda i: done.append(i) or i, range(10)) as items:
        for i in items:
            time.sleep(.01)
            assert len(done) <= i + 2
            if i == 4: break
    assert max(done) <= 5 and not alive()

def test_an_error_belongs_to_its_step():
    def fn(i):
        if i == 3: raise OSError('disk gone')
        return i
    seen = []
    with pytest.raises(OSError, match='disk gone'):
        with prefetch(fn, range(9)) as items: seen.extend(items) if False else [seen.append(i) for i in items]
    assert seen == [0, 1, 2] and not alive()

def test_no_thread_outlives_a_loop_that_breaks():
    with pytest.raises(KeyboardInterrupt):
        with prefetch(lambda i: time.sleep(.01), range(1000)) as items:
            next(items)
            raise KeyboardInterrupt
    assert not alive()
    def training():
        with prefetch(lambda i: i, range(1000)) as items: yield from items
    t = training(); next(t); assert alive(); t.close(); assert not alive()

# --- one bad video among good ones, split in time, frame rates, many videos

@pytest.mark.parametrize('name, data', [('bad.mp4', b''), ('bad.mp4', b'x'*999), ('bad.png', b'\x89PNG'), ('bad.gif', b'GIF89a'), ('bad.zip', b'PK')])
@pytest.mark.parametrize('bad', ['error', 'raise', None])
def test_a_bad_video_among_good_ones(tmp_path, name, data, bad):
    numbered(tmp_path, [9, 9]); (tmp_path/name).write_bytes(data)
    if bad:
        with pytest.raises(ValueError, match=f'1 of 3 videos.*{name}'): VideoFolder(tmp_path, 8, bad=bad)
        return
    with pytest.warns(UserWarning, match=f'{name} .*: left out\\n1 of 3 videos'): videos = VideoFolder(tmp_path, 8)
    assert len(videos) == 2 and videos.clips(4, 3, 0).shape[0] == 4

def test_short_videos_are_named_once_with_a_count(tmp_path):
    videos = VideoFolder(numbered(tmp_path, [9, 1, 2]), 8)
    with pytest.warns(UserWarning) as caught:
        for i in range(3): videos.clips(4, 4, i)
    text, = [str(w.message) for w in caught]
    assert text.splitlines() == ['1.png has 1 frames, 4 are needed: left out', '2.png has 2 frames, 4 are needed: left out',
                                 f'2 of 3 videos in {tmp_path.name} cannot be used and are left out']

@pytest.mark.parametrize('keep', [True, False])
def test_a_single_video_is_split_in_time(tmp_path, keep):
    numbered(tmp_path, [20])
    with pytest.raises(ValueError, match='cannot be split'): VideoFolder(tmp_path, 8, 'train')
    train, test, every = (VideoFolder(tmp_path, 8, s, split_by='time', keep=keep) for s in ('train', 'test', 'all'))
    assert [s.videos[0].n_frames for s in (train, test, every)] == [16, 4, 20] and len({s.fingerprint for s in (train, test, every)}) == 3
    assert set(sum(numbers(train.clips(40, 4, 0)), [])) == set(range(16)) and set(sum(numbers(test.clips(9, 2, 0)), [])) == set(range(16, 20))
    with pytest.raises(ValueError, match="split_by='half'"): VideoFolder(tmp_path, 8, 'train', split_by='half')

@pytest.mark.parametrize('rate, fps, want', [(24, 12, [0, 2, 4, 6, 8]), (25, 10, [0, 3, 5, 8]), (30, 12, [0, 3, 5, 8]), (10, 20, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]), (25, 25, range(10)), (25, .1, [0])])
def test_nearest_frame_in_time(rate, fps, want):
    frames = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 3, 4, 4)
    video = Video('a', '', 'a', 10, (4, 4), lambda: frames, rate=rate).at_rate(fps)
    assert video.read()[:, 0, 0, 0].tolist() == list(want) and video.n_frames == len(want) and video.rate == fps
    assert video.take([0, video.n_frames - 1])[:, 0, 0, 0].tolist() == [0, want[-1]]

def test_rates_that_make_no_sense():
    video = Video('a', '', 'a', 10, (4, 4), lambda: None, rate=25)
    for fps in (0, -1, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='must be more than 0'): video.at_rate(fps)
    with pytest.raises(ValueError, match='^a: .* frames'): video.at_rate(1e9)

def test_clips_know_their_rate(tmp_path):
    for i, fps in enumerate((10, 10, 5)): save_mp4(ToyFaces(resolution=32).clips(1, 20, 0)[0], tmp_path/f'{fps}'/f'{i}.mp4', fps=fps)
    assert (VideoFolder(tmp_path/'10', 16).clip_rate(), VideoFolder(tmp_path/'10', 16).clip_rate(frame_stride=2)) == (10, 5)
    assert VideoFolder(tmp_path, 16).clip_rate() is None and VideoFolder(tmp_path, 16, fps=5).clip_rate() == 5
    assert VideoFolder(numbered(tmp_path/'strips', [9]), 16).clip_rate() is None

def test_a_batch_does_not_look_at_all_videos_again():
    class Counted(list):
        looks = 0
        def __iter__(self): Counted.looks += 1; return super().__iter__()
    frames = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    videos = VideoSet(Counted(Video(f'{i}', '', f'{i}', 5, (8, 8), lambda: frames) for i in range(100)), 8, 'made up', 'hash')
    videos.clips(2, 3, 0); videos.images(2, 0); before = Counted.looks
    for i in range(20): videos.clips(2, 3, i); videos.images(2, i)
    assert Counted.looks == before
