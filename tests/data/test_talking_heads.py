"Heads framed as FFHQ frames faces."
import numpy as np, pytest, torch
from mocogan_hd.core.basics import data_root
from mocogan_hd.data.talking_heads import Face, crop_square, face_square, head_videos, read_faces
from mocogan_hd.data.video_data import has_data
from mocogan_hd.method.clips import save_mp4
from mocogan_hd.method.toy_faces import ToyFaces

@pytest.mark.parametrize('size', [(64, 64), (100, 60), (60, 100)])
@pytest.mark.parametrize('face', [Face(.5, .4, .6), Face(.3, .45, .8), Face(.7, .5, .62)])
def test_eyes_and_mouth_stand_where_ffhq_has_them(size, face):
    "A picture with a bright pixel between the eyes and one at the mouth: both are found at .46 and .714 of the crop."
    (w, h), square = (10*n for n in size), 10*min(size)
    frame = np.zeros((1, h, w, 3), np.uint8)
    x = (w - square)/2 + face.eye_x*square
    for y in (face.eye_y, face.mouth_y): frame[0, round((h - square)/2 + y*square), round(x)] = 255
    crop = crop_square(frame, *face_square(face, w, h))[0, :, :, 0]
    rows, columns = np.nonzero(crop)
    assert rows/len(crop) == pytest.approx([.46, .714], abs=.01) and columns/len(crop) == pytest.approx(.5, abs=.01)

@pytest.mark.parametrize('left, top', [(-5, -5), (0, 0), (6, 6), (-20, 3)])
def test_edges_are_repeated(left, top):
    frame = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    padded = np.pad(frame, ((0, 0), (30, 30), (30, 30), (0, 0)), 'edge')
    assert (crop_square(frame, left, top, 7) == padded[:, top + 30:top + 37, left + 30:left + 37]).all()

@pytest.mark.parametrize('text, message', [
    ('clip,eye_x,eye_y\na,.5,.5\n', 'no column mouth_y'), ('clip,eye_x,eye_y,mouth_y\na,.5,.7,.5\n', 'mouth below the eyes'),
    ('clip,eye_x,eye_y,mouth_y\na,.5,x,.5\n', 'fractions'), ('clip,eye_x,eye_y,mouth_y\na,.5,,.5\n', 'fractions'),
    ('clip,eye_x,eye_y,mouth_y\na,.5,.4,1.5\n', 'fractions'), ('clip,eye_x,eye_y,mouth_y\na,.5,.4,.6\na,.5,.4,.6\n', 'twice'), ('', 'not a CSV')])
def test_a_wrong_table_is_named(tmp_path, text, message):
    (tmp_path/'crops.csv').write_text(text)
    with pytest.raises(ValueError, match=message) as e: read_faces(tmp_path/'crops.csv')
    assert str(tmp_path/'crops.csv') in str(e.value)

def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(ValueError, match='crops.csv'): read_faces(tmp_path/'crops.csv')

def test_clips_and_split(tmp_path):
    for i, clip in enumerate(ToyFaces(resolution=64).clips(5, 8, 0)): save_mp4(clip, tmp_path/f'{i}.mp4')
    (tmp_path/'crops.csv').write_text('clip,eye_x,eye_y,mouth_y\n' + ''.join(f'{i},.5,.45,.7\n' for i in range(5)))
    heads = head_videos(tmp_path, 16)
    clips = heads.clips(4, 6, 0)
    assert clips.shape == (4, 6, 3, 16, 16) and clips.min() >= -1 and clips.max() <= 1
    names = {s: {v.name for v in head_videos(tmp_path, 16, s).videos} for s in ('train', 'test')}
    assert not names['train'] & names['test'] and len(names['train'] | names['test']) == 5
    (tmp_path/'crops.csv').write_text('clip,eye_x,eye_y,mouth_y\n0,.5,.45,.72\n')
    assert head_videos(tmp_path, 16).fingerprint != heads.fingerprint

@pytest.mark.skipif(not has_data('talking_heads'), reason='the talking heads are not there')
def test_the_twelve_heads():
    heads = head_videos(data_root()/'talking_heads', 16)
    assert len(heads) == 12 and heads.clips(2, 12, 0, 3).shape == (2, 12, 3, 16, 16)
