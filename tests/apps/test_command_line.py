"The commands: end to end on a folder in the release's layout, in processes of their own; then what they refuse."
import shutil
import subprocess
import sys

import pytest
import torch

import goldens
from mocogan_hd.core.basics import load_json
from mocogan_hd.apps.result_folders import clip_files
from mocogan_hd.apps.command_line import main, parser
from mocogan_hd.apps.result_folders import FORMATS
from mocogan_hd.interop.checkpoint_files import inspect_path, load_generators, sort_paths
from mocogan_hd.method.clips import save_strip
from mocogan_hd.method.frozen_generator import ImageGenerator, save_image_generator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator
from mocogan_hd.method.motion_trainer import MotionTrainer, MotionTraining
from mocogan_hd.interop.release import write_pca
from mocogan_hd.interop.release_networks import write_release_file
from mocogan_hd.method.sampling import sample_clips
from mocogan_hd.method.stylegan2 import Generator
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.method.motion_training import save_motion_generator
from mocogan_hd.data.video_data import VideoFolder
from test_published_networks import write_script

def process(*argv):
    return subprocess.run([sys.executable, '-m', 'mocogan_hd.apps.command_line', *map(str, argv)], capture_output=True, text=True)

def clips_of(folder, resolution, n_frames): return torch.cat(list(clip_files(folder, resolution, n_frames)[2]))

def real_videos(folder, resolution=16, n=12, T=10):
    for i, clip in enumerate(ToyFaces('people', resolution).clips(n, T, 0)): save_strip(clip, folder/f'{i}.png')
    return folder

# --- the release's layout at its own widths, end to end

@pytest.fixture(scope='module')
def full_release(tmp_path_factory):
    "Layouts and names as measured, numbers by the goldens' rule; the basis is that of the generator."
    folder = tmp_path_factory.mktemp('release')
    with torch.device('meta'): G = Generator(32)
    G.load_state_dict({k: goldens.fill(k, v.shape) for k, v in G.state_dict().items()}, assign=True)
    torch.save({'g_ema': G.state_dict(), 'latent_avg': torch.zeros(512)}, folder/'faces-32.pt')
    write_pca(fit_latent_pca(ImageGenerator(G), 4_000), folder/'pca_stats'/'faces')
    torch.save({k: goldens.fill(k, shape) for k, (shape, _) in goldens.layout('modelR').items()}, folder/'modelR_epoch_4.pth')
    return folder

def test_clips_and_numbers_from_a_folder_of_the_release(full_release, tmp_path):
    out, real = tmp_path/'clips', real_videos(tmp_path/'real', 32)
    done = process('sample', full_release, '--out', out, '--n', 4, '--frames', 3, '--format', 'frames')
    assert done.returncode == 0, done.stderr
    assert '4 clips of 3 frames, 32 px' in done.stdout and 'faces-32.pt, modelR_epoch_4.pth, epoch 4, lambda 0.2' in done.stdout
    record = load_json(out/'sample.json')
    assert record['kind'] == 'release' and record['epoch'] == 4 and record['settings']['seed'] == 0 and len(record['files']) == 4
    assert {p.name for p in out.iterdir()} == {*record['files'], 'sample.json'} and str(tmp_path) not in (out/'sample.json').read_text()
    players = load_generators([full_release])
    want = sample_clips(players.image_generator, players.motion_generator, 4, 3, seed=0)
    torch.testing.assert_close(clips_of(out, 32, 3), want.cpu().clamp(-1, 1), atol=1/127.5, rtol=0)
    done = process('evaluate', full_release, '--real', real, '--protocol', 'embedding', '--out', tmp_path/'numbers', '--n', 4, '--frames', 3, '--frame-stride', 2, '--contents', 2, '--motions', 2, '--network-steps', 3)
    assert done.returncode == 0, done.stderr
    rows = {r['metric']: r for r in load_json(tmp_path/'numbers/metrics.json')}
    assert rows['frechet']['name'] == 'frechet_embedding_4_3f_step2_32px' and rows['diversity']['name'] == 'diversity_embedding_2x2_3f_step2_32px'
    whole = load_json(tmp_path/'numbers/evaluation.json')
    assert set(whole['baselines']) == {'frame 1 repeated', 'real'} and whole['generated']['pca'].keys() >= {'pca_comp.npy', 'pca_stdev.npy'}
    assert rows['frechet']['name'] in done.stdout and 'not FVD, IS or ACD' in done.stdout

