from collections import Counter

import numpy as np
import pytest

from mmpretrain_mps import pictograms
from mmpretrain_mps.datasets import FewShotDataset, PictogramKinds, PictogramThings
from mmpretrain_mps.datasets.pictograms import THING_VIEWS


def shown(dataset):
    return [dataset._shown[dataset.get_data_info(i)['item']] for i in range(len(dataset))]


@pytest.fixture(scope='module')
def kinds():
    return {subset: PictogramKinds(subset=subset, serialize_data=False) for subset in ('train', 'val', 'test')}


@pytest.fixture(scope='module')
def things():
    return {subset: PictogramThings(subset=subset, serialize_data=False) for subset in ('train', 'val', 'test')}


def test_every_kind_has_enough_of_every_subset(kinds):
    for subset, least in dict(train=16, val=4, test=2).items():
        counts = Counter(kinds[subset].get_gt_labels().tolist())
        assert len(counts) == len(kinds['test'].metainfo['classes']) >= 40 and min(counts.values()) >= least
    assert len(kinds['test']) >= 1500


def test_kinds_are_tested_on_other_concepts_than_they_are_trained_on(kinds):
    concepts = {subset: {picture.concept for picture in shown(data)} for subset, data in kinds.items()}
    assert not concepts['train'] & concepts['val'] and not concepts['test'] & (concepts['train'] | concepts['val'])
    assert {picture.style for picture in shown(kinds['train'])} == {'noto', 'twemoji', 'fxemoji'}
    assert len({data.metainfo['split_id'] for data in kinds.values()}) == 1


def test_things_are_tested_on_another_artist_than_they_are_trained_on(things):
    styles = {subset: {} for subset in things}
    for subset, data in things.items():
        for picture, label in zip(shown(data), data.get_gt_labels()):
            styles[subset].setdefault(label, set()).add(picture.style)
        counts = Counter(data.get_gt_labels().tolist())
        assert set(counts.values()) == {THING_VIEWS[subset] * (2 if subset == 'train' else 1)} and len(counts) >= 200
    for label in styles['test']:
        assert not styles['test'][label] & styles['train'][label] and styles['val'][label] == {'noto-v1'}


@pytest.mark.parametrize('name', ['kinds', 'things'])
def test_sixteen_shots_are_sixteen_pictures_of_each_class(name, request):
    data = FewShotDataset(
        dict(type=dict(kinds='PictogramKinds', things='PictogramThings')[name], subset='val'), num_shots=16, seed=1, subset='val'
    )
    assert set(Counter(data.get_gt_labels().tolist()).values()) == {4}


@pytest.mark.parametrize(
    'data_set, domain',
    [
        (PictogramKinds, 'older'),
        (PictogramKinds, 'other_artist'),
        (PictogramKinds, 'sketch'),
        (PictogramKinds, 'distorted'),
        (PictogramThings, 'sketch'),
    ],
)
def test_targets_show_all_classes_in_styles_that_nothing_is_tuned_on(data_set, domain, kinds):
    data = data_set(domain=domain, subset='test', serialize_data=False)
    classes = data.metainfo['classes']
    assert data.metainfo['source_indices'] == tuple(range(len(classes))) and set(data.get_gt_labels()) == set(range(len(classes)))
    roles = {pictograms.index()['sheets'][picture.style]['role'] for picture in shown(data)}
    assert roles == {'source' if domain == 'distorted' else domain}
    if data_set is PictogramKinds:
        assert {picture.concept for picture in shown(data)} <= {picture.concept for picture in shown(kinds['test'])}
        assert len(data) == len(kinds['test']) if domain == 'distorted' else len(data) > 400


def test_a_target_keeps_the_numbers_of_new_classes():
    source, target = (PictogramKinds(domain=domain, subset='test', class_subset='new') for domain in ('source', 'sketch'))
    assert source.metainfo['classes'] == target.metainfo['classes']
    assert target.metainfo['source_indices'] == tuple(source.label_range)


def test_pictures_are_the_same_every_time_and_differ_from_each_other(things):
    again = PictogramThings(subset='test', serialize_data=False)
    for place in range(0, len(again), 97):
        np.testing.assert_array_equal(again.get_data_info(place)['img'], things['test'].get_data_info(place)['img'])
    views = np.stack([again.get_data_info(place)['img'] for place in range(4)])
    assert views.shape == (4, 64, 64, 3) and views.dtype == np.uint8
    assert len({view.tobytes() for view in views}) == 4 and (views[:, 0, 0] >= 170).all()


def test_a_kind_is_shown_as_it_is_drawn_on_white(kinds):
    picture = shown(kinds['test'])[0]
    drawing = pictograms.drawings(picture.style)[picture.concept].astype(float)
    alpha = drawing[..., 3:] / 255
    np.testing.assert_array_equal(kinds['test'].get_data_info(0)['img'], np.rint(drawing[..., :3] * alpha + 255 * (1 - alpha)))


def test_no_picture_of_a_test_is_one_of_the_training(kinds, things):
    for data in (kinds, things):
        trained = {data['train'].get_data_info(i)['img'].tobytes() for i in range(len(data['train']))}
        assert not any(data['test'].get_data_info(i)['img'].tobytes() in trained for i in range(len(data['test'])))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(domain='photo'), "domain is 'photo', expected one of source, older, other_artist, sketch, distorted"),
        (dict(domain='sketch'), "subset is 'train', expected 'test': the domain 'sketch' is there to test on"),
        (dict(subset='all'), "subset is 'all', expected one of train, val, test"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PictogramKinds(**arguments)


def test_the_older_style_is_no_target_of_the_things():
    with pytest.raises(ValueError, match="domain is 'older', expected one of source, other_artist, sketch, distorted"):
        PictogramThings(domain='older', subset='test')
