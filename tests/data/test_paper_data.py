"The paper's sets on made-up files of the same layouts: what is listed, what is refused and why, crops, resuming; and the real small sets where they are."
import os
from pathlib import Path
import av, numpy as np, pandas as pd, pytest
from PIL import Image
from mocogan_hd.core.basics import data_root
from mocogan_hd.experiments.presets import clip_source
from mocogan_hd.data.paper_data import (LISTS, PAPER_SETS, face_boxes, link, list_faceforensics, list_sky_timelapse, list_tlvdb, list_ucf101, list_voxceleb, list_weizmann,
                                   mask_extent, only_one, prepare_set)
from mocogan_hd.data.video_data import VideoFolder, has_data, sky_timelapse, weizmann


def film(path, n=5, size=(32, 48), value=None, codec=None):
    "A grey film that becomes lighter; `value` gives all its frames."
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as c:
        s = c.add_stream(codec or ('mpeg4' if path.suffix == '.avi' else 'libx264'), rate=25)
        s.height, s.width, s.pix_fmt = *size, 'yuv420p'
        for t in range(n if value is None else len(value)):
            frame = value[t] if value is not None else np.full((*size, 3), 40 + 5*t, np.uint8)
            c.mux(s.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format='rgb24')))
        c.mux(s.encode())
    return path


def images(folder, n=4, size=(36, 64)):
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(n): Image.fromarray(np.full((*size, 3), 40*t, np.uint8)).save(folder/f'{folder.name}_frames_{t + 1:08d}.jpg', quality=95)


def test_every_set_has_its_source_terms_split_and_listing():
    assert set(PAPER_SETS) == set(LISTS) and {'ucf101', 'faceforensics', 'sky_timelapse', 'voxceleb', 'tlvdb', 'weizmann'} <= set(PAPER_SETS)
    for s in PAPER_SETS.values(): assert s.page.startswith('https://') and s.terms and s.split and s.checksum and s.layout


def test_unknown_set_and_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="'kinetics' is unknown: choose one of ucf101"): prepare_set('kinetics', tmp_path, tmp_path/'out')
    with pytest.raises(FileNotFoundError, match='UCF101.rar'): prepare_set('ucf101', tmp_path/'nowhere', tmp_path/'out')


# --- UCF-101

@pytest.fixture
def ucf(tmp_path):
    top = tmp_path/'ucf'
    names = [f'v_{c}_g{g:02d}_c{k:02d}.avi' for c in ('Archery', 'YoYo') for g in (1, 8) for k in (1, 2)]
    for n in names: film(top/'UCF-101'/n.split('_')[1]/n)
    lists = top/'ucfTrainTestlist'; lists.mkdir()
    for number, held in ((1, 'g01'), (2, 'g08')):
        for split in ('train', 'test'):
            lines = [f'{n.split("_")[1]}/{n}' + (' 1' if split == 'train' else '') for n in names if (held in n) == (split == 'test')]
            (lists/f'{split}list{number:02d}.txt').write_text('\r\n'.join(lines) + '\r\n')
    return top


def test_ucf101_by_the_official_lists(ucf, tmp_path, monkeypatch):
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path/'data')); (tmp_path/'data').mkdir()
    report = prepare_set('ucf101', ucf)
    assert report.status.tolist() == ['written']*8 and (report.frames == 5).all()
    train, test = clip_source('ucf101', 16), clip_source('ucf101', 16, 'test') # where the preset looks
    assert (len(train), len(test)) == (4, 4)
    group = lambda v: Path(v.name).stem[:-4]
    assert not {group(v) for v in train.videos} & {group(v) for v in test.videos}
    assert {v.label for v in train.videos} == {'Archery', 'YoYo'}


def test_ucf101_other_list_and_everything(ucf):
    test = [p.name for p in list_ucf101(ucf, 2).pieces if p.split == 'test']
    assert all('_g08_' in n for n in test) and len(test) == 4
    pieces = list_ucf101(ucf, everything=True).pieces
    assert [sum(p.split == s for p in pieces) for s in ('train', 'test')] == [8, 4]
    with pytest.raises(ValueError, match='number=4'): list_ucf101(ucf, 4)
    with pytest.raises(FileNotFoundError, match='0 of trainlist03.txt'): list_ucf101(ucf, 3)


