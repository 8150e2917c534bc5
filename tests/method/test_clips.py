"Clips: faults, odd sizes, files."
import av, pytest, torch
from PIL import Image
from mocogan_hd.core.basics import seeded
from mocogan_hd.method.clips import check_clip, clip_grid, from_uint8, save_gif, save_image, save_mp4, save_strip, show_strips, strip, tile, to_uint8

def blocks(t=6, h=16, w=16):
    "A clip of few, flat colours: every frame another."
    levels = torch.linspace(-1, 1, t)[:, None, None, None]
    return torch.cat([levels, -levels, levels*0], 1).expand(t, 3, h, w).clone()

@pytest.mark.parametrize('bad, message', [
    (torch.zeros(3, 8, 8), r'not \(3, 8, 8\)'), (torch.zeros(4, 8, 8, 3), r'not \(4, 8, 8, 3\)'), (torch.zeros(2, 3, 4, 8, 8), r'not \(2, 3, 4, 8, 8\)'),
    (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), 'uint8'), (torch.full((4, 3, 8, 8), 255.), '255'),
    (torch.zeros(4, 3, 8, 8).index_fill(0, torch.tensor([2]), float('nan')), 'nan')])
def test_what_is_no_clip(bad, message):
    with pytest.raises(ValueError, match=message): check_clip(bad)

def test_uint8():
    assert to_uint8(torch.tensor([-9., -1, 0, 1, 9])).tolist() == [0, 0, 128, 255, 255]
    assert from_uint8(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]

@pytest.mark.parametrize('n, columns, size', [(1, None, (8, 8)), (5, None, (8*2 + 1, 8*3 + 2)), (5, 2, (8*3 + 2, 8*2 + 1)), (3, 10, (8, 8*3 + 2))])
def test_tile(n, columns, size):
    images = torch.rand(n, 3, 8, 8)
    sheet = tile(images, columns)
    assert sheet.shape == (3, *size) and torch.equal(sheet[:, :8, :8], images[0])
    if n == 5: assert (sheet[:, -8:, -8:] == 1).all() # the empty place is white
    assert tile(images, columns, pad=0).shape[1] == size[0] // 8 * 8

def test_strips_and_grids():
    clip = blocks()
    assert strip(clip, every=2).shape == (3, 16, 3*17 - 1) and torch.equal(strip(clip, every=4, pad=0)[:, :, 16:], clip[4])
    grid = clip_grid(torch.stack([clip, clip.flip(0)]), columns=2, pad=0)
    assert torch.equal(grid[1], torch.cat([clip[1], clip[-2]], -1))
    show_strips(clip[None].requires_grad_(), labels=['a'], title='b')

def read_mp4(path):
    with av.open(str(path)) as c: return torch.stack([torch.from_numpy(f.to_ndarray(format='rgb24')) for f in c.decode(video=0)]).permute(0, 3, 1, 2), c.streams.video[0].average_rate

@pytest.mark.parametrize('h, w', [(16, 16), (33, 20), (20, 33), (31, 31)])
def test_mp4_of_odd_sides(tmp_path, h, w):
    clip = blocks(6, h, w)
    save_mp4(clip, tmp_path/'a.mp4', fps=12.5)
    back, rate = read_mp4(tmp_path/'a.mp4')
    assert back.shape == (6, 3, h + h % 2, w + w % 2) and rate == 12.5
    assert (from_uint8(back)[:, :, :h-1, :w-1] - clip[:, :, :h-1, :w-1]).abs().mean() < .06

def test_gif(tmp_path):
    save_gif(blocks(), tmp_path/'a.gif', fps=10, scale=2)
    gif = Image.open(tmp_path/'a.gif')
    assert gif.size == (32, 32) and gif.n_frames == 6 and gif.info['duration'] == 100 and gif.info['loop'] == 0
    gif.seek(5); assert (torch.tensor(gif.convert('RGB').getpixel((5, 5))) - to_uint8(blocks()[5, :, 0, 0])).abs().max() < 8

def test_png_is_exact(tmp_path):
    image = from_uint8(torch.randint(256, (3, 7, 5), generator=seeded(0)).to(torch.uint8))
    save_image(image.requires_grad_(), tmp_path/'new'/'a.png'); save_strip(blocks(), tmp_path/'b.png', every=3)
    assert Image.open(tmp_path/'new'/'a.png').getpixel((4, 6)) == tuple(to_uint8(image)[:, 6, 4].tolist())
    assert Image.open(tmp_path/'b.png').size == (32, 16)

@pytest.mark.parametrize('save, name', [(save_gif, 'a.gif'), (save_mp4, 'a.mp4')])
def test_a_bad_clip_leaves_no_file(tmp_path, save, name):
    with pytest.raises(ValueError): save(torch.zeros(4, 8, 8, 3), tmp_path/name)
    assert not list(tmp_path.iterdir())
