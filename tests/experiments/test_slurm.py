"""The Snakefile through a real Slurm of one node, and what its profile asks of it. Skipped where Slurm is missing.

To run it (Debian): apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
"""
import importlib.util, os, subprocess, sys
from pathlib import Path
import pytest
import yaml
from slurm_setup import Slurm, missing

root = Path(__file__).parents[2]
reason = missing() or ('' if importlib.util.find_spec('snakemake_executor_plugin_slurm') else "the plugin is not installed: pip install -c constraints.txt -e '.[slurm]'")
needs_slurm = pytest.mark.skipif(bool(reason), reason=reason or 'there is a Slurm')
profile = root/'profiles/slurm'

@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    with Slurm(tmp_path_factory.mktemp('slurm'), cpus=2, gpus=2) as s: yield s

def snakemake(slurm, cwd, *arguments):
    env = os.environ | slurm.env | {'PYTHONPATH': os.pathsep.join(filter(None, [str(root), os.environ.get('PYTHONPATH')]))}
    command = [sys.executable, '-m', 'snakemake', '--workflow-profile', str(profile), '--slurm-init-seconds-before-status-checks', '2',
               '--latency-wait', '5', '--nolock', *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=1500)

def ended(slurm): return slurm.call('squeue', '-h', '-t', 'all', '-o', '%k %T').stdout.split('\n')

def test_the_profile_names_rules_that_exist():
    rules = {line.split()[1].rstrip(':') for line in (root/'Snakefile').read_text().splitlines() if line.startswith('rule ')}
    settings = yaml.safe_load((profile/'config.yaml').read_text())
    assert settings['executor'] == 'slurm' and set(settings['set-resources']) <= rules
    for resources in (settings['default-resources'], *settings['set-resources'].values()): assert {'runtime', 'mem_mb'} <= set(resources)

@needs_slurm
def test_each_job_sees_one_gpu_of_its_own(slurm, tmp_path):
    (tmp_path/'Snakefile').write_text('''
rule all:
    input: expand("{i}.txt", i=range(3))
rule job:
    output: "{i}.txt"
    resources: gpu=1, mem_mb=100, runtime=5
    shell: "echo $CUDA_VISIBLE_DEVICES > {output}; date +%s.%N >> {output}; sleep 3; date +%s.%N >> {output}"
''')
    r = snakemake(slurm, tmp_path)
    assert r.returncode == 0, r.stderr
    seen = [(tmp_path/f'{i}.txt').read_text().split() for i in range(3)]
    assert {s[0] for s in seen} <= {'0', '1'}
    spans = [(s[0], float(s[1]), float(s[2])) for s in seen]
    together = [(a[0], b[0]) for i, a in enumerate(spans) for b in spans[:i] if a[1] < b[2] and b[1] < a[2]]
    assert together and all(a != b for a, b in together), spans # two at a time, never on the same GPU
    assert sum('rule_job' in line and 'COMPLETED' in line for line in ended(slurm)) == 3

@needs_slurm
def test_the_smoke_preset_goes_through_it(slurm, tmp_path):
    results = tmp_path/'runs'
    r = snakemake(slurm, root, '--config', 'preset=smoke', 'variants=full', f'results={results}')
    assert r.returncode == 0, r.stderr
    states = ended(slurm)
    for rule in ('image_generator', 'motion_generator', 'evaluate_static', 'evaluate', 'tables'):
        assert any(line.startswith(f'rule_{rule}') and line.endswith('COMPLETED') for line in states), (rule, states)
    assert (results/'smoke/table.md').exists()
    assert not [p for p in results.rglob('*') if p.suffix == '.log' or p.name.endswith('.failed.ipynb')]
