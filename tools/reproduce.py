"""What `make reproduce` calls: Snakemake over the four notebooks, then the table.

    python tools/reproduce.py --preset toy_faces --seeds 1 --cores 2 --results runs
    python tools/reproduce.py --preset smoke --overrides motion.steps=10+evaluation.n_clips=48 --results runs/short
    python tools/reproduce.py --preset toy_faces --seeds 4 --gpus 4                           a notebook on each of four GPUs
    python tools/reproduce.py --preset toy_faces --seeds 4 --profile profiles/slurm --gpus 1  jobs of one GPU, through Slurm

Exit codes: 0 done, 1 a notebook failed, 2 the command is wrong or its folder cannot be used, 130 stopped.
"""
import argparse, os, re, shlex, subprocess, sys, time
from pathlib import Path
from filelock import lock_descriptor

root = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(root / 'tools'), str(root)]
import guard

HELP = dict(
    preset="its name; claim, the default: the paper's claim on toy faces, in-domain and cross-domain", seeds='a count, or a list such as 0,2',
    variants='a list such as full,no_mi,full+lambda_m=5; all ablations where nothing is said',
    overrides='settings for all runs, such as motion.steps=10+evaluation.n_clips=48',
    cores='how many notebooks run at the same time', results='the folder that everything goes to',
    processes='processes that share each batch, on all GPUs or on so many cores; notebooks then run one at a time',
    gpus='GPUs of this machine, one notebook on each; with a profile: 1 for one a job',
    profile='a Snakemake profile such as profiles/slurm, which then says how many notebooks run at once')
CLAIM = {'toy_faces': 'full', 'toy_people': 'full,no_di'} # what `claim` stands for: preset -> variants
DEFAULTS = dict(preset='claim', seeds='1', variants='', overrides='', cores='2', results='runs', processes='1', gpus='0', profile='')

# what Snakemake and the kernels say at every step and no reader needs
_noise = re.compile(r'\[IPKernelApp\] (WARNING|ERROR \| KeyboardInterrupt)|Execute \d+ jobs|Select jobs to|Finished jobid|\[\w{3} \w{3} +\d+ |'
                    r'Complete log|Elapsed time|Assuming unrestricted|\s*$')
# what Snakemake adds to the line of the notebook that failed
_failure = re.compile(r'Error in rule|    |Removing output files of|Shutting down, this|Exiting because a job|\.*WorkflowError:|'
                      r'At least one job did not|Restored previous version|Cannot restore|RuleException:|CalledProcessError in|Command .set -euo')
_rest = re.compile(r'\.[^/]+-[0-9a-f]{8}\.\w+$|.+\.partial\.ipynb$') # a file whose writer was killed


class Wrong(Exception): "The command cannot be run; the message says why in one line."


def lock(folder):
    "One run at a time in a folder. The system drops this lock when the process ends, however it ends."
    folder.mkdir(parents=True, exist_ok=True)
    f = open(folder.parent / f'.{folder.name}.lock', 'a+', encoding='utf-8')
    if not lock_descriptor(f.fileno(), blocking=False): raise Wrong(f'Another `make` works in {folder}. Wait for it, or stop it first.')
    return f


def sweep(folder):
    "Remove what a killed run left half-written; the folder is locked."
    for p in folder.rglob('*'):
        if _rest.match(p.name) and p.is_file(): p.unlink(missing_ok=True)


def follow(start, failures):
    "A reader of Snakemake's lines that passes them on, less the noise; its step count gets the time spent so far."
    def lines(stderr):
        for line in stderr:
            if _noise.match(line) or not failures and _failure.match(line): continue
            if re.match(r'\d+ of \d+ steps', line): line = f'-- {line.strip()}, {(time.time() - start) / 60:.1f} min so far\n'
            print(line, end='', flush=True)
    return lines


def from_make(names):
    "What make was given, from the environment: no shell has read it."
    return {name: os.environ.get(f'GIVEN_{name.upper()}', '') for name in names}


def parsed(argv):
    "The texts of a command by name, whether it is a dry run, and the line that gives it again."
    p = argparse.ArgumentParser(allow_abbrev=False)
    p.error = lambda message: p.exit(2, f'{message}; --help says more\n')
    for name, text in HELP.items(): p.add_argument(f'--{name}', default=DEFAULTS[name], help=text)
    p.add_argument('--dry-run', action='store_true')
    p.add_argument('--from-make', action='store_true', help='read everything from the environment, as make gives it')
    given = vars(p.parse_args(argv))
    dry, make = given.pop('dry_run'), given.pop('from_make')
    if not make: return given, dry, shlex.join(['python', 'tools/reproduce.py', *(argv if argv is not None else sys.argv[1:])])
    given = from_make(HELP)
    from mocogan_hd.experiments.arguments import typed_again
    return given, dry, typed_again('make reproduce', {k.upper(): v for k, v in given.items() if v != DEFAULTS[k]})


