"""What `make reproduce` calls: Snakemake over the four notebooks, then the table.

    python tools/reproduce.py --preset toy_faces --seeds 1 --cores 2 --results runs
    python tools/reproduce.py --preset smoke --overrides motion.steps=10+evaluation.n_clips=48 --results runs/short
    python tools/reproduce.py --preset toy_faces --seeds 4 --gpus 4                           a notebook on each of four GPUs
    python tools/reproduce.py --preset toy_faces --seeds 4 --profile profiles/slurm --gpus 1  jobs of one GPU, through Slurm
"""
import argparse, re, subprocess, sys, time
from pathlib import Path
from filelock import lock_descriptor

# what Snakemake and the kernels say at every step and no reader needs
_noise = re.compile(r'\[IPKernelApp\] WARNING|Execute \d+ jobs|Select jobs to|Finished jobid|\[\w{3} \w{3} +\d+ |'
                    r'Complete log|Elapsed time|Assuming unrestricted|\s*$')


def lock(folder):
    "One run at a time in a folder. The system drops this lock when the process ends, however it ends."
    folder.mkdir(parents=True, exist_ok=True)
    f = open(folder.parent / f'.{folder.name}.lock', 'a+')
    if not lock_descriptor(f.fileno(), blocking=False): sys.exit(f'Another `make reproduce` works in {folder}. Wait for it, or stop it first.')
    return f


def follow(process, start):
    "Pass on what Snakemake says, less the noise; its step count gets the time spent so far."
    for line in process.stderr:
        if _noise.match(line): continue
        if re.match(r'\d+ of \d+ steps', line): line = f'-- {line.strip()}, {(time.time() - start) / 60:.1f} min so far\n'
        print(line, end='', flush=True)
    return process.wait()


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--preset', default='toy_faces')
    p.add_argument('--seeds', default='1', help='a count, or a list such as 0,2')
    p.add_argument('--variants', help='a list such as full,no_mi,full+lambda_m=5; all ablations where nothing is said')
    p.add_argument('--overrides', default='', help='settings for all runs, such as motion.steps=10+evaluation.n_clips=48')
    p.add_argument('--cores', default='2', help='how many notebooks run at the same time')
    p.add_argument('--results', default='runs')
    p.add_argument('--processes', type=int, default=1, help='processes that share each batch, on all GPUs or on so many cores; notebooks then run one at a time')
    p.add_argument('--gpus', type=int, default=0, help='GPUs of this machine, one notebook on each; with a profile: 1 for one a job')
    p.add_argument('--profile', help='a Snakemake profile such as profiles/slurm, which then says how many notebooks run at once')
    p.add_argument('--dry-run', action='store_true')
    a = p.parse_args()

    if a.processes > 1 and a.gpus: sys.exit('--processes shares all GPUs in each notebook, --gpus gives each notebook one: choose')
    from mocogan_hd.experiments.presets import PRESETS, experiment, parse_overrides
    from mocogan_hd.experiments.records import check_overrides, save_overrides
    if a.preset not in PRESETS: sys.exit(f'Unknown preset {a.preset!r}. There are: {", ".join(PRESETS)}')
    folder = Path(a.results) / a.preset
    try:  # before a folder is made
        overrides = parse_overrides(a.overrides)
        experiment(a.preset, overrides=overrides)
        check_overrides(folder, overrides)
    except (ValueError, TypeError) as e: print(e, file=sys.stderr); return 2
    held = lock(folder)
    if a.processes > 1: a.cores = '1'
    where = ['--workflow-profile', a.profile] if a.profile else ['--cores', str(max(int(a.cores), a.gpus))]
    if a.gpus and not a.profile: where += ['--resources', f'gpu={a.gpus}']
    command = [sys.executable, '-m', 'snakemake', *where, '--nolock', '--rerun-incomplete',
               '--rerun-triggers', 'mtime', 'input', 'params', '--quiet', 'rules', 'reason', 'host', '--nocolor',
               '--config', f'preset={a.preset}', f'seeds={a.seeds}', f'results={a.results}', f'gpus={a.gpus}', f'processes={a.processes}']
    if a.variants: command.append(f'variants={a.variants}')
    if a.overrides: command.append(f'overrides={a.overrides}')
    if a.dry_run: return subprocess.call(command + ['--dry-run'])

    save_overrides(folder, overrides)
    how = f'jobs by {a.profile}' if a.profile else f'{a.gpus} notebooks at a time, a GPU each' if a.gpus else f'{a.cores} notebooks at a time'
    print(f'Reproducing {a.preset}: variants {a.variants or "all"}, seeds {a.seeds}, {f"overrides {a.overrides}, " if a.overrides else ""}{how}. '
          f'Everything goes to {folder}/', flush=True)
    start = time.time()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, pass_fds=[held.fileno()])  # holds the lock too
    try: code = follow(process, start)
    except KeyboardInterrupt:
        print('\nStopping: the running notebooks are ended, their last checkpoints stay.', flush=True)
        process.communicate()
        print('Stopped. The same command goes on from here.')
        return 130
    if code:
        failed = sorted(map(str, folder.rglob('*.failed.ipynb')))
        if failed: print('\nA notebook failed; it is kept with its error:\n  ' + '\n  '.join(failed) +
                         '\nWhen that is mended, the same command goes on from there.')
        return code
    print(f'\n{(folder / "table.md").read_text()}\n')
    clips = sorted({str(f.parent) for s in ('gif', 'mp4', 'png') for f in folder.rglob(f'*.{s}')})
    print(f'Done in {(time.time() - start) / 60:.1f} min.')
    print(f'  table:     {folder}/table.md, {folder}/table.csv')
    print(f'  notebooks: {folder}/4_tables.ipynb and those beside it')
    if clips: print('  clips:     ' + '\n             '.join(clips))
    return 0


if __name__ == '__main__': sys.exit(main())