def test_ucf101_says_what_is_missing_unlisted_and_broken(ucf, tmp_path):
    (ucf/'UCF-101'/'Archery'/'v_Archery_g01_c01.avi').unlink()
    film(ucf/'UCF-101'/'Archery'/'v_Archery_g99_c01.avi')
    (ucf/'UCF-101'/'YoYo'/'v_YoYo_g08_c01.avi').write_bytes(b'')
    report = prepare_set('ucf101', ucf, tmp_path/'out').set_index('name')
    bad = report[report.status == 'unusable'].reason
    assert bad['Archery/v_Archery_g01_c01.avi'] == 'is in testlist01.txt, but not in the folder'
    assert bad['v_Archery_g99_c01.avi'] == 'is in neither list'
    assert 'empty' in bad['YoYo/v_YoYo_g08_c01.avi'] and len(bad) == 3
    assert not (tmp_path/'out'/'train'/'YoYo'/'v_YoYo_g08_c01.avi').exists()
    assert pd.read_csv(tmp_path/'out'/'preparation.csv').shape == (9, 5)


# --- FaceForensics

def mask_of(boxes, size=(64, 96)):
    masks = np.zeros((len(boxes), *size, 3), np.uint8)
    for m, (l, t, r, b) in zip(masks, boxes): m[t:b, l:r] = 255
    return masks


def test_box_is_square_inside_and_around_the_mask():
    boxes, missing = face_boxes(mask_of([(30, 20, 50, 44), (0, 0, 20, 24), (80, 50, 96, 64)]), margin=.25)
    assert missing == 0 and (boxes[:, 2] - boxes[:, 0] == boxes[:, 3] - boxes[:, 1]).all()
    assert boxes[0].tolist() == [22, 14, 58, 50] # 24 high and a quarter more at each edge, around (40, 32)
    assert boxes[1].tolist() == [0, 0, 36, 36] and boxes[2].tolist() == [72, 40, 96, 64] # moved inside


def test_box_of_a_face_larger_than_the_picture_is_the_picture():
    boxes, _ = face_boxes(mask_of([(10, 2, 90, 62)]))
    assert boxes[0].tolist() == [18, 0, 82, 64]


def test_frames_without_a_face_lie_between_their_neighbours():
    boxes, missing = face_boxes(mask_of([(0, 0, 0, 0), (10, 10, 30, 30), (0, 0, 0, 0), (30, 10, 50, 30), (0, 0, 0, 0)]), margin=0)
    assert missing == 3 and boxes[:, 0].tolist() == [10, 10, 20, 30, 30]
    with pytest.raises(ValueError, match='no face in any frame'): face_boxes(mask_of([(0, 0, 0, 0)]*3))


def test_specks_and_dark_noise_are_no_face():
    m = mask_of([(30, 20, 50, 44)])[0]
    m[2:4, 90:92] = 255; m[60:, :] = 30
    assert mask_extent(m) == (40., 32., 24.)
    m[20:44, 30:50] = 0
    assert mask_extent(m) is None


def test_smoothing_keeps_a_still_face_still_and_calms_a_trembling_one():
    still = [(30, 20, 50, 44)]*9
    assert (face_boxes(mask_of(still), smooth=3)[0] == face_boxes(mask_of(still))[0]).all()
    tremble = [(30, 20 - 2*(t % 2), 50, 44 + 2*(t % 2)) for t in range(20)]
    side = lambda b: np.abs(np.diff(b[:, 2] - b[:, 0])).mean()
    assert side(face_boxes(mask_of(tremble), smooth=3)[0]) < .2*side(face_boxes(mask_of(tremble))[0])


@pytest.fixture
def ff(tmp_path):
    top = tmp_path/'FaceForensics_compressed'
    for split, n in dict(train=2, val=1, test=1).items():
        for i in range(n):
            boxes = [(20 + 2*t, 16, 40 + 2*t, 40) for t in range(6)]
            scene = mask_of([(0, 0, 0, 0)]*6) + np.uint8(60)
            for frame, (l, t, r, b) in zip(scene, boxes): frame[t:b, l:r] = (220, 160, 120)
            film(top/split/'original'/f'{i:03d}.avi', value=scene, size=(64, 96))
            film(top/split/'mask'/f'{i:03d}.avi', value=mask_of(boxes), size=(64, 96))
    return top


def test_faceforensics_follows_the_face(ff, tmp_path):
    report = prepare_set('faceforensics', ff, tmp_path/'out', side=32, margin=0)
    assert report.status.tolist() == ['written']*4 and report.groupby('split').size().to_dict() == dict(test=1, train=2, val=1)
    frames = VideoFolder(tmp_path/'out'/'train', 32).videos[0].read().float() # 6 frames, the head is in the middle of all
    assert frames.shape == (6, 3, 32, 32)
    middle = frames[:, :, 8:24, 10:22].mean((2, 3))
    assert (middle - middle.mean(0)).abs().max() < 12 and (middle[:, 0] - middle[:, 2]).min() > 60


