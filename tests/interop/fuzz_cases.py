"Small good files for every reader, and hostile ones. Each entry is a function folder -> (reader, name of the file, its bytes)."
import collections, io, json, pickle, struct, zipfile
from functools import partial
import numpy as np, torch
from mocogan_hd.interop.biggan import BigGAN
from mocogan_hd.interop.checkpoint_files import inspect_path, load_generators, path_kind
from mocogan_hd.interop.checkpoints import read_checkpoint
from mocogan_hd.interop.release import read_pca, write_pca, write_release
from mocogan_hd.interop.release_networks import (
    ContrastiveParts, read_image_discriminator, read_motion_generator, read_state, read_video_discriminator, write_release_file)
from mocogan_hd.method.frozen_generator import ImageGenerator, save_image_generator
from mocogan_hd.method.image_discriminator import ContrastiveImageDiscriminator, MemoryQueue, MomentumEncoder, PairImageDiscriminator
from mocogan_hd.method.latent_pca import LatentPCA, fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator
from mocogan_hd.method.stylegan2 import Generator
from mocogan_hd.method.video_discriminator import VideoDiscriminator
from test_biggan import DEEP, deep_state, shallow_state
from test_checkpoints import network, nvidia

def saved(value, legacy=False):
    f = io.BytesIO(); torch.save(value, f, _use_new_zipfile_serialization=not legacy)
    return f.getvalue()

def basis(d=12):
    q = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(0)))[0]
    return LatentPCA(q, torch.linspace(2, 1, d), torch.zeros(d), torch.full((d,), 1/d))

def rosinality(folder, legacy=False): return read_checkpoint, 'r.pt', saved({'g_ema': network().state_dict(), 'latent_avg': torch.zeros(10)}, legacy)

def nvidia_file(folder):
    nvidia(folder/'n.pkl')
    return read_checkpoint, 'n.pkl', (folder/'n.pkl').read_bytes()

def biggan_deep(folder):
    (folder/'config.json').write_text(json.dumps(DEEP))
    return read_checkpoint, 'pytorch_model.bin', saved(deep_state())

def biggan_config(folder):
    torch.save(deep_state(), folder/'pytorch_model.bin')
    return lambda path: read_checkpoint(folder/'pytorch_model.bin'), 'config.json', json.dumps(DEEP).encode()

def biggan(folder): return read_checkpoint, 'G_ema.pth', saved(shallow_state())

def ours(folder):
    save_image_generator(network(), folder/'g.safetensors')
    return read_checkpoint, 'g.safetensors', (folder/'g.safetensors').read_bytes()

def release_file(folder, net, read, name):
    write_release_file(net, folder/name)
    return read, name, (folder/name).read_bytes()

def motion(folder):
    read = partial(read_motion_generator, pca=basis())
    return release_file(folder, MotionGenerator(12, basis(), hidden=6, n_pca=5, head_width=4), read, 'modelR_epoch_1.pth')

def contrastive():
    d = ContrastiveImageDiscriminator(16, 2, 8)
    g = torch.Generator().manual_seed(0)
    return ContrastiveParts(d, MomentumEncoder(d), torch.nn.ModuleDict({k: MemoryQueue(g, 12, 8) for k in ('first', 'later')}))

def array(folder, name):
    write_pca(basis(), folder)
    return lambda path: read_pca(folder), name, (folder/name).read_bytes()

def run(folder, name='modelR_epoch_0.pth'):
    G_I = ImageGenerator(Generator(16, 12, 12, 2, (4, 4, 4)))
    pca = fit_latent_pca(G_I, 500)
    write_release(folder/'run', G_I, pca, MotionGenerator(12, pca, hidden=6, n_pca=5), for_its_code=False)
    def read(path): load_generators([folder/'run'], device='cpu')
    return read, f'run/{name}', (folder/'run'/name).read_bytes()

def inspected(folder):
    write_release_file(MotionGenerator(12, basis(), hidden=6, n_pca=5), folder/'m.pth')
    def read(path): inspect_path(path); path_kind(path)
    return read, 'm.pth', (folder/'m.pth').read_bytes()

