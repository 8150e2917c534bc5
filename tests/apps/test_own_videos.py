"One's own videos: advice, plans, the rules that read numbers, and the whole way in miniature, interrupted once."
import importlib.util, json, subprocess, sys
from pathlib import Path
import nbformat, pandas as pd, pytest, torch
from mocogan_hd.core.basics import load_json
from mocogan_hd.method.clips import save_mp4, save_strip
from mocogan_hd.experiments.presets import experiment
from mocogan_hd.evaluation.frame_embedding import FrameEmbedding
from mocogan_hd.apps.own_videos import (
    RULES, advise, as_text, grade, main_reason, novelty, own_experiment,
    picture_quality, read_numbers, small_channels)
from mocogan_hd.apps.result_folders import affordable, decided
from mocogan_hd.method.stylegan2 import Discriminator, Generator
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.data.video_data import VideoFolder

root = Path(__file__).parents[2]


# --- advice and plans

@pytest.mark.parametrize('n, level, strongest', [(3, 'too few', 3), (9, 'too few', 3), (10, 'few', 2), (99, 'few', 2), (100, 'some', 1), (1_000, 'many', 0), (13_320, 'many', 0)])
def test_advice_by_size(n, level, strongest):
    a = advise(n, 100*n)
    assert (a.level, len(a.augment)) == (level, strongest) and str(n) in a.expect
    experiment('own', overrides={'image.augment': a.augment}) # the settings take it


def test_less_than_three_videos_is_refused():
    with pytest.raises(ValueError, match='3 are the least'): advise(2, 10_000)


def test_affordable_keeps_its_limits():
    assert affordable(lambda i: None, 60, trials=2) == 1_000_000
    assert affordable(lambda i: sum(range(200_000)), 1e-4, trials=2) == 50
    with pytest.raises(ValueError, match='minutes=0'): affordable(lambda i: None, 0)


def test_a_plan_is_kept_and_other_wishes_are_refused(tmp_path):
    calls = []
    measure = lambda: calls.append(1) or 70
    assert decided(tmp_path/'p.json', seed=1, steps=measure)['steps'] == 70
    assert decided(tmp_path/'p.json', seed=1, steps=measure)['steps'] == 70 and len(calls) == 1
    assert decided(tmp_path/'p.json', steps=70)['seed'] == 1
    with pytest.raises(ValueError, match=r"'steps': \(70, 80\)"): decided(tmp_path/'p.json', steps=80)
    with pytest.raises(ValueError, match='another name'): decided(tmp_path/'p.json', seed=2)
    assert load_json(tmp_path/'p.json') == dict(seed=1, steps=70)


@pytest.mark.parametrize('resolution', [16, 32, 64, 128, 256])
def test_channels_fit_every_resolution(resolution):
    e = own_experiment('.', resolution=resolution, width=2)
    with torch.device('meta'): Generator(resolution, channels=e.image.channels); Discriminator(resolution, e.image.d_channels)
    assert e.image.resolution == resolution and e.image.channels == small_channels(resolution, 2)


def test_own_experiment_is_the_preset_where_nothing_is_said(tmp_path):
    assert own_experiment('sky48', 'sky48') == experiment('sky48')
    assert own_experiment('', 'weizmann', n_frames=16) == experiment('weizmann')
    e = own_experiment(str(tmp_path), seed=3, frame_stride=4, augment=['cutout'], overrides={'evaluation.n_contents': 2, 'n_codes': 99})
    assert (e.images, e.videos, e.seed, e.image.seed, e.motion.seed, e.motion.frame_stride, e.image.augment, e.evaluation.n_contents, e.n_codes) == (str(tmp_path), str(tmp_path), 3, 3, 3, 4, ('cutout',), 2, 99)
    for bad in ({'motion.step': 1}, {'movement.steps': 1}, {'speed': 2}):
        with pytest.raises(ValueError, match='has no'): own_experiment('.', overrides=bad)
    with pytest.raises(ValueError, match='FOLDER'): own_experiment()


# --- measuring pictures

