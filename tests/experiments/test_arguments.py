"""What is typed after `make`: text stays as it was typed, and what is wrong is one line and exit code 2 before anything runs."""
import os, random, shlex, shutil, subprocess, sys
from dataclasses import fields
from pathlib import Path
import nbformat, pytest
from nbformat.v4 import new_code_cell, new_notebook
from mocogan_hd.experiments.arguments import MOST_SEEDS, folder_name, given_request, parse_seeds, read_request, typed_again, whole_number
from mocogan_hd.core.settings import setting_type, typed
from mocogan_hd.experiments.presets import Experiment, experiment, parse_overrides

root = Path(__file__).parents[2]
sys.path.insert(0, str(root/'tools'))
import own_videos, reproduce, result_folders, run_notebook

NAMES = ['a b', ' lead', "it's", '"q"', '`touch pwned`', ';touch pwned', '$HOME', '$(touch pwned)', '$(shell touch pwned)', '$$x', '-x', '--help', '1', '1e5', '0x10',
         '2024-01-01', 'null', 'true', '[1]', 'über/中文', 'a#b', 'a:=b', '%', '*', '~x', 'a\\b', '&', '|', '<x', '(a)', '!', 'a=b', '@x']

# --- one parser

@pytest.mark.parametrize('texts, says', [
    (dict(seeds='1.5'), 'SEEDS=1.5'), (dict(seeds='100000'), 'SEEDS=100000'), (dict(seeds='0'), 'SEEDS=0'), (dict(seeds='-1'), 'SEEDS=-1'), (dict(seeds=''), 'SEEDS='),
    (dict(seeds='0,x'), 'SEEDS=x'), (dict(seeds='1,-2'), 'SEEDS=-2'), (dict(seeds=','), 'SEEDS=,'), (dict(seeds='1e1'), 'SEEDS=1e1'), (dict(seeds='٣'), 'SEEDS='),
    (dict(cores='0'), 'CORES=0'), (dict(cores='abc'), 'CORES=abc'), (dict(cores='1.5'), 'CORES=1.5'), (dict(cores=''), 'CORES='), (dict(cores='9'*5_000), 'CORES='),
    (dict(processes='0'), 'PROCESSES=0'), (dict(gpus='-1'), 'GPUS=-1'), (dict(gpus='two'), 'GPUS=two'), (dict(processes='2', gpus='2'), 'choose'),
    (dict(variants='full+steps=abc'), 'steps=abc: expected a number'), (dict(variants='full+lambda_=.5'), 'lambda_=.5: expected a number'),
    (dict(variants='full+lamda_=0.5'), 'did you mean lambda_'), (dict(variants='full+steps=-1'), 'steps=-1'), (dict(variants='full+steps=1.5'), 'without a fraction'),
    (dict(variants='full+n_pca=true'), 'n_pca=True'), (dict(variants='full+lr=NaN'), 'lr='), (dict(variants='full+lr=1e999'), 'lr='), (dict(variants='full+steps=null'), 'steps='),
    (dict(variants='full+video_loss=1'), 'true or false'), (dict(variants='ful'), "'ful' is unknown"), (dict(variants='full+steps=1+steps=2'), 'twice'),
    (dict(variants='full+steps=' + '1'*300), 'at most 200'), (dict(variants='static'), "'static' is unknown"),
    (dict(preset='toy_facs'), 'did you mean toy_faces'), (dict(preset=''), 'is unknown'), (dict(profile='profiles/slrm'), 'profiles/slurm'),
    (dict(overrides='image.n_images=1.5'), 'without a fraction'), (dict(overrides='image.channels=8'), 'a list'), (dict(overrides='evaluation.truncation=big'), 'expected a number'),
    (dict(overrides='motion.n_pca=500', preset='smoke'), 'exceeds'), (dict(overrides='n_codes=0'), 'n_codes=0'), (dict(overrides='seed=3'), 'named beside'),
    (dict(overrides='motion.steps=' + '9'*5_000), 'expected a number'), (dict(results=''), 'RESULTS is empty'), (dict(results='a\nb'), 'newline'), (dict(results='\udcff'), 'UTF-8'),
    (dict(results='a\x7fb'), 'control'), (dict(results='{a}'), 'braces'), (dict(results='é'*101), '200 bytes')])
def test_a_wrong_command_is_one_line_with_code_2_and_writes_nothing(texts, says, capfd, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='.'): read_request(**texts)
    if texts.get('results') is None: texts = texts | dict(results=str(tmp_path/'runs'))
    code = reproduce.main([f'--{k}={v}' for k, v in texts.items()])
    err = capfd.readouterr().err
    assert code == 2 and says in err and len(err.splitlines()) == 1 and 'Traceback' not in err
    assert not list(tmp_path.iterdir())

ALPHABET = [*'019.,+-=_ eExnul[]{}"\'`$;\n\0\x7f', 'full', 'steps', 'é', '٣', '\u2028', '\udcff', '\U0001f600']

