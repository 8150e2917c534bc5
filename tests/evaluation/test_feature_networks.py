"The instruments: what they accept, what they refuse, and that training them twice gives the same."
import pytest, torch
from mocogan_hd.core.basics import seeded
from mocogan_hd.method.clips import save_strip
from mocogan_hd.evaluation.feature_networks import (FaceJudge, FeatureNetwork, FrameEmbedding, evaluate_embedding, evaluate_judge, fit_directions, frame_encoder,
                                         info_nce_between_groups, judge_batch, load_feature_network, save_feature_network, soften, train_embedding, train_judge)
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.data.video_data import VideoFolder, imitate_weizmann, weizmann


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    root = tmp_path_factory.mktemp('weizmann')
    imitate_weizmann(root, ToyFaces(resolution=16).clips(36, 8, 0, interval=3))
    return weizmann(root, 16, 'train'), weizmann(root, 16, 'test')


@pytest.mark.parametrize('resolution', [16, 32, 64, 256])
def test_encoder_at_any_resolution(resolution):
    assert frame_encoder(resolution)(torch.zeros(2, 3, resolution, resolution)).shape == (2, 128)


@pytest.mark.parametrize('resolution', [8, 24, 48])
def test_resolution_must_be_a_power_of_two(resolution):
    with pytest.raises(ValueError, match=f'resolution {resolution}'): FaceJudge('people', resolution)


@pytest.mark.parametrize('shape', [(2, 3, 16, 16), (1, 2, 3, 32, 32), (1, 2, 1, 16, 16)])
def test_clips_of_another_shape(shape):
    with pytest.raises(ValueError, match=r'\(B, T, 3, 16, 16\)'): FaceJudge('people', 16).features(torch.zeros(shape))


def test_batches_do_not_matter_and_mode_is_kept():
    judge, clips = FaceJudge('people', 16).train(), torch.rand(3, 5, 3, 16, 16, generator=seeded(0))
    a, b = judge.see(clips, batch_size=4), judge.see(clips, batch_size=256)
    assert judge.training and not a[0].requires_grad
    for x, y, width in zip(a, b, (128, 9, 6)):
        assert x.shape == (3, 5, width)
        torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)


