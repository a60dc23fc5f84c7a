import json
import os
from functools import partial

import pytest
from benchmark_trees import NUM_CLASSES, SIZES, make_tree, put, split_rows
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from mmpretrain_mps.datasets import FewShotDataset, benchmarks, few_shot
from mmpretrain_mps.datasets.catalog import CATALOG, find_spec, where_described
from mmpretrain_mps.datasets.making_index import registered_name

# Serialized entries make no difference to these tests, but every serialization collects garbage.
CLIPCaltech101, CLIPFGVCAircraft, CLIPOxfordPets, CLIPStanfordCars = (
    partial(kind, serialize_data=False)
    for kind in (benchmarks.CLIPCaltech101, benchmarks.CLIPFGVCAircraft, benchmarks.CLIPOxfordPets, benchmarks.CLIPStanfordCars)
)
JSON_SPLITS = [name for name, spec in CATALOG.items() if spec.annotation_files[0].endswith('.json')]


@pytest.fixture
def logged(monkeypatch):
    """Messages that data sets log."""
    messages = []
    for module in (benchmarks, few_shot):
        monkeypatch.setattr(module, 'print_log', lambda message, *args, **kwargs: messages.append(message))
    return messages


def build(name, root, **kwargs):
    kind = registered_name(CATALOG[name])
    return DATASETS.build(dict(type=kind, data_root=str(root), serialize_data=False, **kwargs))


