import os
import shutil
from functools import partial

import pytest
from benchmark_trees import WNID_NAMES, WNIDS, make_tree, put, write_class_list
from mmpretrain.datasets.categories import IMAGENET_SIMPLE_CATEGORIES

from mmpretrain_mps.datasets import FewShotDataset, imagenet
from mmpretrain_mps.datasets.imagenet import compare_class_names

# Serialized entries make no difference to these tests, but every serialization collects garbage.
CLIPImageNet, CLIPImageNetA, CLIPImageNetR, CLIPImageNetSketch, CLIPImageNetV2 = (
    partial(kind, serialize_data=False)
    for kind in (
        imagenet.CLIPImageNet,
        imagenet.CLIPImageNetA,
        imagenet.CLIPImageNetR,
        imagenet.CLIPImageNetSketch,
        imagenet.CLIPImageNetV2,
    )
)


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def test_pictures_are_listed_in_sorted_order_and_the_validation_set_is_the_test_set(tmp_path):
    folder = make_tree(tmp_path, 'ImageNet')
    train, test = (CLIPImageNet(data_root=str(tmp_path), subset=subset) for subset in ('train', 'test'))
    items = [train.get_data_info(i)['item'] for i in range(len(train))]
    assert items[:6] == [f'train/n01440764/n01440764_{number}.JPEG' for number in (1, 10, 2, 33, 9)] + [
        'train/n01443537/n01443537_1.JPEG'
    ]
    assert train.get_data_info(0)['img_path'] == os.path.join(folder, 'images', items[0])
    assert test.get_gt_labels().tolist() == list(range(7))
    assert train.metainfo['split_id'] == test.metainfo['split_id']
    assert train.metainfo['class_ids'] == WNIDS


def test_two_classes_may_share_a_name_and_stay_two_classes(tmp_path):
    make_tree(tmp_path, 'ImageNet')
    dataset = FewShotDataset(dict(type='CLIPImageNet', data_root=str(tmp_path)), num_shots=2, seed=1)
    assert dataset.metainfo['classes'] == WNID_NAMES
    assert sorted(dataset.get_gt_labels().tolist()) == sorted(2 * list(range(7)))
    folders = {entry['item'].split('/')[1]: entry['gt_label'] for entry in map(dataset.get_data_info, range(14))}
    assert folders['n04355933'] == 5 and folders['n04356056'] == 6


def test_imagenet_picks_follow_the_rule_on_the_sorted_listing(tmp_path):
    make_tree(tmp_path, 'ImageNet')
    dataset = FewShotDataset(dict(type='CLIPImageNet', data_root=str(tmp_path)), num_shots=2, seed=1)
    items = [dataset.get_data_info(i)['item'] for i in range(4)]
    # random.Random(1).sample(range(5), 2) is [1, 0] and the next sample of that stream [2, 0]; sorted: 1, 10, 2, 33, 9
    assert items == [
        'train/n01440764/n01440764_10.JPEG',
        'train/n01440764/n01440764_1.JPEG',
        'train/n01443537/n01443537_2.JPEG',
        'train/n01443537/n01443537_1.JPEG',
    ]


def test_there_is_no_validation_subset(tmp_path):
    make_tree(tmp_path, 'ImageNet')
    with pytest.raises(ValueError, match="ImageNet has no subset 'val' in the few-shot protocol, expected 'train' or"):
        CLIPImageNet(data_root=str(tmp_path), subset='val')


def test_testing_does_not_need_the_training_pictures(tmp_path):
    folder = make_tree(tmp_path, 'ImageNet')
    shutil.rmtree(os.path.join(folder, 'images', 'train'))
    assert len(CLIPImageNet(data_root=str(tmp_path), subset='test')) == 7
    with pytest.raises(FileNotFoundError, match='images/train does not exist.*image-net.org'):
        CLIPImageNet(data_root=str(tmp_path), subset='train')


def test_a_missing_an_extra_and_an_empty_class_folder_are_errors(tmp_path):
    folder = make_tree(tmp_path, 'ImageNet')
    train = os.path.join(folder, 'images', 'train')
    os.rename(os.path.join(train, WNIDS[2]), os.path.join(train, 'n99999999'))
    with pytest.raises(ValueError, match='train lacks 1 of the 7 class folders: n02422106'):
        CLIPImageNet(data_root=str(tmp_path))
    shutil.copytree(os.path.join(train, 'n99999999'), os.path.join(train, WNIDS[2]))
    with pytest.raises(ValueError, match='1 folders that classnames.txt does not list: n99999999'):
        CLIPImageNet(data_root=str(tmp_path))
    shutil.rmtree(os.path.join(train, 'n99999999'))
    shutil.rmtree(os.path.join(train, WNIDS[3]))
    os.mkdir(os.path.join(train, WNIDS[3]))
    with pytest.raises(ValueError, match='class folders without a picture: n03773504'):
        CLIPImageNet(data_root=str(tmp_path))


def test_validation_pictures_in_one_folder_are_an_error(tmp_path):
    folder = make_tree(tmp_path, 'ImageNet')
    shutil.rmtree(os.path.join(folder, 'images', 'val'))
    put(os.path.join(folder, 'images', 'val', 'ILSVRC2012_val_00000001.JPEG'))
    with pytest.raises(ValueError, match='images/val holds no class folder'):
        CLIPImageNet(data_root=str(tmp_path))


