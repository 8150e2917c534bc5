"The prepared file: the same clips as the files it came from, whole or not at all; and the table of what is in a folder."
import pickle, struct, zipfile
import pytest, torch
from safetensors.torch import load_file
from mocogan_hd.method.frozen_generator import load_image_generator
from mocogan_hd.method.clips import save_mp4, save_strip
from mocogan_hd.data.prepared_data import PreparedSet, inspect_videos, prepare
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.method.image_training import ImageTraining, train_image_generator
from mocogan_hd.data.video_data import VideoFolder, has_data, imitate_weizmann, weizmann

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Seven videos: strips, movies, frames, of 18 to 24 frames."
    root = tmp_path_factory.mktemp('videos')
    faces = ToyFaces(resolution=24).clips(7, 24, 0)
    for i in range(3): save_strip(faces[i][:18 + i], root/'calm'/f'{i}.png')
    for i in range(3, 6): save_mp4(faces[i], root/'lively'/f'{i}.mp4', fps=8)
    for t, f in enumerate(faces[6]): save_strip(f[None], root/'lively'/'frames'/f'{t}.png')
    return root

@pytest.fixture
def source(folder): return VideoFolder(folder, 16, keep=False)

def same(a, b):
    assert a.fingerprint == b.fingerprint and a.labels == b.labels and a.groups == b.groups and a.resolution == b.resolution
    assert torch.equal(a.clips(9, 6, 0, 2), b.clips(9, 6, 0, 2)) and torch.equal(a.images(9, 1), b.images(9, 1)) and torch.equal(a.clips(7, 6, 0, offset=3), b.clips(7, 6, 0, offset=3))
    assert a.report().equals(b.report())
    assert [(v.name, v.n_frames, v.size, v.rate) for v in a.videos] == [(v.name, v.n_frames, v.size, v.rate) for v in b.videos]

@pytest.mark.parametrize('shard_bytes', [None, 10_000, 40_000])
def test_the_same_clips_and_splits(tmp_path, folder, source, shard_bytes):
    paths = prepare(source, tmp_path/'set.safetensors', shard_bytes=shard_bytes)
    assert len(paths) == {None: 1, 10_000: 7, 40_000: 4}[shard_bytes] and sorted(tmp_path.iterdir()) == sorted(paths)
    for split in ('all', 'train', 'test'): same(PreparedSet(tmp_path/'set.safetensors', split), VideoFolder(folder, 16, split))
    same(PreparedSet(paths[-1]), source)
    assert torch.equal(torch.cat([load_file(p)['frames'] for p in paths]), torch.cat([v.read() for v in source.videos])), 'any reader of safetensors gets the frames'

def test_workers_and_folders_and_options(tmp_path, folder, source):
    a, b, c = (prepare(*args, **k)[0].read_bytes() for args, k in (((source, tmp_path/'a.safetensors'), {}), ((source, tmp_path/'b.safetensors'), dict(workers=3)), ((folder, tmp_path/'c.safetensors', 16), {})))
    assert a == b == c
    prepare(folder, tmp_path/'d.safetensors', 16, fps=4)
    same(PreparedSet(tmp_path/'d.safetensors'), VideoFolder(folder, 16, fps=4))
    train = VideoFolder(folder, 16, 'train'); prepare(train, tmp_path/'e.safetensors'); same(PreparedSet(tmp_path/'e.safetensors'), train)

def test_held_out_persons(tmp_path):
    if not has_data('weizmann'): imitate_weizmann(tmp_path/'w', ToyFaces(resolution=64).clips(36, 12, 0))
    root = None if has_data('weizmann') else tmp_path/'w'
    prepare(weizmann(root, 16, 'all'), tmp_path/'w.safetensors')
    for split in ('train', 'test'): same(PreparedSet(tmp_path/'w.safetensors', split, test={'person 4', 'person 7'}), weizmann(root, 16, split))

def test_training_is_the_same(tmp_path, folder, source):
    prepare(source, tmp_path/'set.safetensors')
    s = ImageTraining(resolution=16, latent_dim=8, n_mapping=1, channels=(8, 8, 4), d_channels=(8, 8, 4), batch_size=4, n_images=16)
    a, b = (train_image_generator(v, s, tmp_path/k) for k, v in (('a', source), ('b', PreparedSet(tmp_path/'set.safetensors'))))
    assert load_image_generator(a).fingerprint == load_image_generator(b).fingerprint

