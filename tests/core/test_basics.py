"Paths, seeds, whole files, finite losses."
import json, os
import pytest, torch
from mocogan_hd.core.basics import Progress, atomic_path, check_finite, data_root, file_hash, load_json, project_root, save_json, seeded, sub_seed, tensors_hash

def test_project_root_from_any_folder(tmp_path, monkeypatch):
    (tmp_path/'settings.ini').touch()
    deep = tmp_path/'nbs'/'reproduce'; deep.mkdir(parents=True)
    for folder in (tmp_path, tmp_path/'nbs', deep):
        monkeypatch.chdir(folder)
        assert project_root('results', 'toy_faces').resolve() == (tmp_path/'results'/'toy_faces').resolve()
        assert not project_root('results').is_absolute()

def test_project_root_outside_a_checkout_is_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert project_root('a').resolve() == (tmp_path/'a').resolve()

def test_data_root(tmp_path, monkeypatch):
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path)); assert data_root() == tmp_path
    monkeypatch.setenv('MOCOGAN_HD_DATA', str(tmp_path/'no'))
    with pytest.raises(FileNotFoundError, match='MOCOGAN_HD_DATA=.*no is not a folder'): data_root()
    monkeypatch.delenv('MOCOGAN_HD_DATA')
    with pytest.raises(FileNotFoundError, match='MOCOGAN_HD_DATA is not set'): data_root()

def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path/'table.csv'
    path.write_text('old')
    with pytest.raises(RuntimeError, match='disk full'), atomic_path(path) as p:
        p.write_text('half'); raise RuntimeError('disk full')
    assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as p:
        p.write_text('half'); raise KeyboardInterrupt
    assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]

def test_a_write_replaces_whole(tmp_path):
    path = tmp_path/'new'/'folder'/'table.csv'
    for text in ('one', 'two'):
        with atomic_path(path) as p:
            assert p.parent == path.parent and p.suffix == path.suffix and p.name.startswith('.')
            p.write_text(text)
        assert path.read_text() == text and list(path.parent.iterdir()) == [path]

def test_json(tmp_path):
    save_json({'psi': .5, 'names': ['é']}, tmp_path/'a.json'); assert load_json(tmp_path/'a.json') == {'psi': .5, 'names': ['é']}
    with pytest.raises(ValueError): save_json({'x': float('inf')}, tmp_path/'a.json')
    assert load_json(tmp_path/'a.json')['psi'] == .5
    (tmp_path/'b.json').write_text(json.dumps({'x': 1})[:-2])
    with pytest.raises(ValueError, match='b.json is not whole JSON'): load_json(tmp_path/'b.json')
    with pytest.raises(FileNotFoundError, match='c.json'): load_json(tmp_path/'c.json')

def test_seeds():
    g = seeded(3)
    assert seeded(g) is g and g.device.type == 'cpu'
    assert 0 <= min(sub_seed(s, 'x') for s in range(100)) and max(sub_seed(s, 'x') for s in range(100)) < 2**63
    assert len({sub_seed(s, name, i) for s in range(5) for name in ('clips', 'noise') for i in range(5)}) == 50
    assert sub_seed(0, 'clips', 3) == 7049225492579859121 # runs of yesterday must be repeatable tomorrow
    state = torch.get_rng_state(); torch.randn(3, generator=seeded(sub_seed(7, 'a'))); assert torch.equal(torch.get_rng_state(), state)

def test_tensors_hash_sees_names_types_shapes_and_values():
    a = torch.arange(6.)
    different = [{'a': a}, {'b': a}, {'a': a.double()}, {'a': a.view(2, 3)}, {'a': a.view(3, 2)}, {'a': a.flip(0)}, {'a': a, 'b': a}, {'a': a.bfloat16()},
                 {'a': torch.tensor(0.)}, {'a': torch.zeros(0)}, {'a': torch.tensor([True])}, {'a': torch.tensor([1])}]
    assert len({tensors_hash(t) for t in different}) == len(different)
    assert tensors_hash({'a': a.view(2, 3).T}) == tensors_hash({'a': a.view(2, 3).T.contiguous()})
    assert len(tensors_hash({'a': a})) == 16

def test_file_hash(tmp_path):
    (tmp_path/'x').write_bytes(b'abc'); assert file_hash(tmp_path/'x') == 'ba7816bf8f01cfea'

@pytest.mark.parametrize('value', [float('nan'), float('inf'), torch.tensor(float('nan')), torch.tensor(-float('inf'), requires_grad=True)])
def test_check_finite(value):
    with pytest.raises(FloatingPointError, match='L_f is .* at step 7'): check_finite({'L_m': 1., 'L_f': value}, 7)

def test_progress(capsys):
    p = Progress('run', total=10, start=4, every=1e9)
    for step in range(5, 11): p.update(step, loss=.5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith('run: 10/10') and 'loss 0.5' in lines[0] and '0.0 min left' in lines[0]
