"Protocols: their names, where clips come from, what may carry which name, and that memory, batches and processes do not matter."
import math, os, subprocess, sys, warnings
from dataclasses import replace
from pathlib import Path
import pytest, torch
from torch import nn
from mocogan_hd.core.basics import load_json, seeded
from mocogan_hd.method.clips import save_strip
from mocogan_hd.evaluation.feature_networks import FactorRegressor
from mocogan_hd.experiments.many_processes import STORE_OF_ITS_OWN
from mocogan_hd.interop.protocol_names import NAMED, OFFICIAL, Protocol, protocol, protocol_table
from mocogan_hd.interop.protocols import Generated, GeneratedFolder, MovingFeatures, as_many_as_videos, as_source, compare, look_at
from mocogan_hd.interop.published_networks import PublishedNetwork
from mocogan_hd.interop.weights_cache import FILES
from mocogan_hd.evaluation.statistics import frechet_from_features
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.data.video_data import VideoFolder
from protocol_share import Pixels
from test_published_networks import write_script

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('MOCOGAN_HD_CACHE', str(tmp_path/'cache'))
    for name, f in FILES.items(): monkeypatch.setitem(FILES, name, replace(f, url=''))
    return tmp_path/'cache'

@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('videos')
    for i, clip in enumerate(ToyFaces('people', 16).clips(6, 12, 0)): save_strip(clip, folder/f'{i}.png')
    return folder

P = protocol('frechet_pixels_12_4f_step2_16px')
def faces(spoil=lambda x: x, frame_stride=2, frames=4, side=16): return Generated(lambda pairs: (spoil(ToyFaces('people', side).clips(1, frames, 5000 + i, frame_stride)) for i, _ in pairs), frame_stride, 'faces')

# --- names

@pytest.mark.parametrize('name', [*NAMED.values(), 'frechet_i3d-deepmind_2048_16f_step4_64px', 'is_inception_5000x10_1f_128px', 'is_c3d-tgan_2048x1_16f_step2_128px', 'fvd_i3d-tfhub_2_9f_step1_16px'])
def test_names_spell_protocols_and_back(name): assert protocol(name).name == name

def test_a_name_tells_protocols_apart():
    base = protocol('paper_fvd')
    others = [replace(base, **{k: v}) for k, v in dict(n=64, frames=32, resolution=256, frame_stride=1).items()]
    assert len({p.name for p in [base, *others]}) == 5
    assert base.span == 31 and base.two_sided and not protocol('paper_acd').two_sided
    assert protocol('paper_is', n=7).name == 'is_c3d-tgan_7x10_16f_step2_128px'

@pytest.mark.parametrize('name, message', [
    ('fvd', 'is no protocol'), ('fvd_i3d-tfhub_2048_16f_128px', 'leaves something open'), ('fvd_i3d-tfhub_2048_16f_step0_128px', 'frame_stride 0'), ('fvd_i3d-tfhub_1_16f_step1_128px', 'n 1'), ('kid_inception_5_1f_64px', 'no protocol'),
    ('acd_facenet_9_1f_128px', 'frames 1'), ('lpips_diversity_alex_9_16f_step1_128px', 'times 1'), ('is_c3d-tgan_9_16f_step1_128px', '9x1'), ('fvd_i3d-tfhub_9x3_16f_step1_128px', 'only IS has loops'), ('fid_inception_9_16f_step1_128px', 'single frames')])
def test_impossible_protocols(name, message):
    with pytest.raises(ValueError, match=message): protocol(name)

@pytest.mark.parametrize('metric', OFFICIAL)
@pytest.mark.parametrize('network', ['embedding', 'factors-moves', 'i3d-deepmind', 'resnet'])
def test_no_other_network_carries_an_official_name(metric, network):
    with pytest.raises(ValueError, match=f'a number from {network!r} must not carry the name; use frechet_{network}'): Protocol(metric, network, 64, 16, 64)

def test_nor_does_a_network_that_calls_itself_so():
    class Impostor(Pixels): kind = 'i3d-tfhub'
    class Unread(PublishedNetwork): kind = 'i3d-tfhub'
    for network in (Impostor(), Unread()):
        with pytest.raises(ValueError, match='read from its published file'): compare('fvd_i3d-tfhub_12_16f_step2_16px', ToyFaces('people', 16), faces(frames=16), network)
    with pytest.raises(ValueError, match="a number from 'pixels' is called frechet_pixels"): compare('frechet_embedding_12_4f_step2_16px', ToyFaces('people', 16), faces(), Pixels())

