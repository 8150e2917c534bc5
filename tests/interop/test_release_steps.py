"Whole training steps, two rounds of them, against the release's: only the draws are replaced by the recipe's, and the switches say 'as the release'."
import numpy as np
import pytest
import torch

from goldens import BASE, FOLDER, U, fill, rng
from mocogan_hd.method import motion_step
from mocogan_hd.method.frozen_generator import ImageGenerator
from mocogan_hd.method.latent_pca import LatentPCA, fit_latent_pca
from mocogan_hd.method.motion_step import train_step
from mocogan_hd.method.motion_trainer import MotionTrainer, MotionTraining
from mocogan_hd.interop.release_networks import ContrastiveParts, named
from mocogan_hd.method.stylegan2 import Generator

PLAN = { # the recipe's draws, one call of the generator a row: frame t, real reversed, fake reversed; calls of G_M's step and the discriminators' step alternate
    'steps_in': [(5, False, True), (5, False, False), (7, True, False), (2, True, False)],
    'steps_cross': [(7, True, True), (6, True, False), (3, False, False), (7, False, False)]}
RELEASE = dict(n_frames=8, batch_size=2, g_steps=1, fresh_fakes=True, n_pca=384, hidden=384, lambda_=.2, lr=1e-4, ema=0., dv_width=64, dv_layers=3, dv_lr=1e-4,
               penalty='channel', penalty_weight=10., penalty_every=1, di_lr=1e-4, queue=16)
DOMAIN = {'steps_in': dict(condition_on_first=True, image_loss='pair', di_width=64), 'steps_cross': dict(image_loss='contrastive', contrastive_form='release', di_width=96)}

def normal(seed, *shape): return torch.from_numpy(rng(seed).standard_normal(shape).astype(np.float32))

class Recipe:
    "Stands where the draws come from; `draw_fakes` asks for w_1 first, which begins the next call."
    def __init__(self, case, G): self.plan, self.G, self.call, self.views, self.flips = iter(PLAN[case]), G, -1, 0, None
    @property
    def seed(self): return BASE + 1000 + 50*self.call
    def w1(self, n, g):
        self.call, self.views = self.call + 1, 0
        self.frame, *flips = next(self.plan)
        self.flips = iter(flips)
        return self.G.mapping(normal(self.seed, n, 512)).detach()
    def eps(self, n, n_frames, g): return normal(self.seed + 1, n, n_frames - 1, 512)
    def maps(self, n, g): return [normal(self.seed + 10 + i, n, 1, r, r) for i, r in enumerate(self.G.noise_sizes)]
    def rand(self, *size, generator=None): # asked for: real reversed?, fake reversed?, and the penalty's place between real and fake
        if size == ((),): return torch.tensor(0. if next(self.flips) else 1.)
        return torch.from_numpy(rng(self.seed + 2).random(size).astype(np.float32))
    def randint(self, low, high, size, generator=None): return torch.full(size, self.frame)
    def view(self, images, g, **kwargs): # in place of the augmentations: mirrored, plain, mirrored, plain
        self.views += 1
        return images.flip(-1) if self.views % 2 else images

def files(trainer):
    "The networks' tensors as the release's files name them."
    nets = dict(modelR=trainer.nets['G_M'], modelD_3d=trainer.nets['D_V'], modelD_img=trainer.nets['D_I'])
    if trainer.settings.image_loss == 'contrastive': nets['modelD_img'] = ContrastiveParts(trainer.nets['D_I'], trainer.momentum, trainer.queues)
    return {name: {k.removeprefix('module.'): v for k, v in named(net).items()} for name, net in nets.items()}

def two_rounds(case):
    with torch.device('meta'): G = Generator(32)
    G.load_state_dict({k: fill(k, v.shape) for k, v in G.state_dict().items()}, assign=True)
    std = torch.from_numpy(np.linspace(2., .05, 512).astype(np.float32))
    components = torch.from_numpy((rng(BASE + 1).standard_normal((512, 512))/np.sqrt(512)).astype(np.float32))
    trainer = MotionTrainer(ImageGenerator(G), LatentPCA(components, std, torch.zeros(512), std**2/(std**2).sum()), MotionTraining(steps=2, **RELEASE, **DOMAIN[case]))
    with torch.no_grad():
        for state in files(trainer).values():
            for k, v in state.items(): v.copy_(fill(k, v.shape).view(v.shape))
    before = {f: {k: v.detach().clone() for k, v in state.items()} for f, state in files(trainer).items()}
    losses = []
    with pytest.MonkeyPatch.context() as patch:
        recipe = Recipe(case, G)
        for where, name, draw in [(trainer.G_I, 'sample_latents', recipe.w1), (trainer.nets['G_M'], 'sample_eps', recipe.eps), (trainer.G_I, 'sample_noise', recipe.maps),
                                  (torch, 'rand', recipe.rand), (torch, 'randint', recipe.randint), (motion_step, 'random_views', recipe.view)]: patch.setattr(where, name, draw)
        for r in range(2):
            losses.append(train_step(trainer, U(300 + r, 2, 8, 3, 32, 32))[0])
            if r == 0: # each network has stepped once, and keeps the gradient of it
                place = {p.data_ptr(): p.grad for net in trainer.nets.values() for p in net.parameters()}
                norms = {f: {k: float(torch.as_tensor(0. if (g := place[v.data_ptr()]) is None else g).double().norm()) for k, v in state.items() if v.data_ptr() in place}
                         for f, state in files(trainer).items()}
    assert next(recipe.plan, None) is None
    moved = {f: {k: float((v.detach().double() - before[f][k].double()).norm()) for k, v in state.items() if v.is_floating_point()} for f, state in files(trainer).items()}
    return trainer, losses, norms, moved

