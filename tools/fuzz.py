"""Read files that were changed at random, and count what comes of it: python tools/fuzz.py [--inputs N] [--out FILE].

Sound files are made, and bytes of them flipped, cut out, doubled, swapped or replaced by what parsers stumble over.
Each reader must accept the result or refuse it with its own message, in time and without filling the memory. The exit
status is 0 if they do; what they did not is listed, with the input. Linux and macOS. In a few minutes on a CPU:

    python tools/fuzz.py --inputs 2000 --out results/fuzz.json
"""

import argparse
import contextlib
import json
import logging
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
import yaml

from mmpretrain_mps.analysis.grid import read_grid
from mmpretrain_mps.analysis.work_dir import read_work_dir
from mmpretrain_mps.benchmark.cell_run import result_in
from mmpretrain_mps.benchmark.grid import read_grid_file
from mmpretrain_mps.benchmark.study_results import read_study_results
from mmpretrain_mps.datasets import index_file
from mmpretrain_mps.datasets.picture_lists import read_class_file, read_table
from mmpretrain_mps.datasets.split_readers import load_json_split
from mmpretrain_mps.models.caches.tensor_cache import load_tensors, save_tensors
from mmpretrain_mps.utils.checkpoint import read_checkpoint
from mmpretrain_mps.utils.config_files import read_config_file
from mmpretrain_mps.utils.errors import user_message

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 20
LIMIT_BYTES = 4 * 2**30
TOKENS = [
    b'{',
    b'}',
    b'[',
    b']',
    b'"',
    b':',
    b',',
    b'-',
    b'0',
    b'1e999',
    b'NaN',
    b'null',
    b'true',
    b'\0',
    b'\xff\xfe',
    b'\xef\xbb\xbf',
    b'\n',
    b'\r',
    b'&a ',
    b'*a',
    b'!!python/name:os.system ',
    b'<<: ',
    b'../',
    b'/',
    b'{{_base_.x}}',
    b'9' * 5000,
    b'[' * 3000,
    b'PK\x03\x04',
    b'\x80\x02c',
    b'._base_',
    b'\xc3\xa9',
    b'type: os.system',
]


def main():
    """Fuzz all readers."""
    arguments = parse_arguments()
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES + _address_space(), resource.RLIM_INFINITY))
    warnings.simplefilter('ignore')
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        readers = make_readers(Path(folder))
        chosen = {name: readers[name] for name in arguments.readers or readers}
        report = {name: fuzz(*reader, arguments.inputs, f'{arguments.seed}/{name}') for name, reader in chosen.items()}
    for name, row in report.items():
        print(
            f'{name:18} {row["inputs"]:7} inputs {row["accepted"]:7} accepted {row["refused"]:7} refused '
            f'{len(row["other"]):4} other, slowest {row["slowest_seconds"]:.2f} s'
        )
    if arguments.out:
        content = dict(inputs=arguments.inputs, seed=arguments.seed, readers=report)
        Path(arguments.out).write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    sys.exit(any(row['other'] for row in report.values()))


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--inputs', type=int, default=200, help='for each reader; by default 200')
    parser.add_argument('--seed', type=int, default=0, help='of the changes; by default 0')
    parser.add_argument('--readers', nargs='+', metavar='NAME', help='only these')
    parser.add_argument('--out', metavar='FILE', help='write the report to this .json file')
    return parser.parse_args()


def text_files():
    """Return the content of a sound file of every kind of text, by its name."""
    split = example_split()
    table = 'path,label,split\n' + ''.join(
        f'{path},{name},{subset}\n' for subset, rows in split.items() for path, _, name in rows
    )
    grid = dict(configs=['configs/mps_mini_16shot_digits.py'], shots=[1, 2], seeds=[1], recipes=dict(a={'model.head.alpha': 0.5}))
    config = dict(_base_=str(ROOT / 'configs' / 'default_runtime.py'), log_level='INFO', train_cfg=dict(max_epochs=2))
    scalars = ''.join(json.dumps(dict(lr=0.1, loss=1.0, iter=step, epoch=1, step=step)) + '\n' for step in range(1, 6))
    cells = json.loads((ROOT / 'results' / 'mini_digits' / 'results.json').read_text(encoding='utf-8'))['cells'][:2]
    return {
        'split.json': json.dumps(split),
        'pictures.csv': table,
        'grid.yaml': yaml.safe_dump(grid),
        'grid.json': json.dumps(grid),
        'config.yaml': yaml.safe_dump(config),
        'config.json': json.dumps(config),
        'classes.yaml': 'classes: {a: tabby cat, b: dog}\ntemplates: ["a photo of a {}."]\n',
        'grid/results.json': json.dumps(dict(cells=cells)),
        'result.json': json.dumps(cells[0]),
        'study/study.json': (ROOT / 'results' / 'digits_study' / 'study.json').read_text(encoding='utf-8'),
        'run/vis_data/scalars.json': scalars,
        'run/config.py': "model = dict(type='MPSCLIPClassifier', a=[1, (2, -3.5)])\n",
    }