@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp('faces')
    for i, clip in enumerate(ToyFaces('people', 16).clips(12, 12, 0)): save_strip(clip, folder/f'{i}.png')
    return VideoFolder(folder, 16)


def test_novelty_of_copies_and_of_strangers(faces):
    copies, strangers = novelty(faces.images(48, 1), faces), novelty(ToyFaces('people', 16).images(48, 2), faces)
    assert copies['novelty'].value < 1e-6 < copies['own_novelty'].value < 1
    assert copies['own_novelty'].value < strangers['novelty'].low and copies['own_novelty'].value == strangers['own_novelty'].value


def test_picture_quality_of_the_same_and_of_few(faces):
    torch.manual_seed(0)
    network = FrameEmbedding(16).eval()
    real = faces.images(60, 1)
    same, few = picture_quality(network, real, real), picture_quality(network, real[:3].repeat(20, 1, 1, 1), real)
    assert abs(same['picture'].value) < 1e-6 and abs(same['variety'].value - 1) < 1e-6
    assert few['picture'].value > .05 and few['variety'].value < same['variety'].value
    assert same['picture'].name == 'frechet_of_pictures_embedding_60_16px'


# --- reading numbers

well = dict(picture=.08, picture_real=.02, images_shown=400_000, variety=.9, novelty=.8, own_novelty=.3, n_videos=500, magnitude=.95, spread=1.1, drift_last=.1, drift_last_real=.06, other=.9,
            noise_share=.5, roughness=1.5, roughness_real=2., frechet=.3, frechet_real=.05, frechet_static=2., accuracy=.9, chance=.02)


def verdicts(**change): return {f.about: f.verdict for f in read_numbers(well | change)}


def test_every_rule_speaks_and_remedies_are_for_what_is_not_good():
    findings = read_numbers(well)
    assert len(findings) == len(RULES) and all(f.verdict == 'good' and not f.remedy for f in findings)
    assert main_reason(findings) == 'All that was measured is near real videos.'
    bad = read_numbers({k: 1e-3 if k in ('variety', 'magnitude', 'noise_share', 'accuracy') else v for k, v in well.items()})
    assert all(f.remedy for f in bad if f.verdict != 'good')


@pytest.mark.parametrize('about, values', [
    ('pictures', [dict(picture=.1), dict(picture=.3), dict(picture=2.)]), ('variety', [dict(variety=1.), dict(variety=.5), dict(variety=.1)]), ('variety', [dict(variety=1.2), dict(variety=2.), dict(variety=6.)]),
    ('novelty', [dict(novelty=.9), dict(novelty=.5), dict(novelty=.1)]), ('motion', [dict(magnitude=1.), dict(magnitude=.6), dict(magnitude=.1)]), ('motion', [dict(magnitude=1.2), dict(magnitude=1.7), dict(magnitude=4.)]),
    ('codes', [dict(spread=1.), dict(spread=1.4), dict(spread=3.)]), ('drift', [dict(drift_last=.1), dict(drift_last=.3), dict(drift_last=.8)]), ('choice', [dict(noise_share=.4), dict(noise_share=.2), dict(noise_share=.01)]),
    ('rhythm', [dict(roughness=2.), dict(roughness=.6), dict(roughness=.1)]), ('rhythm', [dict(roughness=2.), dict(roughness=5.), dict(roughness=9.)]), ('clips', [dict(frechet=.2), dict(frechet=1.), dict(frechet=3.)]),
    ('videos', [dict(n_videos=200), dict(n_videos=40), dict(n_videos=5)]), ('the ruler', [dict(accuracy=.9), dict(accuracy=.3), dict(accuracy=.05)])])
def test_each_rule_has_three_answers(about, values):
    assert [verdicts(**v)[about] for v in values] == ['good', 'fair', 'poor']


def test_the_reason_is_the_first_cause():
    assert 'because of the pictures' in main_reason(read_numbers(well | dict(picture=3., magnitude=.1, drift_last=.9, frechet=3.)))
    assert 'because of the motion' in main_reason(read_numbers(well | dict(magnitude=.1, frechet=3.)))
    assert 'because of the drift' in main_reason(read_numbers(well | dict(drift_last=.9, frechet=3.)))
    assert 'first to improve: the videos' in main_reason(read_numbers(well | dict(n_videos=40)))
    assert main_reason([]) == 'Nothing was measured.'