def rewrite_split(folder, change):
    path = os.path.join(folder, 'split_zhou_OxfordPets.json')
    with open(path) as file:
        content = json.load(file)
    content = change(content) or content
    put(path, content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_table_has_the_eleven_data_sets_and_four_shifted_ones():
    assert len(CATALOG) == 15
    assert sum(CATALOG['SUN397'].counts.values()) == 15880 + 3970 + 19850
    assert [spec.num_classes for spec in CATALOG.values()] == [
        1000,
        100,
        37,
        196,
        102,
        101,
        100,
        397,
        47,
        10,
        101,
        1000,
        1000,
        200,
        200,
    ]
    assert all(template.count('{}') == 1 for spec in CATALOG.values() for template in spec.templates)


@pytest.mark.parametrize(
    'name, folder, image_root, file, template',
    [
        ('Caltech101', 'caltech-101', '101_ObjectCategories', 'split_zhou_Caltech101.json', 'a photo of a {}.'),
        ('OxfordPets', 'oxford_pets', 'images', 'split_zhou_OxfordPets.json', 'a photo of a {}, a type of pet.'),
        ('StanfordCars', 'stanford_cars', '', 'split_zhou_StanfordCars.json', 'a photo of a {}.'),
        ('Flowers102', 'oxford_flowers', 'jpg', 'split_zhou_OxfordFlowers.json', 'a photo of a {}, a type of flower.'),
        ('Food101', 'food-101', 'images', 'split_zhou_Food101.json', 'a photo of {}, a type of food.'),
        ('FGVCAircraft', 'fgvc_aircraft', 'images', 'variants.txt', 'a photo of a {}, a type of aircraft.'),
        ('SUN397', 'sun397', 'SUN397', 'split_zhou_SUN397.json', 'a photo of a {}.'),
        ('DTD', 'dtd', 'images', 'split_zhou_DescribableTextures.json', '{} texture.'),
        ('EuroSAT', 'eurosat', '2750', 'split_zhou_EuroSAT.json', 'a centered satellite photo of {}.'),
        ('UCF101', 'ucf101', 'UCF-101-midframes', 'split_zhou_UCF101.json', 'a photo of a person doing {}.'),
        ('ImageNet', 'imagenet', 'images', 'classnames.txt', 'itap of a {}.'),
    ],
)
def test_the_table_states_the_layout_and_prompts_of_the_field(name, folder, image_root, file, template):
    spec = CATALOG[name]
    assert (spec.folder, spec.image_root, spec.annotation_files[0]) == (folder, image_root, file)
    assert spec.templates[0] == template and len(spec.templates) == (7 if name == 'ImageNet' else 1)


def test_every_data_set_of_the_table_is_registered_beside_those_of_mmpretrain():
    init_default_scope('mmpretrain')
    for spec in CATALOG.values():
        assert DATASETS.get(registered_name(spec)).SPEC is spec
    assert DATASETS.get('Caltech101').__module__.startswith('mmpretrain.')


def test_names_are_found_whatever_their_case_and_dashes():
    assert find_spec('oxford_pets').name == 'OxfordPets'
    assert find_spec('imagenet-a').name == 'ImageNet-A'
    with pytest.raises(KeyError, match="no benchmark data set is named 'CUB'; there are ImageNet, Caltech101"):
        find_spec('CUB')


@pytest.mark.parametrize('name', JSON_SPLITS)
@pytest.mark.parametrize('subset', ['train', 'val', 'test'])
def test_rows_order_labels_and_names_come_from_the_split_file(tmp_path, name, subset):
    folder = make_tree(tmp_path, name)
    spec = CATALOG[name]
    with open(os.path.join(folder, spec.annotation_files[0])) as file:
        rows = json.load(file)[subset]
    dataset = build(name, tmp_path, subset=subset)
    assert len(dataset) == NUM_CLASSES * SIZES[subset]
    for i, (path, label, _) in enumerate(rows):
        entry = dataset.get_data_info(i)
        assert (entry['img_path'], entry['gt_label']) == (os.path.join(folder, spec.image_root, path), label)
        assert os.path.isfile(entry['img_path'])
    assert dataset.metainfo['classes'] == tuple(f'Class {label} of Ünits' for label in range(NUM_CLASSES))
    assert dataset.metainfo['templates'] == spec.templates
    assert dataset.metainfo['dataset_name'] == name


def test_every_subset_has_the_same_split_id(tmp_path):
    make_tree(tmp_path, 'DTD')
    ids = {build('DTD', tmp_path, subset=subset).metainfo['split_id'] for subset in ('train', 'val', 'test')}
    assert len(ids) == 1


def test_fgvc_labels_follow_the_variants_file(tmp_path):
    folder = make_tree(tmp_path, 'FGVCAircraft')
    dataset = CLIPFGVCAircraft(data_root=str(tmp_path), subset='val')
    assert dataset.metainfo['classes'] == ('707-320', 'A300B4', 'F/A-18', 'Spitfire Mk II')
    assert [dataset.get_data_info(i)['gt_label'] for i in range(4)] == [2, 0, 3, 1]
    assert dataset.get_data_info(0)['img_path'] == os.path.join(folder, 'images', '10000.jpg')
    assert [len(CLIPFGVCAircraft(data_root=str(tmp_path), subset=s)) for s in SIZES] == [24, 20, 12]


def test_fgvc_refuses_a_line_with_an_unknown_variant(tmp_path):
    folder = make_tree(tmp_path, 'FGVCAircraft')
    put(os.path.join(folder, 'images_variant_val.txt'), '10000 F/A-18\n10001 Concorde\n')
    with pytest.raises(ValueError, match=r"images_variant_val.txt, line 2 is '10001 Concorde', expected a picture"):
        CLIPFGVCAircraft(data_root=str(tmp_path))


def test_fgvc_names_the_text_file_that_is_missing(tmp_path):
    folder = make_tree(tmp_path, 'FGVCAircraft')
    os.remove(os.path.join(folder, 'images_variant_test.txt'))
    with pytest.raises(FileNotFoundError, match='images_variant_test.txt does not exist.*~vgg/data/fgvc-aircraft'):
        CLIPFGVCAircraft(data_root=str(tmp_path))


def test_the_data_set_folder_itself_can_be_the_data_root(tmp_path):
    folder = make_tree(tmp_path, 'Caltech101')
    direct, usual = CLIPCaltech101(data_root=folder), CLIPCaltech101(data_root=str(tmp_path))
    assert direct.get_data_info(3)['img_path'] == usual.get_data_info(3)['img_path']
    cars = make_tree(tmp_path, 'StanfordCars')
    assert len(CLIPStanfordCars(data_root=cars)) == 24


def test_a_root_that_can_be_read_in_two_ways_is_refused(tmp_path):
    folder = make_tree(tmp_path, 'OxfordPets')
    make_tree(folder, 'OxfordPets')
    with pytest.raises(ValueError, match='split_zhou_OxfordPets.json lies in .* and in .*expected it in one of them'):
        CLIPOxfordPets(data_root=folder)


def test_a_missing_split_file_is_an_error_that_says_where_it_is_published(tmp_path):
    folder = make_tree(tmp_path, 'OxfordPets')
    path = os.path.join(folder, 'split_zhou_OxfordPets.json')
    os.remove(path)
    with pytest.raises(FileNotFoundError) as info:
        CLIPOxfordPets(data_root=str(tmp_path))
    assert path in str(info.value)
    assert where_described(CATALOG['OxfordPets']) in str(info.value)
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda content: '{"train": [', 'is no JSON: '),
        (lambda content: '[]', "holds list, expected an object with the lists 'train', 'val' and 'test'"),
        (lambda content: content.pop('val') and None, r"holds an object with \['test', 'train'\], expected"),
        (lambda content: content['val'].insert(1, ['a.jpg', 0]), r"""row 1 of "val" is \['a.jpg', 0\], expected \[p"""),
        (lambda content: content['val'].insert(1, ['a.jpg', True, 'x']), r'row 1 of "val" is .*True'),
        (lambda content: content['val'].insert(1, ['a.jpg', -1, 'x']), r'row 1 of "val" is .*-1'),
        (
            lambda content: content['val'].insert(0, ['/data/a.jpg', 0, 'Class_0 of Ünits']),
            'row 0 of "val" has the path \'/data/a.jpg\', expected one below the image folder',
        ),
        (lambda content: content['val'].insert(0, ['../a.jpg', 0, 'Class_0 of Ünits']), 'expected one below the image'),
        (
            lambda content: content['test'].append(['a.jpg', 0, 'Class_1 of Ünits']),
            "row 12 of \"test\" calls label 0 'Class_1 of Ünits', but an earlier row calls it 'Class_0 of Ünits'",
        ),
        (
            lambda content: [row.__setitem__(1, 7) for rows in content.values() for row in rows if row[1] == 3] and None,
            '4 labels up to 7 occur, but none is 3; expected labels from 0 without gaps',
        ),
        (
            lambda content: content['train'].__setitem__(slice(None), [row for row in content['train'] if row[1] != 2]),
            '"val" has the label 2, which "train" lacks',
        ),
        (lambda content: content['test'].append(content['train'][4]), 'row 12 of "test" repeats .* of row 4 of "train"'),
        (lambda content: content['train'].append(content['train'][4]), 'row 24 of "train" repeats .* of row 4 of "train"'),
    ],
)
def test_a_split_file_that_does_not_hold_together_is_one_clear_error(tmp_path, change, message):
    folder = make_tree(tmp_path, 'OxfordPets')
    path = rewrite_split(folder, change)
    with pytest.raises(ValueError, match=message) as info:
        CLIPOxfordPets(data_root=str(tmp_path))
    assert str(info.value).startswith(path)


