"The prepared file: the same clips as the files it came from, whole or not at all; and the table of what is in a folder."
import json, pickle, resource, struct, time, warnings, zipfile
from pathlib import Path
import pytest, torch
from safetensors.torch import load_file
from mocogan_hd.method.frozen_generator import load_image_generator
from mocogan_hd.method.clips import save_mp4, save_strip
from mocogan_hd.data.prepared_data import PreparedSet, inspect_videos, prepare
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.method.image_training import ImageTraining, train_image_generator
from mocogan_hd.data.clip_sets import Video, VideoSet
from mocogan_hd.core.media_files import Unusable
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
    with pytest.raises(ValueError, match='gone.mp4 is empty'): prepare(tmp_path/'v', tmp_path/'a.safetensors', 16, bad='error')
    with pytest.warns(UserWarning, match='gone.mp4'): prepare(tmp_path/'v', tmp_path/'a.safetensors', 16)
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
    source = VideoFolder(tmp_path/'v', 16, keep=False, bad='error')
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
    seen = inspect_videos(tmp_path/'v', n_frames=10, frame_stride=2, rows=3, columns=5, resolution=20)
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

# --- every byte counts

def without(path, *keys):
    "The file as an earlier version wrote it: without these entries in its header."
    data = path.read_bytes(); length, = struct.unpack('<Q', data[:8])
    header = json.loads(data[8:8 + length])
    for k in keys: header['__metadata__'].pop(k)
    new = json.dumps(header).encode(); new += b' '*(-len(new) % 8)
    path.write_bytes(struct.pack('<Q', len(new)) + new + data[8 + length:])

def tiny(n=3, length=4, side=4, name='video {}.mp4', rate=25., **options):
    frames = torch.arange(n*length, dtype=torch.int64).remainder(251).byte().view(n, length, 1, 1, 1).expand(n, length, 3, side, side)
    return VideoSet([Video(name.format(i), '', f'{i}', length, (side, side), lambda i=i: frames[i], rate=rate) for i in range(n)], side, 'tiny', 'hash', **options)

def test_a_flipped_bit_anywhere_is_noticed(tmp_path):
    path, = prepare(tiny(), tmp_path/'set.safetensors'); data = path.read_bytes()
    want, tried = PreparedSet(path), 0
    for at in [*range(0, len(data), 5), *range(8)]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1:]); tried += 1
        with pytest.raises((ValueError, FileNotFoundError), match=f'^{path}'): PreparedSet(path)
    for size in range(0, len(data), 41):
        path.write_bytes(data[:size]); tried += 1
        with pytest.raises(ValueError, match=f'^{path}'): PreparedSet(path)
    assert tried > 500

def test_hostile_headers_end_in_a_message(tmp_path):
    path, = prepare(tiny(), tmp_path/'set.safetensors')
    without(path, 'header_sha256', 'layout'); assert len(PreparedSet(path)) == 3
    data = path.read_bytes(); length, = struct.unpack('<Q', data[:8]); header = json.loads(data[8:8 + length])
    def attempt(new):
        raw = new if isinstance(new, bytes) else json.dumps(new).encode()
        path.write_bytes(struct.pack('<Q', len(raw)) + raw + data[8 + length:])
        with pytest.raises(ValueError, match=f'^{path}'): PreparedSet(path)
    for bad in (b'['*100_000, b'{"a":'*100_000, b'\xff'*99, b'[]', b'null', b'{}', b'{"__metadata__": [], "frames": {}}'): attempt(bad)
    for key in header['__metadata__']:
        attempt(header | dict(__metadata__={k: v for k, v in header['__metadata__'].items() if k != key}))
        for value in ('', 'null', '[]', '[1]', '{"a": 1}', '-1', '1e999', '["x"]'):
            if key in ('content_hash', 'fingerprint', 'shard') or (key, value) == ('unread', '[]'): continue
            attempt(header | dict(__metadata__=header['__metadata__'] | {key: value}))

def test_older_files_without_checksum_of_the_header_open(tmp_path, folder, source):
    paths = prepare(source, tmp_path/'set.safetensors', shard_bytes=40_000)
    for p in paths: without(p, 'header_sha256', 'layout')
    same(PreparedSet(tmp_path/'set.safetensors'), source)

