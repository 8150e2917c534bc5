"""Ten steps of both trainings, by as many processes as start this: what tests/test_processes.py compares.

    torchrun --standalone --nproc_per_node 2 tests/ten_steps.py OUT.pt
"""
import sys
from dataclasses import replace
import torch
from mocogan_hd.core.basics import seeded, sub_seed
from mocogan_hd.method.frozen_generator import ImageGenerator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_step import train_step
from mocogan_hd.method.motion_trainer import MotionTrainer, MotionTraining
from mocogan_hd.method.stylegan2 import Generator
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.method.image_training import ImageTrainer, ImageTraining

FULL = MotionTraining(batch_size=4, n_frames=5, steps=10, n_pca=4, hidden=8, dv_width=4, dv_layers=1, di_width=2, queue=20, penalty_every=4, g_steps=2)
FORMS = dict(full=FULL, release=replace(FULL, condition_on_first=True, image_loss='pair', penalty='channel', penalty_weight=10., penalty_every=1, fresh_fakes=True),
             chunks=replace(FULL, chunk=2, video_resolution=16))


def small_generator(resolution):
    torch.manual_seed(0)
    return ImageGenerator(Generator(resolution, 10, 10, 1, (8,)*(resolution.bit_length() - 2)))


def motion(settings):
    generator = small_generator(32 if settings.video_resolution else 16)
    trainer, rows = MotionTrainer(generator, fit_latent_pca(generator, 500), settings), []
    for step in range(10):
        real = ToyFaces('people', 16).clips(4, 5, seeded(sub_seed(0, 'data', step)), shard=trainer.shard)
        rows.append(train_step(trainer, real)[0])
    return trainer.shard, dict(losses=rows, queues=trainer.queues.state_dict() if hasattr(trainer, 'queues') else {}, weights=trainer.nets['G_M'].state_dict())


def images():
    trainer = ImageTrainer(ImageTraining(resolution=16, latent_dim=8, n_mapping=2, channels=(8, 8, 8), d_channels=(8, 8, 8), batch_size=8, n_images=800, r1_every=4,
                                         augment=('colour', 'translation', 'cutout')))
    rows = [trainer.train_step(ToyFaces('people', 16).images(8, sub_seed(0, 'data', step), trainer.shard)) for step in range(10)]
    return trainer.shard, dict(losses=rows, queues={}, weights=trainer.G.state_dict())


if __name__ == '__main__':
    torch.set_num_threads(1)
    results = {name: motion(settings) for name, settings in FORMS.items()} | {'images': images()}
    if results['images'][0].rank == 0: torch.save({name: dict(result, processes=shard.world_size) for name, (shard, result) in results.items()}, sys.argv[1])
