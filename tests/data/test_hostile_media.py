"Huge and hostile images, movies, archives and folders: each ends in our error, soon and within little memory."
import io, multiprocessing, resource, struct, tarfile, time, zipfile, zlib
import pytest
from PIL import Image
from mocogan_hd.data.image_files import read_image
from mocogan_hd.data.video_files import find_videos, open_video

FORK = multiprocessing.get_context('fork')

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**10

def read(what, path, answer):
    idle, start = peak(), time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
    try:
        if what == 'image': read_image(path)
        else:
            for v in find_videos(path): open_video(v)
        text = ''
    except Exception as e: text = f'{type(e).__name__}|{e}'
    answer.send((text, peak() - idle, time.process_time() - start))

def in_child(what, path):
    "(error, MiB above idle, seconds of the CPU)"
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=read, args=(what, path, theirs)); child.start()
    assert ours.poll(60), 'it hangs'
    child.join()
    return ours.recv()

def refused(what, path, words):
    text, mib, seconds = in_child(what, path)
    assert text.startswith(f'Unusable|{path}') and words in text, text
    assert mib < 512 and seconds < 20, (mib, seconds) # seconds only against what never ends

def huge_png(path, side):
    def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    rows, pack = [], zlib.compressobj(1)
    data = b''.join(pack.compress(bytes(side + 1)) for _ in range(side)) + pack.flush()
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)) + chunk(b'IDAT', data) + chunk(b'IEND', b''))
    return path

@pytest.mark.parametrize('kind', ['image', 'folder'])
def test_a_picture_of_13000_pixels_a_side(tmp_path, kind):
    path = huge_png(tmp_path/'a.png', 13_000)
    if kind == 'folder': huge_png(tmp_path/'b.png', 8)
    refused('image', path, 'pixels, at most')

@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif'])
def test_a_postscript_file_under_an_images_name(tmp_path, suffix):
    path = tmp_path/f'a{suffix}'
    path.write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n')
    refused('image', path, 'cannot be read as an image')

def test_a_gif_of_300000_frames(tmp_path):
    b = io.BytesIO(); ims = [Image.new('P', (8, 8), i) for i in range(2)]
    ims[0].save(b, 'gif', save_all=True, append_images=ims[1:], duration=100, optimize=False)
    data = b.getvalue()
    cut = data.rindex(b'\x21\xf9') # the second frame
    (tmp_path/'a.gif').write_bytes(data[:cut] + data[cut:-1]*300_000 + b';')
    refused('videos', tmp_path/'a.gif', 'frames, at most')

def test_a_zip_of_a_million_members(tmp_path):
    one = struct.pack('<4s4B4HL2L5H2L', b'PK\1\2', 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0) + b'a.png'
    n = 1_000_000
    with open(tmp_path/'a.zip', 'wb') as f:
        f.write(one*n)
        f.write(struct.pack('<4sQ2H2L4Q', b'PK\6\6', 44, 45, 45, 0, 0, n, n, len(one)*n, 0))
        f.write(struct.pack('<4sLQL', b'PK\6\7', 0, len(one)*n, 1))
        f.write(struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, 0xffff, 0xffff, 0xffffffff, 0xffffffff, 0))
    refused('videos', tmp_path/'a.zip', '1,000,000 members, at most')

def test_a_tar_of_too_many_members(tmp_path):
    with open(tmp_path/'a.tar', 'wb') as f: f.write(tarfile.TarInfo('a.png').tobuf()*150_000 + bytes(1024))
    refused('videos', tmp_path/'a.tar', 'members, at most')

@pytest.mark.parametrize('kind', [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tar_header_of_gigabytes(tmp_path, kind):
    i = tarfile.TarInfo('x'); i.type, i.size = kind, 2**32
    with open(tmp_path/'a.tar', 'wb') as f: f.write(i.tobuf(tarfile.GNU_FORMAT)); f.truncate(2**33)
    refused('videos', tmp_path/'a.tar', 'bytes in one header')

def test_a_zip_of_zeros(tmp_path):
    with zipfile.ZipFile(tmp_path/'a.zip', 'w', zipfile.ZIP_DEFLATED) as z:
        with z.open('a.png', 'w') as f:
            for _ in range(300): f.write(bytes(2**20))
    text, mib, seconds = in_child('videos', tmp_path/'a.zip')
    assert text.startswith(f'Unusable|{tmp_path}/a.zip/a.png would unpack') and mib < 512

def test_folders_without_end(tmp_path):
    deep = tmp_path/'deep'; at = deep
    for _ in range(150): at = at/'d'
    at.mkdir(parents=True)
    text, mib, _ = in_child('videos', deep)
    assert text.startswith(f'Unusable|{deep}') and 'folders deep' in text
    web = tmp_path/'web'
    for i in range(12): (web/str(i)).mkdir(parents=True)
    for i in range(12):
        for j in range(12): (web/str(i)/f'to {j}').symlink_to(web/str(j), target_is_directory=True)
    refused('videos', web, 'behind links')

def test_a_loop_is_passed_over(tmp_path):
    Image.new('RGB', (32, 8)).save(tmp_path/'a.png')
    (tmp_path/'self').symlink_to(tmp_path/'self'); (tmp_path/'up').symlink_to(tmp_path, target_is_directory=True)
    assert in_child('videos', tmp_path)[0] == ''