def presets(texts):
    "The texts for each preset that is meant."
    if texts['preset'] != 'claim': return [texts]
    return [{**texts, 'preset': preset, 'variants': texts.get('variants') or variants} for preset, variants in CLAIM.items()]


def asked_for(texts, used=False):
    "The request, checked with the folder that it names, unless that is only used."
    from mocogan_hd.experiments.arguments import read_request
    from mocogan_hd.experiments.records import check_overrides
    try:
        request = read_request(**texts, root=root)
        if not used: check_overrides(request.folder, request.overrides)
    except (ValueError, TypeError) as e: raise Wrong(str(e)) from None
    return request


def snakemake(request):
    "The command; what the user said goes by the environment."
    cores = 1 if request.processes > 1 else max(request.cores, request.gpus)
    where = ['--workflow-profile', request.profile] if request.profile else ['--cores', str(cores)]
    if request.gpus and not request.profile: where += ['--resources', f'gpu={request.gpus}']
    return [sys.executable, str(root / 'tools/guard.py'), 'snakemake', *where, '--nolock', '--rerun-incomplete',
            '--rerun-triggers', 'mtime', 'input', 'params', '--quiet', 'rules', 'reason', 'host', '--nocolor']


def announce(request):
    "Say what begins."
    how = f'jobs by {request.profile}' if request.profile else f'{request.gpus} notebooks at a time, a GPU each' if request.gpus \
        else f'{1 if request.processes > 1 else request.cores} notebooks at a time'
    changed = ''.join(f'{k}={v}, ' for k, v in request.overrides.items())
    seeds = ','.join(map(str, request.seeds))
    print(f'Reproducing {request.preset}: variants {",".join(request.variants)}, seeds {seeds}, {changed}{how}. Everything goes to {request.folder}/', flush=True)


def report(folder, start):
    "The table, and where everything is."
    print(f'\n{(folder / "table.md").read_text(encoding="utf-8")}\n')
    clips = sorted({str(f.parent) for s in ('gif', 'mp4', 'png') for f in folder.rglob(f'*.{s}')})
    print(f'Done in {(time.time() - start) / 60:.1f} min.')
    print(f'  table:     {folder}/table.md, {folder}/table.csv')
    print(f'  notebooks: {folder}/4_tables.ipynb and those beside it')
    if clips: print('  clips:     ' + '\n             '.join(clips))


def reproduce(argv, stop):
    texts, dry, again = parsed(argv)
    requests = [asked_for(t) for t in presets(texts)] # what is wrong is said before anything runs
    for request in requests:
        if code := work(request, stop, dry, again): return code
    return 0


def work(request, stop, dry, again):
    "Run one preset; `again` is the command that goes on."
    from mocogan_hd.experiments.arguments import REQUEST, as_json
    from mocogan_hd.experiments.records import save_overrides
    command, env, start = snakemake(request), {REQUEST: as_json(request)}, time.time()
    if dry: return subprocess.call([*command, '--dry-run'], env={**os.environ, **env})
    folder = request.folder
    with lock(folder):
        if not request.profile: sweep(folder)
        save_overrides(folder, request.overrides)
        announce(request)
        code = guard.supervise(command, stop, follow(start, bool(request.profile)), patience=6, ask=bool(request.profile), env=env)
        if code == guard.STOPPED:
            if not request.profile: sweep(folder)
            print(f'\nStopped; the last checkpoints stay. To go on: {again}', flush=True)
            return code
        if code:
            if failed := sorted(map(str, folder.rglob('*.failed.ipynb'))):
                print('\nA notebook failed; it is kept with its error:\n  ' + '\n  '.join(failed))
            print(f'When that is mended, the same command goes on from there: {again}')
            return 1
        report(folder, start)
    return 0


def run(main, *arguments):
    "Call a program's main; what is wrong with the command or its surroundings is one line and exit code 2."
    guard.plain_output()
    try:
        with guard.usable_folders(): return main(*arguments)
    except Wrong as e: print(e, file=sys.stderr); return 2
    except OSError as e: print(f'Cannot go on: {guard.in_words(e)}', file=sys.stderr); return 2


def main(argv=None):
    stop = guard.Stop()
    os.chdir(root)
    return run(reproduce, argv, stop)


if __name__ == '__main__': sys.exit(main())