def example_split():
    """Return three pictures of each of two classes for each subset, as the files of splits have them."""
    return {
        subset: [
            [f'{name}/{subset}_{number}.jpg', label, name] for label, name in enumerate(('cat', 'dög')) for number in range(3)
        ]
        for subset in ('train', 'val', 'test')
    }


def make_readers(folder):
    """Make a sound file for each reader.

    Args:
        folder (Path): Empty.

    Returns:
        dict[str, tuple[Path, Callable]]: The file, and what reads it.
    """
    for name, text in text_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding='utf-8')
    rows = tuple((path, label) for path, label, _ in example_split()['train'])
    index = index_file.IndexFile('Pets', 'train', 3, 1, 'a' * 64, ('cat', 'dög'), rows)
    index_file.write(str(folder / 'index.json'), index)
    checkpoint = dict(state_dict=dict(weight=torch.zeros(3, 4)), meta=dict(epoch=1, seed=1), optimizer=dict(state={}))
    torch.save(checkpoint, folder / 'x.pth')
    save_tensors(folder, 'cached', dict(prototypes=torch.ones(2, 3)), 'prototypes')
    return {
        'split': (folder / 'split.json', load_json_split),
        'table': (folder / 'pictures.csv', read_table),
        'classes': (folder / 'classes.yaml', lambda path: read_class_file(path, ['a', 'b'], 'here')),
        'index': (folder / 'index.json', index_file.read),
        'checkpoint': (folder / 'x.pth', read_checkpoint),
        'cache': (folder / 'cached.safetensors', lambda path: load_tensors(folder, 'cached', 'prototypes')),
        'grid yaml': (folder / 'grid.yaml', read_grid_file),
        'grid json': (folder / 'grid.json', read_grid_file),
        'config yaml': (folder / 'config.yaml', read_config_file),
        'config json': (folder / 'config.json', read_config_file),
        'results': (folder / 'grid' / 'results.json', lambda path: read_grid(folder / 'grid')),
        'study': (folder / 'study' / 'study.json', lambda path: read_study_results(folder / 'study')),
        'result of a cell': (folder / 'result.json', result_in),
        'scalars': (folder / 'run' / 'vis_data' / 'scalars.json', lambda path: read_work_dir(folder / 'run')),
        'config of a run': (folder / 'run' / 'config.py', lambda path: read_work_dir(folder / 'run')),
    }


def fuzz(path, read, inputs, seed):
    """Change a file and read it, many times.

    Args:
        path (Path): A sound file; left as it was.
        read (Callable): Takes its name.
        inputs (int): How many times.
        seed (str): Of the changes.

    Returns:
        dict: Counts, and what was neither accepted nor refused by a message of this project.
    """
    chance, sound = random.Random(seed), path.read_bytes()
    read(str(path))
    row = dict(inputs=inputs, accepted=0, refused=0, other=[], slowest_seconds=0.0)
    for number in range(inputs):
        changed = change(sound, chance)
        path.write_bytes(changed)
        start = time.perf_counter()
        try:
            with _time_limit():
                read(str(path))
            row['accepted'] += 1
        except Exception as error:
            message = user_message(error)
            if message is not None and not message.startswith('the memory is not enough'):
                row['refused'] += 1
            else:
                row['other'].append(
                    dict(number=number, error=f'{type(error).__name__}: {error}'[:200], input=changed[:2000].hex())
                )
        row['slowest_seconds'] = round(max(row['slowest_seconds'], time.perf_counter() - start), 3)
    path.write_bytes(sound)
    return row


def change(sound, chance):
    """Return a file's bytes with one to eight changes.

    Args:
        sound (bytes): Of the file.
        chance (Random): Decides.

    Returns:
        bytes: Changed.
    """
    content = bytearray(sound)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        first, second = sorted(chance.randrange(len(content) + 1) for _ in range(2))
        kind = chance.randrange(6)
        if kind == 0 and content:
            content[min(first, len(content) - 1)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del content[first : min(second, first + chance.choice((1, 4, 64, 10**6)))]
        elif kind == 2:
            content[first:first] = chance.choice(TOKENS)
        elif kind == 3:
            content[first:first] = content[first:second][:4096]
        elif kind == 4:
            token = chance.choice(TOKENS)
            content[first : first + len(token)] = token
        else:
            content[first:second] = content[first:second][::-1]
    return bytes(content)


@contextlib.contextmanager
def _time_limit():
    def too_long(*_):
        raise RuntimeError(f'not read after {LIMIT_SECONDS} seconds')

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def _address_space():
    """Return the bytes of addresses that this process has already, 0 where the system does not say."""
    try:
        return int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


if __name__ == '__main__':
    main()
