"One flipped bit in any file that a later step reads is noticed, and the file is named."
import json, random, re
from types import SimpleNamespace
import pytest, torch
from mocogan_hd.core.files import read_tensors, write_tensors
from mocogan_hd.evaluation.feature_networks import FactorRegressor, load_feature_network, save_feature_network
from mocogan_hd.evaluation.statistics import Moments
from mocogan_hd.experiments.many_processes import load_run_features
from mocogan_hd.experiments.records import load_trajectories, save_trajectories
from mocogan_hd.interop.mobile_stylegan import MobileStyleGAN
from mocogan_hd.interop.preview import fit_preview, load_preview, save_preview
from mocogan_hd.method.frozen_generator import ImageGenerator, load_image_generator, save_image_generator, shipped
from mocogan_hd.method.latent_pca import LatentPCA, fit_latent_pca
from mocogan_hd.method.motion_trainer import MotionTrainer, MotionTraining
from mocogan_hd.method.motion_training import load_motion_generator, save_motion_generator

SMALL = MotionTraining(n_frames=6, n_pca=8, hidden=8, dv_width=4, dv_layers=1, di_width=4, queue=16)

@pytest.fixture(scope='module')
def generator():
    torch.manual_seed(0)
    return ImageGenerator(MobileStyleGAN(16, (16, 16, 8), 2))

def image(g, path):
    save_image_generator(g.network, path, half=False)
    return lambda: load_image_generator(path)

def pca(g, path):
    fit_latent_pca(g, 200).save(path)
    return lambda: LatentPCA.load(path, g)

def motion(g, path):
    save_motion_generator(MotionTrainer(g, fit_latent_pca(g, 200), SMALL), path)
    return lambda: load_motion_generator(path, g)

def factors(g, path):
    save_feature_network(FactorRegressor('people', 16), path)
    return lambda: load_feature_network(path)

def moments(g, path):
    m = Moments(4)
    m.add(torch.randn(50, 4), range(50))
    m.save(path, dict(protocol='x'))
    return lambda: Moments.load(path)

def trajectories(g, path):
    save_trajectories(torch.randn(3, 4, 16), path)
    return lambda: load_trajectories(path)

def preview(g, path):
    save_preview(fit_preview(g, 8, 8, 2), path, g)
    return lambda: load_preview(path, g)

def features(g, path):
    write_tensors({'clips.features': torch.randn(2, 3, 4), 'clips.content': torch.randn(2, 3, 1), 'clips.motion': torch.randn(2, 3, 1)}, path)
    return lambda: load_run_features(path)

FILES = [image, pca, motion, factors, moments, trajectories, preview, features]

@pytest.mark.parametrize('made', FILES, ids=[f.__name__ for f in FILES])
def test_a_flipped_bit_is_noticed(generator, tmp_path, made):
    "Twelve bits anywhere in the numbers, and eight in the header: an error with the file's name, or what was written."
    path = tmp_path/'file.safetensors'
    read, rng = made(generator, path), random.Random(0)
    read()
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], 'little')
    for place in [rng.randrange(start, len(whole)) for _ in range(12)] + [rng.randrange(8, start) for _ in range(8)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try: read()
        except ValueError as e: assert str(path) in str(e)
        else: assert place < start # only a letter of the header that nobody reads, such as a blank, may go unseen

@pytest.mark.parametrize('made', FILES, ids=[f.__name__ for f in FILES])
@pytest.mark.parametrize('share', [0, .01, .5, .99])
def test_a_file_that_was_cut_is_noticed(generator, tmp_path, made, share):
    path = tmp_path/'file.safetensors'
    read = made(generator, path)
    path.write_bytes(path.read_bytes()[:int(share*path.stat().st_size)])
    with pytest.raises(ValueError, match=re.escape(str(path))): read()

@pytest.mark.parametrize('name', ['toy_faces', 'toy_faces_motion', 'ffhq_heads_motion'])
def test_shipped_files_carry_their_checksum(name, tmp_path):
    damaged = bytearray(shipped(name).read_bytes())
    damaged[-5] ^= 4
    (tmp_path/'a.safetensors').write_bytes(damaged)
    with pytest.raises(ValueError, match='damaged'): read_tensors(tmp_path/'a.safetensors')
