"""A headless browser moves a slider of the explorer in a real JupyterLab.

It runs where node is installed and MOCOGAN_HD_BROWSER names a folder in which
`npm install @sparticuz/chromium puppeteer-core` was run; MOCOGAN_HD_SCREENSHOT keeps the screenshot.
"""
import json, os, shutil, socket, subprocess, sys, time
import urllib.request
from pathlib import Path
import pytest, torch
from mocogan_hd.apps.video_generator import VideoGenerator
from mocogan_hd.core.basics import save_json, seeded
from mocogan_hd.method.frozen_generator import load_image_generator, shipped
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator

BROWSER = os.environ.get('MOCOGAN_HD_BROWSER', '')
pytestmark = pytest.mark.skipif(not (BROWSER and shutil.which('node') and shutil.which('jupyter-lab')),
                                reason='needs node, jupyterlab and MOCOGAN_HD_BROWSER')

def notebook(path, model_folder):
    code = ('from mocogan_hd import VideoGenerator\nfrom mocogan_hd.apps.explorer import Explorer\n'
            f'Explorer(VideoGenerator.from_pretrained({str(model_folder)!r}))')
    cell = dict(cell_type='code', id='a0000001', metadata={}, source=code, outputs=[], execution_count=None)
    kernel = dict(name='python3', display_name='python3', language='python')
    save_json(dict(cells=[cell], metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5), path)

@pytest.fixture
def lab(tmp_path):
    faces = load_image_generator(shipped('toy_faces'))
    motion = MotionGenerator(faces.latent_dim, fit_latent_pca(faces, 5_000), 32, 16, a_std=.3, generator=seeded(0))
    VideoGenerator(faces, motion).save_pretrained(tmp_path/'model')
    notebook(tmp_path/'explore.ipynb', tmp_path/'model')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    options = ['--no-browser', '--allow-root', f'--ServerApp.port={port}', '--ServerApp.ip=127.0.0.1', f'--ServerApp.root_dir={tmp_path}',
               '--IdentityProvider.token=', '--LabApp.expose_app_in_browser=True', '--LabApp.news_url=None']
    own = {k: str(tmp_path/k.lower()) for k in ('JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR')}
    with open(tmp_path/'lab.log', 'w', encoding='utf-8') as log:
        server = subprocess.Popen([sys.executable, '-m', 'jupyterlab', *options], stdout=log, stderr=log, env=os.environ | own)
    try:
        for _ in range(120):
            try: urllib.request.urlopen(f'http://127.0.0.1:{port}/api', timeout=5); break
            except OSError: time.sleep(.5)
        yield f'http://127.0.0.1:{port}/lab/tree/explore.ipynb'
    finally:
        server.terminate()
        server.wait(20)

def test_a_slider_changes_the_picture(lab, tmp_path):
    picture = tmp_path/'explorer.png'
    drive = ['node', str(Path(__file__).with_name('drive_explorer.mjs')), lab, str(picture)]
    done = subprocess.run(drive, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + (tmp_path/'lab.log').read_text(encoding='utf-8')[-2000:]
    seen = json.loads(done.stdout)
    assert seen['value'] == '1' and picture.stat().st_size > 5_000
    print(seen)
    if keep := os.environ.get('MOCOGAN_HD_SCREENSHOT'): shutil.copy(picture, keep)
