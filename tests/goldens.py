"Deterministic fills and inputs of the golden data (see goldens/README.md)."
import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / 'goldens'
BASE = 1000

def layout(name):
    "Names, shapes and types of one of the release's files, as measured."
    return {k: (tuple(shape), dtype) for k, shape, dtype in json.loads((FOLDER / 'layouts.json').read_text())[name]}

def golden(name):
    "The arrays of a case as tensors."
    with np.load(FOLDER / f'{name}.npz') as arrays: return {k: torch.from_numpy(arrays[k]) for k in arrays.files}

def rng(seed): return np.random.Generator(np.random.PCG64(seed))
def N(n, *shape): return torch.from_numpy(rng(BASE + n).standard_normal(shape).astype(np.float32))
def U(n, *shape): return torch.from_numpy(rng(BASE + n).uniform(-1, 1, shape).astype(np.float32))

GENERATOR = [ # how much of the normal draw, and what is added, by the key's beginning and end
    ('style.', '.weight', 100, 0), ('style.', '.bias', 10, 0), ('input.input', '', 1, 0), ('', 'modulation.weight', .5, 0), ('', 'modulation.bias', .1, 1),
    ('', 'noise.weight', .5, 0), ('noises.', '', 1, 0), ('', 'activate.bias', .1, 0), ('to_rgb', '.bias', .1, 0), ('to_rgb', 'conv.weight', .5, 0),
    ('', '.conv.weight', 1, 0)]

MOTION = {'w': 0.05, 'b': 0.02} # of the motion generator; its cells have factors of their own

def fill(key, shape):
    "The value of a state-dict entry of one of the four networks, from its key in the release's layout (without `module.`)."
    last = key.split('.')[-1]
    if last == 'num_batches_tracked' or key == 'q_ptr': return torch.zeros(shape, dtype=torch.int64)
    if last == 'kernel': return torch.outer(k := torch.tensor([1., 3, 3, 1]), k) / 16
    n = rng(zlib.crc32(key.encode()) % 2**32).standard_normal(tuple(shape)).astype(np.float32)
    for start, end, factor, offset in GENERATOR if not key.startswith('netD') else ():
        if key.startswith(start) and key.endswith(end): return torch.from_numpy(n * np.float32(factor) + np.float32(offset))
    if key in MOTION or key.startswith(('cell.', 'enc_cell.')): n = n * np.float32(MOTION.get(key) or (0.05 if 'weight' in last else 0.1))
    elif key in ('q_real', 'q_fake'): pass
    elif last in ('weight_u', 'weight_v'): n = n / np.float32(np.linalg.norm(n.astype(np.float64)))
    elif last == 'running_mean': n = n * np.float32(0.1)
    elif last == 'running_var': n = np.abs(n) * np.float32(0.5) + np.float32(0.5)
    elif last in ('weight', 'weight_orig'):
        fan_in = math.prod(shape[1:])
        n = n * np.float32(math.sqrt(2 / fan_in) if key.startswith('netD') else 1 / math.sqrt(fan_in))
    elif last == 'bias': n = n * np.float32(0.1)
    else: raise KeyError(f'no fill rule here for {key}')
    return torch.from_numpy(np.ascontiguousarray(n))

def filled(module, release_key):
    "Fill a module; `release_key` turns our key into the release's."
    module.load_state_dict({k: fill(release_key(k), v.shape) for k, v in module.state_dict().items()})
    return module

def patch_key(n_scales=2):
    "Our `scales.0.layers.1.0.weight` (full resolution first) is the release's `netD.scale1_layer1.0.weight`."
    def key(k):
        _, scale, _, layer, rest = k.split('.', 4)
        return f'netD.scale{n_scales - 1 - int(scale)}_layer{layer}.{rest}'
    return key

def close(actual, expected, float32_error):
    "Pass mark of the golden data: ten times the error of the release's own float32, plus 1e-6."
    actual, expected = torch.as_tensor(actual).double(), torch.as_tensor(expected).double()
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    error = (actual - expected).abs().max().item()
    assert error <= 10 * float32_error + 1e-6, f'off by {error:.2e}, allowed {10 * float32_error + 1e-6:.2e}'
    return error

def contrastive_agrees(d, slow, resolution, errors):
    "The contrastive D_I and its momentum copy, filled, give the release's numbers; `errors`: name -> the release's own float32 error."
    a, b, got = U(46, 3, 3, resolution, resolution), U(47, 3, 3, resolution, resolution), {}
    with torch.no_grad():
        got['train_logit_a'], got['train_proj_a'] = d(a)
        got['train_logit_b'], got['train_proj_b'] = d(b)
        got['u_conv1'], got['u_proj0'] = d.blocks[1].conv1.weight_u.clone(), d.shared.weight_u.clone()
        got['eval_logit_a'], got['eval_proj_a'] = d.eval()(a)
        d.train()
        got['ema_proj_a'] = slow(a)
        slow.update(d)
        got['ema_proj_a_after_update'] = slow(a)
    g = golden(f'dimg_cross_{resolution}')
    for name, error in errors.items(): close(got[name], g[name], error)
