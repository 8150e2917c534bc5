"What the numbers of a run say: images first, motion only on images that passed, verdicts from printed numbers."
import itertools, random, re
import pytest
from mocogan_hd.apps.own_videos import as_text, judge, main_reason, read_numbers

well = dict(picture=.08, picture_real=.02, images_shown=400_000, variety=.9, novelty=.8, own_novelty=.3, n_videos=500, magnitude=.95,
            spread=1.1, drift_last=.1, drift_last_real=.06, other=.9, noise_share=.5, roughness=1.5, roughness_real=2., frechet=.3,
            frechet_real=.05, frechet_static=2., accuracy=.9, chance=.02)
MOTION = {'motion', 'codes', 'drift', 'choice', 'rhythm', 'clips'}


def verdicts(findings): return {f.about: f.verdict for f in findings}


@pytest.mark.parametrize('shown', [16, 3_520, 149_999, 150_000, 10**7])
@pytest.mark.parametrize('picture, real', [(.508, .012), (.33, .012), (1., .2), (4., 0.), (.501, .2)])
@pytest.mark.parametrize('magnitude, frechet', itertools.product((.01, .5, 1., 1.4, 9.), (.06, .5, 5.)))
def test_blobs_are_never_praised_for_their_motion(shown, picture, real, magnitude, frechet):
    found = read_numbers(well | dict(picture=picture, picture_real=real, images_shown=shown, magnitude=magnitude, frechet=frechet))
    assert main_reason(found).startswith('It is not good, most likely because of the pictures.')
    assert {v for k, v in verdicts(found).items() if k in MOTION} == {'not judged'} and f'{shown:,} pictures' in main_reason(found)
    assert all('must be better first' in f.text for f in found if f.about in MOTION)


@pytest.mark.parametrize('missing', [dict(picture=None), dict(picture=float('nan')), dict(picture_real=float('inf')), dict(images_shown=None)])
def test_motion_of_pictures_that_were_not_measured_is_not_judged(missing):
    found = read_numbers(well | missing)
    assert {v for k, v in verdicts(found).items() if k in MOTION} == {'not judged'} and 'not measured' in main_reason(found)


def test_one_picture_again_and_again_is_not_judged_either():
    assert verdicts(read_numbers(well | dict(variety=.1)))['motion'] == 'not judged'
    assert verdicts(read_numbers(well | dict(variety=.5)))['motion'] == 'good'


def test_a_blind_network_praises_no_picture():
    found = read_numbers(well | dict(accuracy=.03))
    assert verdicts(found)['pictures'] == 'fair' and '3%' in found[0].text


@pytest.mark.parametrize('seed', range(300))
def test_every_verdict_follows_from_the_numbers_beside_it(seed):
    g = random.Random(seed)
    values = {k: g.choice([g.uniform(0, 1), g.uniform(0, 4), x]) for k, x in well.items()}
    values |= dict(images_shown=g.randint(1, 10**6), n_videos=g.randint(1, 2_000), accuracy=g.random(), chance=g.uniform(.001, .5))
    found = read_numbers(values)
    passed = all(verdicts(found)[k] != 'poor' for k in ('pictures', 'variety'))
    for f in found:
        value, good, poor = re.search(r'\[([^;]+); good ([^,]+), poor ([^\]]+)\]', f.text).groups()
        limits = {word: float(x) for word, x in re.findall(r'(from|to|below|above) (\S+)', f'{good} {poor}')}
        x = float(value)
        want = ('poor' if x < limits.get('below', -1e99) or x > limits.get('above', 1e99) else
                'good' if limits.get('from', -1e99) <= x <= limits.get('to', 1e99) else 'fair')
        if f.about in MOTION and not passed: assert f.verdict == 'not judged'
        elif f.about == 'drift' and values['magnitude'] < .5 and want == 'good': assert f.verdict == 'fair'
        elif f.about == 'pictures' and want == 'good': assert f.verdict in ('good', 'fair')
        else: assert f.verdict == want, f
        assert f.remedy or f.verdict == 'good'
    assert main_reason(found) in as_text(found)


def test_judge_rounds_to_what_is_printed():
    assert judge('x', .30049, '', high=(.15, .3)).verdict == 'fair' and judge('x', .3006, '', high=(.15, .3)).verdict == 'poor'
