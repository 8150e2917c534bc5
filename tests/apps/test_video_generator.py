"VideoGenerator: opens names, folders and repositories, samples, and saves itself with a card."
from pathlib import Path
from types import SimpleNamespace
import pytest, torch
from huggingface_hub import ModelCard
from mocogan_hd import VideoGenerator
from mocogan_hd.apps import video_generator
from mocogan_hd.apps.steering import Video
from mocogan_hd.apps.video_generator import local_files, record_of, shipped_files
from mocogan_hd.core.basics import save_json, seeded
from mocogan_hd.data.video_data import VideoFolder
from mocogan_hd.interop.checkpoint_files import load_generators
from mocogan_hd.interop.release import write_pca
from mocogan_hd.interop.release_networks import write_release_file
from mocogan_hd.method.frozen_generator import ImageGenerator, save_image_generator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator
from mocogan_hd.method.motion_trainer import MotionTraining
from mocogan_hd.method.motion_training import save_motion_generator
from mocogan_hd.method.sampling import sample_clips
from mocogan_hd.method.stylegan2 import Generator

D, SETTINGS = 32, MotionTraining(hidden=8, n_pca=4, n_frames=12)
close = lambda a, b: torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)

@pytest.fixture(scope='module')
def pair():
    torch.manual_seed(0)
    G_I = ImageGenerator(Generator(16, D, D, 2, (8, 8, 8)))
    pca = fit_latent_pca(G_I, 500)
    return G_I, MotionGenerator(D, pca, 8, 4, a_std=.5, generator=seeded(1)).requires_grad_(False)

@pytest.fixture
def model(pair): return VideoGenerator(*pair)

def write(pair, image, motion):
    G_I, G_M = pair
    save_image_generator(G_I.network, image, half=False)
    save_motion_generator(SimpleNamespace(settings=SETTINGS, G_I=G_I, motion_generator=G_M), motion)

def a_run(folder, pair, **record):
    write(pair, folder/'image_generator/image_generator.safetensors', folder/'full/seed-0/motion_generator.safetensors')
    e = dict(images='people', videos='robots', preset='toy_faces', variant='full', seed=0)
    save_json(dict(stage='motion', experiment=e, training_minutes=5.25) | record, folder/'full/seed-0/run.json')
    save_json([dict(metric='fid', name='frechet_x', value=1.25, low=1., high=1.5, n=256)], folder/'full/seed-0/metrics.json')
    return folder/'full/seed-0'

def own_videos(folder, pair):
    write(pair, folder/'image_generator/image_generator.safetensors', folder/'motion/motion_generator.safetensors')
    save_json(dict(stage='own', experiment=dict(images='dance', videos='dance', preset='own', variant='full')), folder/'run.json')
    save_json(dict(generated=[dict(name='drift_x', value=.5, low=.4, high=.6, n=128)], static=[]), folder/'metrics.json')
    return folder

def release(folder, pair, mean=True):
    G_I, _ = pair
    folder.mkdir(parents=True)
    torch.save(dict(g_ema=G_I.network.state_dict(), latent_avg=torch.full((D,), .25)), folder/'faces.pt')
    pca = fit_latent_pca(G_I, 500)
    write_pca(pca, folder/'pca_stats'/'faces')
    write_release_file(MotionGenerator(D, pca.first(4), 8, 4, a_std=.5, generator=seeded(1)), folder/'run'/'modelR_epoch_3.pth')
    return folder

# --- sampling

def test_clips_are_those_of_sampling_and_of_their_trajectories(model, pair):
    video = model(n=3, frames=6, seed=2)
    close(video.frames, sample_clips(*pair, 3, 6, 2))
    close(model.render(video.trajectory).frames, video.frames)
    close(model.render(video.trajectory[1]).frames, video[1].frames)
    close(video.trajectory.codes[:, 0], video.trajectory.w1)
    assert len(video) == 3 and video.trajectory.n_frames == 6
    assert not torch.equal(video.frames, model(n=3, frames=6, seed=3).frames)

