"A wheel works without the repository: it is built, unpacked elsewhere, and asked for clips."
import subprocess, sys, zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

SAMPLE = '''
import mocogan_hd
from mocogan_hd import load_image_generator, shipped
G = load_image_generator(shipped('toy_faces'))
print(mocogan_hd.__file__)
print(tuple(G.synthesize(G.sample_latents(2, 0)).shape))
'''

def test_a_wheel_samples_without_the_repository(tmp_path):
    build = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    wheel, = tmp_path.glob('mocogan_hd-*.whl')
    site = tmp_path/'site'
    with zipfile.ZipFile(wheel) as z: z.extractall(site)
    done = subprocess.run([sys.executable, '-P', '-c', SAMPLE], cwd=tmp_path, env={'PYTHONPATH': str(site), 'PATH': '/usr/bin:/bin'},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where, shape = done.stdout.strip().split('\n')
    assert str(site) in where and shape == '(2, 3, 32, 32)'
