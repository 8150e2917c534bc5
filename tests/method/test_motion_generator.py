"The motion generator: against the authors' numbers, values and gradients, and where it must refuse."
import zlib
from pathlib import Path
import numpy as np, pytest, torch
import torch.nn.functional as F
from mocogan_hd.method.latent_pca import LatentPCA
from mocogan_hd.interop.release_networks import MOTION_NAMES, read_motion_generator
from mocogan_hd.method.motion_generator import MotionGenerator

GOLDEN = np.load(Path(__file__).parent.parent/'goldens/motion.npz')
normal = lambda seed, *shape: np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
single = lambda seed, *shape: torch.from_numpy(normal(seed, *shape).astype(np.float32))
SHAPES = {'w': (384, 384), 'b': (384,), 'fc1.weight': (512, 768), 'fc1.bias': (512,), 'fc2.weight': (512, 512), 'fc2.bias': (512,),
          **{f'{c}.{k}': s for c in ('enc_cell', 'cell') for k, s in {'weight_ih': (1536, 512), 'weight_hh': (1536, 384), 'bias_ih': (1536,), 'bias_hh': (1536,)}.items()}}

def fill(key, shape):
    "The golden data's rule for a weight of this name."
    n = normal(zlib.crc32(key.encode()), *shape).astype(np.float32)
    fan_in = int(np.prod(shape[1:]))
    scale = {'w': .05, 'b': .02}.get(key) or (.05 if 'cell.weight' in key else .1 if 'bias' in key else fan_in**-.5)
    return torch.from_numpy(n * np.float32(scale))

def published_basis(d=512, n=384):
    components = torch.from_numpy((normal(1001, d, d) / np.sqrt(512)).astype(np.float32))
    std = torch.from_numpy(np.linspace(2., .05, d).astype(np.float32))
    return LatentPCA(components, std, torch.zeros(d), std**2 / (std**2).sum()).first(n)

def from_release(folder):
    "The motion generator of a file of the release with the golden weights, ready to be trained."
    torch.save({'module.' + k: fill(k, shape) for k, shape in SHAPES.items()}, path := folder/'modelR_epoch_1.pth')
    return read_motion_generator(path, published_basis()).requires_grad_(True)

@pytest.fixture(scope='module')
def published(tmp_path_factory): return from_release(tmp_path_factory.mktemp('release'))

@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 5e-7)])
def test_agrees_with_the_authors_numbers(published, dtype, tolerance):
    g = MotionGenerator(512, published_basis()); g.load_state_dict(published.state_dict()); g.to(dtype)
    w1, eps = single(1005, 2, 512).to(dtype), single(1003, 2, 15, 512).to(dtype)
    out = g(w1, eps)
    assert np.abs(out.trajectory.detach().numpy() - GOLDEN['w_traj']).max() < tolerance
    assert np.abs(out.eps_hat.detach().numpy() - GOLDEN['e_rec']).max() < tolerance
    mutual = -F.cosine_similarity(out.eps_hat, eps, dim=-1).mean()
    assert abs(float(mutual.detach()) - float(GOLDEN['l_mutual'])) < 1e-6
    (mutual + F.mse_loss(out.trajectory.reshape(-1, 512), single(1006, 32, 512).to(dtype))).backward()
    ours = dict(g.named_parameters())
    for key in SHAPES:
        part, dot, rest = key.partition('.')
        norm, golden = float(ours[MOTION_NAMES[part] + dot + rest].grad.norm()), float(GOLDEN[f'gradnorm/{key}'])
        assert abs(norm - golden) <= 1e-4 * golden + 1e-9, key
    assert np.abs(g.b.grad.numpy() - GOLDEN['grad/b']).max() < 1e-6

def test_release_layout(published):
    assert sum(p.numel() for p in published.parameters()) == 3_562_880 == sum(int(np.prod(s)) for s in SHAPES.values())
    for key, shape in SHAPES.items():
        part, dot, rest = key.partition('.')
        assert torch.equal(published.state_dict()[MOTION_NAMES[part] + dot + rest], fill(key, shape)), key

def basis(d=12, seed=0):
    std = torch.linspace(2, .1, d)
    V = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed)))[0].T
    return LatentPCA(V, std, torch.ones(d), std**2 / (std**2).sum())

def small(pca='own', **kwargs):
    kwargs = dict(hidden=10, n_pca=6, head_width=16, a_std=.3, generator=torch.Generator().manual_seed(1)) | kwargs
    return MotionGenerator(12, basis() if pca == 'own' else pca, **kwargs)

def draw(*shape, seed=2): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

@pytest.mark.parametrize('pca', ['own', None])
@pytest.mark.parametrize('T', [1, 2, 16, 80])
def test_any_length(pca, T):
    g = small(pca)
    out = g(draw(3, 12), g.sample_eps(3, T, torch.Generator()))
    assert out.trajectory.shape == (3, T, 12) and out.eps_hat.shape == (3, T - 1, 12)
    assert torch.equal(out.trajectory[:, 0], draw(3, 12))
    out.trajectory.sum().backward()

