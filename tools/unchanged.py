"""Run a command that rewrites files, and fail if any of them came out different.

    python tools/unchanged.py 'mocogan_hd/**/*.py' -- nbdev_export

Contents before and after are compared, not HEAD: so it works in a clean clone and with uncommitted work.
"""
import hashlib, subprocess, sys
from pathlib import Path


def hashes(pattern):
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path().glob(pattern)) if p.is_file()}


def main(pattern, dash, *command):
    assert dash == '--', __doc__
    before = hashes(pattern)
    if (code := subprocess.call(command)): return code
    after = hashes(pattern)
    changed = sorted(f for f in before | after if before.get(f) != after.get(f))
    for f in changed:
        kind = 'new' if f not in before else 'gone' if f not in after else 'changed'
        print(f'  {kind}: {f}', file=sys.stderr)
    if changed:
        print(f'`{" ".join(command)}` changed the files above. They are up to date now: look at them and commit them.',
              file=sys.stderr)
    elif not after: print(f'no file matches {pattern}', file=sys.stderr)
    else: print(f'  {len(after)} files, no difference', flush=True)
    return 1 if changed or not after else 0


if __name__ == '__main__': sys.exit(main(*sys.argv[1:]))
