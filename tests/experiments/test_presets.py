"""Experiments: names that do not exist, data that is missing, and what a record holds."""
import json
from dataclasses import asdict
from pathlib import Path
import pytest
from mocogan_hd.core.basics import load_json
from mocogan_hd.experiments.presets import (
    ANY, PRESETS, PUBLISHED, SOURCES, VARIANTS, clip_source, counted, experiment, parse_overrides, register_source)
from mocogan_hd.experiments.records import WEIGHTS, RunRecord, check_overrides, generator_file, run_folder, save_overrides

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

def test_a_variant_may_have_settings_of_its_own():
    e = experiment('toy_faces', 'no_mi+lambda_f=5+n_pca=null+penalty=channel', 1)
    assert (e.variant, e.motion.lambda_m, e.motion.lambda_f, e.motion.n_pca, e.motion.penalty) == ('no_mi+lambda_f=5+n_pca=null+penalty=channel', 0, 5, None, 'channel')
    assert run_folder('runs', e).name == 'seed-1' and run_folder('runs', e).parent.name == e.variant
    assert experiment('toy_faces', 'full+steps=9', overrides={'motion.steps': 7}).motion.steps == 7
    assert experiment('afhq_vox', 'full+steps=9').epochs is None

@pytest.mark.parametrize('variant, says', [('no_mi+', 'is no setting'), ('full+lambda_m', 'is no setting'), ('full+lambda_m=../..', 'is no setting'), ('lambda_m=5', 'is unknown'),
                                           ('full+lambda=5', "no 'lambda'"), ('full+steps=0', 'steps=0')])
def test_a_wrong_setting_of_a_variant_is_named(variant, says):
    with pytest.raises(ValueError, match=says): experiment('smoke', variant)

def test_the_record_names_the_commit_that_it_began_with(monkeypatch, tmp_path):
    record = RunRecord(experiment('smoke'), 'motion generator')
    began = record.git
    monkeypatch.setattr('mocogan_hd.experiments.records.git_state', lambda: dict(commit='another', changed=True))
    assert record.write(tmp_path/'run.json')['git'] == began

def test_the_record_names_everything_but_no_place(tmp_path):
    e = experiment('smoke', 'no_mi', 1)
    RunRecord(e, 'motion generator').write(run_folder(tmp_path, e)/'run.json', generator='abc')
    text = (tmp_path/'smoke/no_mi/seed-1/run.json').read_text()
    record = json.loads(text)
    assert {'experiment', 'git', 'versions', 'machine', 'finished', 'wall_seconds', 'cpu_seconds', 'peak_memory_mb', 'generator'} <= set(record)
    assert record['experiment']['motion']['lambda_m'] == 0 and str(tmp_path) not in text

# --- what was published stays what it was

root = Path(__file__).parents[2]
published = sorted(p for preset in ('toy_faces', 'weizmann') for p in (root/'results'/preset).glob('*/seed-*/run.json'))

def within(old, new):
    "every field of an old record has the same value now"
    if isinstance(old, dict): return all(k in new and within(v, new[k]) for k, v in old.items())
    return old == (list(new) if isinstance(new, tuple) else new)

@pytest.mark.parametrize('path', published, ids=lambda p: str(p.relative_to(root)))
def test_published_runs_are_still_the_same_experiments(path):
    old = load_json(path)['experiment']
    assert within(old, asdict(experiment(old['preset'], old['variant'], old['seed'])))

def test_there_are_published_runs(): assert len(published) >= 6

# --- epochs

def test_steps_are_counted_where_the_number_of_videos_is_not_published():
    e = experiment('church_tlvdb') # 200 epochs, batch 16
    assert e.epochs == 200 and counted(e, 1_000).motion.steps == 12_500 and counted(e, 1_000).epochs is None
    assert counted(e, 1).motion.steps == 12 and counted(experiment('church_tlvdb', overrides={'motion.batch_size': 1_000}), 1).motion.steps == 1
    assert counted(experiment('church_tlvdb', overrides={'epochs': 1}), 1_600).motion.steps == 100

@pytest.mark.parametrize('preset', ['smoke', 'toy_faces', 'toy_robots', 'weizmann', 'ucf101', 'faceforensics'])
def test_other_experiments_have_their_steps(preset): assert counted(experiment(preset), 3) == experiment(preset)

def test_steps_that_are_given_win():
    assert counted(experiment('afhq_vox', overrides={'motion.steps': 9}), 10_000).motion.steps == 9

# --- weights

