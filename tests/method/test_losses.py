import pytest
import torch

from goldens import BASE, N, U, close, filled, golden, patch_key, rng
from mocogan_hd.method.losses import (
    feature_matching, gradient_penalty, hinge_d, hinge_g, info_nce, mutual_information, r1_penalty, relativistic_d,
    relativistic_g, relativistic_term)
from mocogan_hd.method.video_discriminator import VideoDiscriminator

@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield

def test_relativistic_agrees_with_the_release():
    g = golden('losses')
    shapes = (2, 1, 5, 6, 6), (2, 1, 5, 4, 4)
    real = [N(60 + i, *s).double().requires_grad_() for i, s in enumerate(shapes)]
    fake = [N(62 + i, *s).double().requires_grad_() for i, s in enumerate(shapes)]
    close(relativistic_term(real, fake, 1).detach(), g['ra_real_fake_true'], 0)
    close(relativistic_term(fake, real, 0).detach(), g['ra_fake_real_false'], 0)
    close(relativistic_term(fake, real, 1).detach(), g['ra_fake_real_true'], 0)
    close(relativistic_term(real, fake, 0).detach(), g['ra_real_fake_false'], 0)
    close(relativistic_g(real, fake).detach(), g['ra_G'], 0)
    loss = relativistic_d(real, fake)
    close(loss.detach(), g['ra_D'], 0)
    loss.backward()
    close(real[0].grad, g['ra_D_grad_real0'], 6e-10)
    close(fake[1].grad, g['ra_D_grad_fake1'], 1.4e-9)

def test_hinge_agrees_with_the_release():
    g, fake, real = golden('losses'), N(64, 6, 1).double(), N(65, 6, 1).double()
    close(hinge_d(real, fake), g['hinge_dis_real'] + g['hinge_dis_fake'], 0)
    close(hinge_g(fake), g['hinge_gen'], 0)

def test_cosines_agree_with_the_release():
    g = golden('losses') # the release's losses are minus the cosine
    close(-mutual_information(N(66, 30, 512).double(), N(67, 30, 512).double()), g['mutual'], 0)
    first = N(68, 4, 256).double().requires_grad_()
    loss = -feature_matching(first, N(69, 4, 256).double())
    loss.backward()
    close(loss.detach(), g['match'], 0)
    close(first.grad, g['match_grad'], 0)

def test_info_nce_agrees_with_the_release():
    g = golden('losses')
    b, length, used = g['contrastive_dims'].int().tolist()
    a, c = N(72, b, 256), N(73, b, 256)
    views = [a, a + 0.7 * N(74, b, 256), c, c + 0.7 * N(75, b, 256)]
    views = [v.double().requires_grad_() for v in views]
    queues = [N(70 + i, length, 256)[:used].double() for i in (0, 1)]
    loss = sum(info_nce(*views[2 * i:2 * i + 2], queues[i], self_logit_zero=True) for i in (0, 1))
    close(loss.detach(), g['contrastive'], 4.8e-8)
    loss.backward()
    for i, v in enumerate(views): # gradients are about 1e-5: compare relatively
        torch.testing.assert_close(v.grad, g[f'contrastive_grad{i}'].double(), rtol=1e-4, atol=1e-10)

@pytest.fixture(scope='module')
def penalised():
    d = filled(VideoDiscriminator(6), patch_key())
    alpha = torch.from_numpy(rng(BASE + 80).random((2, 1, 1, 1, 1)))
    real, fake = (U(n, 2, 6, 15, 32, 32).transpose(1, 2) for n in (81, 82))
    penalty = gradient_penalty(d, real, fake, alpha.float())
    penalty.backward()
    return d, penalty.detach(), alpha

def test_gradient_penalty_agrees_with_the_release(penalised):
    d, penalty, alpha = penalised
    g = golden('gp')
    close(alpha, g['alpha'], 3e-8) # stored in float32
    close(penalty, g['gp'], 4e-7)
    checked = 0
    for name, p in d.named_parameters():
        expected = g[f'gradnorm/{patch_key()(name)}'].item()
        actual = 0.0 if p.grad is None else p.grad.double().norm().item()
        if expected < 1e-9: assert actual < 1e-4, name # a bias in front of an instance norm, or the last one: no gradient but rounding
        else: assert abs(actual / expected - 1) < 1e-3, (name, actual, expected); checked += 1
    assert checked == 12

