"""FewShotClassifier: the conventions of scikit-learn, and the numbers of the tools."""

import pickle
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from own_pictures import NAMES, digits, write_pictures
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from tiny_digits import CONFIG_FOLDER, ROOT
from tiny_run import call

from mmpretrain_mps.apis import FewShotClassifier, MPSInferencer

SHORT = dict(train_cfg__max_epochs=2)


@pytest.fixture(scope='module', autouse=True)
def unformatted():
    """mmengine formats the text of the whole config again and again, which takes longer than these runs."""
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        yield


def make(method='mps', **settings):
    return FewShotClassifier('mps-mini', 'embedded', method, **{'verbose': 0, 'device': 'cpu', **settings})


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """train/ and test/ of three classes."""
    root = tmp_path_factory.mktemp('pictures')
    write_pictures(root / 'train', 5)
    write_pictures(root / 'test', 4, start=20)
    return root


@pytest.fixture(scope='module')
def fitted(folder):
    return make(shots=4, **SHORT).fit(folder)


def test_a_program_is_told_how_far_a_training_is(folder):
    told = []
    make('clip_adapter', **SHORT).fit(folder, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]  # two epochs of one batch


def paths_of(folder):
    paths = sorted(map(str, folder.glob('*/*.png')))
    return paths, [Path(path).parent.name for path in paths]