@pytest.fixture(scope='module', params=list(PLAN))
def run(request):
    with np.load(FOLDER/f'{request.param}.npz') as arrays: golden = {k: arrays[k] for k in arrays.files}
    return request.param, two_rounds(request.param), golden, dict(zip(golden['names'].tolist(), golden['values'].tolist()))

def test_losses(run):
    case, (_, losses, _, _), golden, _ = run
    for ours, G, D in zip(losses, golden['G_losses'][:, 0], golden['D_losses']):
        half = .5 if case == 'steps_in' else 1. # the release halves the relativistic loss, not the hinge loss
        want = dict(G_I=G[0], G_V=G[1], L_m=-G[-1], D_I=half*(D[0] + D[1]), D_V=.5*(D[2] + D[3]))
        if case == 'steps_cross': want |= dict(L_f=-G[2], L_contr=D[4])
        assert set(ours) == {*want, 'penalty'}
        for k in want: assert abs(ours[k] - want[k]) <= 1e-3*max(abs(want[k]), 1), (k, ours[k], want[k])

def dead(key, case):
    "Biases without a gradient: before an instance norm; and the last one where only differences of scores count."
    return any(f'layer{i}.0.bias' in key for i in (1, 2, 3)) or 'layer4.0.bias' in key

def agree(have, numbers, prefix, mark, case, count):
    want = {k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix) and not dead(k, case)}
    assert len(want) == count
    for k, v in want.items(): assert abs(have[k] - v) <= mark*v + 1e-9, (prefix, k, have[k], v)

def test_first_gradients(run):
    case, (_, _, norms, _), _, numbers = run
    agree(norms['modelR'], numbers, 'first_G_gradnorm/', 1e-2, case, 14)
    agree(norms['modelD_3d'], numbers, 'first_D_gradnorm/3d/', 1e-2, case, 12)
    agree(norms['modelD_img'], numbers, 'first_D_gradnorm/img/', 1e-2, case, 12 if case == 'steps_in' else 28)

def test_how_far_every_parameter_moved(run):
    case, (_, _, _, moved), _, numbers = run
    agree(moved['modelR'], numbers, 'moved/modelR/', 2e-2, case, 14)
    agree(moved['modelD_3d'], numbers, 'moved/modelD_3d/', 2e-2, case, 12)
    agree(moved['modelD_img'], numbers, 'moved/modelD_img/', 2e-2, case, 12 if case == 'steps_in' else 28)

def test_queues_and_momentum_encoder(run):
    case, (trainer, *_), golden, numbers = run
    if case == 'steps_in': return
    state, unit = files(trainer)['modelD_img'], torch.nn.functional.normalize
    torch.testing.assert_close(unit(state['q_real'], dim=1), unit(torch.from_numpy(golden['q_real']), dim=1), atol=1e-4, rtol=0) # the release keeps them unnormalised
    assert int(state['q_ptr']) == numbers['q_ptr'] == 4
    sums = {k.removeprefix('ema_sum/'): v for k, v in numbers.items() if k.startswith('ema_sum/')}
    assert len(sums) == 6
    for k, v in sums.items(): assert abs(float(state[k].double().sum()) - v) <= 1e-3*abs(v), k

def test_the_switch_changes_the_contrastive_step_and_nothing_else():
    def step(form):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            G_I = ImageGenerator(Generator(16, 24, 24, 2, (16, 16, 16)))
        trainer = MotionTrainer(G_I, fit_latent_pca(G_I, 500), MotionTraining(batch_size=2, n_frames=4, n_pca=8, hidden=16, dv_width=4, dv_layers=1, di_width=4, queue=16, temperature=1., contrastive_form=form)) # at .07 a logit of 0 is lost in rounding
        losses, _ = train_step(trainer, U(300, 2, 4, 3, 16, 16))
        return trainer, losses
    (paper, a), (release, b) = step('paper'), step('release')
    assert {k for k in a if a[k] != b[k]} == {'D_I', 'L_contr'}
    for trainer, same in ((paper, True), (release, False)): # the release's momentum copy keeps its own vectors of spectral norm
        assert torch.equal(trainer.momentum.encoder.shared.weight_u, trainer.nets['D_I'].shared.weight_u) == same

def test_unknown_form():
    with pytest.raises(ValueError, match="contrastive_form='mine' is unknown"): MotionTraining(contrastive_form='mine')
