"Latent PCA: against the authors' numbers, against a direct decomposition, and where it must refuse."
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from safetensors.torch import save_file
from mocogan_hd.method.latent_pca import LatentPCA, RunningCovariance, fit_latent_pca, plot_explained_variance, principal_directions

GOLDEN = np.load(Path(__file__).parent.parent/'goldens/pca.npz')
normal = lambda seed, shape: np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)

class Codes:
    "The face of an image generator, over a fixed table of codes."
    def __init__(self, codes): self.codes, self.latent_dim, self.fingerprint, self.at, self.draws = codes, codes.shape[1], 'table', 0, []
    def sample_latents(self, n, generator):
        self.draws.append(n); self.at += n
        return self.codes[self.at - n:self.at]

def published_codes():
    spread = np.linspace(3, .3, 64)
    return torch.from_numpy(((normal(1100, (3000, 64)) * spread) @ (normal(1101, (64, 64)) / 8)).astype(np.float32))

@pytest.mark.parametrize('batch_size', [64, 999, 3000])
def test_agrees_with_the_authors_numbers(batch_size):
    table = Codes(published_codes())
    pca = fit_latent_pca(table, 3000, batch_size=batch_size)
    assert max(table.draws) <= batch_size and sum(table.draws) == 3000
    for ours, name in [(pca.components, 'comp'), (pca.std, 'stdev'), (pca.variance_ratio, 'var_ratio')]:
        assert np.abs(ours.numpy() - GOLDEN[name]).max() < 5e-6, name
    assert pca.fingerprint == 'table' and pca.n_codes == 3000

def test_stream_equals_svd_in_float64():
    x = published_codes().double() + 50
    stream = RunningCovariance(64)
    for batch in x.split(77): stream.update(batch)
    components, std = principal_directions(stream.covariance)
    _, s, v = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    assert (std - s / 2999**.5).abs().max() < 1e-11
    assert ((components * v).sum(1).abs() - 1).abs().max() < 1e-12
    assert (components.gather(1, components.abs().argmax(1, keepdim=True)) > 0).all()

def test_single_code_batches_count():
    x = published_codes()[:80, :5]
    stream = RunningCovariance(5)
    for row in x.split(1): stream.update(row)
    torch.testing.assert_close(stream.covariance, x.double().T.cov())

def test_a_large_mean_costs_no_digits():
    x = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
    far = RunningCovariance(4)
    for batch in x.double().add(1e4).split(100): far.update(batch)
    torch.testing.assert_close(far.covariance, x.double().T.cov(), rtol=1e-8, atol=1e-8)

@pytest.mark.parametrize('n', [0, 10, 63, 64])
def test_too_few_codes(n):
    with pytest.raises(ValueError, match=f'n_codes = {n}: more codes than the latent width 64'): fit_latent_pca(Codes(published_codes()), n)

def test_bad_batch_size():
    with pytest.raises(ValueError, match='batch_size = 0'): fit_latent_pca(Codes(published_codes()), 100, batch_size=0)

def test_a_generator_with_one_code_has_no_directions():
    with pytest.raises(ValueError, match='same code for every draw'): fit_latent_pca(Codes(torch.ones(200, 8)), 200)

def test_a_flat_direction_stays_finite():
    x = published_codes()[:500, :6].clone(); x[:, 3] = 1.5
    pca = fit_latent_pca(Codes(x), 500)
    assert pca.std[-1] < 1e-5 * pca.std[0] and torch.isfinite(pca.project(x)).all() and (pca.std >= 0).all()
    plot_explained_variance(pca)

@pytest.fixture
def pca(): return fit_latent_pca(Codes(published_codes()), 3000)

def test_projection(pca):
    w = published_codes()
    whitened = pca.project(w)
    torch.testing.assert_close(whitened.T.cov(), torch.eye(64), atol=1e-4, rtol=0)
    torch.testing.assert_close(whitened * pca.std @ pca.components + pca.mean, w, atol=1e-4, rtol=0)
    assert pca.first(7).project(w.reshape(30, 100, 64)).shape == (30, 100, 7)
    assert abs(float(pca.spread(w).square().mean()) - 1) < 1e-3
    assert pca.project(w.double()).dtype == torch.float64

def test_refusals(pca):
    for n in (0, 65): pytest.raises(ValueError, pca.first, n)
    for k in (-1, 64): pytest.raises(ValueError, pca.move, pca.mean, k, 1.)
    with pytest.raises(ValueError, match='width 32, this basis has width 64'): pca.project(torch.zeros(2, 32))
    with pytest.raises(ValueError, match='shapes'): replace(pca, std=pca.std[:5])

def test_keeping(pca, tmp_path):
    path = tmp_path/'deep'/'pca.safetensors'
    pca.first(9).save(path)
    again = LatentPCA.load(path, Codes(published_codes()))
    for k in ('components', 'std', 'mean', 'variance_ratio'): assert torch.equal(getattr(again, k), getattr(pca.first(9), k))
    assert (again.fingerprint, again.n_codes) == ('table', 3000)
    other = Codes(published_codes()); other.fingerprint = 'other'
    with pytest.raises(ValueError, match="'table', not on 'other'"): LatentPCA.load(path, other)
    assert LatentPCA.load(path).n_codes == 3000

def test_wrong_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'): LatentPCA.load(tmp_path/'nowhere.safetensors')
    (tmp_path/'text.safetensors').write_text('not this')
    with pytest.raises(ValueError, match='text.safetensors'): LatentPCA.load(tmp_path/'text.safetensors')
    save_file({'components': torch.eye(3)}, tmp_path/'foreign.safetensors')
    with pytest.raises(ValueError, match='expected a latent_pca'): LatentPCA.load(tmp_path/'foreign.safetensors')

def test_codes_of_the_published_mapping_network():
    import zlib
    from mocogan_hd.method.stylegan2 import Generator
    network = Generator(16, channels=(4, 4, 4)).requires_grad_(False)
    for key, value in network.state_dict().items():
        if key.startswith('style.'):
            n = normal(zlib.crc32(key.encode()), tuple(value.shape)).astype(np.float32)
            value.copy_(torch.from_numpy(n * np.float32(100 if key.endswith('weight') else 10)))
    codes = network.mapping(torch.from_numpy(normal(1102, (4096, 512)).astype(np.float32)))
    pca = fit_latent_pca(Codes(codes), 4096)
    assert np.abs(pca.mean.numpy() - GOLDEN['style_mean']).max() < 1e-4
    assert np.abs(pca.std.numpy() - GOLDEN['style_stdev']).max() < 1e-4
    assert np.abs(pca.components[:16].numpy() - GOLDEN['style_comp_top16']).max() < 1e-4