@pytest.mark.parametrize(
    'text, message',
    [
        ('n01440764 tench\nn01443537\n', "line 2 is 'n01443537', expected a folder name, a space and a class name"),
        ('n01440764 tench\n\nn01440764 fish\n', 'line 3 lists the folder n01440764 for the second time'),
        ('\n', 'classnames.txt is empty'),
    ],
)
def test_a_wrong_class_list_is_an_error(tmp_path, text, message):
    folder = make_tree(tmp_path, 'ImageNet')
    put(os.path.join(folder, 'classnames.txt'), text)
    with pytest.raises(ValueError, match=message):
        CLIPImageNet(data_root=str(tmp_path))


def test_a_missing_class_list_is_an_error(tmp_path):
    folder = make_tree(tmp_path, 'ImageNet')
    os.remove(os.path.join(folder, 'classnames.txt'))
    with pytest.raises(FileNotFoundError, match='classnames.txt does not exist. Published: .*image-net.org'):
        CLIPImageNet(data_root=str(tmp_path))


def test_full_class_lists_are_compared_with_the_names_in_use():
    names = {f'n{i:08}': name for i, name in enumerate(IMAGENET_SIMPLE_CATEGORIES)}
    assert compare_class_names(names) == ''
    names['n00000004'] = 'hammerhead'
    assert compare_class_names(names).startswith(
        "1 of 1000 class names of classnames.txt are not those in use, n00000004 is 'hammerhead' instead of 'hammer"
    )


def test_a_and_r_are_relabelled_by_sorted_folder_and_point_to_their_source_rows(tmp_path):
    make_tree(tmp_path, 'ImageNet-A')
    make_tree(tmp_path, 'ImageNet-R')
    adversarial, rendition = CLIPImageNetA(data_root=str(tmp_path)), CLIPImageNetR(data_root=str(tmp_path))
    assert adversarial.metainfo['source_indices'] == (1, 3, 5)
    assert adversarial.metainfo['classes'] == ('goldfish', 'missile', 'sunglasses')
    assert adversarial.get_gt_labels().tolist() == [0, 0, 1, 1, 2, 2]
    # The second class called sunglasses, which a look-up by name would mistake for the first.
    assert rendition.metainfo['source_indices'] == (0, 6)
    assert rendition.metainfo['class_ids'] == ('n01440764', 'n04356056')
    assert len(adversarial.metainfo['templates']) == 7


def test_source_rows_follow_the_new_classes(tmp_path):
    make_tree(tmp_path, 'ImageNet-A')
    new = CLIPImageNetA(data_root=str(tmp_path), class_subset='new')
    assert new.metainfo['source_indices'] == (5,)
    assert new.get_gt_labels().tolist() == [0, 0]


def test_folders_of_v2_are_numbers_in_the_order_of_the_class_list(tmp_path):
    folder = make_tree(tmp_path, 'ImageNet-V2')
    images = os.path.join(folder, 'imagenetv2-matched-frequency-format-val')
    ids = [f'n{i:08}' for i in range(12)]
    put(os.path.join(folder, 'classnames.txt'), '\n'.join(f'{item} name {item}' for item in reversed(ids)))
    for i in range(12):
        put(os.path.join(images, str(i), 'x.jpeg'))
    dataset = CLIPImageNetV2(data_root=str(tmp_path))
    labels = {dataset.get_data_info(i)['item'].split('/')[0]: dataset.get_data_info(i)['gt_label'] for i in range(len(dataset))}
    assert labels == {str(i): i for i in range(12)}
    assert dataset.metainfo['class_ids'] == tuple(ids)


def test_sketch_needs_every_class(tmp_path):
    folder = make_tree(tmp_path, 'ImageNet-Sketch')
    assert CLIPImageNetSketch(data_root=str(tmp_path)).metainfo['source_indices'] == tuple(range(7))
    shutil.rmtree(os.path.join(folder, 'images', WNIDS[6]))
    with pytest.raises(ValueError, match='lacks 1 of the 7 class folders: n04356056'):
        CLIPImageNetSketch(data_root=str(tmp_path))


def test_a_shifted_set_has_nothing_to_train_on(tmp_path):
    make_tree(tmp_path, 'ImageNet-R')
    with pytest.raises(ValueError, match="ImageNet-R has no subset 'train' in the few-shot protocol, expected 'test'"):
        CLIPImageNetR(data_root=str(tmp_path), subset='train')


def test_the_class_list_of_imagenet_serves_its_variants_beside_it(tmp_path):
    folder = make_tree(tmp_path, 'ImageNet-R')
    os.remove(os.path.join(folder, 'classnames.txt'))
    with pytest.raises(FileNotFoundError, match='imagenet-rendition/classnames.txt does not exist'):
        CLIPImageNetR(data_root=str(tmp_path))
    write_class_list(os.path.join(tmp_path, 'imagenet'))
    assert CLIPImageNetR(data_root=str(tmp_path)).metainfo['source_indices'] == (0, 6)


def test_a_folder_that_is_no_class_of_imagenet_is_an_error(tmp_path):
    folder = make_tree(tmp_path, 'ImageNet-A')
    put(os.path.join(folder, 'imagenet-a', 'n00000001', 'x.jpg'))
    with pytest.raises(ValueError, match='holds the folders n00000001, which classnames.txt does not list'):
        CLIPImageNetA(data_root=str(tmp_path))
