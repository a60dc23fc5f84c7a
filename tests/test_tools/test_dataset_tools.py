import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'test_datasets'))

from benchmark_trees import make_tree, put  # noqa: E402

from mmpretrain_mps.datasets import catalog, index_file, preparation  # noqa: E402


def load(name):
    """Import a command-line tool as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / 'datasets' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_index, prepare = load('make_index'), load('prepare')


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def small_counts(monkeypatch):
    """A table that states the sizes of the small trees."""
    for name in ('OxfordPets', 'StanfordCars', 'FGVCAircraft'):
        monkeypatch.setattr(
            f'mmpretrain_mps.datasets.CLIP{name}.SPEC',
            catalog.CATALOG[name]._replace(num_classes=4, counts=dict(train=24, val=20, test=12)),
        )


class TestMakeIndex:
    def test_rows_of_a_split_file_are_written_in_order(self, tmp_path):
        folder = make_tree(tmp_path, 'OxfordPets')
        out = tmp_path / 'made' / 'index.json'
        command = [
            sys.executable,
            ROOT / 'tools' / 'datasets' / 'make_index.py',
            '--split',
            os.path.join(folder, 'split_zhou_OxfordPets.json'),
            '--shots',
            '2',
            '--seed',
            '3',
            '--out',
            out,
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))
        assert done.returncode == 0, done.stderr
        content = json.loads(out.read_text(encoding='utf-8'))
        assert (content['num_shots'], content['seed'], content['subset'], content['rule']) == (2, 3, 'train', 'coop-1')
        assert len(content['items']) == 8
        assert content['items'][0] == dict(path='a/3_003.jpg', label=3, classname='Class_3 of Ünits')
        assert content['sha256'] in done.stdout and '8 train pictures of 4 classes of OxfordPets' in done.stdout

    def test_validation_picks_are_at_most_four_per_class(self, tmp_path):
        folder = make_tree(tmp_path, 'OxfordPets')
        out = str(tmp_path / 'index.json')
        split = os.path.join(folder, 'split_zhou_OxfordPets.json')
        assert make_index.main(['--split', split, '--shots', '16', '--seed', '1', '--subset', 'val', '--out', out]) == 0
        assert len(index_file.read(out).rows) == 16

    def test_a_data_set_on_disk_is_indexed(self, tmp_path):
        make_tree(tmp_path, 'ImageNet')
        out = str(tmp_path / 'index.json')
        arguments = ['--dataset', 'imagenet', '--root', str(tmp_path), '--shots', '1', '--seed', '1', '--out', out]
        assert make_index.main(arguments) == 0
        assert [label for _, label in index_file.read(out).rows] == list(range(7))

    @pytest.mark.parametrize(
        'arguments, message',
        [
            (['--split', 'nowhere.json'], 'make_index: error: nowhere.json does not exist'),
            (['--dataset', 'Birds', '--root', '.'], "make_index: error: no benchmark data set is named 'Birds'; there are"),
            (['--dataset', 'DTD', '--root', '.'], 'split_zhou_DescribableTextures.json does not exist'),
            (['--dataset', 'ImageNet', '--root', '.', '--subset', 'val'], "ImageNet has no subset 'val'"),
            (['--split', 'nowhere.json', '--shots', '0'], 'error: '),
        ],
    )
    def test_errors_are_one_line_and_nothing_is_written(self, tmp_path, capsys, arguments, message):
        out = tmp_path / 'index.json'
        assert make_index.main(['--shots', '1', '--seed', '1', '--out', str(out), *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1
        assert not out.exists()

    @pytest.mark.parametrize('out', ['', '.', '/proc/x.json'])
    def test_what_cannot_be_written_is_said_by_the_name_that_was_given(self, tmp_path, capsys, out):
        split = tmp_path / 'split.json'
        split.write_text(json.dumps(dict(train=[['a.png', 0, 'a']], val=[], test=[['b.png', 0, 'a']])))
        assert make_index.main(['--split', str(split), '--shots', '1', '--seed', '1', '--out', out]) == 2
        assert f'make_index: error: --out {out!r} cannot be written: ' in capsys.readouterr().err

    def test_a_root_does_not_go_with_a_split_file(self, capsys):
        with pytest.raises(SystemExit):
            make_index.main(['--split', 'a', '--root', 'b', '--shots', '1', '--seed', '1', '--out', 'c'])
        assert '--root goes with --dataset' in capsys.readouterr().err


class TestPrepare:
    def check(self, capsys, *arguments):
        status = prepare.main([str(item) for item in arguments])
        return status, capsys.readouterr().out

    @pytest.mark.parametrize('name', ['OxfordPets', 'StanfordCars', 'FGVCAircraft'])
    def test_a_sound_data_set_is_ready(self, tmp_path, capsys, small_counts, name):
        make_tree(tmp_path, name)
        status, out = self.check(capsys, name, '--root', tmp_path, '--check-images')
        assert status == 0, out
        assert 'pictures: 24 train, 20 val, 12 test' in out and out.endswith('Ready for training.\n')

    def test_counts_are_held_against_the_table(self, tmp_path, capsys):
        make_tree(tmp_path, 'EuroSAT')
        status, out = self.check(capsys, 'EuroSAT', '--root', tmp_path)
        assert status == 1
        assert 'error ' in out and '24 train pictures instead of 13500' in out and '4 classes instead of 10' in out
        assert 'https://github.com/phelber/EuroSAT' in out
        assert out.endswith('Not usable yet: EuroSAT\n')

    def test_missing_folders_are_named_with_where_to_fetch_them(self, tmp_path, capsys):
        status, out = self.check(capsys, 'Food101', '--root', tmp_path)
        assert status == 1
        assert f'the folder {tmp_path}/food-101 does not exist' in out
        assert 'https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/' in out and 'DATASETS.md' in out
        status, out = self.check(capsys, 'Food101', '--root', tmp_path / 'nowhere')
        assert status == 1 and f'the data root {tmp_path}/nowhere does not exist' in out

    def test_a_missing_split_file_is_never_replaced(self, tmp_path, capsys):
        folder = make_tree(tmp_path, 'OxfordPets')
        os.rename(os.path.join(folder, 'split_zhou_OxfordPets.json'), os.path.join(folder, 'split_mine.json'))
        before = sorted(str(path) for path in tmp_path.rglob('*'))
        status, out = self.check(capsys, 'OxfordPets', '--root', tmp_path)
        assert status == 1 and 'split_zhou_OxfordPets.json does not exist' in out
        assert 'holds split_mine.json, but not split_zhou_OxfordPets.json: other split files give other results' in out
        assert sorted(str(path) for path in tmp_path.rglob('*')) == before

    @pytest.mark.parametrize(
        'found, advice',
        [
            ('cars_train/cars_train/00001.jpg', 'move the pictures of `cars_train/cars_train` to `cars_train`'),
            ('car_ims/000001.jpg', 'renaming does not help'),
            ('car_data/train/Audi/00001.jpg', 'this mirror sorts the pictures by class'),
            ('cars_train/000001.jpg', 'six-digit names are those of the combined archive'),
            ('cars_annos.mat', 'annotations of the combined archive'),
        ],
    )
    def test_known_mirrors_of_the_cars_are_recognised(self, tmp_path, capsys, small_counts, found, advice):
        folder = make_tree(tmp_path, 'StanfordCars')
        os.rename(os.path.join(folder, 'cars_train'), os.path.join(folder, 'elsewhere'))
        put(os.path.join(folder, found))
        status, out = self.check(capsys, 'StanfordCars', '--root', tmp_path)
        assert status == 1
        assert '"train" of ' in out and 'names 24 files, of which 24 are missing' in out
        assert advice in out and 'The home page has been offline since 2023' in out

    def test_pictures_under_nearly_the_same_name_are_pointed_out(self, tmp_path, capsys, small_counts):
        folder = make_tree(tmp_path, 'OxfordPets')
        os.rename(os.path.join(folder, 'images', 'd', '2_001.jpg'), os.path.join(folder, 'images', 'd', '2_001.JPEG'))
        status, out = self.check(capsys, 'OxfordPets', '--root', tmp_path)
        assert status == 1 and 'd/2_001.jpg is there as 2_001.JPEG: expected the names of ' in out

    def test_other_layouts_are_recognised_beside_the_wanted_folder(self, tmp_path, capsys):
        os.makedirs(tmp_path / 'fgvc-aircraft-2013b' / 'data')
        status, out = self.check(capsys, 'fgvc_aircraft', '--root', tmp_path)
        assert status == 1 and 'rename (or link) `fgvc-aircraft-2013b/data` to `fgvc_aircraft`' in out

    def test_unreadable_pictures_are_found_when_asked_for(self, tmp_path, capsys, small_counts):
        folder = make_tree(tmp_path, 'OxfordPets')
        bad = put(os.path.join(folder, 'images', 'd', '2_001.jpg'), 'no picture')
        assert self.check(capsys, 'OxfordPets', '--root', tmp_path)[0] == 0
        status, out = self.check(capsys, 'OxfordPets', '--root', tmp_path, '--check-images')
        assert status == 1 and f'1 of 12 pictures of "test" cannot be read: {bad} cannot be read' in out

    def test_a_malformed_split_file_is_an_error(self, tmp_path, capsys):
        folder = make_tree(tmp_path, 'OxfordPets')
        put(os.path.join(folder, 'split_zhou_OxfordPets.json'), '{')
        status, out = self.check(capsys, 'OxfordPets', '--root', tmp_path)
        assert status == 1 and 'split_zhou_OxfordPets.json is no JSON' in out

    def test_imagenet_without_training_pictures_is_not_ready(self, tmp_path, capsys):
        folder = make_tree(tmp_path, 'ImageNet')
        os.rename(os.path.join(folder, 'images', 'train'), os.path.join(folder, 'train'))
        status, out = self.check(capsys, 'ImageNet', '--root', tmp_path)
        assert status == 1 and 'images/train does not exist' in out
        assert 'move (or link) `train` and `val` into a folder `images`' in out

    def test_a_variant_can_use_the_class_list_of_imagenet(self, tmp_path, capsys):
        make_tree(tmp_path, 'ImageNet')
        folder = make_tree(tmp_path, 'ImageNet-A')
        os.remove(os.path.join(folder, 'classnames.txt'))
        _, out = self.check(capsys, 'ImageNet-A', '--root', tmp_path)
        assert 'classnames.txt does not exist' not in out and '3 classes instead of 200' in out

    def test_all_data_sets_are_gone_through(self, tmp_path, capsys):
        status, out = self.check(capsys, '--all', '--root', tmp_path)
        assert status == 1
        assert all(f'{name}:\n' in out for name in catalog.CATALOG)
        assert out.endswith(f'Not usable yet: {", ".join(catalog.CATALOG)}\n')

    def test_own_pictures_can_be_checked_too(self, tmp_path, capsys):
        for name in ('train/cat', 'test/cat', 'train/dog'):
            put(str(tmp_path / name / '0.jpg'))
        status, out = self.check(capsys, 'PictureFolder', '--root', tmp_path, '--check-images')
        assert status == 0 and "2 classes ('cat', 'dog'); pictures: 2 train, 1 test" in out
        os.remove(tmp_path / 'train' / 'dog' / '0.jpg')
        status, out = self.check(capsys, 'PictureFolder', '--root', tmp_path)
        assert status == 1 and 'the class folders dog hold no pictures' in out

    def test_names_that_are_no_text_can_be_reported(self, tmp_path, capsys):
        put(os.fsencode(tmp_path) + b'/train/cat/\xff.jpg', 'no picture')
        status, out = self.check(capsys, 'PictureFolder', '--root', tmp_path)
        assert status == 1 and '\\udcff.jpg (content of no picture)' in out

    def test_an_unknown_name_is_an_error(self, tmp_path, capsys):
        assert prepare.main(['Birds', '--root', str(tmp_path)]) == 2
        assert "prepare: error: no benchmark data set is named 'Birds'" in capsys.readouterr().err

    @pytest.mark.parametrize('arguments', [['--root', '.'], ['DTD', '--all', '--root', '.']])
    def test_one_name_or_all_must_be_given(self, capsys, arguments):
        with pytest.raises(SystemExit):
            prepare.main(arguments)
        assert 'name one data set, or give --all' in capsys.readouterr().err


def test_folders_that_only_differ_in_case_are_not_taken_for_another_layout(tmp_path):
    spec = catalog.CATALOG['SUN397']
    os.makedirs(tmp_path / 'sun397' / 'SUN397')
    assert preparation.look_for_other_layouts(spec, str(tmp_path)) == []
