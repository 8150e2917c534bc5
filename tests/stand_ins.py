"Small networks that stand in for trained ones."
import torch
from mocogan_hd.core.basics import seeded
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator

class Linear:
    "An image generator of 4 x 4 pixels, linear in w, plus one noise map."
    latent_dim, resolution, fingerprint = 6, 4, 'linear'
    def __init__(self):
        self.weight, self.largest = torch.randn(6, 48, generator=seeded(0)), 0
    def sample_latents(self, n, generator): return torch.randn(n, 6, generator=seeded(generator)) * torch.linspace(2, .5, 6) + 1
    def sample_noise(self, n, generator): return [torch.randn(n, 1, 4, 4, generator=seeded(generator))]
    def truncate(self, w, psi): return 1 + psi * (w - 1)
    def synthesize(self, w, noise=None):
        frames = w.shape[:-1].numel()
        self.largest = max(self.largest, frames)
        images = (w @ self.weight).reshape(-1, 3, 4, 4)
        if noise: images = images + noise[0].repeat_interleave(frames // len(noise[0]), 0)
        return images.reshape(*w.shape[:-1], 3, 4, 4)

def linear_models():
    "The linear image generator, a motion generator for it, and its basis."
    g = Linear()
    pca = fit_latent_pca(g, 500)
    return g, MotionGenerator(6, pca, hidden=8, n_pca=4, a_std=.5, head_width=8, generator=seeded(1)), pca