CASES = {
    'rosinality': rosinality, 'rosinality, old torch': partial(rosinality, legacy=True), 'NVIDIA': nvidia_file,
    'BigGAN-deep': biggan_deep, 'BigGAN-deep, config.json': biggan_config, 'BigGAN': biggan, 'safetensors': ours,
    'modelR': motion,
    'modelD_3d': lambda f: release_file(f, VideoDiscriminator(6, 2), read_video_discriminator, 'modelD_3d_epoch_1.pth'),
    'modelD_img, pair': lambda f: release_file(f, PairImageDiscriminator(2), read_image_discriminator, 'modelD_img_epoch_1.pth'),
    'modelD_img, contrastive': lambda f: release_file(f, contrastive(), read_image_discriminator, 'modelD_img_epoch_1.pth'),
    'pca_comp.npy': partial(array, name='pca_comp.npy'), 'pca_stdev.npy': partial(array, name='pca_stdev.npy'),
    'release folder, modelR': run, 'release folder, generator': partial(run, name='image_generator.pt'),
    'release folder, list of hashes': partial(run, name='SHA256SUMS'), 'inspect': inspected,
}

# --- hostile files: each must be refused

def tuples(n=60): # memory linear, length exponential
    x = ()
    for _ in range(n): x = (x, x)
    return x

class Call:
    def __init__(self, f, *args): self.reduced = f, args
    def __reduce__(self): return self.reduced

def hostile_torch(make, name='evil.pt', read=read_checkpoint, **options):
    def case(folder):
        value = make()
        return read, name, value if isinstance(value, bytes) else saved(value, **options)
    return case

def clones(n=20_000):
    x = torch.zeros(2**18)
    return {'g_ema': {'conv1.conv.modulation.weight': x} | {f'convs.{i}.conv.weight': x[:-1] for i in range(n)}}

def no_noise(n=24):
    one = torch.zeros(1, 1, 1, 1, 1)
    return {'g_ema': {'conv1.conv.modulation.weight': one, 'input.input': one[0]} | {f'convs.{i}.conv.weight': one for i in range(2*n)}}