def test_errors_are_one_line(full_release, tmp_path):
    done = process('sample', full_release, '--out', tmp_path/'x', '--epoch', 9)
    assert done.returncode == 2 and not done.stdout and not (tmp_path/'x').exists(), done.stderr
    assert 'its epochs are 4' in done.stderr.splitlines()[-1] and 'Traceback' not in done.stderr # torch may warn before it

# --- small networks, in this process

@pytest.fixture(scope='module')
def small(tmp_path_factory):
    "release/, run/ (this project's), real/"
    top = tmp_path_factory.mktemp('small')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G_I = ImageGenerator(Generator(16, 24, 24, 2, (8, 8, 8)))
    pca = fit_latent_pca(G_I, 2_000)
    (top/'release').mkdir()
    torch.save({'g_ema': G_I.network.state_dict()}, top/'release/faces.pt')
    write_pca(pca, top/'release/pca_stats')
    write_release_file(MotionGenerator(24, pca, hidden=10, n_pca=12, a_std=.5, generator=torch.Generator().manual_seed(0)), top/'release/modelR_epoch_0.pth')
    trainer = MotionTrainer(G_I, pca, MotionTraining(batch_size=2, n_frames=6, n_pca=8, hidden=16, dv_width=4, dv_layers=1, di_width=4, queue=16))
    save_image_generator(G_I.network, top/'preset/image_generator/image_generator.safetensors', half=False)
    save_motion_generator(trainer, top/'preset/full/seed-0/motion_generator.safetensors')
    real_videos(top/'real')
    return top

def run(capsys, *argv):
    code = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out, err

def test_a_run_of_this_project(small, tmp_path, capsys):
    code, out, err = run(capsys, 'sample', small/'preset/full/seed-0', '--out', tmp_path/'c', '--n', 2, '--frames', 5, '--format', 'gif')
    assert code == 0 and 'image_generator.safetensors, motion_generator.safetensors' in out and not err
    assert load_json(tmp_path/'c/sample.json')['kind'] == 'run of this project'
    lonely = tmp_path/'lonely'; lonely.mkdir()
    shutil.copy(small/'preset/full/seed-0/motion_generator.safetensors', lonely)
    code, _, err = run(capsys, 'sample', lonely, '--out', tmp_path/'d')
    assert code == 2 and 'no image_generator.safetensors beside' in err
    files = lonely/'motion_generator.safetensors', small/'preset/image_generator/image_generator.safetensors'
    assert run(capsys, 'sample', *files, '--out', tmp_path/'e', '--n', 1, '--frames', 3)[0] == 0
    other = tmp_path/'other.safetensors'
    save_image_generator(Generator(16, 24, 24, 2, (8, 8, 8)), other)
    code, _, err = run(capsys, 'sample', lonely, other, '--out', tmp_path/'f')
    assert code == 2 and 'was trained with image generator' in err