def test_a_network_of_ours_has_its_own_name():
    network = MovingFeatures(FactorRegressor('people', 16).eval())
    r = compare('frechet_factors-moves_12_4f_step2_16px', ToyFaces('people', 16), faces(), network)
    assert r.metric.name.startswith('frechet_factors-moves') and network.width == 384 and r.record['network']['sha256'] == network.network.fingerprint

# --- clips

def test_an_item_depends_on_the_seed_and_itself_alone(videos):
    for source in (VideoFolder(videos, 16), videos, str(videos), ToyFaces('people', 16)):
        s = as_source(P, source, 3)
        whole = s.clips([(i, i) for i in range(12)])
        assert whole.shape == (12, 4, 3, 16, 16)
        assert torch.equal(whole[[7, 2]], s.clips([(7, 7), (2, 2)])) and not torch.equal(whole, as_source(P, source, 4).clips([(i, i) for i in range(12)]))

def test_clips_are_spread_evenly_over_videos(tmp_path):
    for i in range(5): save_strip(torch.full((9, 3, 16, 16), i/127.5 - 1), tmp_path/f'{i}.png')
    s = as_source(P, tmp_path, 0)
    seen = ((s.clips([(i, i) for i in range(15)])[:, 0, 0, 0, 0] + 1)*127.5).round().tolist()
    assert all(sorted(seen[k:k + 5]) == [0, 1, 2, 3, 4] for k in (0, 5, 10)) and s.about == dict(kind='videos', fingerprint=s.about['fingerprint'], videos=5, clips_of_a_video=3)

def test_frames_are_a_step_apart_on_both_sides(tmp_path):
    save_strip(torch.arange(16.)[:, None, None, None].expand(16, 3, 16, 16)/127.5 - 1, tmp_path/'count.png')
    def numbers(source, **changes): return ((as_source(replace(P, n=2, **changes), source, 0).clips([(0, 0)])[0, :, 0, 0, 0] + 1)*127.5).round().tolist()
    real = numbers(tmp_path)
    assert [b - a for a, b in zip(real, real[1:])] == [2, 2, 2]
    save_strip(torch.arange(16.)[:, None, None, None].expand(16, 3, 16, 16)/127.5 - 1, tmp_path/'more.png')
    assert numbers(GeneratedFolder(tmp_path, 1)) == [0, 2, 4, 6] and numbers(GeneratedFolder(tmp_path, 2)) == [0, 1, 2, 3]
    assert numbers(GeneratedFolder(tmp_path, 1), frame_stride=5) == [0, 5, 10, 15]
    made = Generated(lambda pairs: iter([torch.arange(7.)[None, :, None, None, None].expand(1, 7, 3, 16, 16)/127.5 - 1]), 1, '')
    assert numbers(made) == [0, 2, 4, 6]
    for source, words in ((GeneratedFolder(tmp_path, 3), 'are 3 frames of a video apart, a step of 2'), (replace(made, frame_stride=4), 'are 4 frames'), (replace(made, frame_stride=0), 'are 0 frames')):
        with pytest.raises(ValueError, match=words): numbers(source)
    with pytest.raises(ValueError, match='wants 16 frames of each clip, these have 7'): numbers(made, frame_stride=5)
    with pytest.raises(ValueError, match='needs 31 frames, the longest has 16'): numbers(GeneratedFolder(tmp_path, 1), frame_stride=10)

def test_both_sides_are_resized_alike(tmp_path):
    clips = ToyFaces('people', 32).clips(3, 7, 0)
    for i, c in enumerate(clips): save_strip(c, tmp_path/f'{i}.png')
    p = replace(P, n=3)
    made = as_source(p, Generated(lambda pairs: (clips[[i]] for i, _ in pairs), 1, ''), 0).clips([(1, 1)])
    assert torch.equal(made, as_source(p, GeneratedFolder(tmp_path, 1), 0).clips([(1, 1)])) and made.shape[-1] == 16
    with pytest.raises(ValueError, match='read at 32 px, they must be at 16'): as_source(p, VideoFolder(tmp_path, 32), 0)

def test_equal_counts_or_nothing(videos):
    with pytest.raises(ValueError, match='wants 12 clips, .* holds 6: another number of clips is another protocol'): compare(P, videos, GeneratedFolder(videos, 2), Pixels())
    with pytest.raises(ValueError, match='real videos are needed'): compare(P, None, faces(), Pixels())

