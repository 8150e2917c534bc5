"""The paper's eight experiments, as far as a processor goes: settings, shapes and parameter counts of everything at full size,
whole training steps at 128 and 256 px. Those of 512 and 1024 px are run by hand: results/full_size."""
import functools, json, math, subprocess, sys
from dataclasses import replace
from pathlib import Path
import pytest, torch
from nowhere import MetaTrainer, without_initial_values
from mocogan_hd.core.basics import seeded
from mocogan_hd.experiments.presets import A_NUMBER_OF_VIDEOS, PUBLISHED, experiment
from mocogan_hd.method.frozen_generator import ImageGenerator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_step import draw_fakes, train_step, video_input
from mocogan_hd.method.motion_trainer import MotionTrainer
from mocogan_hd.method.stylegan2 import Generator

root = Path(__file__).parents[2]
in_domain = ('ucf101', 'faceforensics', 'sky_timelapse')
both = [(p, v) for p in PUBLISHED for v in ('full', 'release')]
def parameters(net): return sum(p.numel() for p in net.parameters())

# --- settings

#   preset           side  batch  lambda_f  epochs  videos (None: not published)
TABLE = {
    'ucf101':        (256, 16, 1, 100, 13_320),
    'faceforensics': (256, 16, 1, 800, 704),
    'sky_timelapse': (128, 32, 1, 200, None),
    'ffhq_vox':      (256, 16, 1, 25, None),
    'ffhq1024_vox':  (1024, 16, 5, 30, None),
    'afhq_vox':      (512, 8, 1, 100, None),
    'anime_vox':     (512, 8, 1, 100, None),
    'church_tlvdb':  (256, 16, 1, 200, None),
}

@pytest.mark.parametrize('preset', PUBLISHED)
def test_what_the_table_of_the_release_says(preset):
    side, batch, lambda_f, epochs, n_videos = TABLE[preset]
    e = experiment(preset)
    m = e.motion
    assert (e.image.resolution, m.batch_size, m.lambda_f, e.n_codes) == (side, batch, lambda_f, 1_000_000)
    assert abs(m.steps*batch - epochs*(n_videos or A_NUMBER_OF_VIDEOS)) < batch and e.epochs == (None if n_videos else epochs)
    assert (e.images == e.videos) == (preset in in_domain)

@pytest.mark.parametrize('preset', PUBLISHED)
def test_published_settings_of_all(preset):
    m = experiment(preset).motion
    expected = dict(n_frames=16, frame_stride=2, g_steps=5, fresh_fakes=True, video_resolution=128, n_pca=384, hidden=384, lambda_=.2, a_std=.02, lambda_m=1, lambda_contr=2,
                    lr=1e-4, dv_lr=1e-4, di_lr=1e-4, ema=0, dv_width=64, dv_layers=3, dv_norm='instance', penalty='channel', penalty_weight=10, penalty_every=1, reverse=.5,
                    image_loss='contrastive', di_width=96, queue=4096, temperature=.07, condition_on_first=False, precision='float32')
    assert {k: getattr(m, k) for k in expected} == expected

@pytest.mark.parametrize('preset', PUBLISHED)
def test_the_release_trains_its_own_form(preset):
    m, full = experiment(preset, 'release').motion, experiment(preset).motion
    if preset in in_domain: assert (m.image_loss, m.condition_on_first, m.di_width, m.lambda_f, m.lambda_contr) == ('pair', True, 64, 0, 0)
    else: assert replace(m, contrastive_form='paper') == full and m.contrastive_form == 'release'

# --- shapes and counts, on the meta device

@functools.cache
def on_meta(preset, variant):
    "two clips and one generator step, which change no shape else"
    e = experiment(preset, variant, overrides={'motion.batch_size': 2, 'motion.g_steps': 1})
    return e, MetaTrainer(e)

@pytest.mark.parametrize('preset, variant', both)
def test_shapes_of_all_stages(preset, variant):
    e, trainer = on_meta(preset, variant)
    paired = e.motion.condition_on_first
    side = e.image.resolution
    with torch.no_grad(): assert trainer.G_I.synthesize(trainer.G_I.sample_latents(2, 0)).shape == (2, 3, side, side)
    fakes = draw_fakes(trainer, seeded(0))
    assert fakes.trajectory.shape == (2, 16, 512) and fakes.eps.shape == fakes.eps_hat.shape == (2, 15, 512)
    assert fakes.clips.shape == (2, 16, 3, 128, 128) and fakes.first.shape == fakes.later.shape == (2, 3, 128, 128)
    seen = video_input(fakes.clips, e.motion, False)
    assert seen.shape == ((2, 15, 6, 128, 128) if paired else (2, 16, 3, 128, 128))
    # 16 frames: 9, 5, 3, 4, 5 by the layers; 15: 8, 5, 3, 4, 5; 128 px: 65, 33, 17, 18, 19; 64 px: 33, 17, 9, 10, 11
    assert [tuple(x.shape) for x in trainer.nets['D_V'](seen)] == [(2, 5, 19, 19), (2, 5, 11, 11)]
    if paired: assert [tuple(x.shape) for x in trainer.nets['D_I'](fakes.first, fakes.later)] == [(2, 19, 19), (2, 11, 11)]
    else:
        assert [tuple(x.shape) for x in trainer.nets['D_I'](fakes.later)] == [(2, 1), (2, 256)]
        assert trainer.queues['first'].rows.shape == (4096, 256)
    losses, _ = train_step(trainer, torch.empty(2, 16, 3, 128, 128))
    assert set(losses) == ({'G_V', 'G_I', 'L_m', 'D_V', 'penalty', 'D_I'} | (set() if paired else {'L_f', 'L_contr'}))

