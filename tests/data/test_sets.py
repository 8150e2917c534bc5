"""Video sets by name: what is missing is named, and a divided folder stays divided."""
import pytest
from mocogan_hd.data.sets import VIDEO_SETS, video_folder
from mocogan_hd.experiments.presets import PUBLISHED, clip_source, experiment
from mocogan_hd.method.clips import save_strip
from mocogan_hd.method.toy_faces import ToyFaces

def test_missing_real_data_says_how_to_give_it(monkeypatch, tmp_path):
    monkeypatch.delenv('MOCOGAN_HD_DATA', raising=False)
    with pytest.raises(FileNotFoundError, match='MOCOGAN_HD_DATA is not set'): clip_source('weizmann', 32)
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path/'nowhere'))
    with pytest.raises(FileNotFoundError, match='is not a folder'): clip_source('weizmann', 32)
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path))
    with pytest.raises((FileNotFoundError, ValueError), match='weizmann'): clip_source('weizmann', 32)

@pytest.mark.parametrize('preset', PUBLISHED)
def test_missing_videos_say_which_what_and_where(preset, monkeypatch, tmp_path):
    name = experiment(preset).videos
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path))
    with pytest.raises(FileNotFoundError) as error: clip_source(name, 128)
    assert VIDEO_SETS[name] in str(error.value) and str(tmp_path/name) in str(error.value)

def strips(folder, names):
    folder.mkdir(parents=True)
    for i, n in enumerate(names): save_strip(ToyFaces(resolution=16).clips(1, 6, i)[0], folder/f'{n}.png')

def test_a_divided_folder_is_taken_as_it_is_divided(monkeypatch, tmp_path):
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path))
    strips(tmp_path/'faceforensics/train', 'abc'); strips(tmp_path/'faceforensics/test', 'de')
    strips(tmp_path/'tlvdb', 'abcde')
    assert [len(clip_source('faceforensics', 16, s)) for s in ('train', 'test', 'all')] == [3, 2, 5]
    assert [len(clip_source('tlvdb', 16, s)) for s in ('train', 'test', 'all')] == [4, 1, 5] # by chance, a fifth held out
    assert clip_source('tlvdb', 16).clips(2, 4, 0).shape == (2, 4, 3, 16, 16)
    assert video_folder('tlvdb') == tmp_path/'tlvdb'

def test_the_grid_of_48_skies_is_not_the_whole_set(monkeypatch, tmp_path):
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path))
    (tmp_path/'sky_timelapse').mkdir(); (tmp_path/'sky_timelapse/grid-8x6.mp4').touch()
    with pytest.raises(FileNotFoundError, match='preset sky48 only'): clip_source('sky_timelapse', 64)