@pytest.mark.parametrize('zero', [True, False])
def test_info_nce_is_the_formula(zero):
    a, b, queue = (torch.randn(n, 5, dtype=torch.float64) for n in (3, 3, 7))
    unit = lambda x: x / x.norm(dim=1, keepdim=True)
    views, negatives, expected = unit(torch.cat([a, b])), unit(queue), 0.0
    for i in range(6):
        candidates = torch.cat([views, negatives]) @ views[i] / 0.2
        total = candidates.exp().sum() - candidates[i].exp() + (1 if zero else 0)
        expected += -(candidates[(i + 3) % 6] - total.log()) / 6
    torch.testing.assert_close(info_nce(a, b, queue, temperature=0.2, self_logit_zero=zero), expected)

def test_info_nce_negatives():
    with pytest.raises(ValueError, match='negatives'): info_nce(torch.randn(1, 4), torch.randn(1, 4))
    queue = torch.randn(5, 4, requires_grad=True)
    a = torch.randn(1, 4, requires_grad=True)
    info_nce(a, torch.randn(1, 4), queue).backward()
    assert queue.grad is None and a.grad.isfinite().all()

def test_scales_must_match():
    one, two = torch.zeros(2), [torch.zeros(2)] * 2
    for loss in (relativistic_d, relativistic_g, hinge_d):
        with pytest.raises(ValueError): loss(one, two)

def test_relativistic_means_carry_gradient():
    real, fake = torch.randn(4, requires_grad=True), torch.randn(4, requires_grad=True)
    relativistic_g(real.detach(), fake).backward()
    r, f = real.detach(), fake.detach()
    expected = (f - r.mean() - 1) / 4 - (r - f.mean()).sum() / 4 / 4
    torch.testing.assert_close(fake.grad, expected)

def test_one_sided_is_never_larger_and_images_work():
    d = lambda x: [x.square().sum(-3), 0.01 * x[:, 0]]
    real, fake, alpha = torch.randn(3, 3, 5, 5), torch.randn(3, 3, 5, 5), torch.rand(3, 1, 1, 1)
    two, one = gradient_penalty(d, real, fake, alpha), gradient_penalty(d, real, fake, alpha, one_sided=True)
    between = alpha * real + (1 - alpha) * fake
    slope = 2 * between.norm(dim=1)
    torch.testing.assert_close(two, 5 * ((slope - 1).square().mean() + 0.99**2))
    torch.testing.assert_close(one, 5 * (slope - 1).relu().square().mean())

def test_penalties_train_the_discriminator_and_stay_finite_at_zero_slope():
    d = VideoDiscriminator(width=2, n_layers=1, norm=None).double()
    for p in d.parameters(): torch.nn.init.zeros_(p)
    clip = torch.randn(2, 3, 3, 8, 8, dtype=torch.float64)
    penalty = gradient_penalty(d, clip, -clip, torch.full((2, 1, 1, 1, 1), 0.3))
    penalty.backward()
    assert penalty.item() == pytest.approx(10) and all(p.grad is None or p.grad.isfinite().all() for p in d.parameters())
    d = VideoDiscriminator(width=2, n_layers=1).double()
    clip.requires_grad_()
    penalty = r1_penalty(d(clip), clip, gamma=2)
    penalty.backward()
    assert penalty.dtype == torch.float64 and d.scales[1].layers[0][0].weight.grad.abs().sum() > 0

def test_r1_is_the_formula_for_score_maps():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    maps = [x[:, 0].square(), 3 * x[:, 1, :2]]
    expected = 0.5 * 0.7 * ((2 * x[:, 0].detach() / 16).square().sum((1, 2)) + 8 * (3 / 8)**2).mean()
    torch.testing.assert_close(r1_penalty(maps, x, gamma=0.7).detach(), expected)

def test_bad_shapes():
    with pytest.raises(ValueError, match='expected the same'): gradient_penalty(lambda x: x, torch.randn(2, 3, 4, 4), torch.randn(1, 3, 4, 4), torch.rand(2, 1, 1, 1))
    with pytest.raises(ValueError, match='expected the same'): mutual_information(torch.randn(2, 3), torch.randn(2, 4))
    with pytest.raises(ValueError, match='require grad'): r1_penalty(torch.randn(2), torch.randn(2, 3))