@pytest.mark.parametrize('seed', range(200))
def test_any_text_is_read_or_refused(seed):
    draw = random.Random(seed)
    text = ''.join(draw.choices(ALPHABET, k=draw.randint(0, 12)))
    for read in (parse_seeds, lambda t: whole_number('CORES', t), lambda t: folder_name('RESULTS', t), parse_overrides, lambda t: read_request('smoke', variants=t)):
        try: read(text)
        except ValueError as e: assert str(e)

FIELDS = [f'{part}.{f.name}' for part in ('image', 'motion', 'evaluation') for f in fields(getattr(experiment('smoke'), part))]

@pytest.mark.parametrize('name', FIELDS)
@pytest.mark.parametrize('value', ['abc', True, None, 1.5, -1, [], {}, float('nan'), float('inf'), 10**30, 3, ['x']])
def test_every_setting_takes_its_type_or_refuses_in_words(name, value):
    try: e = experiment('smoke', overrides={name: value})
    except ValueError as error: assert str(error)
    else:
        kind, part = setting_type(name, Experiment), getattr(getattr(e, name.split('.')[0]), name.split('.')[1])
        assert typed(name, part, kind) == part and (part is None or type(part) in (kind, tuple, *getattr(kind, '__args__', ())))

def test_seeds(): assert [parse_seeds(t) for t in ('2', ' 2 ', '0,2', '2,', '3,3', str(MOST_SEEDS))] == [[0, 1], [0, 1], [0, 2], [2], [3], list(range(MOST_SEEDS))]

@pytest.mark.parametrize('name', NAMES)
def test_a_name_stays_what_it_is(name):
    assert read_request('smoke', results=name).results == name
    assert shlex.split(typed_again('make reproduce', dict(RESULTS=name)))[2] == f'RESULTS={name}'

def test_by_hand_snakemake_gives_numbers_as_values(monkeypatch):
    monkeypatch.delenv('MOCOGAN_HD_REQUEST', raising=False)
    request = given_request(dict(preset='smoke', seeds=[0, 2], variants='full', results=1, gpus=1))
    assert (request.seeds, request.variants, request.results, request.gpus) == ([0, 2], ['full'], '1', 1)
    with pytest.raises(ValueError, match='read a number'): given_request(dict(results=100000.0))

# --- make

STUB = 'import os, sys; print(ascii([sys.argv[1:], os.environ["GIVEN_RESULTS"], os.environ["GIVEN_FOLDER"], os.environ["GIVEN_MORE"]]))'

@pytest.fixture(scope='module')
def stubs(tmp_path_factory):
    "a folder with the Makefile and programs that say what they were given"
    folder = tmp_path_factory.mktemp('make')
    shutil.copy(root/'Makefile', folder)
    for name in ('pyproject.toml', 'constraints.txt', 'ready'): (folder/name).touch()
    os.utime(folder/'ready', (2e9, 2e9)) # the environment is up to date
    (folder/'tools').mkdir()
    for tool in ('reproduce', 'own_videos', 'result_folders'): (folder/f'tools/{tool}.py').write_text(STUB)
    return folder

@pytest.mark.parametrize('name', [n for n in NAMES if n != ' lead'] + ['a\nb', b'\xff'.decode(errors='surrogateescape')])
def test_no_shell_reads_what_is_typed(stubs, name):
    env = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL')}
    for target, first in (('reproduce', []), ('videos', []), ('publish', ['publish']), ('clean-runs', ['clean'])):
        r = subprocess.run(['make', '--no-print-directory', 'ENV=ready', target, f'RESULTS={name}', f'FOLDER={name}', f'MORE={name}'], cwd=stubs, env=env,
                           capture_output=True, text=True, timeout=20)
        assert r.returncode == 0 and eval(r.stdout) == [[*first, '--from-make'], name, name, name], (target, r)
    assert not (stubs/'pwned').exists()

def test_no_shell_of_the_snakefile_reads_what_is_typed():
    name = "it's `touch pwned`; $HOME 1e5"
    r = subprocess.run([sys.executable, 'tools/reproduce.py', '--preset', 'smoke', f'--results=no such/{name}', '--overrides', 'motion.steps=10', '--dry-run'],
                       cwd=root, capture_output=True, text=True, timeout=60)
    assert r.returncode == 0 and not (root/'no such').exists() and not (root/'pwned').exists(), r.stderr
    shells = [line for line in (root/'Snakefile').read_text(encoding='utf-8').splitlines() if line.strip().startswith('shell:')]
    assert shells and not any(word in line for line in shells for word in ('{input', '{output', 'results', 'preset', 'overrides'))

# --- notebooks: values have the type of the default

