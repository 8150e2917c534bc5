"""Mutated and hostile files for every reader, in a child process with 512 MiB above idle: each ends in success or an error of ours.

`python tests/interop/fuzz.py` tries 300 mutated files for each reader and prints the counts; here are fewer, for time.
"""
import hashlib, json, random, subprocess
import pytest, torch
import fuzz
from fuzz_cases import CASES, HOSTILE, saved, network
from mocogan_hd.interop.checkpoints import read_checkpoint

def test_mutated_files():
    results = fuzz.child(CASES, 80)
    assert {c: r['bad'] for c, r in results.items() if r['bad']} == {}
    assert all(r['tried'] == 80 and r.get('ours', 0) > 10 for r in results.values()), results
    assert all(r['slowest_s'] < fuzz.SECONDS and r['peak_mib'] < fuzz.MEBIBYTES for r in results.values())
    json.dumps(results)

def test_hostile_files_are_refused():
    results = fuzz.child(HOSTILE, timeout=120)
    assert {c: r for c, r in results.items() if r.get('ours') != 1} == {}

def test_the_limits_bite():
    "the helper can fail: a reader that allocates, one that raises a foreign error, one that forgets the name"
    def outcome(read): return fuzz.outcome(read, fuzz.Path('a.pt'))
    def fail(e):
        def read(path): raise e
        return read
    assert outcome(lambda p: None) == 'success' and outcome(fail(ValueError('a.pt is cut'))) == 'ours'
    assert outcome(fail(KeyError('w'))).startswith('foreign') and outcome(fail(ValueError('cut'))).startswith('unnamed')
    code = 'import fuzz, torch; fuzz.limited(64); torch.zeros(2**26)'
    done = subprocess.run([fuzz.sys.executable, '-c', code], cwd=fuzz.Path(fuzz.__file__).parent, capture_output=True, text=True)
    assert done.returncode and 'memory' in done.stderr

def test_mutations_change_files_and_keep_headers():
    data = saved({'g_ema': network().state_dict()})
    files = list(fuzz.mutants(data, 40, 0))
    assert sum(f != data for f in files) > 35 and len(set(files)) > 35
    import io, zipfile
    for f in files[1::2]: assert zipfile.ZipFile(io.BytesIO(f)).testzip() is None

@pytest.mark.parametrize('place', ['beside', 'above'])
def test_a_list_of_hashes_finds_a_flipped_bit(tmp_path, place):
    "in old torch files, which have no checksum of their own"
    folder = tmp_path/'sub'; folder.mkdir()
    data = saved({'g_ema': network().state_dict()}, legacy=True)
    sums, name = (folder/'SHA256SUMS', 'a.pt') if place == 'beside' else (tmp_path/'SHA256SUMS', 'sub/a.pt')
    sums.write_text(f'{hashlib.sha256(data).hexdigest()}  {name}\n')
    (folder/'a.pt').write_bytes(data)
    read_checkpoint(folder/'a.pt')
    g = random.Random(0)
    for _ in range(20):
        i = g.randrange(len(data))
        (folder/'a.pt').write_bytes(data[:i] + bytes([data[i] ^ 1 << g.randrange(8)]) + data[i + 1:])
        with pytest.raises(ValueError, match='a.pt is damaged or another file'): read_checkpoint(folder/'a.pt')
    sums.write_text('no list\n')
    with pytest.raises(ValueError, match='SHA256SUMS: line 1'): read_checkpoint(folder/'a.pt')

def test_every_flipped_bit_of_an_archives_numbers_is_found(tmp_path):
    import io, zipfile
    data = saved({'g_ema': network().state_dict()})
    entries = [e for e in zipfile.ZipFile(io.BytesIO(data)).infolist() if '/data/' in e.filename and e.file_size > 100]
    g = random.Random(0)
    for e in entries[:20]:
        i = data.index(zipfile.ZipFile(io.BytesIO(data)).read(e), e.header_offset) + g.randrange(e.file_size)
        (tmp_path/'a.pt').write_bytes(data[:i] + bytes([data[i] ^ 1 << g.randrange(8)]) + data[i + 1:])
        with pytest.raises(ValueError, match='a.pt is damaged: the checksum of its member'): read_checkpoint(tmp_path/'a.pt')

@pytest.mark.parametrize('number', [float('nan'), float('inf')])
def test_numbers_that_are_not_finite(tmp_path, number):
    state = network().state_dict(); state['convs.0.conv.weight'].view(-1)[3] = number
    torch.save({'g_ema': state}, tmp_path/'a.pt')
    with pytest.raises(ValueError, match=r"a.pt: 'convs.0.conv.weight' holds numbers that are not finite"): read_checkpoint(tmp_path/'a.pt')