def test_shards_of_two_preparations_do_not_mix(tmp_path):
    old = prepare(tiny(7), tmp_path/'set.safetensors', shard_bytes=500); saved = {p: p.read_bytes() for p in old} # 2 2 2 1
    new = prepare(tiny(7), tmp_path/'set.safetensors', shard_bytes=600) # 3 3 1
    assert sorted(tmp_path.iterdir()) == sorted(new) and len(PreparedSet(tmp_path/'set.safetensors')) == 7, 'older shards are gone'
    one = prepare(tiny(7), tmp_path/'set.safetensors'); assert sorted(tmp_path.iterdir()) == one

# --- a video that turns out to be damaged

@pytest.mark.parametrize('reason', ['is damaged at frame 3', 'q"'*200, '\u89c6'*200, ''])
@pytest.mark.parametrize('shard_bytes', [None, 500])
def test_a_video_that_cannot_be_decoded_is_left_out(tmp_path, reason, shard_bytes):
    source = tiny(5)
    def broken(): raise Unusable(Path('video 3.mp4'), reason)
    source.videos[3] = Video('video 3.mp4', '', '3', 4, (4, 4), broken, rate=25.)
    with pytest.warns(UserWarning) as caught: prepare(source, tmp_path/'set.safetensors', shard_bytes=shard_bytes)
    assert str(caught[0].message).endswith('1 of 5 videos in tiny cannot be used and are left out')
    p = PreparedSet(tmp_path/'set.safetensors')
    assert [v.name for v in p.videos] == [f'video {i}.mp4' for i in (0, 1, 2, 4)] and [u.name for u in p.unread] == ['video 3.mp4']
    for v in p.videos: assert torch.equal(v.read(), source.videos[int(v.group)].read())
    source.bad = 'error'
    with pytest.raises(Unusable): prepare(source, tmp_path/'other.safetensors')

def test_no_video_that_can_be_decoded(tmp_path):
    def broken(): raise Unusable(Path('a.mp4'), 'is damaged')
    source = VideoSet([Video('a.mp4', '', 'a', 4, (4, 4), broken)], 4, 'tiny', 'hash')
    with pytest.raises(ValueError, match='no video in tiny can be read: a.mp4 is damaged'): prepare(source, tmp_path/'set.safetensors')
    assert not list(tmp_path.iterdir())

# --- rates and time

def test_the_rate_is_stored_and_can_be_changed(tmp_path, folder):
    prepare(tiny(length=20, rate=24.), tmp_path/'set.safetensors')
    p, q = PreparedSet(tmp_path/'set.safetensors'), PreparedSet(tmp_path/'set.safetensors', fps=12)
    assert (p.clip_rate(), p.clip_rate(2), q.clip_rate()) == (24, 12, 12) and p.fingerprint != q.fingerprint
    assert torch.equal(q.videos[1].read(), p.videos[1].read()[::2]) and torch.equal(pickle.loads(pickle.dumps(q)).clips(3, 4, 0), q.clips(3, 4, 0))
    assert PreparedSet(tmp_path/'set.safetensors', fps=24).fingerprint == p.fingerprint
    prepare(tiny(rate=None), tmp_path/'set.safetensors'); assert PreparedSet(tmp_path/'set.safetensors').clip_rate() is None

def test_a_single_prepared_video_is_split_in_time(tmp_path):
    prepare(tiny(1, 20), tmp_path/'set.safetensors')
    train, test = (PreparedSet(tmp_path/'set.safetensors', s, split_by='time') for s in ('train', 'test'))
    assert (train.videos[0].n_frames, test.videos[0].n_frames) == (16, 4) and train.fingerprint != test.fingerprint

# --- many videos

@pytest.mark.parametrize('shard_bytes', [None, 30_000])
def test_twenty_thousand_videos(tmp_path, shard_bytes):
    prepare(tiny(20_000, 5, 8, '{}'), tmp_path/'set.safetensors', shard_bytes=shard_bytes)
    maps = lambda: Path('/proc/self/maps').read_text().count('set-') + Path('/proc/self/maps').read_text().count('set.') if Path('/proc/self/maps').exists() else 0
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, files[1]), files[1]))
    try:
        p = PreparedSet(tmp_path/'set.safetensors', 'train')
        for v in p.videos: v.read()
        assert len(p) == 16_000 and maps() <= 4 and p.clips(100, 5, 0).shape == (100, 5, 3, 8, 8)
    finally: resource.setrlimit(resource.RLIMIT_NOFILE, files)