def test_faceforensics_missing_shorter_and_other_sized_masks(ff, tmp_path):
    film(ff/'train'/'mask'/'000.avi', n=4, value=mask_of([(20, 16, 40, 40)]*4), size=(64, 96))
    (ff/'train'/'mask'/'001.avi').unlink()
    film(ff/'val'/'mask'/'000.avi', n=6, size=(32, 48))
    (ff/'more'/'original').mkdir(parents=True)
    report = prepare_set('faceforensics', ff, tmp_path/'out', side=16)
    by = {(r.split, r.name): r for r in report.itertuples()}
    assert by['train', '000'].frames == 4 and 'mask has 4 frames, video 6' in by['train', '000'].reason
    assert by['', 'train/001.avi'].reason == 'has no mask video'
    assert 'is 48x32, its video 96x64' in by['val', '000'].reason and by['val', '000'].status == 'unusable'
    assert 'neither train, val nor test' in by['', 'more/original'].reason
    with pytest.raises(ValueError, match='cropped to the face'): prepare_set('faceforensics', ff, tmp_path/'other', side=None)


# --- the others

def test_sky_timelapse_by_its_own_folders(tmp_path):
    for split, videos in dict(train=('aB-3', '北京'), test=('x_1',)).items():
        for v in videos:
            for k in (1, 2): images(tmp_path/'sky'/f'sky_{split}'/v/f'{v}_{k}')
    report = prepare_set('sky_timelapse', tmp_path/'sky', tmp_path/'out', side=16)
    assert report.groupby('split').size().to_dict() == dict(test=2, train=4) and (report.frames == 4).all()
    read = VideoFolder(tmp_path/'out'/'train', 16).videos[0].read()
    assert read.shape == (4, 3, 16, 16) and abs(read[:, 0, 5, 5].float().numpy() - [0, 40, 80, 120]).max() < 4
    with pytest.raises(FileNotFoundError, match='0 of sky_train'): list_sky_timelapse(tmp_path/'out')


def test_voxceleb_persons_never_on_both_sides(tmp_path):
    for name in ('dev/mp4/id00012/abc/00001.mp4', 'dev/mp4/id00013/abc/00001.mp4', 'test/mp4/id00017/x/00001.mp4', 'test/mp4/id00013/y/00002.mp4'): film(tmp_path/'vox'/name)
    listing = list_voxceleb(tmp_path/'vox')
    assert [(p.split, p.name) for p in listing.pieces if p.split == 'train'] == [('train', 'mp4/id00012/abc/00001.mp4')]
    assert listing.problems == {'train/mp4/id00013/abc/00001.mp4': 'shows id00013, who is in test'}
    assert len(prepare_set('voxceleb', tmp_path/'vox', tmp_path/'out')) == 4
    with pytest.raises(FileNotFoundError, match='no folder dev or train'): list_voxceleb(tmp_path)


def test_tlvdb_holds_a_fifth_out_and_can_be_cut(tmp_path):
    for i in range(10): film(tmp_path/'tl'/f'{i}.mp4')
    assert sorted(p.split for p in list_tlvdb(tmp_path/'tl').pieces) == ['test']*2 + ['train']*8
    prepare_set('tlvdb', tmp_path/'tl', tmp_path/'out', side=16)
    assert VideoFolder(tmp_path/'out'/'train', 16).videos[0].read().shape == (5, 3, 16, 16)


def strip(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 40, 3), np.uint8)).save(path)


def test_weizmann_pairs(tmp_path):
    for action in '0134':
        for n in (0, 1, 2): strip(tmp_path/'data'/'actions'/action/f'{n:08d}.jpg')
    strip(tmp_path/'data'/'actions'/'0'/'left.jpg')
    listing = list_weizmann(tmp_path)
    assert len(listing.pieces) == 8
    assert listing.problems['1/00000002.jpg'] == 'has no partner 00000003, its mirror image' and listing.problems['0/left.jpg'] == 'is not NUMBER.jpg'


def test_nothing_usable_is_an_error(tmp_path):
    (tmp_path/'tl').mkdir(); (tmp_path/'tl'/'a.mp4').write_bytes(b'no film')
    with pytest.raises(ValueError, match='no usable video of tlvdb'): prepare_set('tlvdb', tmp_path/'tl', tmp_path/'out')
    assert pd.read_csv(tmp_path/'out'/'preparation.csv').status.tolist() == ['unusable'] # the reasons are there all the same
    with pytest.raises(FileNotFoundError, match='2 of x'):
        for d in 'ab': (tmp_path/d/'x').mkdir(parents=True)
        only_one(tmp_path, 'x')


