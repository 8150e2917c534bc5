"Several processes give the numbers of one: two on gloo against one with the same batch, ten steps of each training."
import os, subprocess, sys
from pathlib import Path
import pytest, torch
from mocogan_hd.core.processes import Shard
from mocogan_hd.experiments.presets import experiment
from mocogan_hd.evaluation.feature_networks import save_feature_network, train_factor_regressor
from mocogan_hd.method.frozen_generator import load_image_generator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.experiments.many_processes import STORE_OF_ITS_OWN, evaluation_stage, launch, load_run_features

HERE = Path(__file__).parents[1]
ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'ACCELERATE_USE_CPU': '1', 'PYTHONWARNINGS': 'ignore', **STORE_OF_ITS_OWN}

def start(processes, *arguments, restarts=0):
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(processes), '--max_restarts', str(restarts)]
    command = [sys.executable, *(torchrun if processes > 1 else []), *map(str, arguments)]
    return subprocess.run(command, env=ENV, cwd=HERE.parent, capture_output=True, text=True, timeout=600)

@pytest.fixture(scope='module')
def ten_steps(tmp_path_factory):
    "What one process and two make of the same ten steps."
    results = []
    for n in (1, 2):
        out = tmp_path_factory.mktemp('processes')/f'{n}.pt'
        assert (run := start(n, HERE/'ten_steps.py', out)).returncode == 0, run.stderr[-3000:]
        results.append(torch.load(out, weights_only=True))
    return results

@pytest.mark.parametrize('form', ['full', 'release', 'chunks', 'images'])
def test_two_processes_are_one_with_the_whole_batch(ten_steps, form):
    one, two = (results[form] for results in ten_steps)
    assert (one['processes'], two['processes']) == (1, 2) and len(one['losses']) == 10
    for step, (a, b) in enumerate(zip(one['losses'], two['losses'])): assert b == pytest.approx(a, rel=1e-5, abs=1e-5), step
    assert one['queues'].keys() == two['queues'].keys()
    for name, rows in one['queues'].items(): # the same rows in the same places; a row's last bits depend on how many were computed at once
        torch.testing.assert_close(two['queues'][name], rows, rtol=0, atol=1e-6)
    for name, weight in one['weights'].items(): torch.testing.assert_close(two['weights'][name], weight, rtol=1e-4, atol=1e-5)

def test_a_training_goes_on_when_a_process_dies(tmp_path):
    results = []
    for n in (1, 2): # alone nobody dies
        (folder := tmp_path/str(n)).mkdir()
        assert (run := start(n, HERE/'crash_once.py', folder, restarts=1)).returncode == 0, run.stderr[-3000:]
        assert (folder/'died').exists() == (n == 2) and not list(folder.glob('.*')) # nothing half-written
        results.append(torch.load(folder/'result.pt', weights_only=True))
    assert 'continuing at step 6' in run.stdout
    one, two = results
    assert one['steps'] == two['steps'] == [3, 6, 9, 10]
    torch.testing.assert_close(two['clips'], one['clips'], rtol=0, atol=1e-4)

TINY = {'image.n_images': 64, 'n_codes': 500, 'motion.steps': 4, 'evaluation.n_contents': 3, 'evaluation.n_motions': 2, 'evaluation.n_clips': 6, 'evaluation.network_steps': 3}

def test_stages_by_two_processes(tmp_path):
    "Image generator, motion and evaluation of one experiment; the evaluation also by one process."
    e, top, run = experiment('smoke', overrides=TINY), tmp_path/'smoke', tmp_path/'smoke/full/seed-0'
    launch('image', 2, 'smoke', results=tmp_path, overrides=TINY)
    generator = load_image_generator(top/'image_generator/image_generator.safetensors')
    fit_latent_pca(generator, 500).save(top/'image_generator/pca.safetensors')
    launch('motion', 2, 'smoke', results=tmp_path, overrides=TINY)
    save_feature_network(train_factor_regressor('people', 16, steps=3), top/'factors.safetensors')
    evaluation_stage(e, tmp_path)
    alone = load_run_features(run/'seen.safetensors')
    launch('evaluation', 2, 'smoke', results=tmp_path, overrides=TINY)
    shared = load_run_features(run/'seen.safetensors')
    assert alone.seen.keys() == shared.seen.keys() == {'clips', 'grid', 'real'} and len(alone.seen['grid'].motion) == 6
    for k in alone.seen:
        for a, b in zip(alone.seen[k], shared.seen[k]): torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)
    assert alone.shown.keys() == shared.shown.keys() == {'clips', 'grid'} and len(shared.shown['clips']) == 6
    for k in alone.shown: torch.testing.assert_close(shared.shown[k], alone.shown[k], rtol=1e-4, atol=1e-4)

def test_an_error_in_a_worker_is_shown(tmp_path):
    with pytest.raises(RuntimeError, match='(?s)motion by 2 processes ended with code 1.*image_generator.safetensors'):
        launch('motion', 2, 'smoke', results=tmp_path, max_restarts=0)

def test_a_share():
    with pytest.raises(ValueError, match='a batch of 5 cannot be shared equally by 2 processes'): Shard(0, 2).rows(5)
    whole = torch.arange(12).view(3, 4)
    assert torch.equal(torch.cat([Shard(i, 2).take(whole, dim=1) for i in range(2)], 1), whole)
