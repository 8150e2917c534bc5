"""A record says what made the result: a folder that was made otherwise is refused before anything in it changes."""
from dataclasses import asdict, replace
from pathlib import Path
import pytest, torch
from mocogan_hd.core.basics import load_json, save_json
from mocogan_hd.experiments.many_processes import claim_evaluation, claim_image, claim_network, image_stage, train_motion
from mocogan_hd.experiments.presets import clip_source, experiment
from mocogan_hd.experiments.records import RunRecord, _flat, claim, settings_of_files
from mocogan_hd.method.frozen_generator import load_image_generator
from mocogan_hd.method.latent_pca import LatentPCA, fit_latent_pca

TINY = {'image.n_images': 64, 'n_codes': 200, 'motion.steps': 2}

def contents(folder): return {p: p.read_bytes() for p in Path(folder).rglob('*') if p.is_file() and 'tensorboard' not in str(p)}

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "an image generator, its PCA and a motion generator"
    results, e = tmp_path_factory.mktemp('made'), experiment('smoke', overrides=TINY)
    image_stage(e, results)
    folder = results/'smoke/image_generator'
    generator = load_image_generator(folder/'image_generator.safetensors')
    fit_latent_pca(generator, 200, seed=0).save(folder/'pca.safetensors')
    pca = LatentPCA.load(folder/'pca.safetensors', generator)
    source = clip_source('people', 16)
    list(train_motion(e, results, source, generator, pca))
    return results, e, source, generator, pca

def changes(part):
    "every setting of a part with another value of its type"
    for name, value in asdict(getattr(experiment('smoke'), part)).items():
        other = {'penalty': 'channel', 'image_loss': 'none', 'dv_norm': None, 'contrastive_form': 'release', 'precision': 'bfloat16', 'video_resolution': 16, 'condition_on_first': True,
                 'augment': ['colour'], 'channels': [32, 32, 8], 'd_channels': [32, 32, 8], 'resolution': 64, 'path_length_weight': 1., 'network': 'embedding'}.get(name)
        if name in ('chunk', 'kept_chunks', 'compile'): continue
        if name in ('dv_norm',): yield name, None
        elif other is not None: yield name, other
        elif isinstance(value, bool): yield name, not value
        elif isinstance(value, int): yield name, value + (2 if name != 'n_clips' else 8)
        elif isinstance(value, float): yield name, value*.5 if value else .5

@pytest.mark.parametrize('name, value', [*changes('image'), ('n_codes', 300)])
def test_another_image_generator_is_refused(made, name, value):
    results, e, source, *_ = made
    before = contents(results)
    other = replace(e, n_codes=value) if name == 'n_codes' else replace(e, image=replace(e.image, **{name: value}))
    with pytest.raises(ValueError, match=f'{name} was .*, is .*give another RESULTS folder, or delete'): claim_image(other, results/'smoke/image_generator', source)
    assert contents(results) == before

@pytest.mark.parametrize('name, value', list(changes('motion')))
def test_another_motion_generator_is_refused(made, name, value):
    results, e, source, generator, pca = made
    before = contents(results)
    other = replace(e, motion=replace(e.motion, **{name: value}))
    with pytest.raises(ValueError, match=f'motion.{name} was'): next(train_motion(other, results, source, generator, pca))
    assert contents(results) == before

def test_other_videos_or_weights_are_refused(made, tmp_path):
    results, e, source, generator, pca = made
    before = contents(results)
    with pytest.raises(ValueError, match='videos was'): next(train_motion(e, results, clip_source('robots', 16), generator, pca))
    with pytest.raises(ValueError, match='images was'): claim_image(e, results/'smoke/image_generator', clip_source('robots', 16))
    (given := tmp_path/'my.safetensors').write_bytes(b'weights')
    with pytest.raises(ValueError, match='generator was None'): claim_image(e, results/'smoke/image_generator', None, given)
    assert contents(results) == before