# --- interrupted, continued

def test_goes_on_where_it_was(ff, tmp_path, monkeypatch):
    import mocogan_hd.data.paper_data as m
    write, calls = m.write_frames, []
    def dies(video, folder, *more):
        calls.append(folder.name)
        if len(calls) == 3: raise KeyboardInterrupt
        return write(video, folder, *more)
    monkeypatch.setattr(m, 'write_frames', dies)
    with pytest.raises(KeyboardInterrupt): prepare_set('faceforensics', ff, tmp_path/'out', side=16)
    assert pd.read_csv(tmp_path/'out'/'preparation.csv').status.tolist() == ['written']*2
    (tmp_path/'out'/'preparation.csv').unlink() # as if killed before it was written
    report = prepare_set('faceforensics', ff, tmp_path/'out', side=16)
    assert report.status.value_counts().to_dict() == dict(there=2, written=2) and (report.frames == 6).all()
    assert not [p for p in (tmp_path/'out').rglob('.*')] # nothing half-written is left
    with pytest.raises(ValueError, match="'margin': 0.25"): prepare_set('faceforensics', ff, tmp_path/'out', side=16, margin=.5)


def test_a_video_that_breaks_half_way_leaves_nothing(tmp_path):
    for i in range(3): images(tmp_path/'sky'/'sky_train'/'v'/f'v_{i}')
    images(tmp_path/'sky'/'sky_test'/'w'/'w_1')
    bad = tmp_path/'sky'/'sky_train'/'v'/'v_1'/'v_1_frames_00000003.jpg'
    bad.write_bytes(bad.read_bytes()[:400])
    report = prepare_set('sky_timelapse', tmp_path/'sky', tmp_path/'out', side=16)
    assert report.status.value_counts().to_dict() == dict(written=3, unusable=1)
    assert 'v_1_frames_00000003.jpg' in report[report.status == 'unusable'].reason.item()
    assert sorted(p.name for p in (tmp_path/'out'/'train'/'v').iterdir()) == ['v_0', 'v_2']


def test_links_where_possible_and_copies_where_not(tmp_path, monkeypatch):
    (tmp_path/'a').write_bytes(b'x')
    link(tmp_path/'a', tmp_path/'d'/'b')
    assert (tmp_path/'a').stat().st_ino == (tmp_path/'d'/'b').stat().st_ino
    def refuse(*a): raise OSError('other disk')
    monkeypatch.setattr(os, 'link', refuse)
    link(tmp_path/'a', tmp_path/'d'/'c')
    assert (tmp_path/'d'/'c').read_bytes() == b'x' and (tmp_path/'a').stat().st_ino != (tmp_path/'d'/'c').stat().st_ino


# --- real, where they are

@pytest.mark.skipif(not has_data('weizmann'), reason='Weizmann is not in MOCOGAN_HD_DATA')
def test_real_weizmann_is_whole(tmp_path):
    report = prepare_set('weizmann', data_root()/'weizmann', tmp_path/'weizmann')
    assert report.status.tolist() == ['written']*72 and report.frames.sum() == 5_290 and report.frames.between(51, 146).all()
    assert (made := weizmann(tmp_path/'weizmann', 16)).fingerprint == weizmann(None, 16).fingerprint
    assert made.content_hash[:16] in PAPER_SETS['weizmann'].checksum
    sides = [{int(Path(v.name).stem)//2 for v in weizmann(tmp_path/'weizmann', 16, s).videos} for s in ('train', 'test')]
    assert not sides[0] & sides[1] # mirrored pairs are on one side


@pytest.mark.skipif(not has_data('sky_timelapse/grid-8x6.mp4'), reason='the 48 skies are not in MOCOGAN_HD_DATA')
def test_real_sky48(tmp_path, monkeypatch):
    prepare_set('sky48', data_root()/'sky_timelapse', tmp_path/'sky_timelapse')
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path))
    train, test = clip_source('sky48', 16), clip_source('sky48', 16, 'test')
    assert train.content_hash in PAPER_SETS['sky48'].checksum
    assert (len(train), len(test)) == (38, 10) and all(v.n_frames == 32 for v in train.videos)
    with pytest.raises(FileNotFoundError, match='preset sky48 only'): clip_source('sky_timelapse', 16)