@pytest.mark.parametrize(
    'method, settings',
    [
        ('mps', dict(train_cfg__max_epochs=2)),
        ('linear_probe', {}),
        ('tip_adapter', dict(train_cfg__passes=2)),
        ('promptsrc', dict(train_cfg__max_epochs=2, default_hooks__epoch_average__weights__mean=1)),
    ],
)
def test_weights_and_logits_are_those_of_the_tools(folder, tmp_path, method, settings):
    config, options = (
        CONFIG_FOLDER / 'mps_mini_16shot_custom.py',
        [
            'architecture=mps-mini',
            f'data_root={folder}',
            'num_shots=4',
            'seed=3',
            *(f'{name.replace("__", ".")}={value}' for name, value in settings.items()),
        ],
    )
    flags = ('--method', method, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    assert call(ROOT / 'tools' / 'train.py', config, *flags) == 0
    checkpoint = (tmp_path / 'run' / 'last_checkpoint').read_text()
    theirs = torch.load(checkpoint, weights_only=True)['state_dict']
    ours = make(method, shots=4, seed=3, **settings).fit(folder)
    state = ours.model_.state_dict()
    assert state.keys() == theirs.keys() and all(torch.equal(state[name], theirs[name]) for name in theirs)
    # A list of the same pictures is the same training.
    by_list = make(method, shots=4, seed=3, **settings).fit(*paths_of(folder / 'train')).model_.state_dict()
    assert all(torch.equal(by_list[name], theirs[name]) for name in theirs)

    ours.save(tmp_path / 'ours.pth')
    assert call(ROOT / 'tools' / 'test.py', config, tmp_path / 'ours.pth', *flags, '--out', tmp_path / 'out.pkl') == 0
    results = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    found = ours.logits(folder / 'test')
    for name in ('tuned', 'zero_shot'):
        assert torch.equal(getattr(found, name), torch.stack([result[f'{name}_logits'] for result in results]))
    scores = torch.stack([result['pred_score'] for result in results]).numpy()
    np.testing.assert_allclose(ours.predict_proba(folder / 'test'), scores, atol=1e-6)
    right = [result['pred_label'].item() == result['gt_label'].item() for result in results]
    assert ours.score(folder) == np.mean(right)


def test_paths_pictures_and_arrays_are_the_same_pictures(folder, fitted):
    paths, _ = paths_of(folder / 'test')
    expected = fitted.predict_proba(paths)
    for pictures in (
        [Image.open(path) for path in paths],
        [np.array(Image.open(path)) for path in paths],
        np.stack([np.array(Image.open(path)) for path in paths]),
        [Path(path).read_bytes() for path in paths],
    ):
        np.testing.assert_array_equal(fitted.predict_proba(pictures), expected)
    assert fitted.predict(paths[0]) == fitted.predict([paths[0]]) == fitted.classes_[expected[0].argmax()]
    trained = make(shots=4, **SHORT).fit(
        [Image.open(path) for path in paths_of(folder / 'train')[0]], paths_of(folder / 'train')[1]
    )
    np.testing.assert_array_equal(trained.predict_proba(paths), expected)


def test_what_is_saved_predicts_the_same_wherever_it_is_loaded(folder, fitted, tmp_path):
    fitted.save(tmp_path / 'model.pth')
    loaded = FewShotClassifier.load(tmp_path / 'model.pth', device='cpu', verbose=0)
    np.testing.assert_array_equal(loaded.predict_proba(folder / 'test'), fitted.predict_proba(folder / 'test'))
    assert loaded.get_params() == fitted.get_params() and loaded.classes_.tolist() == sorted(NAMES)
    assert loaded.score(folder) == fitted.score(folder)
    results = MPSInferencer(tmp_path / 'model.pth', device='cpu')(folder / 'test')
    assert [result['pred_class'] for result in results] == fitted.predict(folder / 'test').tolist()


def test_a_plain_tree_keeps_pictures_for_its_score(tmp_path):
    root = write_pictures(tmp_path / 'tree', 6)
    classifier = make('linear_probe').fit(root)
    assert classifier.model_.fit_of['pictures'] == 3 * 4
    assert len(classifier._pictures_of_folder(root)[0]) == 3 * 2
    assert len(classifier._pictures_of_folder(write_pictures(tmp_path / 'other', 5, start=30))[0]) == 3 * 5


def test_conventions_of_scikit_learn(folder):
    classifier = make('clip_adapter', shots=2, model__ratio=0.2, **SHORT)
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params() and copy is not classifier and 'model__ratio' in repr(copy)
    assert copy.set_params(seed=7, model__ratio=0.6).get_params()['model__ratio'] == 0.6 and classifier.seed == 1
    pictures, labels = digits(6)
    scores = cross_val_score(make('linear_probe', verbose=1), pictures, labels, cv=3)
    by_hand = []
    for train, test in StratifiedKFold(3).split(pictures, labels):
        fold = make('linear_probe').fit([pictures[i] for i in train], [labels[i] for i in train])
        by_hand.append(np.mean(fold.predict([pictures[i] for i in test]) == [labels[i] for i in test]))
    assert scores.tolist() == by_hand
    search = GridSearchCV(make('linear_probe'), dict(train_cfg__C=[1e-4, 30.0]), cv=2).fit(pictures, labels)
    assert search.best_estimator_.model_.fit_of['C'] == search.best_params_['train_cfg__C']
    of_methods = [
        dict(method=['linear_probe'], train_cfg__C=[30.0]),
        dict(method=['clip_adapter'], train_cfg__max_epochs=[1, 2]),  # which the other lacks
    ]
    search = GridSearchCV(make('linear_probe'), of_methods, cv=2, error_score='raise').fit(pictures, labels)
    assert len(search.cv_results_['params']) == 3
    best = search.best_estimator_
    assert best.method == search.best_params_['method'] and best.settings == {
        name: value for name, value in search.best_params_.items() if name != 'method'
    }


def test_numbers_as_labels_need_names(folder, tmp_path):
    pictures, names = digits(3)
    labels = np.array([dict(one=1, two=2, three=3)[name] for name in names])
    classifier = make('linear_probe').fit(pictures, labels, class_names={1: 'one', 2: 'two', 3: 'three'})
    assert classifier.classes_.tolist() == [1, 2, 3] and classifier.class_names_ == ('one', 'two', 'three')
    assert classifier.score(pictures, labels) == 1 and classifier.predict(pictures).dtype == labels.dtype
    by_place = make('linear_probe').fit(pictures, labels, class_names=['zero', 'one', 'two', 'three'])
    assert by_place.class_names_ == ('one', 'two', 'three')
    classifier.save(tmp_path / 'numbers.pth')
    assert FewShotClassifier.load(tmp_path / 'numbers.pth', verbose=0).classes_.tolist() == [1, 2, 3]
    assert classifier.score(folder) == make('linear_probe').fit(pictures, names).score(folder)  # folders have names


def test_zero_shot_needs_names_alone_and_classes_are_added(folder, tmp_path):
    classifier = make('zero_shot').fit(class_names=['one', 'two'])
    assert classifier.add_classes(['three']).classes_.tolist() == ['one', 'two', 'three']
    whole = make('zero_shot').fit(class_names=['one', 'two', 'three'])
    np.testing.assert_allclose(classifier.predict_proba(folder / 'test'), whole.predict_proba(folder / 'test'), rtol=1e-4)
    classifier.save(tmp_path / 'zero.pth')
    loaded = FewShotClassifier.load(tmp_path / 'zero.pth', verbose=0)
    np.testing.assert_array_equal(loaded.predict_proba(folder / 'test'), classifier.predict_proba(folder / 'test'))
    assert make('zero_shot').fit(folder).classes_.tolist() == sorted(NAMES)


def test_templates_and_random_numbers(folder):
    np.random.seed(5)
    torch.manual_seed(5)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    classifier = make('linear_probe').fit(*paths_of(folder / 'train'), templates=['a handwritten {}.'])
    assert classifier.model_.templates == ('a handwritten {}.',)
    assert (np.random.get_state()[1] == before[0]).all() and torch.equal(torch.get_rng_state(), before[1])


PICTURE = np.zeros((8, 8), np.uint8)


def test_a_folder_is_scored_as_strictly_as_it_was_trained_on(tmp_path):
    write_pictures(tmp_path / 'pictures', 16)
    (tmp_path / 'pictures' / NAMES[0] / 'broken.png').write_text('no picture')
    strict = make('zero_shot')
    with pytest.raises(ValueError, match='leave them out with skip_invalid=True'):
        strict.fit(tmp_path / 'pictures')
    classifier = make('zero_shot', skip_invalid=True)
    score = classifier.fit(tmp_path / 'pictures').score(tmp_path / 'pictures')
    classifier.save(tmp_path / 'model.pth')
    assert FewShotClassifier.load(tmp_path / 'model.pth', device='cpu').score(tmp_path / 'pictures') == score


@pytest.mark.parametrize(
    'method, settings, arguments, message',
    [
        ('mps', {}, ([], []), 'there are no pictures: the list is empty'),
        ('mps', {}, (), "there are no pictures: fit(pictures, labels) tunes by 'mps'"),
        ('mps', {}, ([PICTURE] * 2, ['one', 'one']), 'there is one class alone, one'),
        ('mps', {}, ([PICTURE] * 3, ['one', 'two']), 'there are 3 pictures but labels of the shape (2,)'),
        ('mps', {}, ([PICTURE] * 2, [0, 1]), 'the labels are numbers (0, 1), but CLIP reads names'),
        ('mps', {}, ([PICTURE] * 2, [0, 1], ['one']), 'class_names has no name for the labels 1'),
        ('mps', {}, ([PICTURE, 3.5], ['one', 'two']), 'picture 1 is a float, expected a path'),
        ('mps', {}, ([PICTURE.astype(float), PICTURE], ['one', 'two']), 'picture 0 (an array of float64 was found'),
        ('mps', {}, (['{broken}', PICTURE], ['one', 'two']), 'broken.png (content of no picture)'),
        ('mps', {}, (['nowhere.png', PICTURE], ['one', 'two']), 'nowhere.png'),
        ('mps', {}, ('{one}',), "one class alone, 'one'; expected two or more"),
        ('mps', {}, ('{empty}',), 'there is no class folder'),
        ('mps', {}, ([PICTURE] * 2, ['one', 'tabby']), "no meaning for 'tabby'"),
        ('coup', {}, ([PICTURE] * 2, ['one', 'two']), "there is no method 'coup': expected one of amu_tuning, clip_adapter"),
        (
            'mps',
            dict(trian_cfg__max_epochs=1),
            ([PICTURE] * 2, ['one', 'two']),
            "a setting names what the config does not have: 'trian_cfg.max_epochs' (did you mean 'train_cfg' or",
        ),
        ('mps', dict(model__head__alpah=1), ([PICTURE] * 2, ['one', 'two']), "takes no 'alpah'"),
        ('mps', dict(seed=-1), ([PICTURE] * 2, ['one', 'two']), 'seed is -1'),
    ],
)
def test_each_mistake_is_one_clear_message(tmp_path, method, settings, arguments, message):
    (tmp_path / 'broken.png').write_text('no picture')
    write_pictures(tmp_path / 'one', 4, names=['one'])
    (tmp_path / 'empty').mkdir()
    names = dict(broken=tmp_path / 'broken.png', one=tmp_path / 'one', empty=tmp_path / 'empty')
    arguments = [
        part.format(**names)
        if isinstance(part, str)
        else [item.format(**names) if isinstance(item, str) else item for item in part]
        for part in arguments
    ]
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        make(method, **settings).fit(*arguments)
    assert message in str(raised.value)


def test_nothing_is_predicted_before_it_is_fitted_or_of_what_is_no_picture(fitted, tmp_path):
    for call_it in (lambda it: it.predict(['a.png']), lambda it: it.save(tmp_path / 'x.pth'), lambda it: it.add_classes(['two'])):
        with pytest.raises(NotFittedError, match='has not been fitted: call fit'):
            call_it(make())
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\nrest')
    with pytest.raises(ValueError, match='broken.png cannot be read as a picture: .* `predict_rows` passes over such pictures'):
        fitted.predict([tmp_path / 'broken.png'])
    Image.new('RGB', (16, 16)).save(tmp_path / 'whole.png')
    (rows,) = fitted.predict_rows(tmp_path)
    assert [(place, len(answers), bool(fault)) for place, answers, fault in rows] == [(0, 0, True), (1, 1, False)]
    with pytest.raises(ValueError, match='the labels four are none of the classes one, three, two'):
        fitted.score([PICTURE], ['four'])
    torch.save(dict(meta=dict(cfg="model = dict(type='os.system')"), state_dict={}), tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match="model.type is 'os.system'"):
        FewShotClassifier.load(tmp_path / 'evil.pth')