@pytest.mark.parametrize('preset', PUBLISHED)
def test_missing_weights_say_which_what_and_where(preset, monkeypatch, tmp_path):
    e = experiment(preset)
    assert Path(e.generator).stem in WEIGHTS
    monkeypatch.delenv('MOCOGAN_HD_WEIGHTS', raising=False)
    with pytest.raises(FileNotFoundError) as error: generator_file(e)
    for part in (preset, e.generator, f'{e.image.resolution} px', WEIGHTS[Path(e.generator).stem], 'MOCOGAN_HD_WEIGHTS is not set', 'othing was run'): assert part in str(error.value)
    monkeypatch.setenv('MOCOGAN_HD_WEIGHTS', str(tmp_path))
    with pytest.raises(FileNotFoundError) as error: generator_file(e)
    assert str(tmp_path) in str(error.value) and 'nothing was run' in str(error.value)
    monkeypatch.setenv('MOCOGAN_HD_WEIGHTS', str(tmp_path/'nowhere'))
    with pytest.raises(FileNotFoundError, match='is not a folder'): generator_file(e)

@pytest.mark.parametrize('suffix', ['.pt', '.pkl', '.safetensors'])
def test_weights_are_found_with_every_ending(suffix, monkeypatch, tmp_path):
    monkeypatch.setenv('MOCOGAN_HD_WEIGHTS', str(tmp_path))
    (tmp_path/f'ucf101_256{suffix}').touch()
    assert generator_file(experiment('ucf101')) == tmp_path/f'ucf101_256{suffix}'
    assert generator_file(experiment('toy_faces', overrides={'generator': str(tmp_path/f'ucf101_256{suffix}')})).suffix == suffix

def test_a_shipped_generator_needs_no_folder(monkeypatch):
    monkeypatch.delenv('MOCOGAN_HD_WEIGHTS', raising=False)
    assert generator_file(experiment('toy_faces')).exists() and generator_file(experiment('weizmann')) is None
    with pytest.raises(FileNotFoundError, match="'toy_facs' is shipped"): generator_file(experiment('toy_faces', overrides={'generator': 'toy_facs'}))

# --- clip sources

@pytest.mark.parametrize('preset', PUBLISHED)
def test_what_generated_clips_are_compared_with_are_videos(preset): assert experiment(preset).real in SOURCES

def test_toy_robots_are_compared_with_robots(): assert experiment('toy_robots').real == 'robots'

def test_a_source_is_opened_by_the_function_of_its_name_and_other_names_by_any(monkeypatch):
    monkeypatch.setattr('mocogan_hd.experiments.presets.SOURCES', dict(SOURCES))
    sources = clip_source.__globals__['SOURCES']
    register_source('a', 'b')(lambda *args, **options: (*args, options))
    register_source(ANY)(lambda name, *_, **options: f'any {name}')
    assert clip_source('b', 8, 'test', bad='skip') == ('b', 8, 'test', dict(bad='skip')) and clip_source('c', 8) == 'any c'
    sources.pop(ANY)
    with pytest.raises(ValueError, match="data 'c' is not registered.*import mocogan_hd.data.sets"): clip_source('c', 8)

# --- overrides

@pytest.mark.parametrize('text, is_', [('', {}), ('motion.steps=10', {'motion.steps': 10}),
                                       ('motion.lr=1e-4+motion.dv_norm=null+evaluation.network=embedding', {'motion.lr': 1e-4, 'motion.dv_norm': None, 'evaluation.network': 'embedding'})])
def test_overrides_have_the_grammar_of_variants(text, is_): assert parse_overrides(text) == is_

@pytest.mark.parametrize('text', ['motion.steps', 'motion.steps=', '=3', 'motion..steps=3', 'motion.steps=3+', 'a b=3'])
def test_a_wrong_override_of_the_command_line_is_named(text):
    with pytest.raises(ValueError, match='is no setting such as motion.steps=10'): parse_overrides(text)

def test_a_word_is_no_number():
    with pytest.raises(ValueError, match='expected a number'): experiment('smoke', overrides={'motion.steps': 'ten'})

def test_a_folder_keeps_its_overrides(tmp_path):
    ten, other = {'motion.steps': 10}, {'motion.steps': 11}
    check_overrides(tmp_path, ten); save_overrides(tmp_path, ten); check_overrides(tmp_path, ten)
    for overrides in ({}, other):
        with pytest.raises(ValueError, match='was made with overrides'): check_overrides(tmp_path, overrides)
    (tmp_path/'b'/'full'/'seed-0').mkdir(parents=True)
    check_overrides(tmp_path/'b', {})
    with pytest.raises(ValueError, match='was made with overrides {}'): check_overrides(tmp_path/'b', ten)
