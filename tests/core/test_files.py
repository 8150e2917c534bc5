"Damaged files are noticed, named and survived."
import json, random
import pytest, torch
from mocogan_hd.core.files import BEFORE, NEWEST, read_checkpoint, read_tensors, write_checkpoint, write_tensors

TENSORS = dict(a=torch.randn(5, 7), b=torch.arange(4), c=torch.randn(3).half())


@pytest.mark.parametrize('seed', range(150))
def test_a_flipped_bit_of_a_tensor_file_changes_nothing_in_silence(tmp_path, seed):
    path = tmp_path/'x.safetensors'
    write_tensors(TENSORS, path, dict(kind='x', settings=json.dumps(dict(n=3))))
    raw = bytearray(path.read_bytes())
    r = random.Random(seed)
    raw[r.randrange(len(raw))] ^= 1 << r.randrange(8)
    path.write_bytes(raw)
    try: tensors, header = read_tensors(path)
    except ValueError as e: assert str(e).startswith(str(path))
    else: # padding of the header may change and mean nothing
        assert header == dict(kind='x', settings='{"n": 3}') and all(torch.equal(tensors[k], TENSORS[k]) for k in TENSORS)


@pytest.mark.parametrize('seed', range(60))
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(tmp_path, seed, capsys):
    for step in (1, 2): write_checkpoint(dict(step=step, w=torch.full((50,), float(step))), tmp_path)
    raw, r = bytearray((tmp_path/NEWEST).read_bytes()), random.Random(seed)
    if seed % 3 == 0: raw = raw[:r.randrange(len(raw))]
    elif seed % 3 == 1: raw[r.randrange(len(raw))] ^= 1 << r.randrange(8)
    else:
        at = r.randrange(len(raw)); raw[at:at + 20] = r.randbytes(20)
    (tmp_path/NEWEST).write_bytes(raw)
    state = read_checkpoint(tmp_path)
    assert state['step'] in (1, 2) and (state['w'] == state['step']).all()
    assert (state['step'] == 1) == ('checkpoint.pt is damaged' in capsys.readouterr().out)


def test_no_whole_checkpoint_is_an_error_that_names_the_files(tmp_path):
    assert read_checkpoint(tmp_path) is None
    (tmp_path/NEWEST).write_bytes(b''); (tmp_path/BEFORE).write_bytes(b'PK')
    with pytest.raises(ValueError, match='checkpoint.pt is damaged.*checkpoint-before.pt is damaged.*delete'): read_checkpoint(tmp_path)


def test_a_file_without_a_checksum_is_read_as_it_is(tmp_path):
    from safetensors.torch import save_file
    save_file(TENSORS, tmp_path/'old.safetensors', dict(kind='old'))
    assert read_tensors(tmp_path/'old.safetensors')[1] == dict(kind='old')


@pytest.mark.parametrize('content', [b'', b'{}', b'\x00'*100, b'\xff'*1000])
def test_what_is_no_tensor_file_is_named(tmp_path, content):
    (tmp_path/'x.safetensors').write_bytes(content)
    with pytest.raises(ValueError, match='x.safetensors is not a whole'): read_tensors(tmp_path/'x.safetensors')
    with pytest.raises(FileNotFoundError, match='y.safetensors'): read_tensors(tmp_path/'y.safetensors')