@pytest.mark.parametrize('form', list(FORMATS))
def test_formats_and_seeds(form, small, tmp_path, capsys):
    def clips(name, *options, n=3):
        assert run(capsys, 'sample', small/'release', '--out', tmp_path/name, '--n', n, '--frames', 6, '--format', form, *options)[0] == 0
        return clips_of(tmp_path/name, 16, 6)
    a = clips('a')
    assert a.shape == (3, 6, 3, 16, 16)
    assert torch.equal(a, clips('again')) and not torch.equal(a, clips('other', '--seed', 1))
    if form in ('strip', 'frames'):
        torch.testing.assert_close(a[:2], clips('fewer', '--batch-size', 4, n=2), atol=1/127, rtol=0)
        assert not torch.equal(a, clips('truncated', '--truncation', .5))
        assert run(capsys, 'sample', small/'release', '--out', tmp_path/'double', '--n', 1, '--frames', 6, '--format', form, '--interpolate')[0] == 0
        torch.testing.assert_close(clips_of(tmp_path/'double', 16, 11)[:, ::2], a[:1], atol=1/127, rtol=0)

def test_what_is_there_is_left_alone(small, tmp_path, capsys):
    def sample(*options): return run(capsys, 'sample', small/'release', '--out', tmp_path/'c', '--n', 2, '--frames', 4, '--format', 'strip', *options)
    assert sample()[0] == 0
    code, _, err = sample()
    assert code == 2 and 'is not empty' in err and '--overwrite' in err
    (tmp_path/'c/notes.txt').write_text('mine')
    code, _, err = sample('--overwrite')
    assert code == 2 and 'notes.txt' in err and (tmp_path/'c/clip_0001.png').exists()
    (tmp_path/'c/notes.txt').unlink()
    assert sample('--overwrite', '--n', 1)[0] == 0
    assert {p.name for p in (tmp_path/'c').iterdir()} == {'clip_0000.png', 'sample.json'}
    (tmp_path/'file').touch()
    assert 'is a file' in run(capsys, 'sample', small/'release', '--out', tmp_path/'file')[2]

def test_a_failure_leaves_nothing_behind(small, tmp_path, capsys, monkeypatch):
    real, count = FORMATS['strip'], []
    def write(clip, path, fps):
        count.append(1)
        if len(count) == 2: raise OSError('disk full')
        real[1](clip, path, fps)
    monkeypatch.setitem(FORMATS, 'strip', ('.png', write))
    code, _, err = run(capsys, 'sample', small/'release', '--out', tmp_path/'c', '--n', 3, '--frames', 4, '--format', 'strip')
    assert code == 2 and err == 'mocogan_hd sample: disk full\n' and not list(tmp_path.iterdir())

