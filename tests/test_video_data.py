"What people's folders really hold: odd names, odd sizes, broken files."
import warnings
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from mocogan_hd.video_data import (VideoFolder, cut_grid, has_data, held_out_groups, imitate_weizmann, natural_key, resize_frames,
                                   sky_timelapse, split_videos, weizmann)
from mocogan_hd.basics import seeded


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
    assert (videos.videos[0].read() == 100).all()


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
    with pytest.raises(ValueError, match=r'2\.png is 50x8'): VideoFolder(tmp_path/'odd', 8)
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
    with pytest.warns(UserWarning, match='b.png'): assert videos.clips(3, 16, 0, interval=2).shape == (3, 16, 3, 8, 8)
    assert videos.report(16, 2).usable.tolist() == [True, False]
    with pytest.raises(ValueError, match='n_frames 16 with interval 3 needs 46'): videos.clips(1, 16, 0, interval=3)
    with pytest.raises(ValueError, match='interval 0'): videos.clips(1, 16, 0, interval=0)


def test_every_start_is_reached_and_the_last_frame_used(tmp_path):
    Image.fromarray(np.repeat(np.arange(7, dtype=np.uint8), 8)[None, :, None].repeat(8, 0).repeat(3, 2)).save(tmp_path/'s.png')
    clips = VideoFolder(tmp_path, 8).clips(200, 3, 0, interval=2)
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