# of the network at its published widths (config F), and the entries of its file, of which the buffers are blur kernels and noise maps
GENERATORS = {128: 117, 256: 135, 512: 153, 1024: 171}

def counted_by_hand(side):
    "parameters of a StyleGAN2 of config F from its definition: 8 mapping layers, a constant, two styled convolutions a resolution (one at 4), an RGB layer each"
    width = lambda r: min(512, 2**15//r)
    style = lambda n: 512*n + n # the affine map from w
    conv = lambda a, b: 9*a*b + style(a) + b + 1 # weights, style, bias, noise strength
    rgb = lambda a: 3*a + style(a) + 3
    sides = [2**k for k in range(3, int(math.log2(side)) + 1)]
    return 8*(512*512 + 512) + 16*512 + conv(512, 512) + rgb(512) + sum(conv(width(r//2), width(r)) + conv(width(r), width(r)) + rgb(width(r)) for r in sides)

@pytest.mark.parametrize('preset, variant', both)
def test_parameter_counts_are_the_published_ones(preset, variant):
    e, trainer = on_meta(preset, variant)
    pair = e.motion.image_loss == 'pair'
    assert parameters(trainer.nets['G_M']) == 3_562_880
    assert parameters(trainer.nets['D_V']) == (22_136_706 if pair else 22_112_130)
    assert parameters(trainer.nets['D_I']) == (5_535_618 if pair else 86_958_625)
    side, G = e.image.resolution, trainer.G_I.network
    assert parameters(G) == counted_by_hand(side) and len(G.state_dict()) == GENERATORS[side]
    if side == 1024: assert parameters(G) == 30_370_060 # as published with StyleGAN2

def test_without_a_basis_every_direction_of_w_is_moved():
    trainer = on_meta('ucf101', 'no_pca')[1]
    assert trainer.nets['G_M'].A.shape == (384, 512)
    assert draw_fakes(trainer, seeded(0)).trajectory.shape == (2, 16, 512)

# --- whole steps: every network at its full size with random weights, 16 frames, batch 1, one generator step instead of five

@pytest.mark.parametrize('preset, variant, chunk', [('sky_timelapse', 'full', 8), ('sky_timelapse', 'release', 8), ('ucf101', 'full', 5)])
def test_one_whole_step(preset, variant, chunk):
    e = experiment(preset, variant, overrides={'motion.batch_size': 1, 'motion.g_steps': 1, 'motion.chunk': chunk})
    with torch.random.fork_rng(devices=[]), without_initial_values('orthogonal'): # torch's own initial values do as well, and take no half minute
        torch.manual_seed(0)
        G_I = ImageGenerator(Generator(e.image.resolution))
        trainer = MotionTrainer(G_I, fit_latent_pca(G_I, 1_000), e.motion)
    first = lambda net: next(net.parameters()).detach().clone() # a head's bias would not do: relativistic losses do not see it
    before, frozen = {k: first(n) for k, n in trainer.nets.items()}, G_I.network.convs[-1].conv.weight.clone()
    losses, fakes = train_step(trainer, torch.rand(1, 16, 3, 128, 128, generator=seeded(1))*2 - 1)
    assert all(map(math.isfinite, losses.values())) and fakes.clips.shape == (1, 16, 3, 128, 128) and fakes.clips.std() > .1
    assert set(losses) == {'G_V', 'G_I', 'L_m', 'D_V', 'penalty', 'D_I'} | (set() if variant == 'release' else {'L_f', 'L_contr'})
    assert not any(first(n).equal(before[k]) for k, n in trainer.nets.items()) # all players moved
    assert G_I.network.convs[-1].conv.weight.equal(frozen) and all(p.grad is None for p in G_I.parameters())

# --- what it would cost

def test_the_cost_notebook_counts_and_says_that_nothing_was_run(tmp_path):
    r = subprocess.run([sys.executable, 'tools/run_notebook.py', 'nbs/3_experiments/audits/paper_cost.ipynb', tmp_path/'ucf101.ipynb', 'preset=ucf101', 'variant=release',
                        'every=false', f'results={tmp_path}'], cwd=root, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    assert 'NOT RUN HERE' in r.stdout
    record = json.loads((tmp_path/'ucf101-release.json').read_text())
    assert record['run_here'] is False and record['parameters']['D_I'] == 5_535_618
    frozen = sum(v for k, v in record['pflop'].items() if k.startswith('G_I'))
    assert .8 < frozen/record['pflop_a_step'] < 1 # the frozen generator is where the work is
    assert record['memory_gb']['1'] < record['memory_gb']['4'] < record['memory_gb']['all']
