"The factor regressor: what it accepts and refuses, and that training it twice gives the same."
import pytest, torch
from mocogan_hd.core.basics import seeded
from mocogan_hd.evaluation.feature_networks import (FactorRegressor, FeatureNetwork, evaluate_factor_regressor, frame_encoder, factor_batch,
                                                    load_feature_network, save_feature_network, soften, train_factor_regressor)
from mocogan_hd.method.toy_faces import IDENTITY, MOTION, ToyFaces


@pytest.mark.parametrize('resolution', [16, 32, 64, 256])
def test_encoder_at_any_resolution(resolution):
    assert frame_encoder(resolution)(torch.zeros(2, 3, resolution, resolution)).shape == (2, 128)


@pytest.mark.parametrize('resolution', [8, 24, 48])
def test_resolution_must_be_a_power_of_two(resolution):
    with pytest.raises(ValueError, match=f'resolution {resolution}'): FactorRegressor('people', resolution)


@pytest.mark.parametrize('shape', [(2, 3, 16, 16), (1, 2, 3, 32, 32), (1, 2, 1, 16, 16)])
def test_clips_of_another_shape(shape):
    with pytest.raises(ValueError, match=r'\(B, T, 3, 16, 16\)'): FactorRegressor('people', 16).features(torch.zeros(shape))


def test_batches_do_not_matter_and_mode_is_kept():
    regressor, clips = FactorRegressor('people', 16).train(), torch.rand(3, 5, 3, 16, 16, generator=seeded(0))
    a, b = regressor.extract(clips, batch_size=4), regressor.extract(clips, batch_size=256)
    assert regressor.training and not a[0].requires_grad
    for x, y, width in zip(a, b, (128, len(IDENTITY), len(MOTION))):
        assert x.shape == (3, 5, width)
        torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)


def test_regressor_is_the_same_for_a_seed_and_leaves_global_state_alone():
    torch.manual_seed(3); before = torch.random.get_rng_state()
    a, b, c = (train_factor_regressor('robots', 16, seed=s, steps=3, batch_size=4) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert not a.training and not any(p.requires_grad for p in a.parameters())
    assert set(a.report) >= {'steps', 'seed', 'r2', 'r2_soft', 'error'} and a.report['steps'] == 3


def test_regressor_learns_the_easy_factors_and_its_report_is_honest():
    regressor = train_factor_regressor('people', 16, seed=0, steps=150)
    assert regressor.report['r2']['background'] > .7 and regressor.report['r2']['skin'] > .5
    clips, identity, motion = ToyFaces('people', 16).clips_with_factors(64, 2, 99)
    error = (regressor.content(clips)[:, :, 3] - identity[:, None, 3]).abs().mean().item()
    assert abs(error - regressor.report['error']['background']) < .04


def test_truth_in_targets():
    frames, targets = factor_batch(64, seeded(0), 'people', 16)
    assert frames.shape == (64, 3, 16, 16) and targets.shape == (64, len(IDENTITY) + len(MOTION)) and targets.abs().max() <= 1
    assert targets[:, len(IDENTITY):].std(0).min() > .2, 'poses spread over their ranges'


def test_perfect_reading_has_r2_one(monkeypatch):
    "The report's arithmetic, with a regressor that knows the truth."
    regressor = FactorRegressor('people', 16)
    clips, identity, motion = ToyFaces('people', 16).clips_with_factors(8, 4, seeded(5), frame_stride=4)
    truth = (None, identity[:, None].expand(-1, 4, -1), motion)
    monkeypatch.setattr(FactorRegressor, 'extract', lambda self, c: truth)
    report = evaluate_factor_regressor(regressor, 8, 4, seed=5)
    assert all(v == 1 for v in report['r2'].values()) and all(v == 0 for v in report['error'].values())


def test_soften_share():
    x = torch.rand(200, 3, 16, 16, generator=seeded(0))
    changed = (soften(x, 1) != x).flatten(1).any(1).float().mean()
    assert .2 < changed < .4 and torch.equal(soften(x, 1, fraction=0.), x) and torch.equal(soften(x, 1), soften(x, 1))
    rough = lambda y: y.diff(dim=-1).abs().mean()
    assert rough(soften(x, 1, fraction=1.)) < rough(x)


def test_files_that_are_no_networks(tmp_path):
    from safetensors.torch import save_file
    with pytest.raises(FileNotFoundError, match='none.safetensors'): load_feature_network(tmp_path/'none.safetensors')
    (tmp_path/'broken.safetensors').write_bytes(b'nothing')
    with pytest.raises(ValueError, match='broken.safetensors'): load_feature_network(tmp_path/'broken.safetensors')
    save_file({'a': torch.zeros(2)}, tmp_path/'other.safetensors', metadata={'kind': 'generator'})
    with pytest.raises(ValueError, match="'generator'"): load_feature_network(tmp_path/'other.safetensors')
    save_file({'a': torch.zeros(2)}, tmp_path/'weights.safetensors', metadata={'kind': 'factors', 'resolution': '16', 'domain': 'people', 'report': '{}'})
    with pytest.raises(RuntimeError, match='look'): load_feature_network(tmp_path/'weights.safetensors')


def test_domain_must_exist():
    with pytest.raises(ValueError, match='cats'): train_factor_regressor('cats', 16, steps=2)