def test_judge_is_the_same_for_a_seed_and_leaves_global_state_alone():
    torch.manual_seed(3); before = torch.random.get_rng_state()
    a, b, c = (train_judge('robots', 16, seed=s, steps=3, batch_size=4) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert not a.training and not any(p.requires_grad for p in a.parameters())
    assert set(a.report) >= {'steps', 'seed', 'r2', 'r2_soft', 'error'} and a.report['steps'] == 3


def test_judge_learns_the_easy_factors_and_its_report_is_honest():
    judge = train_judge('people', 16, seed=0, steps=150)
    assert judge.report['r2']['background'] > .7 and judge.report['r2']['skin'] > .5
    clips, identity, motion = ToyFaces('people', 16).clips_with_factors(64, 2, 99)
    error = (judge.content(clips)[:, :, 3] - identity[:, None, 3]).abs().mean().item()
    assert abs(error - judge.report['error']['background']) < .04


def test_truth_in_targets():
    frames, targets = judge_batch(64, seeded(0), 'people', 16)
    assert frames.shape == (64, 3, 16, 16) and targets.shape == (64, 15) and targets.abs().max() <= 1
    assert targets[:, 9:].std(0).min() > .2, 'poses spread over their ranges'


def test_perfect_reading_has_r2_one(monkeypatch):
    "The report's arithmetic, with a judge that knows the truth."
    judge = FaceJudge('people', 16)
    clips, identity, motion = ToyFaces('people', 16).clips_with_factors(8, 4, seeded(5), interval=4)
    truth = (None, identity[:, None].expand(-1, 4, -1), motion)
    monkeypatch.setattr(FaceJudge, 'see', lambda self, c: truth)
    report = evaluate_judge(judge, 8, 4, seed=5)
    assert all(v == 1 for v in report['r2'].values()) and all(v == 0 for v in report['error'].values())


def test_soften_share():
    x = torch.rand(200, 3, 16, 16, generator=seeded(0))
    changed = (soften(x, 1) != x).flatten(1).any(1).float().mean()
    assert .2 < changed < .4 and torch.equal(soften(x, 1, share=0.), x) and torch.equal(soften(x, 1), soften(x, 1))
    rough = lambda y: y.diff(dim=-1).abs().mean()
    assert rough(soften(x, 1, share=1.)) < rough(x)


def test_same_group_is_neither_positive_nor_negative():
    q = torch.nn.functional.normalize(torch.randn(4, 8, generator=seeded(0)), dim=1)
    groups = torch.tensor([0, 0, 1, 2])
    k = q.clone(); base = info_nce_between_groups(q, k, groups)
    by_hand = 0.
    for i in range(4):
        rows = [j for j in range(4) if j == i or groups[j] != groups[i]]
        by_hand += -(torch.log_softmax(q[i] @ k[rows].T/.1, 0)[rows.index(i)])/4
    torch.testing.assert_close(base, by_hand)


def test_embedding_learns_and_survives_the_disk(people, tmp_path):
    train, test = people
    network = train_embedding(train, test, steps=25)
    assert network.report['accuracy'] > 3*network.report['chance'] and network.report['same'] < network.report['other']
    assert network.fingerprint == train_embedding(train, test, steps=25).fingerprint
    save_feature_network(network, tmp_path/'n.safetensors')
    again = load_feature_network(tmp_path/'n.safetensors')
    assert again.fingerprint == network.fingerprint and again.report == network.report
    clips = test.clips(2, 4, 0)
    for a, b in zip(network.see(clips), again.see(clips)): assert torch.equal(a, b)


def test_directions_are_those_of_movement(people):
    "Clips in which one patch brightens: one direction holds all of it."
    videos = people[0]
    class Patch:
        def __init__(self, base): self.base = base
        def read(self):
            x = torch.full((6, 3, 16, 16), self.base, dtype=torch.uint8); x[:, :, 4:8, 4:8] += (torch.arange(6)*10).byte()[:, None, None, None]
            return x
    class Set: pass
    fake = Set(); fake.videos = [Patch(20), Patch(90), Patch(150)]
    network = FrameEmbedding(16); fit_directions(network, fake)
    direction = network.directions[0].reshape(3, 16, 16)
    inside = direction[:, 4:8, 4:8]
    assert inside.std() < 1e-4 and (direction.norm() - 1).abs() < 1e-4 and (inside.norm() - 1).abs() < 1e-4


def test_embedding_needs_groups_and_held_out_ones(people, tmp_path):
    train, test = people
    with pytest.raises(ValueError, match='in both sets'): train_embedding(train, train, steps=2)
    for i in range(3): save_strip(torch.zeros(4, 3, 16, 16), tmp_path/f'{i}.png')
    alike = VideoFolder(tmp_path, 16, group=lambda p: 'one')
    with pytest.raises(ValueError, match='2 groups'): train_embedding(alike, test, steps=2)


def test_files_that_are_no_networks(tmp_path):
    from safetensors.torch import save_file
    with pytest.raises(FileNotFoundError, match='none.safetensors'): load_feature_network(tmp_path/'none.safetensors')
    (tmp_path/'broken.safetensors').write_bytes(b'nothing')
    with pytest.raises(ValueError, match='broken.safetensors'): load_feature_network(tmp_path/'broken.safetensors')
    save_file({'a': torch.zeros(2)}, tmp_path/'other.safetensors', metadata={'kind': 'generator'})
    with pytest.raises(ValueError, match="'generator'"): load_feature_network(tmp_path/'other.safetensors')
    save_file({'a': torch.zeros(2)}, tmp_path/'weights.safetensors', metadata={'kind': 'judge', 'resolution': '16', 'domain': 'people', 'report': '{}'})
    with pytest.raises(RuntimeError, match='look'): load_feature_network(tmp_path/'weights.safetensors')


def test_domain_must_exist():
    with pytest.raises(ValueError, match='cats'): train_judge('cats', 16, steps=2)
