"""What `make videos` calls: nbs/6_apps/run/own_videos.ipynb over a folder of videos, then where the samples are.

    python tools/own_videos.py ~/holiday --minutes 60
    python tools/own_videos.py sky48 --preset sky48 --hide-real      a set by name; no real frame in the notebook
"""
import argparse, os, re, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / 'tools'))
import reproduce, run_notebook


def check(p, a, folder):
    "Is the folder there, and the parameters of the notebook; every mistake is one line and exit code 2."
    from mocogan_hd.apps.result_folders import check_text
    from mocogan_hd.data.sets import SMALL_SETS, VIDEO_SETS
    from mocogan_hd.experiments.presets import PRESETS
    try: check_text([str(v) for v in [*vars(a).values(), *a.more] if v is not None])
    except ValueError as e: p.error(str(e))
    here = folder.exists()
    if not here and a.folder not in SMALL_SETS | VIDEO_SETS: p.error(f'{folder} does not exist')
    given = {k: v for k in ('minutes', 'resolution', 'seed', 'preset', 'bad') if (v := getattr(a, k)) is not None}
    try: given |= dict(map(run_notebook.parameter, a.more))
    except SystemExit as e: p.error(str(e))
    minutes, side, bad = given.get('minutes', 60), given.get('resolution') or 64, given.get('bad', 'skip')
    if not isinstance(minutes, (int, float)) or not 0 < minutes < 10**6: p.error(f'minutes {minutes}: expected a positive number')
    if side not in [2**k for k in range(4, 11)]: p.error(f'resolution {side}: expected a power of two from 16 to 1024')
    if bad not in ('skip', 'error'): p.error(f'bad={bad}: expected skip or error')
    if given.get('preset', 'own') not in PRESETS: p.error(f'unknown preset {given["preset"]!r}; there are {", ".join(PRESETS)}')
    return here, given


def main(argv=None):
    from mocogan_hd.apps.result_folders import Parser
    p = Parser('own_videos', description='From a folder of videos to a sheet of generated ones.')
    p.add_argument('folder', help='folder, zip or tar of videos; or a set by name, such as sky48')
    p.add_argument('--name', help="of the run (the folder's)")
    p.add_argument('--results', default='runs/own')
    p.add_argument('--minutes', type=float, help='of training, images and motion together (60)')
    p.add_argument('--resolution', type=int, help='pixels a side, a power of two (64)')
    p.add_argument('--seed', type=int)
    p.add_argument('--preset')
    p.add_argument('--hide-real', action='store_true', help='show no frame of the videos in the notebook')
    p.add_argument('more', nargs='*', metavar='NAME=VALUE', help='other parameters of the notebook, such as n_images=50000')
    p.add_argument('--bad', choices=('skip', 'error'), help='a damaged or short video: leave it out (skip), or stop before training')
    a = p.parse_intermixed_args(argv)
    folder = Path(a.folder).expanduser()
    here, given = check(p, a, folder)
    name = a.name or re.sub(r'[^\w.-]+', '_', folder.resolve().stem if here else a.folder)
    target = str(folder.resolve()) if here else a.folder
    os.chdir(root)  # a notebook keeps the paths it was run with: relative ones say nothing about a machine
    out = Path(a.results) / name
    held = reproduce.lock(out)
    code = run_notebook.run('nbs/6_apps/run/own_videos.ipynb', out / 'own_videos.ipynb', videos=target,
                            name=name, results=a.results, show_real=not a.hide_real, **given)
    if code: return code
    print(f'\n{(out / "reading.md").read_text(encoding="utf-8")}\nsamples:       {out}/samples.png, samples.gif, samples.mp4\nthe notebook:  {out}/own_videos.ipynb')
    return 0


if __name__ == '__main__':
    try: sys.exit(main())
    except KeyboardInterrupt: sys.exit(130)