def test_strength_truncation_and_grid(model, pair):
    assert model(frames=5, strength=0.).frames.diff(dim=1).abs().max() == 0
    far = [model(frames=5, strength=s).frames.diff(dim=1).abs().mean() for s in (.3, 1.)]
    assert 0 < far[0] < far[1]
    close(model(n=2, frames=4, truncation=.5).frames, sample_clips(*pair, 2, 4, 0, truncation=.5))
    grid = model.grid(2, 3, frames=4, seed=1)
    assert len(grid) == 6 and grid.columns == 3
    close(grid.frames[0, 0], grid.frames[2, 0])
    close(grid.frames[4], model.render(model.trajectory(1, 1, 4, 1)).frames[0])

@pytest.mark.parametrize('wrong, message', [
    (dict(n=0), 'n = 0'), (dict(frames=0), 'frames = 0'), (dict(truncation=2.), 'truncation = 2'),
    (dict(frames=10**9), 'frames')])
def test_what_cannot_be_sampled(model, wrong, message):
    with pytest.raises(ValueError, match=message): model(**wrong)

def test_no_motion_or_content_at_all(model):
    with pytest.raises(ValueError, match='0 contents'): model.grid(0, 2)
    with pytest.raises(ValueError, match='at least one content'): model.trajectory([], [])

# --- a video

@pytest.mark.parametrize('n, t', [(1, 1), (1, 5), (4, 5)])
@pytest.mark.parametrize('suffix', ['.mp4', '.gif', '.GIF'])
def test_a_saved_video_can_be_read(model, n, t, suffix, tmp_path):
    path = model(n=n, frames=t).save(tmp_path/f'made/out{suffix}')
    columns = 1 if n == 1 else 2
    video = VideoFolder(path.parent, 16).videos[0]
    side = columns*16 + columns - 1 # one white pixel between clips
    assert video.n_frames == t and video.size == (side*6 + side*6 % 2,)*2

def test_scale(model, tmp_path):
    assert model(frames=2).sheet(1).shape[-1] == 16 and model(frames=2).sheet().shape[-1] == 96
    model(frames=2).save(tmp_path/'x.gif', scale=2)
    assert VideoFolder(tmp_path, 16).videos[0].size == (32, 32)

@pytest.mark.parametrize('name', ['clip.avi', 'clip', 'clip.mp4.png'])
def test_other_formats_are_named(model, name, tmp_path):
    with pytest.raises(ValueError, match=r'\.mp4 or \.gif'): model(frames=2).save(tmp_path/name)
    assert not any(tmp_path.iterdir())

def test_it_shows_itself(model):
    shown = model(n=2, frames=3)._repr_mimebundle_()
    assert shown['text/plain'].startswith('Video: 2 clips of 3 frames') and 'src="data:image/gif;base64,R0lGOD' in shown['text/html']

def test_frames_need_no_trajectory():
    video = Video(torch.zeros(2, 3, 3, 8, 8))
    assert video[0].trajectory is None
    with pytest.raises(IndexError): video[2]

# --- opening

@pytest.mark.parametrize('make', [a_run, own_videos, release])
def test_folders_of_every_kind_open(make, pair, model, tmp_path):
    opened = VideoGenerator.from_pretrained(make(tmp_path/'results', pair))
    assert opened.resolution == 16
    close(opened(n=2, frames=5, seed=1).frames, model(n=2, frames=5, seed=1).frames)

def test_a_folder_by_its_file_and_with_options(pair, tmp_path):
    run, other = a_run(tmp_path/'a', pair), release(tmp_path/'b', pair)
    assert VideoGenerator.from_pretrained(run/'motion_generator.safetensors').record['training_minutes'] == 5.25
    assert VideoGenerator.from_pretrained(str(other), lambda_=.5).motion_generator.lambda_ == .5
    with pytest.raises(FileNotFoundError, match='no modelR_epoch_9.pth'): VideoGenerator.from_pretrained(str(other), epoch=9)

