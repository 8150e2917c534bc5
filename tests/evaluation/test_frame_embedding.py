"The frame embedding: its loss, its directions, what it refuses, and that it survives the disk."
import pytest, torch
from mocogan_hd.core.basics import seeded
from mocogan_hd.method.clips import save_strip
from mocogan_hd.evaluation.feature_networks import load_feature_network, save_feature_network
from mocogan_hd.evaluation.frame_embedding import FrameEmbedding, fit_directions, info_nce_between_groups, train_embedding
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.data.video_data import VideoFolder, imitate_weizmann, weizmann


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    root = tmp_path_factory.mktemp('weizmann')
    imitate_weizmann(root, ToyFaces(resolution=16).clips(36, 8, 0, frame_stride=3))
    return weizmann(root, 16, 'train'), weizmann(root, 16, 'test')


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
    for a, b in zip(network.extract(clips), again.extract(clips)): assert torch.equal(a, b)


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
