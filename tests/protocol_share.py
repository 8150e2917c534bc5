"""One comparison, by as many processes as start this: what tests/test_protocols.py compares.

    torchrun --standalone --nproc_per_node 2 tests/protocol_share.py OUT.json
"""
import sys
import torch
from torch import nn
from accelerate import Accelerator
from mocogan_hd.core.basics import save_json, seeded
from mocogan_hd.core.processes import this_shard
from mocogan_hd.interop.protocols import Generated, compare
from mocogan_hd.method.toy_faces import ToyFaces


class Pixels(nn.Module):
    "Clips as their small pixels; a network whose weights nobody needs."
    kind, takes, width, sha256 = 'pixels', 'clips', 48, 'none'
    def forward(self, clips): return nn.functional.adaptive_avg_pool2d(clips.mean(1), 4).flatten(1)


if __name__ == '__main__':
    torch.set_num_threads(1)
    Accelerator(cpu=True)
    faces = ToyFaces('people', 16)
    fake = Generated(lambda pairs: (faces.clips(1, 4, 9_000 + i, 2) for i, _ in pairs), 2, 'faces')
    results = [compare('frechet_pixels_101_4f_step2_16px', faces, fake, Pixels(), batch_size=7) for _ in range(2)]
    if this_shard().rank == 0: save_json([dict(r.metric.row(), processes=r.record['processes'], cached=r.record['real_from_cache']) for r in results], sys.argv[1])
