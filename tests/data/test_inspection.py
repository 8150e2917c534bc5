"`inspect` takes what other commands take, and goes on after a bad path."
import tarfile, zipfile
import numpy as np, pytest, torch
from PIL import Image
from mocogan_hd.data.inspection import frame_rate, inspect_paths
from mocogan_hd.method.clips import save_gif, save_image, save_mp4, save_strip

def clip(n=8): return torch.linspace(-1, 1, n)[:, None, None, None].expand(n, 3, 32, 32)
def unknown(path): raise ValueError(f'{path} is not known')

@pytest.fixture
def top(tmp_path):
    save_mp4(clip(), tmp_path/'set'/'a.mp4', 10); save_gif(clip(), tmp_path/'set'/'b.gif', 10); save_strip(clip(), tmp_path/'strips'/'c.png')
    for t, f in enumerate(clip()): save_image(f, tmp_path/'frames'/f'{t}.png')
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as z, tarfile.open(tmp_path/'a.tar', 'w') as t:
        for f in (tmp_path/'set').iterdir(): z.write(f, f.name); t.add(f, f.name)
    (tmp_path/'linked').mkdir(); (tmp_path/'linked'/'set').symlink_to(tmp_path/'set', target_is_directory=True)
    (tmp_path/'done').mkdir(); (tmp_path/'done'/'plan.json').write_text('{"preset": "own", "resolution": 64, "n_frames": 16}', encoding='utf-8')
    (tmp_path/'release').mkdir(); (tmp_path/'release'/'modelR_epoch_1.pth').write_bytes(b'x')
    return tmp_path

CASES = {'set': '2 videos of 8 frames, 32x32, 10 frames a second', 'set/a.mp4': '1 video of 8 frames', 'set/b.gif': '1 video of 8 frames', 'a.zip': '2 videos', 'a.tar': '2 videos',
         'linked': '2 videos', 'strips': '1 video of 8 frames, 32x32', 'strips/c.png': '1 video of 8 frames', 'frames': '1 video of 8 frames', 'frames/0.png': 'an image of 32x32',
         'done': 'an experiment on videos (not finished): preset own', 'release': 'a folder with modelR_epoch_1.pth; it cannot be used as it is'}

def test_everything_is_described(top):
    for name, said in zip(CASES, inspect_paths([top/n for n in CASES], unknown)): assert said.good and said.text.startswith(CASES[name]), (name, said)

def test_the_next_path_follows_a_bad_one(top):
    for name in ('empty.mp4', 'bad.zip', 'text.png'): (top/name).write_bytes(b'' if name == 'empty.mp4' else b'x'*99)
    (top/'void').mkdir()
    names = ['gone', 'empty.mp4', 'set', 'bad.zip', 'void', 'text.png', 'a.zip']
    said = list(inspect_paths([top/n for n in names], unknown))
    assert [s.path.name for s in said] == names
    for s in said: assert str(s.path) in s.text or s.text.startswith('2 videos'), s
    assert [s.good for s in said ] == [False, False, True, False, False, False, True]

def test_a_bad_video_among_good_ones_is_named(top):
    (top/'set'/'bad.mp4').write_bytes(b''); save_mp4(clip(1), top/'set'/'one.mp4', 10)
    text = next(inspect_paths([top/'set'], unknown)).text
    assert text.startswith('2 videos') and '2 left out' in text and 'bad.mp4 is empty' in text and 'one.mp4 has 1 frame' in text

def test_frame_rates(top):
    assert [frame_rate(top/n) for n in ('set', 'set/a.mp4', 'a.zip', 'frames', 'strips')] == [10, 10, 10, None, None]
