"The explorer: sliders describe a trajectory, and the picture follows them."
import io, sys
import pytest, torch
from PIL import Image
from mocogan_hd.apps.explorer import ORDERS, Explorer, chosen
from mocogan_hd.apps.video_generator import VideoGenerator
from mocogan_hd.core.basics import seeded
from mocogan_hd.method.frozen_generator import ImageGenerator
from mocogan_hd.method.latent_pca import fit_latent_pca
from mocogan_hd.method.motion_generator import MotionGenerator
from mocogan_hd.method.stylegan2 import Generator

@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    G_I = ImageGenerator(Generator(16, 32, 32, 2, (8, 8, 8)))
    return VideoGenerator(G_I, MotionGenerator(32, fit_latent_pca(G_I, 500), 8, 4, a_std=.5, generator=seeded(1)).requires_grad_(False))

def seen(explorer):
    with Image.open(io.BytesIO(explorer.picture.value)) as im: return im.format, getattr(im, 'n_frames', 1)

def test_sliders_as_values(model):
    plain = model.trajectory(3, 4, 9, 2)
    close = lambda a, b: torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    close(chosen(model, 3, 4, 9, seed=2).codes, plain.codes)
    close(chosen(model, 3, 4, 9, strength=2., pull=.1, seed=2).codes, plain.pulled(.1).scaled(2.).codes)
    close(chosen(model, 3, 4, 9, component=2, amount=-1., seed=2).codes, plain.along(model.pca, 2, -1.).codes)
    lengths = {order: chosen(model, frames=9, order=order).n_frames for order in ORDERS}
    assert lengths == {'forwards': 9, 'backwards': 9, 'there and back': 16, 'frozen': 9}

@pytest.mark.parametrize('name, value', [('content', 5), ('motion', 5), ('frames', 3), ('strength', 2.5), ('pull', .3), ('amount', 2.),
                                         ('order', 'backwards'), ('order', 'frozen')])
def test_each_slider_changes_the_picture(model, name, value):
    explorer = Explorer(model)
    before = explorer.picture.value
    explorer.sliders[name].value = value
    assert explorer.picture.value != before and seen(explorer)[0] == 'GIF'

def test_the_component_counts_with_an_amount(model):
    explorer = Explorer(model)
    explorer.sliders['amount'].value = 2.
    before = explorer.picture.value
    explorer.sliders['component'].value = 3
    assert explorer.picture.value != before

def test_playing_and_single_frames(model):
    explorer = Explorer(model)
    assert seen(explorer)[0] == 'GIF' and explorer.frame.disabled
    explorer.play.value = False
    first = explorer.picture.value
    assert seen(explorer) == ('PNG', 1) and explorer.picture.format == 'png'
    explorer.frame.value = 10
    assert explorer.picture.value != first
    explorer.sliders['frames'].value = 4 # fewer than the frame that is shown
    assert explorer.frame.value == 3 and seen(explorer) == ('PNG', 1)
    explorer.sliders['frames'].value = 1
    assert seen(explorer) == ('PNG', 1)

def test_what_goes_wrong_is_shown(model, monkeypatch):
    explorer = Explorer(model)
    before = explorer.picture.value
    monkeypatch.setattr(type(model), 'render', lambda *a, **k: 1/0)
    explorer.sliders['content'].value = 9
    assert 'ZeroDivisionError' in explorer.message.value and explorer.picture.value == before

def test_it_shows_itself(model):
    assert 'application/vnd.jupyter.widget-view+json' in Explorer(model)._repr_mimebundle_()

def test_without_ipywidgets(model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    with pytest.raises(ImportError, match='pip install ipywidgets'): Explorer(model)
