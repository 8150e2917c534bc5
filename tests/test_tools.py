"""The scripts behind `make`: running one notebook, writing the README, noticing differences."""
import os, subprocess, sys
from pathlib import Path
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from mocogan_hd.experiments.presets import VARIANTS

root = Path(__file__).parent.parent
tools = root/'tools'

def write(path, *cells, tag=True):
    cells = [new_code_cell('preset = "toy_faces"\nseed = 0', metadata={'tags': ['parameters']} if tag else {}), *map(new_code_cell, cells)]
    nbformat.write(new_notebook(cells=cells, metadata={'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}}), path)

def run(cwd, tool, *args): return subprocess.run([sys.executable, tools/tool, *args], cwd=cwd, capture_output=True, text=True)

def test_a_finished_notebook_has_its_name_and_its_parameters(tmp_path):
    write(tmp_path/'a.ipynb', 'print(f"{preset}: step {seed}")')
    r = run(tmp_path, 'run_notebook.py', 'a.ipynb', 'out/deep/a.ipynb', 'preset=smoke', 'seed=3')
    assert r.returncode == 0, r.stderr
    assert 'smoke: step 3' in r.stdout  # printed live
    nb = nbformat.read(tmp_path/'out/deep/a.ipynb', as_version=4)
    assert nb.metadata.papermill.output_path == 'out/deep/a.ipynb'
    assert str(tmp_path) not in (tmp_path/'out/deep/a.ipynb').read_text()
    assert [p.name for p in (tmp_path/'out/deep').iterdir()] == ['a.ipynb']

def test_a_failed_notebook_stays_with_its_error_and_fails_the_command(tmp_path):
    write(tmp_path/'a.ipynb', 'raise FloatingPointError("step 7: loss_d is nan")')
    r = run(tmp_path, 'run_notebook.py', 'a.ipynb', 'out/a.ipynb')
    assert r.returncode == 1
    assert 'loss_d is nan' in r.stdout and 'out/a.failed.ipynb' in r.stdout
    assert [p.name for p in (tmp_path/'out').iterdir()] == ['a.failed.ipynb']

@pytest.mark.parametrize('tag, given, message', [
    (True, 'variannt=full', 'has no parameter variannt; it has: preset, seed'), (False, 'seed=1', 'found 0'), (True, 'seed', 'name=value')])
def test_wrong_parameters_fail_before_anything_runs(tmp_path, tag, given, message):
    write(tmp_path/'a.ipynb', tag=tag)
    r = run(tmp_path, 'run_notebook.py', 'a.ipynb', 'out/a.ipynb', given)
    assert r.returncode == 2 and message in r.stderr and not (tmp_path/'out').exists()

def test_readme_links_start_at_the_root(tmp_path):
    (tmp_path/'nbs').mkdir()
    text = '# T\n[page](1_method/01_clips.ipynb) ![clip](../results/x/a.gif) [web](https://a.org/b) [here](#t) <img src="../results/b.png">'
    nbformat.write(new_notebook(cells=[new_markdown_cell(text), new_code_cell('#| hide\nx = 1')]), tmp_path/'nbs/index.ipynb')
    assert run(tmp_path, 'readme.py').returncode == 0
    readme = (tmp_path/'README.md').read_text()
    for part in ('(nbs/1_method/01_clips.ipynb)', '(results/x/a.gif)', '(https://a.org/b)', '(#t)', 'src="results/b.png"'): assert part in readme
    assert 'x = 1' not in readme

def test_unchanged_names_the_file_that_differs(tmp_path):
    (tmp_path/'a.txt').write_text('1'); (tmp_path/'b.txt').write_text('1')
    same = run(tmp_path, 'unchanged.py', '*.txt', '--', sys.executable, '-c', 'pass')
    assert same.returncode == 0
    differ = run(tmp_path, 'unchanged.py', '*.txt', '--', sys.executable, '-c', "open('b.txt', 'w').write('2')")
    assert differ.returncode == 1 and 'changed: b.txt' in differ.stderr and 'a.txt' not in differ.stderr

def test_an_unknown_preset_is_named_with_the_allowed_ones(tmp_path):
    r = run(root, 'reproduce.py', '--preset', 'toy_facs', '--results', str(tmp_path/'runs'))
    assert r.returncode == 2 and "'toy_facs'" in r.stderr and 'smoke' in r.stderr and not (tmp_path/'runs').exists()

# --- several GPUs: pretended, a GPU here is a number in CUDA_VISIBLE_DEVICES

def gpu_jobs(tmp_path, n, jobs, visible=None, **env):
    "start `jobs` processes that each hold one of `n` GPUs for a while; what each saw, and when"
    code = ('import sys, os, time; sys.path.insert(0, sys.argv[1]); from run_notebook import own_gpu\n'
            'with own_gpu(int(sys.argv[2]), wait=.02):\n'
            '    start = time.time(); time.sleep(.4); print(os.environ.get("CUDA_VISIBLE_DEVICES"), start, time.time())\n')
    env = {k: v for k, v in os.environ.items() if k not in ('CUDA_VISIBLE_DEVICES', 'SLURM_JOB_ID')} | {'TMPDIR': str(tmp_path)} | env
    if visible is not None: env['CUDA_VISIBLE_DEVICES'] = visible
    started = [subprocess.Popen([sys.executable, '-c', code, str(tools), str(n)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True) for _ in range(jobs)]
    outputs = [p.communicate(timeout=60) for p in started]
    if any(p.returncode for p in started): return [e for _, e in outputs]
    return [(d, float(a), float(b)) for d, a, b in (o.split() for o, _ in outputs)]

def test_notebooks_take_turns_on_gpus(tmp_path):
    spans = gpu_jobs(tmp_path, 2, 5)
    assert {d for d, *_ in spans} == {'0', '1'}
    for i, (d, start, end) in enumerate(spans):
        for other, s, e in spans[:i]: assert d != other or start >= e or s >= end, spans

def test_only_visible_gpus_are_given(tmp_path):
    assert {d for d, *_ in gpu_jobs(tmp_path, 2, 3, visible='5,GPU-7a/3,6')} == {'5', 'GPU-7a/3'}
    assert all('CUDA_VISIBLE_DEVICES is empty' in e for e in gpu_jobs(tmp_path, 1, 1, visible=''))

def test_slurm_and_machines_without_gpus_are_left_alone(tmp_path):
    assert gpu_jobs(tmp_path, 2, 1, visible='3,4', SLURM_JOB_ID='17')[0][0] == '3,4'
    assert gpu_jobs(tmp_path, 0, 1)[0][0] == 'None'

def test_a_killed_notebook_gives_its_gpu_back(tmp_path):
    code = 'import sys, time; sys.path.insert(0, sys.argv[1]); from run_notebook import own_gpu\nwith own_gpu(1): print("has it", flush=True); time.sleep(60)'
    env = {k: v for k, v in os.environ.items() if k not in ('CUDA_VISIBLE_DEVICES', 'SLURM_JOB_ID')} | {'TMPDIR': str(tmp_path)}
    holder = subprocess.Popen([sys.executable, '-c', code, str(tools)], stdout=subprocess.PIPE, text=True, env=env)
    assert holder.stdout.readline().strip() == 'has it'
    holder.kill(); holder.wait()
    assert gpu_jobs(tmp_path, 1, 1)[0][0] == '0'

def test_a_notebook_is_shown_its_gpu(tmp_path):
    write(tmp_path/'a.ipynb', 'import os; print("sees", os.environ.get("CUDA_VISIBLE_DEVICES"))')
    env = {k: v for k, v in os.environ.items() if k != 'SLURM_JOB_ID'} | {'TMPDIR': str(tmp_path), 'CUDA_VISIBLE_DEVICES': '6,7'}
    r = subprocess.run([sys.executable, tools/'run_notebook.py', '--gpus', '2', 'a.ipynb', 'out/a.ipynb'], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert r.returncode == 0 and 'sees 6\n' in r.stdout, r
    r = run(tmp_path, 'run_notebook.py', '--gpus', 'two', 'a.ipynb', 'out/a.ipynb')
    assert r.returncode == 2 and "--gpus wants a number, got ['two']" in r.stderr

def test_the_matrix_asks_for_gpus_where_there_are_some():
    "where there are none, `make reproduce` of `make test` runs the same file"
    r = subprocess.run([sys.executable, '-m', 'snakemake', '--cores', '4', '--resources', 'gpu=4', '--nolock', '--dry-run', '--printshellcmds',
                        '--config', 'preset=smoke', 'results=no/such', 'gpus=4'], cwd=root, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert (r.stdout + r.stderr).count('run_notebook.py --gpus 4') == (r.stdout + r.stderr).count('gpu=1') == 1 + 1 + 2*len(VARIANTS) # all but the tables

def test_processes_reach_the_notebooks_that_have_them():
    r = subprocess.run([sys.executable, '-m', 'snakemake', '--cores', '1', '--nolock', '--dry-run', '--printshellcmds', '--config', 'preset=smoke', 'results=no/such', 'processes=2'],
                       cwd=root, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert sum('run_notebook.py' in line and ' processes=2' in line for line in (r.stdout + r.stderr).splitlines()) == 1 + 1 + 2*len(VARIANTS) # all but the tables
    r = subprocess.run([sys.executable, 'tools/reproduce.py', '--preset', 'smoke', '--results', 'no/such', '--processes', '2', '--gpus', '2', '--dry-run'], cwd=root, capture_output=True, text=True)
    assert r.returncode == 2 and 'choose' in r.stderr and not (root/'no').exists()

# --- overrides

def reproduce(*args): return run(root, 'reproduce.py', '--preset', 'smoke', *map(str, args))

@pytest.mark.parametrize('overrides, says', [
    ('motion.stepss=3', "no 'stepss'"), ('movement.steps=3', "no 'movement'"), ('motion.steps', 'is no setting such as'),
    ('motion.steps=ten', 'expected a number'), ('motion.steps=0', 'steps=0')])
def test_wrong_overrides_are_one_line_and_exit_code_2(tmp_path, overrides, says):
    r = reproduce('--results', tmp_path/'runs', '--overrides', overrides)
    assert r.returncode == 2 and says in r.stderr and len(r.stderr.splitlines()) == 1 and not (tmp_path/'runs').exists()

def test_overrides_reach_the_notebooks_that_have_them(monkeypatch):
    "by the environment, for no shell reads them"
    sys.path.insert(0, str(tools))
    import run_notebook
    from mocogan_hd.experiments.arguments import REQUEST, as_json, read_request
    monkeypatch.chdir(root)
    monkeypatch.setenv(REQUEST, as_json(read_request('smoke', overrides='motion.steps=10+evaluation.n_clips=48', results='1e5')))
    for name in ('1_image_generator', '2_motion_generator', '3_evaluate', '4_tables'):
        source, output, given = run_notebook.requested(name, 'x', {})
        assert source == f'nbs/3_experiments/run/{name}.ipynb' and output == Path(f'1e5/smoke/x/{name}.ipynb') and given['results'] == '1e5'
        assert given.get('overrides') == (None if name == '4_tables' else {'motion.steps': 10, 'evaluation.n_clips': 48})

def test_a_dry_run_takes_overrides_and_writes_none(tmp_path):
    r = reproduce('--results', tmp_path, '--overrides', 'motion.steps=10', '--dry-run')
    assert r.returncode == 0, r.stderr
    assert not (tmp_path/'smoke/overrides.json').exists()

def test_a_folder_of_other_overrides_is_refused(tmp_path):
    (tmp_path/'smoke').mkdir()
    (tmp_path/'smoke/overrides.json').write_text('{"motion.steps": 10}')
    for given in ([], ['--overrides', 'motion.steps=11']):
        r = reproduce('--results', tmp_path, *given, '--dry-run')
        assert r.returncode == 2 and "was made with overrides {'motion.steps': 10}" in r.stderr
    assert reproduce('--results', tmp_path, '--overrides', 'motion.steps=10', '--dry-run').returncode == 0

def test_without_options_it_shows_the_claim():
    "`make reproduce` alone: in-domain `full`, cross-domain with and without D_I; given variants count for both."
    sys.path.insert(0, str(root/'tools'))
    import reproduce as tool
    def asked(**texts): return [(t['preset'], t['variants'], t['seeds']) for t in tool.presets({**tool.DEFAULTS, **texts})]
    assert asked() == [('toy_faces', 'full', '1'), ('toy_people', 'full,no_di', '1')]
    assert asked(variants='no_mi', seeds='2') == [('toy_faces', 'no_mi', '2'), ('toy_people', 'no_mi', '2')]
    assert asked(preset='smoke') == [('smoke', '', '1')]
