"""What `make publish` and `make clean-runs` call: copy RESULTS/PRESET to results/PRESET, or delete it.

    python tools/result_folders.py publish --preset toy_faces --results runs
"""
import argparse, shutil, sys, os
from pathlib import Path

root = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(root / 'tools'), str(root)]
import guard, reproduce
from reproduce import Wrong


def left_out(folder, names):
    "Of seeds other than 0 only numbers, records and trajectories are copied; of every seed what is no result stays behind."
    seed = next((p for p in Path(folder).parts if p.startswith('seed-')), 'seed-0')
    large = ('.gif', '.png', '.ipynb') if seed != 'seed-0' else ()
    return [n for n in names if n.endswith(('.failed.ipynb', '.partial.ipynb', *large)) or n.startswith('.')]


def publish(source, target):
    if not (source/'table.md').is_file(): raise Wrong(f'{source} has no table yet: make reproduce first')
    if source.resolve() == target.resolve(): raise Wrong(f'{source} is what is published: nothing to copy')
    new, old = target.with_name(f'.{target.name}.new'), target.with_name(f'.{target.name}.old')
    for p in (new, old): shutil.rmtree(p, ignore_errors=True)
    try:
        shutil.copytree(source, new, ignore=left_out)
        if target.exists(): target.rename(old)
        new.rename(target)
    finally: shutil.rmtree(new, ignore_errors=True); shutil.rmtree(old, ignore_errors=True)
    print(f'Copied to {target}. See: git status results')


def clean(source):
    if not source.exists(): print(f'{source} is not there'); return
    if source.resolve() in (root, *root.parents) or (source/'.git').exists(): raise Wrong(f'{source} holds the repository, and stays')
    shutil.rmtree(source)
    print(f'{source} is gone')


def do(argv):
    p = argparse.ArgumentParser(allow_abbrev=False)
    p.error = lambda message: p.exit(2, f'{message}; --help says more\n')
    p.add_argument('what', choices=['publish', 'clean'])
    p.add_argument('--preset', default='claim')
    p.add_argument('--results', default='runs')
    p.add_argument('--from-make', action='store_true', help='read both from the environment, as make gives them')
    a = p.parse_args(argv)
    if a.from_make: vars(a).update(reproduce.from_make(('preset', 'results')))
    for preset in (t['preset'] for t in reproduce.presets(dict(preset=a.preset))):
        work(a.what, reproduce.asked_for(dict(preset=preset, results=a.results), used=True).folder, preset)
    return 0


def work(what, source, preset):
    if not source.exists():
        if what == 'publish': raise Wrong(f'{source} has no table yet: make reproduce first')
        print(f'{source} is not there'); return
    with reproduce.lock(source):
        if what == 'publish': publish(source, Path('results')/preset)
        else: clean(source)


def main(argv=None):
    os.chdir(root)
    return reproduce.run(do, argv)


if __name__ == '__main__': sys.exit(main())
