"""The benchmark data sets of few-shot CLIP adaptation, as a table: where they lie, how large they are, who hosts them.

Class names and label order are not in this table: they come from the split files on disk. mmpretrain's own class
lists differ from those for several of the data sets and must not be used in their place.
"""

from typing import NamedTuple

SPLIT_FILES_PAGE = 'https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md'

# The seven templates that every method of this line averages on ImageNet; mmpretrain's `openai_imagenet_sub`.
IMAGENET_TEMPLATES = (
    'itap of a {}.',
    'a bad photo of the {}.',
    'a origami {}.',
    'a photo of the large {}.',
    'a {} in a video game.',
    'art of the {}.',
    'a photo of the small {}.',
)


class DatasetSpec(NamedTuple):
    """What is known of one data set before its files are read.

    Attributes:
        name (str): Name in results and in the command-line tools.
        folder (str): Folder below the data root.
        image_root (str): Folder below ``folder`` that pictures' paths are relative to; '' for ``folder`` itself.
        templates (tuple[str]): Prompt templates, each with one ``{}``.
        num_classes (int): Number of classes.
        counts (dict[str, int]): Number of pictures of each subset the data set has.
        home (str): Page of the people who publish the pictures.
        annotation_files (tuple[str]): Files below ``folder`` that define the split and the class names.
        other_layouts (tuple[tuple[str, str]]): Paths below ``folder`` (or below the data root, when they start with
            ``../``) that mirrors and unpacked archives leave behind, and what to do about each.
        note (str): What to know before fetching the data set.
    """

    name: str
    folder: str
    image_root: str
    templates: tuple
    num_classes: int
    counts: dict
    home: str
    annotation_files: tuple
    other_layouts: tuple = ()
    note: str = ''

    @property
    def subsets(self) -> tuple[str, ...]:
        """tuple[str]: The subsets that the data set has, in the order train, val, test."""
        return tuple(self.counts)


def _split(train, val, test):
    return dict(train=train, val=val, test=test)


