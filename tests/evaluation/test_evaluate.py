"One way to numbers: tensors, batches and clips on demand give the same, and a number of processes changes nothing."
import pytest, torch
from mocogan_hd.core.processes import Shard
from mocogan_hd.data.video_data import VideoFolder
from mocogan_hd.evaluation import evaluate as page
from mocogan_hd.evaluation.evaluate import ClipsOnDemand, evaluate, evaluate_beside_baselines, extract_features, extract_share, real_batches, regroup
from mocogan_hd.evaluation.feature_networks import FactorRegressor
from mocogan_hd.evaluation.frame_embedding import FrameEmbedding, fit_directions
from mocogan_hd.evaluation.metrics import clip_features
from mocogan_hd.method.clips import save_strip
from mocogan_hd.method.toy_faces import ToyFaces

FACES = ToyFaces('people', 16)

@pytest.fixture(scope='module')
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp('real')
    for i, clip in enumerate(FACES.clips(12, 10, 0)): save_strip(clip, folder/f'{i}.png')
    return VideoFolder(folder, 16)

def on_demand(clips, size=3):
    def make(rows): return (clips[list(rows[k:k + size])] for k in range(0, len(rows), size))
    return ClipsOnDemand(make, range(len(clips)))

def test_a_tensor_or_batches_and_parts_that_are_equal(real):
    "What is streamed is what was held before."
    for n in (1, 12, 67, 130):
        batches = list(real_batches(real, n, 4, 3, 2))
        assert max(map(len, batches)) <= 64 and torch.equal(torch.cat(batches), real.clips(n, 4, 3, 2))
    network, clips = FrameEmbedding(16).eval(), real.clips(20, 5, 0)
    fit_directions(network, real)
    a, b, c = (evaluate_beside_baselines(fake, real, network) for fake in (clips, iter(clips.split(7)), on_demand(clips)))
    assert list(a) == ['generated', 'frame 1 repeated', 'real'] and b == c
    for x, y in zip(a['generated'], b['generated']):
        assert x['name'] == y['name'] and x['value'] == pytest.approx(y['value'], rel=1e-3, abs=1e-5, nan_ok=True), x['name']

@pytest.mark.parametrize('n, processes', [(12, 2), (13, 4), (3, 4)])
def test_each_process_makes_its_share_alone(n, processes, monkeypatch):
    "Processes one after the other in place of `gather_rows`: in order, each clip but the padding is made once."
    clips, network, parts, made = FACES.clips(n, 4, 0), FactorRegressor('people', 16).eval(), [], []
    def make(rows): made.extend(rows); return [clips[list(rows)]]
    monkeypatch.setattr(page, 'gather_rows', lambda x: parts[-1].append(x) or x.new_zeros(0, *x.shape[1:]))
    for i in range(processes):
        monkeypatch.setattr(page, 'this_shard', lambda: Shard(i, processes))
        parts.append([])
        extract_share(network, ClipsOnDemand(make, range(n)), keep=5)
    shown, features = (torch.cat([p[k] for p in parts]) for k in (0, 1))
    assert made == [i % n for i in range(len(made))] and len(made) == -(-n//processes)*processes
    assert torch.equal(shown[:min(5, n)], clips[:5])
    torch.testing.assert_close(features[:n], clip_features(network, clips).features, rtol=1e-4, atol=1e-5)

def test_batches_are_never_larger_than_asked():
    clips = torch.rand(11, 6, 3, 16, 16)
    for n_frames, n_pixels, few in ((12, 2**24, 2), (6, 2**24, 1), (1, 2**24, 1), (256, 16*16*18, 3)):
        parts = list(regroup(clips.split(4), n_frames, n_pixels))
        assert {len(p) for p in parts[:-1]} == {few} and torch.equal(torch.cat(parts), clips)

def test_refusals():
    network, clips = FactorRegressor('people', 16).eval(), FACES.clips(8, 4, 0)
    with pytest.raises(ValueError, match='no clips'): extract_features(network, iter(()))
    with pytest.raises(ValueError, match='8 cannot be compared with 6'): evaluate(clips, clips[:6], network)