def test_it_travels_to_other_processes(tmp_path, source):
    prepare(source, tmp_path/'set.safetensors')
    p = PreparedSet(tmp_path/'set.safetensors'); want = p.clips(5, 4, 0)
    data = pickle.dumps(p)
    assert len(data) < 20_000 and torch.equal(pickle.loads(data).clips(5, 4, 0), want)

def test_clips_are_copies(tmp_path, source):
    path, = prepare(source, tmp_path/'set.safetensors'); before = path.read_bytes()
    frames = PreparedSet(path).videos[0].read(); frames.zero_()
    assert path.read_bytes() == before and PreparedSet(path).videos[0].read().any()

def test_unusable_videos_stay_in_the_report(tmp_path, folder):
    (tmp_path/'v').mkdir()
    for f in (folder/'calm').iterdir(): (tmp_path/'v'/f.name).write_bytes(f.read_bytes())
    (tmp_path/'v'/'gone.mp4').write_bytes(b'')
    with pytest.raises(ValueError, match='gone.mp4 is empty'): prepare(tmp_path/'v', tmp_path/'a.safetensors', 16)
    with pytest.warns(UserWarning, match='gone.mp4'): prepare(tmp_path/'v', tmp_path/'a.safetensors', 16, bad='skip')
    with pytest.warns(UserWarning): original = VideoFolder(tmp_path/'v', 16, bad='skip')
    same(PreparedSet(tmp_path/'a.safetensors'), original)
    assert PreparedSet(tmp_path/'a.safetensors').report().reason.iloc[-1] == 'is empty (0 bytes)'

# --- whole or not at all

def test_a_stopped_preparation_leaves_nothing(tmp_path, source, monkeypatch):
    videos, count = source.videos, []
    def read(self, wanted=None, call=type(videos[0].read).__call__):
        count.append(1)
        if len(count) == 4: raise OSError('disk full')
        return call(self, wanted)
    monkeypatch.setattr(type(videos[0].read), '__call__', read)
    with pytest.raises(OSError, match='disk full'): prepare(source, tmp_path/'set.safetensors')
    assert not list(tmp_path.iterdir())

def test_a_file_that_breaks_while_it_is_prepared_is_named(tmp_path, folder):
    (tmp_path/'v').mkdir()
    for f in (folder/'calm').iterdir(): (tmp_path/'v'/f.name).write_bytes(f.read_bytes())
    source = VideoFolder(tmp_path/'v', 16, keep=False, bad='skip')
    (tmp_path/'v'/'1.png').write_bytes(b'')
    with pytest.raises(ValueError, match='1.png has changed'): prepare(source, tmp_path/'set.safetensors')
    assert not (tmp_path/'set.safetensors').exists()

def test_damaged_copies_are_refused(tmp_path, source):
    path, = prepare(source, tmp_path/'set.safetensors'); data = path.read_bytes()
    for bad, message in [(data[:-1], 'cut off or changed'), (data + b'x', 'cut off or changed'), (data[:-1] + bytes([data[-1] ^ 1]), 'is damaged'), (b'', 'is not a file that `prepare` wrote'), (b'text'*20, 'is not a file'),
                         (struct.pack('<Q', 2**40) + data[8:], 'header is too long'), (data[:4000].replace(b'prepared_videos', b'prepared_vegemit') + data[4000:], 'is not a file')]:
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=f'set.safetensors.*{message}'): PreparedSet(path)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert len(PreparedSet(path, check=False)) == 7
    with pytest.raises(FileNotFoundError, match='there is no prepared file .*nowhere'): PreparedSet(tmp_path/'nowhere.safetensors')

def test_a_prepared_file_that_changes_is_noticed(tmp_path, source):
    path, = prepare(source, tmp_path/'set.safetensors'); p = PreparedSet(path)
    for v in p.videos: v.read() # mapped
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match='set.safetensors has changed'): p.clips(3, 4, 0)