def test_a_shipped_name_is_two_files(pair, model, tmp_path, monkeypatch):
    write(pair, tmp_path/'dots.safetensors', tmp_path/'dots_motion.safetensors')
    save_image_generator(pair[0].network, tmp_path/'alone.safetensors')
    monkeypatch.setattr(video_generator, 'shipped', lambda: tmp_path/'alone.safetensors')
    close(VideoGenerator.from_pretrained('dots')(frames=4).frames, model(frames=4).frames)
    with pytest.raises(FileNotFoundError, match=r"no motion generator is shipped for 'alone'.*models: dots\)") as e:
        VideoGenerator.from_pretrained('alone')
    assert '\n' not in str(e.value)
    assert shipped_files('dots_motion') is None and shipped_files('../dots') is None

def test_a_shipped_name_comes_before_a_folder(pair, tmp_path, monkeypatch):
    write(pair, tmp_path/'w/dots.safetensors', tmp_path/'w/dots_motion.safetensors')
    (tmp_path/'dots').mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(video_generator, 'shipped', lambda: tmp_path/'w/dots.safetensors')
    assert local_files('dots')[0].parent == tmp_path/'w'
    with pytest.raises(FileNotFoundError, match='dots holds no model'): local_files('./dots')

@pytest.mark.parametrize('name', ['nothing', './a/b', '/no/where', '~/no/where', 'a/b/c', Path('a/b')])
def test_names_that_cannot_be_repositories_ask_no_network(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(video_generator, 'snapshot_download', lambda *a, **k: pytest.fail('asked the Hub'))
    with pytest.raises(FileNotFoundError): VideoGenerator.from_pretrained(name)

def test_an_unfinished_training_is_named(pair, tmp_path):
    own_videos(tmp_path, pair)
    (tmp_path/'motion/motion_generator.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match='training has not ended'): VideoGenerator.from_pretrained(tmp_path)

def test_generators_that_do_not_belong_together(pair, tmp_path):
    run = a_run(tmp_path, pair)
    torch.manual_seed(5)
    save_image_generator(Generator(16, D, D, 2, (8, 8, 8)), tmp_path/'image_generator/image_generator.safetensors')
    with pytest.raises(ValueError, match='was trained with image generator'): VideoGenerator.from_pretrained(run)

# --- the Hub, by a stand-in

def test_a_repository_is_fetched_and_opened(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path/'copy')
    asked = {}
    def fetch(name, **options): asked.update(options, name=name); return str(tmp_path/'copy')
    monkeypatch.setattr(video_generator, 'snapshot_download', fetch)
    monkeypatch.chdir(tmp_path)
    got = VideoGenerator.from_pretrained('owner/name', revision='v1', device='cpu')
    assert (asked['name'], asked['revision']) == ('owner/name', 'v1') and 'device' not in asked
    close(got(frames=3).frames, model(frames=3).frames)

def test_a_repository_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='the Hub does not give it') as e:
        VideoGenerator.from_pretrained('nobody/nothing', local_files_only=True)
    assert '\n' not in str(e.value)

def test_push_sends_the_saved_files(model, monkeypatch):
    sent = set()
    class Api:
        def __init__(self, **options): pass
        def create_repo(self, repo_id, **options): return SimpleNamespace(repo_id=repo_id)
        def upload_folder(self, folder_path, **options): sent.update(p.name for p in Path(folder_path).iterdir())
    monkeypatch.setattr('huggingface_hub.hub_mixin.HfApi', Api)
    model.push_to_hub('owner/name')
    assert sent == {'README.md', 'config.json', 'image_generator.safetensors', 'motion_generator.safetensors'}

# --- saving

@pytest.mark.parametrize('make', [a_run, own_videos, release])
def test_saved_and_opened_again(make, pair, tmp_path):
    first = VideoGenerator.from_pretrained(make(tmp_path/'r', pair))
    first.save_pretrained(tmp_path/'saved')
    again = VideoGenerator.from_pretrained(tmp_path/'saved')
    for options in (dict(n=2, seed=4), dict(truncation=.5)):
        assert torch.equal(first(frames=5, **options).frames, again(frames=5, **options).frames)
    assert again.image_generator.fingerprint == first.image_generator.fingerprint
    assert again.record.get('measures') == first.record.get('measures')
    again.save_pretrained(tmp_path/'twice')
    assert (tmp_path/'twice/README.md').read_text(encoding='utf-8') == (tmp_path/'saved/README.md').read_text(encoding='utf-8')
    G_I, G_M, _ = load_generators([tmp_path/'saved'])
    close(sample_clips(G_I, G_M, 1, 3, 0), first(frames=3).frames)

def test_half_precision_only_without_loss(pair, tmp_path):
    VideoGenerator(*pair).save_pretrained(tmp_path/'a')
    torch.manual_seed(0)
    exact = Generator(16, D, D, 2, (8, 8, 8)).half().float()
    G_I = ImageGenerator(exact)
    VideoGenerator(G_I, MotionGenerator(D, fit_latent_pca(G_I, 500), 8, 4)).save_pretrained(tmp_path/'b')
    sizes = [(tmp_path/k/'image_generator.safetensors').stat().st_size for k in 'ab']
    assert sizes[1] < .7*sizes[0]
    assert VideoGenerator.from_pretrained(tmp_path/'b').image_generator.fingerprint == G_I.fingerprint

def test_a_run_is_not_overwritten(model, pair, tmp_path):
    run = a_run(tmp_path, pair)
    before = {p: p.read_bytes() for p in run.iterdir()}
    with pytest.raises(FileExistsError, match='holds a run'): model.save_pretrained(run)
    assert before == {p: p.read_bytes() for p in run.iterdir()}

def test_what_has_no_header_is_refused(pair, tmp_path):
    odd = MotionGenerator(D, fit_latent_pca(pair[0], 500), 8, 4, head_width=6)
    with pytest.raises(ValueError, match='head width 6'): VideoGenerator(pair[0], odd).save_pretrained(tmp_path/'x')

def test_the_card_says_what_the_record_says(pair, tmp_path):
    VideoGenerator.from_pretrained(a_run(tmp_path/'r', pair)).save_pretrained(
        tmp_path/'saved', model_card_kwargs=dict(license='cc-by-4.0', repo_id='me/dots'))
    card = ModelCard.load(tmp_path/'saved/README.md')
    assert card.data.license == 'cc-by-4.0' and 'mocogan-hd' in card.data.tags
    for words in ('Images: people. Videos: robots.', '| frechet_x | 1.25 | 1 to 1.5 | 256 |', 'clips of 12 frames', 'me/dots'):
        assert words in card.text
    VideoGenerator(*pair).save_pretrained(tmp_path/'bare')
    bare = (tmp_path/'bare/README.md').read_text(encoding='utf-8')
    assert 'does not say which data' in bare and 'no measures' in bare and 'not stated' in bare

# --- records from elsewhere

@pytest.mark.parametrize('text', ['', '[]', '{"record": 3}', '{', '[' * 100_000, '{"record": {"mean_latent": [1]}}',
                                  '{"record": {"mean_latent": "x"}}', '\xff\xfe'])
def test_a_damaged_record(text, model, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path/'config.json').write_bytes(text.encode('latin-1'))
    with pytest.raises(ValueError) as e: VideoGenerator.from_pretrained(tmp_path)
    assert str(e.value).startswith(str(tmp_path/'config.json'))

@pytest.mark.parametrize('measures', [[], {}, {'generated': []}, [dict(name='x')], [dict(name='x', value=None, low=1, high=2, n=3)],
                                      [3], 'x', [dict(name='x', value='y', low=1, high=2, n=3)]])
def test_odd_measures_still_make_a_card(measures, pair, tmp_path):
    run = a_run(tmp_path, pair)
    save_json(measures, run/'metrics.json')
    assert 'no measures' in VideoGenerator.from_pretrained(run).generate_model_card().text

def test_no_record_at_all(tmp_path): assert record_of(tmp_path) == {}
