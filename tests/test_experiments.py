"""Experiments: names that do not exist, data that is missing, and what a record holds."""
import json
import pytest
from mocogan_hd.experiments import PRESETS, VARIANTS, Evaluation, RunRecord, clip_source, experiment, run_folder

@pytest.mark.parametrize('preset', PRESETS)
@pytest.mark.parametrize('variant', VARIANTS)
def test_every_preset_takes_every_variant(preset, variant):
    e = experiment(preset, variant, 2)
    assert (e.preset, e.variant, e.seed, e.motion.seed) == (preset, variant, 2, 2)
    assert e.image == experiment(preset).image  # the image generator is the same for all variants and seeds

def test_variants_are_those_of_the_design():
    full = experiment('toy_faces').motion
    assert (full.image_loss, full.lambda_m, full.lambda_f, full.condition_on_first) == ('contrastive', 1., 1., False)
    assert experiment('toy_faces', 'no_mi').motion.lambda_m == 0
    assert experiment('toy_faces', 'no_di').motion.image_loss == 'none'
    assert experiment('toy_robots').images == 'robots' and experiment('toy_robots').videos == 'people'

@pytest.mark.parametrize('overrides, says', [
    ({'motion.stepss': 3}, "no 'stepss'"), ({'movement.steps': 3}, "no 'movement'"), ({'motion': 3}, 'has parts'), ({'seed.x': 3}, 'no parts'),
    ({'motion.steps': 0}, 'steps=0'), ({'image.resolution': 33}, '33 is not possible'), ({'evaluation.network': 'i3d'}, "'i3d' is unknown"),
    ({'evaluation.n_clips': 3}, 'n_clips=3')])
def test_a_wrong_override_is_named(overrides, says):
    with pytest.raises(ValueError, match=says): experiment('smoke', overrides=overrides)

def test_missing_real_data_says_how_to_give_it(monkeypatch, tmp_path):
    monkeypatch.delenv('MOCOGAN_HD_DATA', raising=False)
    with pytest.raises(FileNotFoundError, match='MOCOGAN_HD_DATA is not set'): clip_source('weizmann', 32)
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path/'nowhere'))
    with pytest.raises(FileNotFoundError, match='is not a folder'): clip_source('weizmann', 32)
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path))
    with pytest.raises((FileNotFoundError, ValueError), match='weizmann'): clip_source('weizmann', 32)

def test_the_record_names_everything_but_no_place(tmp_path):
    e = experiment('smoke', 'no_mi', 1)
    RunRecord(e, 'motion generator').write(run_folder(tmp_path, e)/'run.json', generator='abc')
    text = (tmp_path/'smoke/no_mi/seed-1/run.json').read_text()
    record = json.loads(text)
    assert {'experiment', 'git', 'versions', 'machine', 'finished', 'wall_seconds', 'cpu_seconds', 'peak_memory_mb', 'generator'} <= set(record)
    assert record['experiment']['motion']['lambda_m'] == 0 and str(tmp_path) not in text
