"The evaluate command with networks of frames and with statistics; a network of random weights stands in for the published one."
import json
import pytest, torch
from mocogan_hd.apps.command_line import main
from mocogan_hd.core.basics import load_json
from mocogan_hd.interop.efficientnet_lite import EfficientNetLite0
from mocogan_hd.interop.protocols import MovingFeatures
from mocogan_hd.interop.published_statistics import save_statistics
from mocogan_hd.method.clips import save_mp4, save_strip
from mocogan_hd.method.toy_faces import ToyFaces
import mocogan_hd

def videos(folder, n=6, T=10, seed=0, still=False):
    for i, clip in enumerate(ToyFaces('people', 16).clips(n, T, seed)): save_strip(clip[:1].expand_as(clip) if still else clip, folder/f'{i}.png')
    return folder

@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    def load(cls, kind='efficientnet_lite0'):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return cls().eval().requires_grad_(False)
    monkeypatch.setattr(EfficientNetLite0, 'load', classmethod(load))

def run(capsys, *argv):
    code = main([str(a) for a in argv])
    text = capsys.readouterr()
    return code, text.out, text.err

def test_two_folders(tmp_path, capsys):
    fake, real = videos(tmp_path/'fake', still=True), videos(tmp_path/'real', seed=1)
    code, out, err = run(capsys, 'evaluate', fake, '--real', real, '--out', tmp_path/'e', '--frames', 4, '--metrics', 'kid,drift,drift_curve')
    assert code == 0, err
    rows = {r['metric']: r for r in load_json(tmp_path/'e/metrics.json')}
    assert rows['kid_all']['name'] == 'kid_all_efficientnet_lite0_6_4f_step1_random_16px' and rows['kid_all']['n'] == 6
    assert abs(rows['drift']['value']) < 1e-4 < rows['drift_real']['value'] # still clips do not drift
    assert 'kid_all_efficientnet_lite0' in out and (tmp_path/'e/evaluation.png').stat().st_size > 5_000
    record = load_json(tmp_path/'e/evaluation.json')
    assert record['measured'] == ['efficientnet_lite0'] and set(record['files']) == {'metrics.json', 'evaluation.png'}

def test_the_command_says_what_the_function_says(tmp_path, capsys):
    fake, real = videos(tmp_path/'fake'), videos(tmp_path/'real', seed=1)
    assert run(capsys, 'evaluate', fake, '--real', real, '--out', tmp_path/'e', '--frames', 4, '--metrics', 'kid', '--seed', 3)[0] == 0
    rows = mocogan_hd.evaluate(fake, real, metrics=['kid'], n_frames=4, seed=3)
    assert json.loads(json.dumps(rows)) == load_json(tmp_path/'e/metrics.json')

def test_a_folder_is_written_where_nothing_is_said(tmp_path, capsys, monkeypatch):
    fake = videos(tmp_path/'fake')
    monkeypatch.chdir(tmp_path)
    assert run(capsys, 'evaluate', fake, '--real', fake, '--frames', 3, '--metrics', 'kid')[0] == 0
    assert (tmp_path/'evaluation/metrics.json').is_file()

@pytest.mark.parametrize('argv, words', [
    (['--metrics', 'fid'], "metric 'fid' is unknown"), (['--n', '7', '--metrics', 'kid'], 'n=7 would take some twice'),
    (['--protocol', 'fvd'], "'fvd' is no protocol"), (['--fps', '5', '--metrics', 'kid'], 'no frame rate')])
def test_refusals(tmp_path, capsys, argv, words):
    fake = videos(tmp_path/'fake')
    code, _, err = run(capsys, 'evaluate', fake, '--real', fake, '--out', tmp_path/'e', '--frames', 4, *argv)
    assert code == 2 and words in err and err.count('\n') == 1 and not (tmp_path/'e').exists()

@pytest.mark.parametrize('real, words', [('i3d:kinetics', 'choose one of i3d:'), ('none.safetensors', 'none.safetensors is no file'), ('nowhere', 'nowhere')])
def test_the_real_side_is_looked_at_first(tmp_path, capsys, monkeypatch, real, words):
    fake = videos(tmp_path/'fake')
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, 'evaluate', fake, '--real', real)
    assert code == 2 and words in err and not (tmp_path/'evaluation').exists()

def test_rates_are_compared_and_resampled(tmp_path, capsys):
    for side, fps in (('fake', 8), ('real', 16)):
        for i, clip in enumerate(ToyFaces('people', 32).clips(4, 24, fps)): save_mp4(clip, tmp_path/side/f'{i}.mp4', fps=fps)
    where = ('evaluate', tmp_path/'fake', '--real', tmp_path/'real', '--out', tmp_path/'e', '--frames', 4, '--metrics', 'kid')
    code, _, err = run(capsys, *where)
    assert code == 2 and 'fake has 8 and real has 16 frames a second' in err and 'fps=8' in err
    assert run(capsys, *where, '--fps', 8, '--rule', 'start')[0] == 0
    assert load_json(tmp_path/'e/metrics.json')[0]['name'] == 'kid_first_efficientnet_lite0_4_4f_8fps_start_32px'

def test_statistics_of_a_file(tmp_path, capsys, monkeypatch):
    from mocogan_hd.interop import published_statistics
    from mocogan_hd.evaluation.feature_networks import FactorRegressor
    torch.manual_seed(0)
    network = MovingFeatures(FactorRegressor('people', 16).eval())
    monkeypatch.setattr(published_statistics, 'protocol_network', lambda p: network)
    save_statistics(ToyFaces(resolution=16), tmp_path/'s.safetensors', 'frechet_factors-moves_12_4f_step1_16px', 'faces', network)
    fake = videos(tmp_path/'fake')
    code, out, err = run(capsys, 'evaluate', fake, '--real', tmp_path/'s.safetensors', '--out', tmp_path/'e')
    assert code == 0, err
    [row] = load_json(tmp_path/'e/metrics.json')
    assert row['name'] == 'frechet_factors-moves_6_4f_step1_16px_to_faces' and row['n'] == 6 and row['value'] > 0

def test_published_statistics_need_i3d_and_say_so_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('MOCOGAN_HD_CACHE', str(tmp_path/'cache'))
    monkeypatch.setattr('urllib.request.urlopen', lambda *a, **k: (_ for _ in ()).throw(OSError('no network')))
    code, _, err = run(capsys, 'evaluate', videos(tmp_path/'fake', T=16), '--real', 'i3d:sky', '--out', tmp_path/'e')
    assert code == 2 and err.count('\n') == 1 and 'i3d' in err and 'put it into' in err and not (tmp_path/'e').exists()