def test_missing_and_foreign_shards(tmp_path, folder, source):
    paths = prepare(source, tmp_path/'set.safetensors', shard_bytes=40_000)
    other = prepare(VideoFolder(folder, 16, fps=4), tmp_path/'other.safetensors', shard_bytes=25_000)
    data = paths[1].read_bytes(); paths[1].unlink()
    with pytest.raises(FileNotFoundError, match='set-00002-of-00004.safetensors'): PreparedSet(tmp_path/'set.safetensors')
    paths[1].write_bytes(other[1].read_bytes())
    with pytest.raises(ValueError, match='set-00002-of-00004.safetensors is of another set'): PreparedSet(tmp_path/'set.safetensors')
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(ValueError, match='is of another set'): PreparedSet(tmp_path/'set.safetensors')
    paths[1].write_bytes(data); assert len(PreparedSet(tmp_path/'set.safetensors')) == 7

@pytest.mark.parametrize('args, options, message', [(('FOLDER', 'x.npy', 16), {}, 'should end in .safetensors'), (('FOLDER', 'x.safetensors'), {}, 'give the resolution'),
                                                    (('SET', 'x.safetensors', 32), {}, 'the set has 16 px'), (('SET', 'x.safetensors'), dict(fps=4), 'fps: only for a folder')])
def test_refusals(tmp_path, folder, source, args, options, message):
    first, name, *rest = args
    with pytest.raises(ValueError, match=message): prepare(folder if first == 'FOLDER' else source, tmp_path/name, *rest, **options)
    assert not list(tmp_path.iterdir())

def test_names_in_any_script(tmp_path):
    clip = ToyFaces(resolution=16).clips(1, 12, 0)[0]
    names = ['فيديو', '视频', '🎈', 'a b', '0'*64]
    for n in names: save_strip(clip, tmp_path/'v'/f'{n}.png')
    prepare(tmp_path/'v', tmp_path/'set 视频.safetensors', 16)
    same(PreparedSet(tmp_path/'set 视频.safetensors'), VideoFolder(tmp_path/'v', 16))

# --- looking

def test_the_table_has_a_row_for_everything(tmp_path, folder):
    (tmp_path/'v').mkdir()
    for f in folder.rglob('*.*'): (tmp_path/'v'/f.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True); (tmp_path/'v'/f.relative_to(folder)).write_bytes(f.read_bytes())
    (tmp_path/'v'/'empty.mp4').write_bytes(b''); (tmp_path/'v'/'notes.txt').write_bytes(b'')
    strip = (tmp_path/'v'/'calm'/'0.png').read_bytes(); (tmp_path/'v'/'calm'/'half.png').write_bytes(strip[:len(strip)//2])
    with zipfile.ZipFile(tmp_path/'v'/'some.zip', 'w') as z: z.writestr('../out.mp4', b'x')
    seen = inspect_videos(tmp_path/'v', n_frames=10, interval=2, rows=3, columns=5, resolution=20)
    t = seen.table.set_index('name')
    assert len(t) == 10 and t.usable.sum() == 6 and set(t.columns) == {'form', 'frames', 'size', 'rate', 'seconds', 'usable', 'reason'}
    assert t.reason['empty.mp4'] == 'is empty (0 bytes)' and 'cannot be read as an image' in t.reason['calm/half.png'] and t.reason['calm/0.png'] == '19 frames needed' and 'leads out' in t.reason['some.zip/../out.mp4']
    assert (t.rate['lively/3.mp4'], t.seconds['lively/3.mp4'], t['size']['lively/3.mp4'], t.frames['lively/frames']) == (8, 3, '24x24', 24)
    assert seen.sheet.shape == (3, 3*21 - 1, 5*21 - 1) and len(seen.names) == 3 and set(seen.names) <= set(t.index[t.usable])
    believed = inspect_videos(tmp_path/'v', decode=False, rows=0)
    assert believed.sheet is None and (t := believed.table.set_index('name')).usable['calm/half.png'] and not t.usable['empty.mp4']
    looked = inspect_videos(tmp_path/'v', decode=False, rows=20)
    assert not looked.table.set_index('name').usable['calm/half.png'] and len(looked.names) == 7

def test_a_folder_without_a_usable_video(tmp_path):
    (tmp_path/'a.mp4').write_bytes(b'')
    seen = inspect_videos(tmp_path)
    assert seen.sheet is None and seen.names == [] and seen.table.usable.tolist() == [False]
    with pytest.raises(FileNotFoundError, match='no folder'): inspect_videos(tmp_path/'x')