def many_mapping(n=100_000): return {'g_ema': network().state_dict() | {f'style.{i}.weight': torch.zeros(1, 1) for i in range(n//50)}}

def motion_state(**changes):
    from mocogan_hd.interop.release_networks import named
    return dict(named(MotionGenerator(12, basis(), hidden=6, n_pca=5))) | changes

def empty(*shape): return torch.zeros(0).reshape([0 if i == 0 else 1 for i in range(len(shape))]).as_strided(shape, [0]*len(shape)) if 0 in shape else torch.zeros(1).expand(shape)

def header(**changes):
    def case(folder):
        G = network()
        G.architecture |= changes
        save_image_generator(G, folder/'g.safetensors')
        return read_checkpoint, 'g.safetensors', (folder/'g.safetensors').read_bytes()
    return case

def npy(text, body=b''):
    head = text.encode() + b' '*((-len(text) - 11) % 64) + b'\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head + body

def npy_case(data):
    def case(folder):
        write_pca(basis(), folder)
        return lambda path: read_pca(folder), 'pca_comp.npy', data
    return case

def members(n=300_000):
    def case(folder):
        f = io.BytesIO()
        with zipfile.ZipFile(f, 'w') as z:
            for i in range(n): z.writestr(str(i), b'')
        return read_checkpoint, 'evil.pt', f.getvalue()
    return case

def torch_pickle(code): # code: what stands in the archive as data.pkl
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w') as z:
        z.writestr('archive/data.pkl', code); z.writestr('archive/version', '3\n'); z.writestr('archive/byteorder', 'little')
    return f.getvalue()

def storage_of(numel): # a tensor of a storage that declares so many numbers
    return torch_pickle(b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
                        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x08" + struct.pack('<q', numel) + b"tQK\x00K\x01\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.")

DEEP_KEY = b'\x80\x02})' + b'2\x86'*60 + b'Ns.'
PERSIST = b'ctorch_utils.persistence\n_reconstruct_persistent_obj\n'
REBUILT = b'ctorch._utils\n_rebuild_parameter\n'
def g_ema(note): return b'\x80\x02}X\x05\x00\x00\x00G_ema' + note + b's.'
def text(s): return b'X' + struct.pack('<I', len(s)) + s.encode()
def module(state, name=text('G')): return PERSIST + b'(}(' + text('class_name') + name + text('state') + state + b'utR'
NESTED = b')' + b'2\x86'*60

def blobs(n=20_000):
    "one storage's bytes, wrapped anew for every tensor"
    blob = saved(torch.zeros(2**16)._typed_storage(), legacy=True)
    b = io.BytesIO(); b.write(b'\x80\x03}X\x05\x00\x00\x00G_ema' + PERSIST + b'(}(' + text('class_name') + text('G') + text('state') + b'}' + text('_buffers') + b'}(')
    for i in range(n):
        b.write(text(f'b{i}') + b'ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n(')
        b.write(b'B' + struct.pack('<I', len(blob)) + blob + b'q\x00' if i == 0 else b'h\x00')
        b.write(b'tRK\x00K\x01\x85K\x01\x85\x89)tR'.replace(b'K\x01\x85K\x01\x85', b'J' + struct.pack('<i', 2**16) + b'\x85K\x01\x85'))
    b.write(b'usutRs.')
    return b.getvalue()

HOSTILE = {
    'nested tuples as key, torch': hostile_torch(lambda: torch_pickle(DEEP_KEY)),
    'nested tuples as key, pickle': hostile_torch(lambda: DEEP_KEY, 'evil.pkl'),
    'nested tuples in an ordered dictionary': hostile_torch(lambda: torch_pickle(b'\x80\x02ccollections\nOrderedDict\n(](' + NESTED + b'N\x86etR.')),
    'nested tuples in a set': hostile_torch(lambda: torch_pickle(b'\x80\x02c__builtin__\nset\n(](' + NESTED + b'etR.')),
    'nested tuples as name of a class': hostile_torch(lambda: g_ema(module(b'}', NESTED)), 'evil.pkl'),
    'nested tuples as state': hostile_torch(lambda: g_ema(module(NESTED)), 'evil.pkl'),
    'nested tuples as entry': hostile_torch(lambda: {'g_ema': {'w': tuples()}}),
    'nested tuples, release': hostile_torch(lambda: torch_pickle(DEEP_KEY), 'evil.pth', read_video_discriminator),
    'nested tuples, old torch': hostile_torch(lambda: saved({}, legacy=True).replace(b'\x80\x02}q\x00.', DEEP_KEY), 'evil.pth', read_state),
    'a parameter of itself': hostile_torch(lambda: g_ema(module(b'}' + text('_parameters') + b'}' + text('w') + REBUILT + b']q\x05Rq\x06h\x05h\x06a0ss')), 'evil.pkl'),
    'bytearray of a terabyte': hostile_torch(lambda: {'w': Call(bytearray, 10**12)}),
    'idna of a long text': hostile_torch(lambda: torch_pickle(b'\x80\x02c_codecs\nencode\n(' + text('a'*10**6) + text('idna') + b'tR.')),
    'rebuilt from a bytearray': hostile_torch(lambda: torch_pickle(b'\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(c__builtin__\nbytearray\nctorch\nTensor\n(\x8a\x06\x00\x00\x00\x00\x00\x01tNtR.')),
    'a storage of a terabyte': hostile_torch(lambda: storage_of(10**12)), 'a negative storage': hostile_torch(lambda: storage_of(-1)),
    '20,000 clones of a storage, torch': hostile_torch(clones),
    '20,000 clones of a blob': hostile_torch(blobs, 'evil.pkl'),
    'clones, release': hostile_torch(lambda: {f'netD.scale0_layer{i}.0.weight': x for x in [torch.zeros(2**18)] for i in range(20_000)}, 'evil.pth', read_video_discriminator),
    'no noise maps': hostile_torch(no_noise), 'no noise maps, 2^2000 px': hostile_torch(lambda: no_noise(2000)),
    'mapping layers': hostile_torch(many_mapping), 'header: 1e5 mapping layers': header(n_mapping=100_000),
    'header: width 1e12': header(w_dim=10**12), 'header: channels': header(channels=[10**9]*4), 'header: classes': header(n_classes=10**12),
    'header: 1e5 channels': header(channels=[8]*100_000), 'header: clamp': header(clamp='x'), 'header: colours': header(n_colors=10**9),
    'hidden=1e12': hostile_torch(lambda: motion_state(w=empty(10**12, 0)), 'm.pth', partial(read_motion_generator, pca=basis())),
    'n_pca=1e12': hostile_torch(lambda: motion_state(w=empty(0, 10**12)), 'm.pth', partial(read_motion_generator, pca=basis())),
    'eps=1e12': hostile_torch(lambda: {**motion_state(), 'cell.weight_ih': empty(0, 10**12)}, 'm.pth', partial(read_motion_generator, pca=basis())),
    'head=1e12': hostile_torch(lambda: {**motion_state(), 'fc1.bias': torch.zeros(1).expand(10**12)}, 'm.pth', partial(read_motion_generator, pca=basis())),
    'texts for tensors, motion': hostile_torch(lambda: dict.fromkeys(motion_state(), 'x'), 'm.pth', partial(read_motion_generator, pca=basis())),
    '1e9 scales': hostile_torch(lambda: {'netD.scale0_layer0.0.weight': torch.zeros(2, 6, 4, 4, 4), 'netD.scale999999999_layer0.0.weight': torch.zeros(1)}, 'd.pth', read_video_discriminator),
    '1e9 layers': hostile_torch(lambda: {'netD.scale0_layer0.0.weight': torch.zeros(2, 6, 4, 4, 4), 'netD.scale0_layer999999999.0.weight': torch.zeros(1)}, 'd.pth', read_video_discriminator),
    'a number of 5000 digits': hostile_torch(lambda: {'netD.scale0_layer0.0.weight': torch.zeros(2, 6, 4, 4), f'netD.scale{"9"*5000}_layer0.0.weight': torch.zeros(1)}, 'd.pth', read_image_discriminator),
    'channels 1e12': hostile_torch(lambda: {'netD.scale0_layer0.0.weight': empty(0, 10**12, 4, 4, 4)}, 'd.pth', read_video_discriminator),
    'a scalar for a convolution': hostile_torch(lambda: {'netD.scale0_layer0.0.weight': torch.zeros(())}, 'd.pth', read_image_discriminator),
    'texts for tensors': hostile_torch(lambda: {'netD.scale0_layer0.0.weight': 'x'}, 'd.pth', read_video_discriminator),
    'queue of 1e12': hostile_torch(lambda: {'modelD.x': torch.zeros(1), 'q_real': empty(10**12, 0), 'q_ptr': torch.zeros(1)}, 'd.pth', read_image_discriminator),
    'a million members': members(), 'a list of members that is none': hostile_torch(lambda: torch_pickle(b'\x80\x02N.')[:-22] + b'PK\x05\x06' + b'\xff'*18),
    'instructions without end': hostile_torch(lambda: torch_pickle(b'\x80\x02' + b'NN00'*5_000_000 + b'.')),
    'names without end': hostile_torch(lambda: b'\x80\x02' + b'cabc\ndef\n'*2_000_000 + b't.', 'evil.pkl'),
    'marks without end': hostile_torch(lambda: b'\x80\x02' + b'('*1_000_000 + b'.', 'evil.pkl'),
    'npy of a terabyte': npy_case(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }")),
    'npy nested': npy_case(npy('('*9000)), 'npy of objects': npy_case(npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps(1))),
    'npz for npy': npy_case(torch_pickle(b'')), 'npy of negative size': npy_case(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 4), }", b'x'*64)),
    'config.json nested': lambda folder: (*biggan_config(folder)[:2], b'['*100_000),
    'config.json of a gigabyte': lambda folder: (*biggan_config(folder)[:2], b'[' + b' '*2**25 + b']'),
    'config.json without blocks': lambda folder: (*biggan_config(folder)[:2], b'{"layers": [3, 4]}'),
    'config.json with infinity': lambda folder: (*biggan_config(folder)[:2], b'{"eps": 1e999}'),
}