_SPECS = (
    DatasetSpec(
        name='ImageNet',
        folder='imagenet',
        image_root='images',
        templates=IMAGENET_TEMPLATES,
        num_classes=1000,
        counts=dict(train=1281167, test=50000),
        home='https://image-net.org/download.php',
        annotation_files=('classnames.txt',),
        other_layouts=(
            ('train', 'move (or link) `train` and `val` into a folder `images`'),
            (
                'images/val/ILSVRC2012_val_00000001.JPEG',
                'the 50,000 validation pictures lie in one folder: sort them into one folder per class (n01440764, ...)',
            ),
            ('ILSVRC2012_img_train.tar', 'unpack the archive; it holds one further archive per class'),
            ('ILSVRC/Data/CLS-LOC/train', 'link `ILSVRC/Data/CLS-LOC` as `images`'),
            ('../ILSVRC2012', 'rename (or link) the folder to `imagenet` with `images/train` and `images/val` inside'),
        ),
    ),
    DatasetSpec(
        name='Caltech101',
        folder='caltech-101',
        image_root='101_ObjectCategories',
        templates=('a photo of a {}.',),
        num_classes=100,
        counts=_split(4128, 1649, 2465),
        home='https://data.caltech.edu/records/mzrjq-6wc02',
        annotation_files=('split_zhou_Caltech101.json',),
        other_layouts=(
            ('101_ObjectCategories.tar.gz', 'unpack the archive'),
            ('caltech-101/101_ObjectCategories', 'move `caltech-101/101_ObjectCategories` one level up'),
            ('../caltech101/101_ObjectCategories', 'rename (or link) the folder `caltech101` to `caltech-101`'),
        ),
    ),
    DatasetSpec(
        name='OxfordPets',
        folder='oxford_pets',
        image_root='images',
        templates=('a photo of a {}, a type of pet.',),
        num_classes=37,
        counts=_split(2944, 736, 3669),
        home='https://www.robots.ox.ac.uk/~vgg/data/pets/',
        annotation_files=('split_zhou_OxfordPets.json',),
        other_layouts=(
            ('images.tar.gz', 'unpack the archive'),
            ('../oxford-iiit-pet/images', 'rename (or link) the folder `oxford-iiit-pet` to `oxford_pets`'),
        ),
    ),
    DatasetSpec(
        name='StanfordCars',
        folder='stanford_cars',
        image_root='',
        templates=('a photo of a {}.',),
        num_classes=196,
        counts=_split(6509, 1635, 8041),
        home='https://ai.stanford.edu/~jkrause/cars/car_dataset.html',
        annotation_files=('split_zhou_StanfordCars.json',),
        other_layouts=(
            (
                'cars_train/cars_train',
                'a mirror nested the folders: move the pictures of `cars_train/cars_train` to '
                '`cars_train`, and those of `cars_test/cars_test` to `cars_test`',
            ),
            ('stanford_cars/cars_train', 'move `stanford_cars/cars_train` and `stanford_cars/cars_test` one level up'),
            (
                'car_ims',
                'this is the combined archive: its numbering (000001.jpg ... 016185.jpg) is not that of '
                '`cars_train` and `cars_test` (00001.jpg ...), so renaming does not help; fetch the two '
                'separate archives',
            ),
            (
                'cars_train/000001.jpg',
                'six-digit names are those of the combined archive, in another order: fetch the two separate archives',
            ),
            ('train', 'a folder `train` is not read: wanted are `cars_train` and `cars_test` with the original names'),
            (
                'car_data',
                'this mirror sorts the pictures by class: fetch `cars_train` and `cars_test` with the '
                'original file names instead',
            ),
            ('cars_annos.mat', 'annotations of the combined archive: not read, labels come from the split file'),
            ('cars_train.tgz', 'unpack the archive'),
        ),
        note='The home page has been offline since 2023; https://github.com/pytorch/vision/issues/7545 discusses '
        'copies. Wanted are `cars_train/00001.jpg` ... `08144.jpg` and `cars_test/00001.jpg` ... `08041.jpg`; '
        '`devkit` and `*.mat` annotations are not needed.',
    ),
    DatasetSpec(
        name='Flowers102',
        folder='oxford_flowers',
        image_root='jpg',
        templates=('a photo of a {}, a type of flower.',),
        num_classes=102,
        counts=_split(4093, 1633, 2463),
        home='https://www.robots.ox.ac.uk/~vgg/data/flowers/102/',
        annotation_files=('split_zhou_OxfordFlowers.json',),
        other_layouts=(
            ('102flowers.tgz', 'unpack the archive'),
            ('../flowers-102/jpg', 'rename (or link) the folder `flowers-102` to `oxford_flowers`'),
        ),
    ),
    DatasetSpec(
        name='Food101',
        folder='food-101',
        image_root='images',
        templates=('a photo of {}, a type of food.',),
        num_classes=101,
        counts=_split(50500, 20200, 30300),
        home='https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/',
        annotation_files=('split_zhou_Food101.json',),
        other_layouts=(
            ('food-101/images', 'move what is in `food-101/food-101` one level up'),
            ('../food-101.tar.gz', 'unpack the archive in the data root'),
            ('../food101/images', 'rename (or link) the folder `food101` to `food-101`'),
        ),
    ),
    DatasetSpec(
        name='FGVCAircraft',
        folder='fgvc_aircraft',
        image_root='images',
        templates=('a photo of a {}, a type of aircraft.',),
        num_classes=100,
        counts=_split(3334, 3333, 3333),
        home='https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/',
        annotation_files=('variants.txt', 'images_variant_train.txt', 'images_variant_val.txt', 'images_variant_test.txt'),
        other_layouts=(
            ('data/images', 'move what is in `data` one level up'),
            ('fgvc-aircraft-2013b/data', 'move what is in `fgvc-aircraft-2013b/data` to `fgvc_aircraft`'),
            ('../fgvc-aircraft-2013b/data', 'rename (or link) `fgvc-aircraft-2013b/data` to `fgvc_aircraft`'),
        ),
    ),
    DatasetSpec(
        name='SUN397',
        folder='sun397',
        image_root='SUN397',
        templates=('a photo of a {}.',),
        num_classes=397,
        counts=_split(15880, 3970, 19850),
        home='https://vision.princeton.edu/projects/2010/SUN/',
        annotation_files=('split_zhou_SUN397.json',),
        other_layouts=(
            ('SUN397.tar.gz', 'unpack the archive'),
            ('SUN397/SUN397', 'move what is in `SUN397/SUN397` one level up'),
            ('a/abbey', 'put the folders `a` ... `z` into a folder `SUN397`'),
        ),
    ),
    DatasetSpec(
        name='DTD',
        folder='dtd',
        image_root='images',
        templates=('{} texture.',),
        num_classes=47,
        counts=_split(2820, 1128, 1692),
        home='https://www.robots.ox.ac.uk/~vgg/data/dtd/',
        annotation_files=('split_zhou_DescribableTextures.json',),
        other_layouts=(
            ('dtd/images', 'move what is in `dtd/dtd` one level up'),
            ('../dtd-r1.0.1.tar.gz', 'unpack the archive in the data root'),
        ),
    ),
    DatasetSpec(
        name='EuroSAT',
        folder='eurosat',
        image_root='2750',
        templates=('a centered satellite photo of {}.',),
        num_classes=10,
        counts=_split(13500, 5400, 8100),
        home='https://github.com/phelber/EuroSAT',
        annotation_files=('split_zhou_EuroSAT.json',),
        other_layouts=(
            ('EuroSAT_RGB', 'rename (or link) the folder `EuroSAT_RGB` to `2750`; the pictures are the same'),
            ('EuroSAT/2750', 'move `EuroSAT/2750` one level up'),
            ('EuroSAT.zip', 'unpack the archive'),
            ('EuroSAT_MS', 'these are the 13-band TIFF files: fetch the RGB version'),
        ),
    ),
    DatasetSpec(
        name='UCF101',
        folder='ucf101',
        image_root='UCF-101-midframes',
        templates=('a photo of a person doing {}.',),
        num_classes=101,
        counts=_split(7639, 1898, 3783),
        home='https://www.crcv.ucf.edu/data/UCF101.php',
        annotation_files=('split_zhou_UCF101.json',),
        other_layouts=(
            ('UCF-101', 'these are the videos: the pictures wanted are one middle frame of each'),
            ('UCF-101-midframes.zip', 'unpack the archive'),
        ),
        note=f'The middle frames are published beside the split file, see {SPLIT_FILES_PAGE} (section UCF101).',
    ),
    DatasetSpec(
        name='ImageNet-V2',
        folder='imagenetv2',
        image_root='imagenetv2-matched-frequency-format-val',
        templates=IMAGENET_TEMPLATES,
        num_classes=1000,
        counts=dict(test=10000),
        home='https://github.com/modestyachts/ImageNetV2',
        annotation_files=('classnames.txt',),
        other_layouts=(
            ('imagenetv2-matched-frequency.tar.gz', 'unpack the archive'),
            ('imagenetv2-threshold0.7-format-val', 'this is another of the three versions: fetch matched-frequency'),
            ('imagenetv2-top-images-format-val', 'this is another of the three versions: fetch matched-frequency'),
        ),
    ),
    DatasetSpec(
        name='ImageNet-Sketch',
        folder='imagenet-sketch',
        image_root='images',
        templates=IMAGENET_TEMPLATES,
        num_classes=1000,
        counts=dict(test=50889),
        home='https://github.com/HaohanWang/ImageNet-Sketch',
        annotation_files=('classnames.txt',),
        other_layouts=(
            ('sketch', 'rename (or link) the folder `sketch` to `images`'),
            ('n01440764', 'put the class folders into a folder `images`'),
        ),
    ),
    DatasetSpec(
        name='ImageNet-A',
        folder='imagenet-adversarial',
        image_root='imagenet-a',
        templates=IMAGENET_TEMPLATES,
        num_classes=200,
        counts=dict(test=7500),
        home='https://github.com/hendrycks/natural-adv-examples',
        annotation_files=('classnames.txt',),
        other_layouts=(
            ('imagenet-a.tar', 'unpack the archive'),
            ('../imagenet-a', 'move the folder `imagenet-a` into `imagenet-adversarial`'),
        ),
    ),
    DatasetSpec(
        name='ImageNet-R',
        folder='imagenet-rendition',
        image_root='imagenet-r',
        templates=IMAGENET_TEMPLATES,
        num_classes=200,
        counts=dict(test=30000),
        home='https://github.com/hendrycks/imagenet-r',
        annotation_files=('classnames.txt',),
        other_layouts=(
            ('imagenet-r.tar', 'unpack the archive'),
            ('../imagenet-r', 'move the folder `imagenet-r` into `imagenet-rendition`'),
        ),
    ),
)

CATALOG = {spec.name: spec for spec in _SPECS}


def find_spec(name: str) -> DatasetSpec:
    """Return the specification of a data set.

    Args:
        name (str): A name of the table; case, ``-`` and ``_`` do not matter.

    Returns:
        DatasetSpec: From the catalog.

    Raises:
        KeyError: If the table has no such data set; the message lists those it has.
    """
    plain = {_plain(key): spec for key, spec in CATALOG.items()}
    if _plain(name) not in plain:
        raise KeyError(f"no benchmark data set is named '{name}'; there are {', '.join(CATALOG)}")
    return plain[_plain(name)]


def where_described(spec: DatasetSpec) -> str:
    """Return one sentence that says where the pictures and the split of a data set are published.

    Args:
        spec (DatasetSpec): Of the catalog.

    Returns:
        str: The sentence, with the home page and the page that describes the split files.
    """
    files = ', '.join(spec.annotation_files)
    return f'pictures: {spec.home} ; {files} and the layout: {SPLIT_FILES_PAGE} (section {spec.name})'


def _plain(name):
    return name.lower().replace('-', '').replace('_', '')
