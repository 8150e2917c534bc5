"""Motion training on torch's meta device: shapes of everything, numbers of nothing. Full size costs a second."""
import contextlib
from unittest import mock
import torch
from mocogan_hd.method.frozen_generator import ImageGenerator
from mocogan_hd.method.latent_pca import LatentPCA
from mocogan_hd.method.motion_trainer import MotionTrainer
from mocogan_hd.method.stylegan2 import Generator

class Nowhere:
    "stands in for the accelerator"
    device = torch.device('meta')

@contextlib.contextmanager
def without_initial_values(*names):
    with contextlib.ExitStack() as stack:
        for n in names: stack.enter_context(mock.patch(f'torch.nn.init.{n}_', lambda tensor, *_, **__: tensor))
        yield

class MetaTrainer(MotionTrainer):
    "the trainer of an experiment, which takes whole steps without looking at the losses"
    def __init__(self, e):
        adam, i = torch.optim.Adam, e.image
        with torch.device('meta'): G_I = ImageGenerator(Generator(i.resolution, i.latent_dim, i.latent_dim, i.n_mapping, i.channels))
        d = G_I.latent_dim
        with (without_initial_values('kaiming_uniform', 'uniform', 'normal', 'orthogonal'), mock.patch('mocogan_hd.method.motion_trainer.Accelerator', Nowhere),
              mock.patch('torch.amp.GradScaler', lambda *_, **__: None), mock.patch('torch.optim.Adam', lambda *a, fused=None, **k: adam(*a, foreach=True, **k))):
            super().__init__(G_I, LatentPCA(torch.zeros(d, d), torch.ones(d), torch.zeros(d), torch.zeros(d)), e.motion)
    def judge(self, name, *inputs): return self.nets[name](*inputs)
    def optimizer_step(self, terms, player):
        assert all(v.shape == () for v in terms.values())
        self.opts[player].zero_grad()
        sum(terms.values()).backward()
        self.opts[player].step()
        return {k: v.shape for k, v in terms.items()}