def test_an_empty_split_file_is_an_error(tmp_path):
    folder = make_tree(tmp_path, 'OxfordPets')
    rewrite_split(folder, lambda content: dict(train=[], val=[], test=[]))
    with pytest.raises(ValueError, match='lists no pictures'):
        CLIPOxfordPets(data_root=str(tmp_path))


def test_missing_files_are_counted_and_the_first_are_named(tmp_path):
    folder = make_tree(tmp_path, 'OxfordPets')
    for path, _, _ in split_rows(('a', 'b/c', 'd'))['test'][:7]:
        os.remove(os.path.join(folder, 'images', path))
    assert len(CLIPOxfordPets(data_root=str(tmp_path), subset='val')) == 20
    with pytest.raises(FileNotFoundError, match='names 56 files, of which 7 are missing under .*images: d/.* 2 more'):
        CLIPOxfordPets(data_root=str(tmp_path), subset='train')
    with pytest.raises(FileNotFoundError, match='names 12 files, of which 7 are missing under .*images: d/.* 2 more'):
        CLIPOxfordPets(data_root=str(tmp_path), subset='test')


def test_other_sizes_than_the_published_ones_are_reported(tmp_path, logged):
    make_tree(tmp_path, 'EuroSAT')
    build('EuroSAT', tmp_path)
    assert (
        'not as published: 4 classes instead of 10; 24 train pictures instead of 13500; '
        '20 val pictures instead of 5400; 12 test pictures instead of 8100'
    ) in logged[0]


def test_base_and_new_classes_are_relabelled_from_zero(tmp_path):
    make_tree(tmp_path, 'Food101')
    base, new = (build('Food101', tmp_path, subset='test', class_subset=part) for part in ('base', 'new'))
    assert base.metainfo['classes'] == ('Class 0 of Ünits', 'Class 1 of Ünits')
    assert new.metainfo['classes'] == ('Class 2 of Ünits', 'Class 3 of Ünits')
    assert set(new.get_gt_labels()) == {0, 1}
    assert len(base) == len(new) == 6


def test_fewer_pictures_than_shots_are_all_taken_and_reported(tmp_path, logged):
    make_tree(tmp_path, 'OxfordPets')
    picks = FewShotDataset(dict(type='CLIPOxfordPets', data_root=str(tmp_path)), num_shots=16, seed=1)
    assert len(picks) == 24
    assert '4 of 4 classes have fewer than 16 pictures' in logged[-1]