@pytest.mark.parametrize('pca', ['own', None])
def test_a_frame_knows_only_earlier_noise(pca):
    g, w1, eps = small(pca), draw(2, 12), draw(2, 9, 12, seed=3)
    other = eps.clone(); other[:, 5] += 1
    a, b = g(w1, eps).trajectory, g(w1, other).trajectory
    torch.testing.assert_close(a[:, :6], b[:, :6])
    assert ((a[:, 6:] - b[:, 6:]).abs().amax((0, 2)) > 1e-5).all()

def test_clips_of_a_batch_are_independent():
    g, w1, eps = small(), draw(4, 12), draw(4, 7, 12, seed=3)
    torch.testing.assert_close(g(w1, eps).trajectory[2:3], g(w1[2:3], eps[2:3]).trajectory)

def test_steps_stay_in_the_basis_and_below_lambda():
    pca, g = basis(), small(a_std=50., lambda_=.4)
    steps = pca.project(g(draw(5, 12), draw(5, 30, 12, seed=3)).trajectory).diff(dim=1).detach()
    assert steps.abs().max() <= .4 + 1e-5 and steps.abs()[..., :6].max() > .39
    assert steps[..., 6:].abs().max() < 1e-4

def test_without_a_basis_the_step_is_linear_and_reaches_everywhere():
    g = small(None)
    h = draw(3, 10)
    torch.testing.assert_close(g.residual(2 * h), 2 * g.residual(h))
    assert torch.linalg.matrix_rank(g(draw(5, 12), draw(5, 30, 12, seed=3)).trajectory.diff(dim=1).reshape(-1, 12)) == 10
    assert g.A.shape == (10, 12) and 'components' not in g.state_dict()

def test_the_basis_is_saved_and_not_trained():
    g = small()
    state = g.state_dict()
    assert torch.equal(state['components'], basis().components[:6]) and torch.equal(state['std'], basis().std[:6])
    assert {'components', 'std'}.isdisjoint(dict(g.named_parameters()))
    other = small(basis(seed=5)); other.load_state_dict(state)
    eps = draw(2, 3, 12)
    assert torch.equal(other(draw(2, 12), eps).trajectory, g(draw(2, 12), eps).trajectory)
    with pytest.raises(RuntimeError): small(None).load_state_dict(state)

def test_initial_weights():
    g = small(hidden=40, a_std=.02, n_pca=12)
    for cell in (g.encoder, g.decoder):
        assert not cell.bias_ih.any() and not cell.bias_hh.any()
        for gate in (*cell.weight_ih.detach().chunk(4), *cell.weight_hh.detach().chunk(4)):
            k = min(gate.shape)
            gram = gate @ gate.T if gate.shape[0] == k else gate.T @ gate
            torch.testing.assert_close(gram, torch.eye(k), atol=1e-5, rtol=0)
    assert abs(float(g.A.detach().std()) / .02 - 1) < .15 and not g.b.any()

def test_seeded_weights_and_noise():
    g = small()
    eps = g.sample_eps(2, 5, torch.Generator().manual_seed(7))
    again = small()
    assert all(torch.equal(a, b) for a, b in zip(g.parameters(), again.parameters()))
    assert torch.equal(eps, again.sample_eps(2, 5, torch.Generator().manual_seed(7))) and eps.shape == (2, 4, 12)

def test_noise_of_another_width():
    g = small(eps_dim=5)
    out = g(draw(2, 12), g.sample_eps(2, 4, torch.Generator()))
    assert out.eps_hat.shape == (2, 3, 5)

@pytest.mark.parametrize('make, message', [
    (lambda: small(n_pca=13), r'n_pca = 13, the basis has 1 to 12'),
    (lambda: small(n_pca=0), r'n_pca = 0'),
    (lambda: MotionGenerator(16, basis(), n_pca=6), r'latent_dim = 16, but the basis has width 12'),
    (lambda: small()(draw(2, 16), draw(2, 3, 12)), r'w1 has shape \(2, 16\), expected \(B, 12\)'),
    (lambda: small()(draw(2, 1, 12), draw(2, 3, 12)), r'w1 has shape \(2, 1, 12\)'),
    (lambda: small()(draw(2, 12), draw(3, 3, 12)), r'eps has shape \(3, 3, 12\), expected \(2, T-1, 12\)'),
    (lambda: small()(draw(2, 12), draw(2, 3, 8)), r'eps has shape \(2, 3, 8\)'),
    (lambda: small()(draw(2, 12), draw(2, 12)), r'eps has shape \(2, 12\)'),
    (lambda: small().sample_eps(2, 0, torch.Generator()), r'n_frames = 0'),
])
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message): make()