@pytest.mark.parametrize('argv, message', [
    (['sample', 'nowhere'], 'nowhere does not exist'), (['sample', 'RELEASE', '--n', '0'], '--n 0'), (['sample', 'RELEASE', '--frames', '0'], 'n_frames = 0'),
    (['sample', 'RELEASE', '--truncation', '3'], 'truncation = 3'), (['sample', 'REAL'], 'no image generator'), (['sample', 'RELEASE/faces.pt'], 'these are image generator only'),
    (['sample', 'RELEASE', 'REAL'], 'would both be the folder'), (['sample', 'RELEASE', '--device', 'toaster'], 'toaster'),
    (['evaluate', 'RELEASE', '--real', 'nowhere', '--n', '4', '--frames', '4', '--contents', '0'], 'there is no folder, zip or tar nowhere'), (['evaluate', 'RELEASE', '--real', 'REAL', '--n', '4', '--contents', '0', '--frames', '11'], 'n_frames 11'),
    (['evaluate', 'REAL', '--real', 'REAL', '--protocol', 'embedding', '--n', '13', '--frames', '4'], 'equally many'), (['evaluate', 'REAL', '--real', 'REAL', '--protocol', 'embedding', '--frames', '12'], 'has 10 frames'),
    (['evaluate', 'REAL', '--real', 'REAL', '--frames', '4', '--network', 'RELEASE/faces.pt'], 'faces.pt'),
    (['evaluate', 'REAL', '--real', 'REAL', '--protocol', 'embedding', '--frames', '4', '--group', 'person'], "--group 'person' finds nothing in 0.png"),
    (['evaluate', 'REAL', '--real', 'REAL', '--protocol', 'embedding', '--frames', '4', '--group', 'png'], 'all its videos are of one group'),
])
def test_refusals(argv, message, small, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [a.replace('RELEASE', str(small/'release')).replace('REAL', str(small/'real')) for a in argv]
    code, _, err = run(capsys, *argv, '--out', tmp_path/'out')
    assert code == 2 and message in err and err.count('\n') == 1 and not (tmp_path/'out').exists()

def test_debug_shows_the_error_and_argparse_says_what_is_missing(tmp_path, capsys):
    with pytest.raises(FileNotFoundError): main(['inspect', str(tmp_path/'nowhere'), '--debug'])
    for argv in ([], ['sample'], ['paint'], ['sample', 'x', '--out', 'y', '--format', 'avi']):
        with pytest.raises(SystemExit) as e: main(argv)
        assert e.value.code == 2
    assert 'usage' in capsys.readouterr().err

def test_clips_or_a_checkpoint_are_evaluated_alike(small, tmp_path, capsys):
    "Sampling first and reading the files back gives the numbers of sampling on the way."
    common = ['--frames', 5, '--protocol', 'embedding', '--network-steps', 5]
    assert run(capsys, 'sample', small/'release', '--out', tmp_path/'c', '--n', 6, '--frames', 5, '--format', 'frames')[0] == 0
    assert run(capsys, 'evaluate', tmp_path/'c', '--real', small/'real', '--out', tmp_path/'a', *common)[0] == 0
    assert run(capsys, 'evaluate', small/'release', '--real', small/'real', '--out', tmp_path/'b', '--n', 6, '--contents', 0, '--network', tmp_path/'a/embedding.safetensors', *common)[0] == 0
    a, b = (load_json(tmp_path/x/'metrics.json') for x in 'ab')
    assert [r['name'] for r in a] == [r['name'] for r in b] and len(a) >= 7 and all(r['n'] == 6 for r in a)
    for x, y in zip(a, b): assert x['value'] == pytest.approx(y['value'], rel=1e-3, abs=1e-4), x['name']
    assert not (tmp_path/'b/embedding.safetensors').exists()

def test_real_clips_are_nearer_to_real_clips(small, tmp_path, capsys):
    real_videos(tmp_path/'more', n=12, T=8)
    assert run(capsys, 'evaluate', tmp_path/'more', '--real', small/'real', '--out', tmp_path/'a', '--frames', 8, '--protocol', 'embedding', '--network-steps', 20, '--stream', '--group', r'^\d')[0] == 0
    assert load_json(tmp_path/'a/evaluation.json')['real']['groups'] <= 9
    assert run(capsys, 'evaluate', small/'release', '--real', small/'real', '--out', tmp_path/'b', '--n', 12, '--contents', 2, '--motions', 2, '--frames', 8, '--network', tmp_path/'a/embedding.safetensors')[0] == 0
    real, fake = ({r['metric']: r['value'] for r in load_json(tmp_path/x/'metrics.json')} for x in 'ab')
    assert real['frechet'] < fake['frechet'] and {'diversity', 'noise_share'} <= set(fake) - set(real)
    still = {r['metric']: r['value'] for r in load_json(tmp_path/'b/evaluation.json')['baselines']['frame 1 repeated']}
    assert still['magnitude'] == 0 and still['drift_per_motion'] is None

def test_the_former_order_of_arguments_is_refused(small, tmp_path, capsys):
    code, _, err = run(capsys, 'evaluate', small/'real', small/'release', '--out', tmp_path/'out')
    assert code == 2 and err == 'mocogan_hd evaluate: --real is missing: write `evaluate FAKE --real REAL`\n' and not (tmp_path/'out').exists()

def test_inspect(small, tmp_path, capsys):
    run(capsys, 'sample', small/'release', '--out', tmp_path/'c', '--n', 2, '--frames', 4, '--format', 'strip')
    for path, words in {small/'release': 'files of the release: faces.pt, pca_stats, modelR_epoch_0.pth', small/'release/faces.pt': 'an image generator: rosinality StyleGAN2',
                        small/'release/modelR_epoch_0.pth': 'a motion generator (latent width', small/'release/pca_stats': 'PCA of latent codes', small/'real': '12 videos of 10 to 10 frames, 16x16',
                        small/'preset/image_generator/image_generator.safetensors': 'codes of width 24', small/'preset/full/seed-0': 'a run of this project: motion_generator',
                        tmp_path/'c': '2 of 4 frames, seed 0'}.items():
        assert words in inspect_path(path), (path, inspect_path(path))
    torch.save(dict(settings='{}', step=30, opts={}), tmp_path/'checkpoint.pt')
    assert inspect_path(tmp_path/'checkpoint.pt') == 'a training checkpoint of this project, at step 30'
    (tmp_path/'text.pt').write_text('hello')
    code, out, err = run(capsys, 'inspect', small/'release', tmp_path/'text.pt')
    assert code == 2 and 'files of the release' in out and 'text.pt' in err

def test_files_say_by_themselves_what_they_are(small):
    parts = sort_paths([small/'release/pca_stats', small/'release/faces.pt', small/'release/modelR_epoch_0.pth'])
    assert set(parts) == {'pca', 'image_generator', 'motion'}
    assert load_generators(parts.values(), device='cpu').about['epoch'] == 0

# --- by protocol

@pytest.fixture
def cache(tmp_path, monkeypatch):
    "A cache folder with a stand-in in the place of I3D, and no network."
    monkeypatch.setenv('MOCOGAN_HD_CACHE', str(tmp_path/'cache'))
    monkeypatch.setattr('urllib.request.urlopen', lambda *a, **k: (_ for _ in ()).throw(OSError('no network')))
    (tmp_path/'cache').mkdir()
    write_script(tmp_path/'cache/i3d_torchscript.pt')
    return tmp_path/'cache'

def measured(folder): return {r['metric']: r for r in load_json(folder/'metrics.json')}, load_json(folder/'evaluation.json')

def test_folders_are_compared_by_protocol(small, tmp_path, capsys, cache):
    more = real_videos(tmp_path/'more', n=6, T=8)
    name = 'fvd_i3d-tfhub_6_4f_step2_16px'
    code, out, err = run(capsys, 'evaluate', more, '--real', small/'real', '--out', tmp_path/'a', '--protocol', name)
    assert code == 0 and name in out and not err
    rows, whole = measured(tmp_path/'a')
    assert set(rows) == {'fvd'} and rows['fvd']['name'] == name and rows['fvd']['n'] == 6 and whole['baselines'] == {} and whole['files'] == ['metrics.json']
    record = whole['protocols'][0]
    assert record['network']['files'].keys() == {'i3d_torchscript.pt'} and record['network']['sha256'] in out and record['interval_of_generated'] == 'taken to be that of the protocol'
    assert (record['fake']['frame_stride'], record['real']['videos']) == (2, 12) and str(tmp_path) not in (tmp_path/'a/evaluation.json').read_text()
    assert run(capsys, 'evaluate', more, '--real', small/'real', '--out', tmp_path/'b', '--protocol', name, '--fake-frame-stride', 1)[0] == 0
    again, whole = measured(tmp_path/'b')
    assert whole['protocols'][0]['real_from_cache'] and whole['protocols'][0]['interval_of_generated'] == 'given' and whole['protocols'][0]['fake']['frame_stride'] == 1 and again['fvd']['name'] == name
    assert not (tmp_path/'a/embedding.safetensors').exists()

def test_archives_are_folders(small, tmp_path, capsys, cache):
    for name in ('real', 'fake'): shutil.make_archive(str(tmp_path/name), 'zip', small/'real')
    assert run(capsys, 'evaluate', tmp_path/'fake.zip', '--real', tmp_path/'real.zip', '--out', tmp_path/'a', '--protocol', 'fvd_i3d-tfhub_6_4f_step2_16px')[0] == 0
    assert measured(tmp_path/'a')[0]['fvd']['n'] == 6

def test_a_checkpoint_is_compared_as_its_clips_are(small, tmp_path, capsys, cache):
    common = ['--protocol', 'fvd_i3d-tfhub_64_5f_step1_16px', '--n', 5]
    assert run(capsys, 'sample', small/'release', '--out', tmp_path/'c', '--n', 5, '--frames', 5, '--format', 'frames')[0] == 0
    for out, fake in (('a', tmp_path/'c'), ('b', small/'release')): assert run(capsys, 'evaluate', fake, '--real', small/'real', '--out', tmp_path/out, *common)[0] == 0
    (a, _), (b, whole) = measured(tmp_path/'a'), measured(tmp_path/'b')
    assert a['fvd']['name'] == b['fvd']['name'] == 'fvd_i3d-tfhub_5_5f_step1_16px' and a['fvd']['value'] == pytest.approx(b['fvd']['value'], rel=1e-4)
    assert whole['protocols'][0]['generated_by']['kind'] == 'release'

def test_both_kinds_of_numbers_at_once(small, tmp_path, capsys, cache):
    code, out, _ = run(capsys, 'evaluate', small/'real', '--real', small/'real', '--out', tmp_path/'a', '--frames', 5, '--network-steps', 3, '--protocol', 'embedding', '--protocol', 'fvd_i3d-tfhub_6_4f_step1_16px')
    rows, whole = measured(tmp_path/'a')
    assert code == 0 and {'frechet', 'drift', 'fvd'} <= set(rows) and rows['frechet']['name'].startswith('frechet_embedding') and set(whole['baselines']) == {'frame 1 repeated', 'real'}

def test_the_list_of_protocols(capsys, cache):
    with pytest.raises(SystemExit) as e: main(['evaluate', '--protocol', 'list'])
    out = capsys.readouterr().out
    assert e.value.code == 0 and 'at hand: i3d_torchscript.pt' in out and 'wants: 20180402-114759-vggface2.pt' in out and 'embedding' in out and str(cache) in out

@pytest.mark.parametrize('argv, message', [
    (['--protocol', 'fvd'], 'is no protocol'), (['--protocol', 'fvd_embedding_6_4f_step1_16px'], 'must not carry the name'), (['--protocol', 'fvd_i3d-tfhub_2048_4f_step1_16px'], 'wants 2048 clips'),
    (['--protocol', 'fvd_i3d-tfhub_6_4f_step2_16px', '--fake-frame-stride', '3'], 'a step of 2 cannot be taken'), (['--protocol', 'acd_facenet_6_4f_step1_16px'], '20180402-114759-vggface2.pt is missing: put it into'),
    (['--protocol', 'lpips_diversity_alex_3x2_4f_step1_16px'], 'files do not name it'), (['--protocol', 'frechet_embedding_6_4f_step1_16px'], 'is no published network'),
    (['--protocol', 'fvd_i3d-tfhub_6_11f_step1_16px'], 'n_frames 11')])
def test_refusals_by_protocol(argv, message, small, tmp_path, capsys, cache):
    code, out, err = run(capsys, 'evaluate', small/'real', '--real', small/'real', '--out', tmp_path/'out', *argv)
    assert code == 2 and message in err and err.count('\n') == 1 and not (tmp_path/'out').exists()

def test_the_help_says_what_is_measured(capsys):
    with pytest.raises(SystemExit) as e: parser().parse_args(['evaluate', '--help'])
    assert e.value.code == 0 and 'FVD, IS and ACD are measured with --protocol' in ' '.join(capsys.readouterr().out.split())
