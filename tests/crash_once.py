"""A training whose second process dies once: what tests/test_processes.py restarts.

    torchrun --standalone --nproc_per_node 2 --max_restarts 1 tests/crash_once.py FOLDER
"""
import os, signal, sys, time
from pathlib import Path
import torch
from mocogan_hd.core.processes import this_shard
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.toy_faces import ToyFaces
from mocogan_hd.method.motion_training import train_motion_generator
from ten_steps import FULL, small_generator


class Mortal(ToyFaces):
    "Gives real clips, but in the second of two processes kills it at the eighth batch, once."
    calls = 0
    def clips(self, *args, **kwargs):
        self.calls += 1
        if self.calls == 8 and this_shard().rank == 1 and not (mark := Path(sys.argv[1])/'died').exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().clips(*args, **kwargs)


if __name__ == '__main__':
    torch.set_num_threads(1)
    if (Path(sys.argv[1])/'died').exists() and os.environ['RANK'] == '1': time.sleep(5) # comes late: the first must not meet the address of the dead one
    generator = small_generator(16)
    for report in train_motion_generator(Mortal('people', 16), generator, fit_latent_pca(generator, 500), FULL, sys.argv[1], save_every=3): pass
    if this_shard().rank == 0: torch.save(dict(steps=report.losses.step.tolist(), clips=report.clips), Path(sys.argv[1])/'result.pt')