def stub_notebook(path, parameters, *cells):
    nb = new_notebook(cells=[new_code_cell(parameters, metadata={'tags': ['parameters']}), *map(new_code_cell, cells)],
                      metadata={'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}})
    nbformat.write(nb, path)
    return path

def test_parameters_have_the_type_of_their_default(tmp_path):
    path = stub_notebook(tmp_path/'a.ipynb', "results = 'runs' # where\nseed = 0\nminutes = 60.\nshow = True\noverrides = {}\nseeds = [0]")
    for name in NAMES: assert run_notebook.parameters(path, dict(results=name)) == dict(results=name)
    given = dict(seed='3', minutes='2', show='false', overrides='{"a": 1}', seeds='[1]')
    assert run_notebook.parameters(path, given) == dict(seed=3, minutes=2., show=False, overrides={'a': 1}, seeds=[1])

@pytest.mark.parametrize('given', [dict(seed='1.5'), dict(seed='x'), dict(seed='true'), dict(minutes='long'), dict(minutes='NaN'), dict(show='1'), dict(overrides='x'), dict(sed='1')])
def test_a_parameter_of_another_type_is_refused(given, tmp_path, capsys):
    path = stub_notebook(tmp_path/'a.ipynb', "seed = 0\nminutes = 60.\nshow = True\noverrides = {}")
    with pytest.raises(SystemExit) as error: run_notebook.parameters(path, given)
    assert error.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1

@pytest.mark.parametrize('name', ["it's `id` $HOME; 1", '{a}'])
def test_a_notebook_runs_into_a_folder_of_any_name(tmp_path, name):
    stub_notebook(tmp_path/'a.ipynb', "results = 'runs'", 'print("results:", ascii(results))')
    r = subprocess.run([sys.executable, root/'tools/run_notebook.py', 'a.ipynb', f'{name}/a.ipynb', f'results={name}'], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert r.returncode == 0 and f'results: {name!a}' in r.stdout and (tmp_path/name/'a.ipynb').exists(), r

# --- other commands

@pytest.mark.parametrize('arguments, says', [
    ([], 'which folder'), (['/no/such'], 'does not exist'), (['.', '--minutes=x'], 'minutes=x'), (['.', '--minutes=-1'], 'MINUTES'), (['.', '--resolution=1.5'], 'resolution=1.5'),
    (['.', '--resolution=33'], '33'), (['.', '--seed=-1'], 'SEED'), (['.', '--name=../x'], 'without /'), (['.', '--name=a\nb'], 'newline'), (['.', 'widht=4'], 'no parameter widht'),
    (['.', 'width=big'], 'width=big'), (['.', 'n_frames'], 'name=value'), (['.', '--preset=won'], 'did you mean own')])
def test_wrong_arguments_of_videos_are_one_line_with_code_2(arguments, says, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try: code = own_videos.main([*arguments, f'--results={tmp_path}/own'])
    except SystemExit as e: code = e.code
    err = capfd.readouterr().err
    assert code == 2 and says in err and len(err.splitlines()) == 1 and not list(tmp_path.iterdir()), err

def test_videos_pass_names_as_they_are(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(run_notebook, 'run', lambda notebook, output, stop, **given: asked.update(given, output=output) or 3)
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        (folder := tmp_path/'videos'/name).mkdir(parents=True)
        for k, v in dict(folder=f'videos/{name}', name=name.replace('/', '_'), results=f'{tmp_path}/{name}', minutes='5', resolution='', seed='', more='width=2 group="a b"').items():
            monkeypatch.setenv(f'GIVEN_{k.upper()}', v)
        monkeypatch.chdir(tmp_path)
        assert own_videos.main(['--from-make']) == 3
        assert (asked['videos'], asked['name'], asked['results'], asked['group'], asked['minutes']) == (str(folder.resolve()), name.replace('/', '_'), f'{tmp_path}/{name}/own', 'a b', 5.)

def test_publish_and_clean(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(result_folders, 'root', tmp_path)
    for name in NAMES:
        for seed in (0, 1):
            (folder := tmp_path/name/f'smoke/full/seed-{seed}').mkdir(parents=True)
            for file in ('clips.gif', 'metrics.json', 'x.partial.ipynb'): (folder/file).touch()
        (tmp_path/name/'smoke/table.md').touch()
        assert result_folders.main(['publish', '--preset=smoke', f'--results={name}']) == 0
        assert sorted(str(p.relative_to(tmp_path/'results/smoke')) for p in (tmp_path/'results/smoke').rglob('*') if p.is_file()) == [
            'full/seed-0/clips.gif', 'full/seed-0/metrics.json', 'full/seed-1/metrics.json', 'table.md']
        assert result_folders.main(['clean', '--preset=smoke', f'--results={name}']) == 0
        assert not (tmp_path/name/'smoke').exists() and f'{name}/smoke is gone' in capsys.readouterr().out
    assert result_folders.main(['publish', '--preset=smoke', '--results=none']) == 2
    assert result_folders.main(['publish', '--preset=smoke', '--results=results']) == 2 and (tmp_path/'results/smoke/table.md').exists()
    assert result_folders.main(['clean', '--preset=../..', '--results=x']) == 2
