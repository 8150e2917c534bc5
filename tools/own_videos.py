"""What `make videos` calls: nbs/6_apps/run/own_videos.ipynb over a folder of videos, then where the samples are.

    python tools/own_videos.py ~/holiday --minutes 60
    python tools/own_videos.py sky48 --preset sky48 --hide-real      a set by name; no real frame in the notebook
"""
import argparse, os, re, shlex, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(root / 'tools'), str(root)]
import guard, reproduce, run_notebook
from reproduce import Wrong

NOTEBOOK = 'nbs/6_apps/run/own_videos.ipynb'
NUMBERS = dict(minutes='of training, images and motion together (60)', resolution='pixels a side, a power of two (64)', seed='of all random numbers (0)')


def parsed(argv):
    "The arguments, and the line that gives them again."
    p = argparse.ArgumentParser(description='From a folder of videos to a sheet of generated ones.', allow_abbrev=False)
    p.error = lambda message: p.exit(2, f'{message}; --help says more\n')
    p.add_argument('folder', nargs='?', default='', help='folder, zip or tar of videos; or a set by name, such as sky48')
    p.add_argument('--name', default='', help="of the run (the folder's)")
    p.add_argument('--results', default='runs/own')
    for name, text in NUMBERS.items(): p.add_argument(f'--{name}', default='', help=text)
    p.add_argument('--preset', default='')
    p.add_argument('--hide-real', action='store_true', help='show no frame of the videos in the notebook')
    p.add_argument('--from-make', action='store_true', help='read everything from the environment, as make gives it')
    p.add_argument('more', nargs='*', metavar='NAME=VALUE', help='other parameters of the notebook, such as n_images=50000')
    p.add_argument('--bad', choices=('skip', 'error'), default='', help='a damaged or short video: leave it out (skip), or stop before training')
    a = p.parse_intermixed_args(argv)
    if not a.from_make: return a, shlex.join(['python', 'tools/own_videos.py', *(argv if argv is not None else sys.argv[1:])])
    given = reproduce.from_make(('folder', 'name', 'results', *NUMBERS, 'more'))
    from mocogan_hd.experiments.arguments import typed_again
    again = typed_again('make videos', {k.upper(): v for k, v in given.items() if v and (k, v) != ('results', 'runs')})
    try: given['more'] = shlex.split(given['more'])
    except ValueError as e: raise Wrong(f'MORE={given["more"]}: {e}') from None
    given['results'] = str(Path(given['results']) / 'own') if given['results'] else '' # an empty one is refused below
    vars(a).update(given)
    return a, again


def checked_name(name):
    "The name of the run, one folder."
    if name in ('.', '..') or '/' in name: raise Wrong(f'NAME={name}: expected the name of a folder, without /')
    return name


def settings(a):
    "The parameters of the notebook that were given, in its types."
    more = dict(map(run_notebook.split, a.more))
    given = {k: v for k in (*NUMBERS, 'preset', 'bad') if (v := getattr(a, k))} | more
    given = run_notebook.parameters(NOTEBOOK, given)
    if given.get('minutes', 1) <= 0: raise Wrong(f'MINUTES={given["minutes"]}: expected more than 0')
    if given.get('seed', 0) < 0: raise Wrong(f'SEED={given["seed"]}: expected 0 or more')
    if 'augment' in given and given['augment'] != 'advice': given['augment'] = re.findall(r'\w+', given['augment'])
    return given


def check(a, given):
    "Refuse settings that no experiment can have, before a notebook starts."
    from mocogan_hd.experiments.arguments import folder_name
    from mocogan_hd.experiments.presets import experiment
    try:
        for name, text in (('FOLDER', a.folder), ('RESULTS', a.results), *([('NAME', a.name)] if a.name else [])):
            if name != 'FOLDER' or '{' not in text: folder_name(name, text)
        overrides = {'image.resolution': r} if (r := given.get('resolution')) else {}
        experiment(given.get('preset', 'own'), seed=given.get('seed', 0))
        if overrides: # own_experiment fits the widths to it; the resolution itself is judged here
            from mocogan_hd.method.stylegan2 import check_resolution
            check_resolution(r)
    except ValueError as e: raise Wrong(str(e)) from None


def make(argv, stop, start):
    os.chdir(start) # the folder of videos is named from where the command was given
    a, again = parsed(argv)
    if not a.folder: raise Wrong('make videos FOLDER=~/holiday: which folder holds the videos?')
    folder = Path(a.folder).expanduser()
    here = folder.exists()
    if not here and not re.fullmatch(r'\w+', a.folder): raise Wrong(f'{ascii(str(folder)) if not str(folder).isprintable() else folder} does not exist')
    name = checked_name(a.name or re.sub(r'[^\w.-]+', '_', folder.resolve().stem if here else a.folder))
    target = str(folder.resolve()) if here else a.folder
    os.chdir(root)  # a notebook keeps the paths it was run with: relative ones say nothing about a machine
    given = settings(a)
    check(a, given)
    out = Path(a.results) / name
    with reproduce.lock(out):
        code = run_notebook.run(NOTEBOOK, out / 'own_videos.ipynb', stop, videos=target, name=name, results=a.results,
                                show_real=not a.hide_real, **given)
    if code == guard.STOPPED: print(f'\nStopped; the last checkpoints stay. To go on: {again}')
    if code: return code
    print(f'\n{(out / "reading.md").read_text(encoding="utf-8")}\nsamples:       {out}/samples.png, samples.gif, samples.mp4\nthe notebook:  {out}/own_videos.ipynb')
    return 0


def main(argv=None): return reproduce.run(make, argv, guard.Stop(), os.getcwd())


if __name__ == '__main__': sys.exit(main())