def test_wrong_clips_are_refused():
    for batches, words in ((lambda pairs: [torch.zeros(1, 4, 3, 16, 16)], r'clips .1, 4, 3, 16, 16. came'), (lambda pairs: [torch.full((len(pairs), 4, 3, 16, 16), 200.)], r'expected .-1, 1'),
                           (lambda pairs: [torch.zeros(len(pairs), 4, 1, 16, 16)], 'a clip is')):
        with pytest.raises(ValueError, match=words): compare(P, ToyFaces('people', 16), Generated(batches, 2, ''), Pixels())

# --- numbers

def test_a_stream_gives_the_distance_of_all_features():
    real, fake = ToyFaces('people', 16), faces(lambda x: .7*x)
    r = compare(P, real, fake, Pixels(), batch_size=5)
    from mocogan_hd.core.basics import sub_seed
    features = [Pixels()(as_source(P, x, sub_seed(0, k)).clips([(i, i) for i in range(12)])) for k, x in (('fake', fake), ('real', real))]
    assert r.metric.value == pytest.approx(frechet_from_features(*features).item(), rel=1e-8) and r.metric.n == 12 and r.real is None
    assert compare(P, real, fake, Pixels(), batch_size=12).metric == r.metric
    assert r.metric.low <= r.metric.value <= r.metric.high and r.record['standard_error'] > 0

def test_no_clip_is_held_longer_than_its_batch():
    import gc, weakref
    alive, most = [], []
    def batches(pairs):
        gc.collect(); most.append(sum(len(t()) for t in alive if t() is not None))
        x = ToyFaces('people', 16).clips(len(pairs), 4, pairs[0][0], 2); alive.append(weakref.ref(x))
        yield x
    compare(replace(P, n=60), ToyFaces('people', 16), Generated(batches, 2, ''), Pixels(), batch_size=5)
    assert len(most) == 12 and max(most) <= 5

def test_real_statistics_are_kept_and_only_for_the_same(cache, videos):
    def go(p=P, real=videos, network=None, seed=0): return compare(p, real, faces(frames=p.frames), network or Pixels(), seed=seed)
    first = go()
    assert not first.record['real_from_cache'] and len(list((cache/'statistics').iterdir())) == 1
    again = go()
    assert again.record['real_from_cache'] and again.metric == first.metric
    class Other(Pixels): sha256 = 'other'
    for changed in (dict(p=replace(P, n=11)), dict(real=ToyFaces('people', 16)), dict(network=Other()), dict(seed=1)): assert not go(**changed).record['real_from_cache'], changed
    kept = next((cache/'statistics').glob('frechet_pixels_12_*'))
    for f in (cache/'statistics').iterdir(): f.write_bytes(f.read_bytes()[:100])
    with pytest.raises(ValueError, match='is not a whole safetensors file'): go()

