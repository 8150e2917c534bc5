"Published statistics: the known distances to the printed digit, and files that are not what they should be."
import pickle, shutil
from pathlib import Path
import numpy as np, pytest, torch
from mocogan_hd.evaluation.feature_networks import FactorRegressor
from mocogan_hd.interop import published_statistics as module
from mocogan_hd.interop.protocols import Generated, MovingFeatures
from mocogan_hd.interop.published_statistics import (ClipStatistics, distance_to, load_statistics, published_name, published_statistics,
                                                     read_sums, save_statistics, statistics_distance)
from mocogan_hd.interop.weights_cache import FILES
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.data.video_data import has_data

@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('MOCOGAN_HD_CACHE', str(tmp_path/'cache'))
    (tmp_path/'cache').mkdir()
    return tmp_path/'cache'

@pytest.fixture
def published(cache):
    if not has_data('i3d_statistics'): pytest.skip('MOCOGAN_HD_DATA holds no i3d_statistics')
    from mocogan_hd.core.basics import data_root
    for f in (data_root()/'i3d_statistics').glob('*.pkl'): shutil.copy(f, cache/f.name)

KNOWN = [('{}:128:2048', '{}:128:all', dict(ucf101='29.97', ffs='7.33', sky='0.22')), ('{}:256:2048', '{}:256:all', dict(ucf101='33.29', ffs='7.92', sky='0.27')),
         ('{}:128:all', '{}:256:all', dict(ucf101='42.1', ffs='9.2', sky='22.4'))]

@pytest.mark.parametrize('a, b, name, printed', [(a, b, k, v) for a, b, values in KNOWN for k, v in values.items()])
def test_known_distances_to_the_printed_digit(published, a, b, name, printed):
    a, b = (published_statistics(f'i3d:{x.format(name)}') for x in (a, b))
    digits = len(printed.split('.')[1])
    assert f'{statistics_distance(a, b):.{digits}f}' == printed

def test_counts(published):
    assert published_statistics('i3d:ucf101').count == 2048 and published_statistics('i3d:ffs:128:all').count == 704

def test_every_file_has_a_whole_checksum_and_an_address():
    files = [f for f in FILES.values() if f.name.startswith('i3d_') and f.name.endswith('.pkl')]
    assert len(files) == 12 and all(len(f.sha256) == 64 and f.url.startswith('https://') for f in files)

def test_a_damaged_file_is_named(published, cache):
    path = cache/FILES[module._file_of('sky:128:2048')].name
    data = bytearray(path.read_bytes()); data[-1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f'{path.name}.*damaged'): published_statistics('i3d:sky')

def test_a_missing_file_says_where_it_is(cache, monkeypatch):
    monkeypatch.setattr('urllib.request.urlopen', lambda *a, **k: (_ for _ in ()).throw(OSError('no network')))
    with pytest.raises(FileNotFoundError, match='i3d_sky_2048_res128.*put it into.*no network'): published_statistics('i3d:sky')

@pytest.mark.parametrize('name', ['i3d:', 'i3d:kinetics', 'i3d:ucf101:512', 'i3d:ucf101:128:100', 'i3d:ucf101:128:2048:x', ':ucf101', 'ucf101'])
def test_names_that_are_not_published(name):
    with pytest.raises(ValueError, match='choose one of i3d:'): published_name(name)

X = np.random.default_rng(0).normal(size=(30, 4))
GOOD = dict(raw_mean=X.sum(0), raw_cov=X.T @ X, num_items=30)

class Bomb:
    def __reduce__(self): return (Path.touch, (Path('bomb'),))

@pytest.mark.parametrize('change, words', [
    (dict(raw_mean=[1., 2.]), 'raw_mean is no array'), (dict(raw_mean=X.sum(0).astype('f4')), 'no whole array of doubles'), (dict(num_items=1), 'at least 2'),
    (dict(num_items='30'), 'num_items'), (dict(raw_cov=X), 'do not belong together'), (dict(raw_mean=None), 'no array'), (dict(raw_mean=Bomb()), 'raw_mean is no array')])
def test_files_of_another_kind_are_named_and_run_nothing(tmp_path, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path/'sums.pkl'
    path.write_bytes(pickle.dumps(GOOD | change))
    with pytest.raises(ValueError, match=f'sums.pkl: .*{words}'): read_sums(path)
    assert not (tmp_path/'bomb').exists()

def test_cut_and_changed_files_end_in_an_error_or_in_numbers(tmp_path):
    whole, path, rng = pickle.dumps(GOOD, protocol=3), tmp_path/'sums.pkl', np.random.default_rng(0)
    for i in range(300):
        data = bytearray(whole[:rng.integers(len(whole))] if i % 3 == 0 else whole)
        for _ in range(rng.integers(1, 4)):
            if data: data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data)
        try: mean, covariance, n = read_sums(path)
        except ValueError as e: assert 'sums.pkl' in str(e)
        else: assert covariance.shape == (len(mean), len(mean)) and n > 1

P = 'frechet_factors-moves_24_4f_step1_16px'

def test_own_statistics_give_the_distance_of_the_clips(tmp_path):
    "The distance to saved statistics is that of the moments themselves, computed with NumPy and SciPy."
    from scipy.linalg import sqrtm
    network, faces = MovingFeatures(FactorRegressor('people', 16).eval()), ToyFaces(resolution=16)
    save_statistics(faces, tmp_path/'s.safetensors', P, 'faces', network, seed=3)
    own = load_statistics(tmp_path/'s.safetensors')
    clips = faces.clips(24, 4, 9)
    fake = Generated(lambda pairs: [torch.stack([clips[i] for i, _ in pairs])], 1, 'x')
    found = distance_to(own, fake, network=network)
    from mocogan_hd.interop.protocols import as_read
    y = network(as_read(clips, 16)).detach().double().numpy()
    mu, cov = own.mean.numpy(), own.covariance.numpy()
    d = y.mean(0) - mu
    want = d @ d + np.trace(np.cov(y.T) + cov - 2*sqrtm(np.cov(y.T) @ cov).real)
    assert found.value == pytest.approx(want, rel=2e-3, abs=1e-6) and found.name == f'{P}_to_faces' and found.n == 24 and found.low <= found.value <= found.high

def test_statistics_of_different_networks_are_not_compared():
    a = ClipStatistics('a', torch.zeros(2), torch.eye(2), 9, module.Protocol('frechet', 'x', 9, 4, 16))
    with pytest.raises(ValueError, match='different networks'): statistics_distance(a, a._replace(protocol=module.Protocol('frechet', 'y', 9, 4, 16)))

def test_a_file_that_does_not_say_what_it_is_of(tmp_path):
    from mocogan_hd.evaluation.statistics import Moments
    moments = Moments(3); moments.add(torch.randn(5, 3), range(5)); moments.save(tmp_path/'m.safetensors')
    with pytest.raises(ValueError, match='m.safetensors does not say'): load_statistics(tmp_path/'m.safetensors')