def test_remedies_follow_the_numbers():
    remedy = lambda about, **change: next(f.remedy for f in read_numbers(well | change) if f.about == about)
    assert 'Train it longer' in remedy('pictures', picture=1., images_shown=30_000) and 'wider network' in remedy('pictures', picture=1., images_shown=500_000)
    assert 'motion_steps' in remedy('motion', magnitude=.3) and 'Lower motion.lr' in remedy('motion', magnitude=3.)
    assert 'novelty' not in verdicts(picture=4.) # what is far from everything is not new
    assert verdicts(magnitude=.2)['drift'] == 'fair'


def test_what_was_not_measured_is_left_out():
    assert [f.about for f in read_numbers(dict(n_videos=4, magnitude=None, spread=float('nan')))] == ['videos']
    assert as_text(read_numbers(dict(n_videos=4))).startswith('**It is not good, most likely because of the videos.')


def test_grades():
    assert [grade(x, 1, 2) for x in (0, 1, 1.5, 2, 2.1)] == ['good', 'good', 'fair', 'fair', 'poor']
    assert [grade(x, 2, 1) for x in (3, 2, 1.5, 1, .9)] == ['good', 'good', 'fair', 'fair', 'poor']


# --- the whole way

TINY = ['n_images=160', 'motion_steps=4', 'n_frames=6', 'overrides=' + json.dumps({'evaluation.n_contents': 2, 'evaluation.n_motions': 4, 'evaluation.n_clips': 8, 'evaluation.network_steps': 3, 'n_codes': 1_000, 'motion.n_pca': 8})]


def own_videos(*argv): return subprocess.run([sys.executable, root/'tools/own_videos.py', *map(str, argv)], capture_output=True, text=True, cwd=root)


def test_from_a_folder_to_a_sheet_and_again(tmp_path):
    for i, clip in enumerate(ToyFaces('people', 24).clips(5, 10, 0)): save_mp4(clip, tmp_path/'My holiday'/f'{i}.mp4', fps=8)
    (tmp_path/'My holiday'/'broken.mp4').write_bytes(b'not a film')
    command = (tmp_path/'My holiday', '--results', tmp_path/'own', '--resolution', 16, '--hide-real', *TINY)
    done = own_videos(*command)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    run = tmp_path/'own'/'My_holiday'
    assert {'samples.png', 'samples.gif', 'samples.mp4', 'pictures.png', 'reading.md', 'metrics.json', 'run.json', 'plan.json', 'videos.csv', 'own_videos.ipynb'} <= {p.name for p in run.iterdir()}
    assert 'samples.gif' in done.stdout and 'most likely because of the' in done.stdout
    table = pd.read_csv(run/'videos.csv', keep_default_na=False).set_index('name')
    assert not table.usable['broken.mp4'] and table.reason['broken.mp4'] and table.usable.sum() == 5
    record = load_json(run/'run.json')
    assert record['experiment']['images'] == 'My holiday' and str(tmp_path) not in json.dumps(record)
    text = nbformat.write(nbformat.read(run/'own_videos.ipynb', 4), tmp_path/'x.ipynb') or (tmp_path/'x.ipynb').read_text()
    assert 'not shown: this notebook may be published' in text
    (run/'motion'/'checkpoint.pt').unlink(); (run/'motion'/'motion_generator.safetensors').unlink() # as if it had stopped before motion
    before = (run/'reading.md').read_text(); (run/'reading.md').unlink()
    again = own_videos(*command)
    assert again.returncode == 0 and (run/'reading.md').read_text() == before # the same run, with nothing trained that was there
    assert 'image generator: continuing at step 10' in again.stdout


def test_what_the_command_refuses(tmp_path):
    assert 'does not exist' in own_videos(tmp_path/'no such folder').stderr
    assert 'which folder' in subprocess.run(['make', '-s', '-o', '.venv/.installed', 'videos'], capture_output=True, text=True, cwd=root).stderr