def test_what_only_costs_may_change(made):
    results, e, source, generator, pca = made
    reports = list(train_motion(replace(e, motion=replace(e.motion, chunk=4)), results, source, generator, pca))
    assert [r.step for r in reports] == [2]

def test_a_folder_whose_fingerprint_is_gone_is_judged_by_its_weights(made):
    results, e, source, generator, pca = made
    for folder, other, check in ((results/'smoke/image_generator', replace(e, image=replace(e.image, n_images=80)), lambda x: claim_image(x, results/'smoke/image_generator', source)),
                                 (results/'smoke/full/seed-0', replace(e, motion=replace(e.motion, lr=1.)), lambda x: next(train_motion(x, results, source, generator, pca)))):
        path, = folder.glob('*-fingerprint.json')
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(ValueError, match='was made otherwise'): check(other)
        assert not path.exists()
        check(e)
        assert load_json(path).keys() >= {'generator'} or load_json(path)['image.n_images'] == 64
        path.write_bytes(kept)

def test_a_deleted_motion_generator_comes_back_from_the_checkpoint(made):
    results, e, source, generator, pca = made
    path = results/'smoke/full/seed-0/motion_generator.safetensors'
    from safetensors.torch import load_file
    before = load_file(path)
    path.unlink()
    list(train_motion(e, results, source, generator, pca))
    after = load_file(path)
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)

def test_the_record_has_the_settings_of_the_weights(made, tmp_path):
    results, e, *_ = made
    folder, liar = results/'smoke/image_generator', experiment('smoke', overrides={'image.n_images': 9, 'motion.steps': 9, 'n_codes': 9})
    did = settings_of_files(folder/'image_generator.safetensors', 200, results/'smoke/full/seed-0/motion_generator.safetensors')
    record = RunRecord(liar, 'motion').write(tmp_path/'run.json', did)['experiment']
    assert (record['image']['n_images'], record['motion']['steps'], record['n_codes']) == (64, 2, 200)

@pytest.mark.parametrize('name, value', [*changes('evaluation')])
def test_another_evaluation_is_refused(tmp_path, name, value):
    e = experiment('smoke')
    hashes = dict(image_generator='a', motion_generator='b', pca='c', network='d', real='e')
    claim_evaluation(e, tmp_path, **hashes); claim_network(e, tmp_path, 'e')
    other, before = replace(e, evaluation=replace(e.evaluation, **{name: value})), contents(tmp_path)
    with pytest.raises(ValueError, match=f'evaluation.{name} was'): claim_evaluation(other, tmp_path, **hashes)
    if name.startswith('network'):
        with pytest.raises(ValueError, match=f'{name} was'): claim_network(other, tmp_path, 'e')
    for k in hashes:
        with pytest.raises(ValueError, match=f'{k} was {hashes[k]}, is x'): claim_evaluation(e, tmp_path, **hashes | {k: 'x'})
    assert contents(tmp_path) == before

def test_the_network_of_an_older_run_is_judged_by_its_record(tmp_path):
    e = experiment('smoke')
    save_json(dict(experiment=asdict(e)), tmp_path/'smoke/static/seed-0/evaluation.json')
    with pytest.raises(ValueError, match='network_steps was 60, is 70'): claim_network(replace(e, evaluation=replace(e.evaluation, network_steps=70)), tmp_path, 'r')
    claim_network(e, tmp_path, 'r')

def test_the_workflow_knows_every_file_that_is_read_later():
    text = (Path(__file__).parents[2]/'Snakefile').read_text(encoding='utf-8')
    for name in ('run.json', 'evaluation.json', 'metrics.json', 'pca.safetensors', 'image_generator.safetensors', 'motion_generator.safetensors', 'real/seed-0/metrics.json',
                 'table.md', 'table.csv', 'metrics.csv', 'claims.csv', 'noises.png', 'first_last.png'): assert f"'{name}'" in text, name
    assert '{network}.safetensors' in text