def test_two_processes_give_the_number_of_one(tmp_path):
    rows = []
    for n in (1, 2):
        env = {**os.environ, 'OMP_NUM_THREADS': '1', 'ACCELERATE_USE_CPU': '1', 'PYTHONWARNINGS': 'ignore', 'MOCOGAN_HD_CACHE': str(tmp_path/f'cache{n}'), **STORE_OF_ITS_OWN}
        torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(n)] if n > 1 else []
        done = subprocess.run([sys.executable, *torchrun, 'tests/protocol_share.py', str(tmp_path/f'{n}.json')], env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        rows.append(load_json(tmp_path/f'{n}.json'))
    one, two = rows
    assert [r['processes'] for r in one + two] == [1, 1, 2, 2] and [r['cached'] for r in one + two] == [False, True]*2
    for a, b in zip(one, two):
        for k in ('value', 'low', 'high'): assert a[k] == pytest.approx(b[k], rel=1e-9), k

# --- stand-ins in the places of published networks: what is computed from what they say

class Frames(PublishedNetwork):
    "Frame features that are known: the mean of each channel."
    takes, width, sha256 = 'frames', 3, 'x'
    def forward(self, frames): return frames.mean((2, 3))

def known(values): # clips (n, T, 3, 16, 16) of one grey each frame
    x = torch.as_tensor(values).float()
    return Generated(lambda pairs: [x[[j for _, j in pairs]][:, :, None, None, None].expand(-1, -1, 3, 16, 16)], 1, 'known')

def official(kind, base=Frames): return type('Known', (base,), dict(kind=kind))()

def test_acd_is_the_mean_distance_of_all_pairs_of_frames():
    p = protocol('acd_facenet_2_3f_step1_16px')
    r = compare(p, None, known([[0, .2, .6], [1, 1, 1]]), official('facenet'))
    assert r.metric.value == pytest.approx((.2 + .4 + .6)/3*3**.5/2, abs=.01) and r.real is None and r.metric.name == p.name
    assert compare(p, known([[0, 0, 0]]*2), known([[0, 0, 0]]*2), official('facenet')).real.value == 0

class Pairs(PublishedNetwork):
    takes, width, sha256, kind = 'pairs', 1, 'x', 'alex'
    def forward(self, a, b): return (a - b).abs().mean((1, 2, 3))

def test_lpips_drift_is_taken_from_frame_1():
    r = compare('lpips_drift_alex_2_3f_step1_16px', None, known([[0, .2, .6], [1, .8, 1]]), Pairs())
    assert r.metric.value == pytest.approx((.4 + .1)/2, abs=.01)

def test_lpips_diversity_compares_motions_of_one_content():
    p = protocol('lpips_diversity_alex_2x3_3f_step1_16px')
    r = compare(p, None, known([[0, 0, 0], [0, .2, .2], [0, .6, .6], [1, 1, 1], [1, 1, 1], [1, 1, 1]]), Pairs(), batch_size=1)
    assert r.metric.value == pytest.approx((.2 + .6 + .4)/3/2, abs=.01) and r.metric.n == 2
    with pytest.raises(ValueError, match='not of one content'): compare(p, None, known([[0, 0, 0], [.5, 0, 0], [0, 0, 0]]*2), Pairs())
    for source, words in ((ToyFaces('people', 16), 'give `Generated`'), (GeneratedFolder('nowhere', 1), 'files do not name it')):
        with pytest.raises(ValueError, match=words): compare(p, None, source, Pairs())

def test_inception_scores_over_loops():
    class Sure(Frames):
        width = 4
        def forward(self, clips): return 1e3*nn.functional.one_hot(((clips.reshape(len(clips), -1)[:, 0] + 1)*1.5).round().long(), 4).float()
    class SureOfClips(Sure): takes = 'clips'
    values = [[-1, 0], [-1/3, 0], [1/3, 0], [1, 0]]*2 + [[-1, 0]]*8
    r = compare('is_c3d-tgan_8x2_2f_step1_16px', None, known(values), official('c3d-tgan', SureOfClips))
    assert r.metric.value == pytest.approx(2.5) and r.record['std_over_loops'] == pytest.approx(1.5) and r.metric.n == 16
    assert compare('is_inception_8x2_1f_16px', None, known(values), official('inception', Sure)).metric.value == pytest.approx(2.5)

def test_fvd_through_a_torchscript_file(cache, videos):
    "A stand-in in the place of the file; what is checked is the way, and the hash in the record."
    cache.mkdir(parents=True); write_script(cache/'i3d_torchscript.pt')
    r = compare('fvd_i3d-tfhub_6_4f_step2_16px', videos, GeneratedFolder(videos, 2), batch_size=4)
    assert r.metric.name == 'fvd_i3d-tfhub_6_4f_step2_16px' and math.isfinite(r.metric.value)
    assert r.record['network']['files'] == {'i3d_torchscript.pt': (cache/'i3d_torchscript.pt.sha256').read_text().split()[0]}
    assert r.record['fake']['frame_stride'] == 2 and r.record['real']['videos'] == 6

def test_a_missing_file_is_named_and_nothing_is_read_before(videos):
    for name, file in {'fvd_i3d-tfhub_6_4f_step2_16px': 'i3d_torchscript.pt', 'is_c3d-tgan_3x2_16f_step1_16px': 'conv3d_deepnetA_ucf.npz', 'fid_inception_6_1f_16px': 'weights-inception', 'acd_facenet_6_4f_step2_16px': 'vggface2.pt',
                       'lpips_drift_alex_6_4f_step2_16px': 'alexnet-owt', 'fvd_i3d-videogpt_6_4f_step2_16px': 'i3d_pretrained_400.pt', 'is_c3d-tganv2_3x2_16f_step1_16px': 'conv3d_deepnetA_ucf.npz'}.items():
        with pytest.raises(FileNotFoundError, match=f'{file}.* is missing: put it into'): compare(name, ToyFaces('people', 16), faces(frames=16, frame_stride=1))
    with pytest.raises(ValueError, match="'pixels' is no published network"): compare(P, videos, faces())

def test_fid_agrees_with_torchmetrics(videos):
    "The same features through torchmetrics' own FID."
    from torchmetrics.image.fid import FrechetInceptionDistance
    class Features(nn.Module):
        def forward(self, x): return x.float().mean((2, 3))
    p, real, fake = protocol('fid_inception_40_1f_16px'), ToyFaces('people', 16), faces(lambda x: .5*x, frames=1)
    ours = compare(p, real, fake, official('inception'))
    fid = FrechetInceptionDistance(feature=Features(), normalize=False, input_img_size=(3, 16, 16)).set_dtype(torch.float64)
    from mocogan_hd.core.basics import sub_seed
    for k, x in (('real', real), ('fake', fake)):
        frames = as_source(p, x, sub_seed(0, k)).clips([(i, i) for i in range(40)])[:, 0]
        fid.update(((frames + 1)*127.5).round().byte(), real=k == 'real')
    assert ours.metric.value*127.5**2 == pytest.approx(fid.compute().item(), rel=1e-3) # torchmetrics takes bytes: drawn frames are rounded

def test_the_table_of_protocols(cache):
    rows = {r['name']: r for r in protocol_table()}
    assert set(rows) == set(NAMED) and not any(r['at_hand'] for r in rows.values())
    cache.mkdir(parents=True); (cache/'i3d_torchscript.pt').touch()
    assert {r['name'] for r in protocol_table() if r['at_hand']} == {'paper_fvd', 'stylegan_v_fvd16', 'stylegan_v_fvd128'}

@pytest.mark.parametrize('name', ['stylegan_v_fvd16', 'stylegan_v_fvd128'])
@pytest.mark.parametrize('many, short', [(5, 0), (7, 2), (4, 1)])
def test_stylegan_v_takes_no_video_twice(tmp_path, capsys, name, many, short):
    "At most one clip a video; short ones are left out and counted. Both sides give the smaller number."
    p = replace(protocol(name), frames=8, resolution=16)
    for i, clip in enumerate(ToyFaces('people', 16).clips(many, 8, 0)): save_strip(clip[:5] if i < short else clip, tmp_path/f'{i}.png')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        q = as_many_as_videos(p, tmp_path, faces())
        assert q == replace(p, n=many - short) and q.name != p.name
        pairs = [(i, i) for i in range(q.n)]
        starts = as_source(q, VideoFolder(tmp_path, 16), 0).clips(pairs)[:, 0].flatten(1)
        assert (torch.cdist(starts, starts) + torch.eye(q.n)).min() > 0 # every clip is of another video
        assert as_many_as_videos(p, VideoFolder(tmp_path, 16), GeneratedFolder(tmp_path, 1)) == q
    said = capsys.readouterr().out
    assert f'{many - short} clips, one of each video' in said and (f'{short} of {many} videos are shorter' in said) == (short > 0)

def test_the_name_decides_who_repeats(videos):
    "The paper's protocol goes round the videos again; StyleGAN-V's does not."
    p = replace(P, n=12)
    assert as_source(p, VideoFolder(videos, 16), 0).about['clips_of_a_video'] == 2
    assert as_many_as_videos(p, videos, faces()).n == 6

@pytest.mark.parametrize('given', [protocol('stylegan_v_fvd16'), protocol('stylegan_v_fvd16', n=40)])
def test_a_protocol_that_was_read_from_its_name_keeps_the_rule(videos, capsys, given):
    "The command line hands `compare` the protocol and not its name; a wish for more clips than videos is cut too."
    class Fake(PublishedNetwork):
        kind, takes, width, sha256 = 'i3d-tfhub', 'clips', 2, 'x'
        def __init__(self): nn.Module.__init__(self)
        def forward(self, clips): return clips.flatten(1)[:, :2]
    p = replace(given, frames=4, resolution=16)
    assert p.once and not protocol('paper_fvd').once
    r = compare(p, videos, faces(frame_stride=1), Fake())
    assert r.metric.name.startswith('fvd_i3d-tfhub_6_4f') and '6 clips, one of each video' in capsys.readouterr().out
