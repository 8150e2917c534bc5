"""Mutated and hostile files for every reader of foreign files, read in a child process with limits on time and memory.

`python tests/interop/fuzz.py` prints a JSON dictionary: reader -> counts of outcomes, the slowest file, the peak of memory.
"""
import io, json, os, random, resource, subprocess, sys, tempfile, time, zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1])) # the child finds what tests share
SECONDS, MEBIBYTES = 5, 512 # for one file, above an idle process

# --- mutations

def flip(data, g):
    data = bytearray(data)
    for _ in range(g.choice((1, 1, 1, 4, 32))): data[g.randrange(len(data))] ^= 1 << g.randrange(8)
    return bytes(data)

def cut(data, g):
    a, b = sorted(g.randrange(len(data)) for _ in range(2))
    return data[:a] if g.random() < .5 else data[:a] + data[b:]

def insert(data, g):
    a, n = g.randrange(len(data)), g.choice((1, 4, 64, 1000))
    return data[:a] + g.randbytes(n) + data[a:]

def duplicate(data, g):
    a = g.randrange(len(data))
    b, c = a + g.choice((1, 8, 64, 1000)), g.randrange(len(data))
    return data[:c] + data[a:b] + data[c:]

def mutate(data, g): return g.choice((flip, flip, cut, insert, duplicate))(data, g) if data else data

def rezipped(data, g):
    "A zip archive with one changed member, its list and checksums valid."
    with zipfile.ZipFile(io.BytesIO(data)) as z: members = {e.filename: z.read(e) for e in z.infolist()}
    pickled = [n for n in members if n.endswith('data.pkl')]
    chosen = g.choice(pickled if g.random() < .6 else list(members))
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        for n, m in members.items(): z.writestr(n, mutate(m, g) if n == chosen else m)
    return out.getvalue()

def header_kept(data, g):
    "A change in the body: the head of the file stays valid."
    if data.startswith(b'PK'): return rezipped(data, g)
    if data.startswith(b'\x93NUMPY'): head = 10 + int.from_bytes(data[8:10], 'little')
    elif data[8:9] == b'{': head = 8 + int.from_bytes(data[:8], 'little')
    else: head = min(64, len(data)//2)
    return data[:head] + mutate(data[head:], g)

def mutants(data, n, seed):
    "`n` changed files; every second keeps a valid header."
    g = random.Random(seed)
    for i in range(n): yield (header_kept if i % 2 else mutate)(data, g)

# --- outcomes

def outcome(read, path):
    "'success', 'ours' (a `ValueError` that begins with the name of a file read), or what else happened."
    try: read(path)
    except ValueError as e:
        return 'ours' if str(e).startswith((str(path), str(path.parent))) and len(str(e)) < 1500 else f'unnamed: {e!r:.300}'
    except Exception as e: return f'foreign: {e!r:.300}'
    return 'success'

def bytes_now(field):
    line = next(x for x in Path('/proc/self/status').read_text().splitlines() if x.startswith(field))
    return int(line.split()[1])*1024

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*1024

def run(read, files, folder, name):
    "Read files one after the other and count what happens; runs in the child."
    import torch
    torch.set_num_threads(1)
    counts, bad, slowest, idle = {}, [], 0., peak()
    path = folder/name
    for i, data in enumerate(files):
        path.write_bytes(data)
        began = time.monotonic()
        found = outcome(read, path)
        spent = time.monotonic() - began
        slowest = max(slowest, spent)
        if spent > SECONDS: found = f'slow: {spent:.1f} s, {found}'
        kind = found.split(':')[0]
        counts[kind] = counts.get(kind, 0) + 1
        if kind not in ('success', 'ours'):
            bad.append(f'{i}: {found}')
            (Path(tempfile.gettempdir())/f'fuzz-{os.getpid()}-{i}-{name}').write_bytes(data) if os.environ.get('FUZZ_KEEP') else None
    return dict(tried=sum(counts.values()), **counts, slowest_s=round(slowest, 2), peak_mib=(peak() - idle) >> 20, bad=bad[:20])

def limited(mebibytes=MEBIBYTES):
    "No more address space than now and `mebibytes`."
    most = bytes_now('VmSize') + mebibytes*2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

def one(case, n, seed):
    "The counts of one case of `CASES` or `HOSTILE`; runs in the child."
    from fuzz_cases import CASES, HOSTILE
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        if case in HOSTILE:
            read, name, data = HOSTILE[case](folder)
            return run(read, [data], folder, name)
        read, name, data = CASES[case](folder)
        assert outcome(read, folder/name) == 'success' if (folder/name).write_bytes(data) else False, case
        return run(read, mutants(data, n, seed), folder, name)

def child(cases, n=300, seed=0, timeout=300):
    "Case -> counts, from a process of its own; a case that does not end ends the child."
    command = [sys.executable, __file__, str(n), str(seed), *cases]
    results = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as p:
        try: out, err = p.communicate(timeout=timeout)
        except subprocess.TimeoutExpired: p.kill(); out, err = p.communicate()
        for line in out.splitlines():
            if line.startswith('{'): results |= json.loads(line)
    for case in cases: results.setdefault(case, dict(tried=0, bad=[f'no end ({p.returncode}): {err[-800:]}']))
    return results

def table(n=300, seed=0):
    "Reader -> outcomes of mutated files, and of the hostile ones, for a page of faults."
    from fuzz_cases import CASES, HOSTILE
    return dict(mutated=child(CASES, n, seed), hostile=child(HOSTILE, n, seed))

def main(n, seed, *cases):
    import fuzz_cases # the idle process has all libraries
    limited()
    for case in cases: print(json.dumps({case: one(case, int(n), int(seed))}), flush=True)

if __name__ == '__main__':
    if len(sys.argv) == 1: print(json.dumps(table(), indent=1))
    else: main(*sys.argv[1:])
