"""The command ``mps-clip``: tune CLIP on a folder of pictures, test it, and classify with it.

    mps-clip train PICTURES --out model.pth            PICTURES/<class>/*, or PICTURES/train/<class>/*
    mps-clip test model.pth PICTURES                   the pictures that were kept for it, or PICTURES/test/<class>/*
    mps-clip predict model.pth FOLDER --out out.csv    a line for every picture, at any depth
    mps-clip compare PICTURES                          which method is best here, and is it beyond noise
    mps-clip zero-shot FOLDER --classes cat dog        CLIP as it is
    mps-clip export model.pth --out model.onnx         a file that predicts without this package
    mps-clip demo                                      all of it in the browser

tools/*.py have all options; these commands have those that one's own pictures need.
"""

import argparse
import csv
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from .apis import FewShotClassifier
from .apis.training import typed_values
from .benchmark import execution
from .datasets.given import sources_of
from .export import FORMATS
from .models.loading.names import EMBEDDED_MODELS, EMBEDDED_WEIGHTS
from .utils.errors import user_errors
from .utils.methods import RECIPES, method_names
from .utils.option_values import OptionsAction
from .utils.report import accuracy_table
from .utils.trust import add_trust_flag


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments (Sequence[str], optional): In the place of the program's.
    """
    parser = argparse.ArgumentParser('mps-clip', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for add, run in (
        (_add_train, train),
        (_add_predict, predict),
        (_add_test, test),
        (_add_compare, compare),
        (_add_zero_shot, zero_shot),
        (_add_export, export),
        (_add_demo, demo),
    ):
        command = add(commands)
        command.set_defaults(run=run)
        command.add_argument('--device', default='auto', help='cpu, cuda, cuda:1, ...; by default a GPU if there is one')
        command.add_argument('--quiet', action='store_true', help='show no progress')
        command.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')
        add_trust_flag(command)
    return parser.parse_args(arguments)


def _add_train(commands):
    command = commands.add_parser('train', help='tune on a folder of pictures, and write one file')
    command.add_argument(
        'pictures',
        help='one folder per class, of which 30 %% per class are kept for testing; or train/<class>/ with test/<class>/',
    )
    command.add_argument('--out', default='model.pth', help='file to write; model.pth by default')
    command.add_argument('--overwrite', action='store_true', help='let --out replace a file')
    command.add_argument('--method', default='mps', help=f'one of {", ".join(method_names())}; mps by default')
    command.add_argument('--recipe', choices=RECIPES, default=RECIPES[0], help='of the method')
    command.add_argument('--shots', type=int, help='pictures of each class; by default all')
    command.add_argument('--seed', type=int, default=1)
    _add_clip(command)
    _add_options(command)
    return command


def _add_predict(commands):
    command = commands.add_parser('predict', help='classify the pictures of a folder into a table')
    _add_model(command)
    command.add_argument('pictures', help='a folder, with all folders below it, or one picture')
    _add_table(command)
    return command


def _add_test(commands):
    command = commands.add_parser('test', help='accuracy on labelled pictures that were not trained on')
    _add_model(command)
    command.add_argument(
        'pictures', help='folder with test/<class>/ or <class>/; of the folder that was trained on, the pictures that were kept'
    )
    command.add_argument('--out', metavar='FILE.json', help='write the figures, too')
    return command


def _add_compare(commands):
    command = commands.add_parser('compare', help='compare methods on a folder of pictures')
    command.add_argument(
        'pictures',
        help='folder as for train; where it has no val/, a quarter of the training pictures is for the choice of settings',
    )
    command.add_argument('--work-dir', default='work_dirs/compare', help='folder of runs and tables; what is done is skipped')
    command.add_argument('--methods', nargs='+', metavar='METHOD', help='by default all whose weights are there')
    command.add_argument('--shots', type=int, help='pictures of each class; by default those of the smallest, up to 16')
    command.add_argument('--seeds', type=int, default=5, help='draws of the training pictures; 5 by default')
    command.add_argument(
        '--candidates',
        type=int,
        default=3,
        choices=range(1, 8),
        metavar='1..7',
        help='settings that each method chooses among on validation pictures; 3 by default',
    )
    execution.add_flags(command, with_shards=False)
    _add_clip(command)
    _add_options(command)
    return command


def _add_zero_shot(commands):
    command = commands.add_parser('zero-shot', help='CLIP as it is: accuracy on labelled pictures, or a table with --classes')
    command.add_argument('pictures', help='folder with one folder per class; with --classes any folder, or one picture')
    command.add_argument('--classes', nargs='+', metavar='NAME', help='names to choose among')
    command.add_argument('--templates', nargs='+', metavar='TEXT', help="prompts such as 'a photo of a {}.'")
    _add_clip(command)
    _add_table(command)
    return command


def _add_demo(commands):
    command = commands.add_parser(
        'demo', help='a page in the browser, on this machine alone: pictures into classes, tune, classify'
    )
    command.add_argument('--port', type=int, help='to listen on; by default a free one')
    _add_clip(command)
    return command


def _add_export(commands):
    command = commands.add_parser('export', help='write a file that predicts without this package')
    _add_model(command)
    command.add_argument(
        '--format',
        choices=list(FORMATS),
        default='onnx',
        help='onnx by default; open_clip takes the methods that are a plain CLIP once they are tuned',
    )
    command.add_argument(
        '--out',
        metavar='FILE',
        help=f'file to write; by default the name of the model with {", ".join(form.ending for form in FORMATS.values())}',
    )
    command.add_argument('--overwrite', action='store_true', help='let --out replace a file')
    command.add_argument(
        '--pictures',
        metavar='FOLDER',
        help='compare the file with the model on these pictures; by default on parts of two photographs',
    )
    return command


def _add_model(command):
    command.add_argument('model', help='file of `mps-clip train`, or a checkpoint of tools/train.py')


def _add_clip(command):
    command.add_argument(
        '--architecture',
        default='ViT-B-16',
        help="model of open_clip; 'mps-mini' is the embedded one of "
        "glyphs and shapes, 'mps-mini-pictograms' that of pictograms; ViT-B-16 by default",
    )
    command.add_argument('--pretrained', help="tag or file of its weights; OpenAI's by default")


def _add_options(command):
    command.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='NAME=VALUE',
        help='change the config, for example num_workers=0; what a method lacks cannot be changed of it',
    )


def _add_table(command):
    command.add_argument('--out', metavar='FILE.csv', help='write the table there; by default it is printed')
    command.add_argument('--topk', type=int, default=1, help='classes per picture; 1 by default')
    command.add_argument('--batch-size', type=int, default=100)


def clip_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return ``architecture`` and ``pretrained``; where no weights are named, OpenAI's, or those that come with the model."""
    default = (
        EMBEDDED_WEIGHTS if arguments.architecture in EMBEDDED_MODELS else (None if ':' in arguments.architecture else 'openai')
    )
    return dict(architecture=arguments.architecture, pretrained=arguments.pretrained or default)


def train(arguments: argparse.Namespace) -> None:
    """Tune, write the file, and test on what was kept for it."""
    out = Path(arguments.out)
    _check_free(out, arguments)
    classifier = FewShotClassifier(
        **clip_of(arguments),
        method=arguments.method,
        recipe=arguments.recipe,
        shots=arguments.shots,
        seed=arguments.seed,
        device=arguments.device,
        verbose=0 if arguments.quiet else 1,
        **typed_values(arguments.architecture, arguments.cfg_options),
    )
    classifier.fit(arguments.pictures)
    classifier.save(out)
    print(
        f'{len(classifier.classes_)} classes: {", ".join(map(str, classifier.classes_[:10]))}'
        + (', ...' if len(classifier.classes_) > 10 else '')
    )
    if classifier.has_test_pictures(arguments.pictures):
        print(accuracy_table(classifier.report(arguments.pictures)))
    print(f'written: {out}\nnext: mps-clip predict {out} FOLDER --out out.csv')


def predict(arguments: argparse.Namespace) -> None:
    """Write a table of predictions."""
    _write_predictions(_load(arguments), arguments)


def test(arguments: argparse.Namespace) -> None:
    """Print accuracies."""
    classifier = _load(arguments)
    figures = classifier.report(arguments.pictures)
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(figures, indent=1) + '\n', encoding='utf-8')
    print(f'{figures["pictures"]:.0f} pictures\n{accuracy_table(figures)}')


def compare(arguments: argparse.Namespace) -> int:
    """Run a study of methods and print its verdict."""
    from .benchmark import own_pictures, study_command  # which bring plots along

    folder = Path(arguments.work_dir)
    report = (lambda line: None) if arguments.quiet else (lambda line: print(line, flush=True))
    study, left_out = own_pictures.write_study(folder, arguments.pictures, clip_of(arguments), arguments)
    for line in left_out:
        print(line)
    flags = dict(
        study=str(study),
        work_dir=str(folder),
        out=None,
        methods=None,
        against=None,
        reuse=[],
        jobs=arguments.jobs,
        executor=arguments.executor,
        slurm=arguments.slurm,
        shard=execution.Shard(),
        keep_checkpoints=False,
        devices=None if arguments.device == 'auto' else [arguments.device.replace('cuda:', '')],
    )
    status = study_command.run(argparse.Namespace(**flags), report)
    if status:
        return status
    table, words = own_pictures.verdict(folder)
    (folder / 'compare.md').write_text(f'{table}\n\n{words}\n', encoding='utf-8')
    print(f'\n{table}\n\n{words}')
    return 0


def zero_shot(arguments: argparse.Namespace) -> None:
    """Test CLIP as it is, or classify with it."""
    classifier = FewShotClassifier(
        **clip_of(arguments), method='zero_shot', device=arguments.device, verbose=0 if arguments.quiet else 1
    )
    if arguments.classes:
        classifier.fit(class_names=arguments.classes, templates=arguments.templates)
        _write_predictions(classifier, arguments)
        return
    if arguments.out:
        raise ValueError('--out is for the table of --classes; without them, the accuracy is printed')
    classifier.fit(arguments.pictures, templates=arguments.templates)
    figures = classifier.report(arguments.pictures)
    print(
        f'{figures["pictures"]:.0f} pictures of {len(classifier.classes_)} classes\n'
        f'{accuracy_table({"accuracy/zero_shot": figures["accuracy/zero_shot"]})}'
    )


def demo(arguments: argparse.Namespace) -> None:
    """Answer the page until Ctrl-C."""
    from .demo import Server  # which needs an optional package

    server = Server(clip_of(arguments), arguments.device, arguments.port)
    print(f'{server.address}\nCtrl-C ends it', flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so does whoever stops it: the files of the tabs are to go
    server.run()


def export(arguments: argparse.Namespace) -> None:
    """Write a file for other programs, with its description."""
    out = Path(arguments.out or Path(arguments.model).with_suffix(FORMATS[arguments.format].ending).name)
    _check_free(out, arguments)
    files = _load(arguments).export(out, arguments.format, arguments.pictures)
    for file in files:
        print(f'written: {file} ({file.stat().st_size / 1e6:.1f} MB)')
    tower = json.loads(out.with_suffix('.json').read_text(encoding='utf-8')).get('open_clip')
    if tower and tower['logits'] != 'fused':
        print(
            'these are the weights of the tuned branch alone; predictions of the model fuse it with the frozen CLIP, as the other '
            'formats do'
        )


def _check_free(out, arguments):
    if out.exists() and not arguments.overwrite:
        raise ValueError(f'{out} exists; name another file by --out, or have it replaced by --overwrite')


def _load(arguments):
    return FewShotClassifier.load(arguments.model, arguments.device, 0 if arguments.quiet else 1)


def _write_predictions(classifier, arguments):
    """Write a line for every picture as it is classified; a file is there once it is whole."""
    sources, topk = sources_of(arguments.pictures), arguments.topk
    if not 1 <= topk <= len(classifier.classes_):
        raise ValueError(f'--topk is {topk}, expected a number from 1 to {len(classifier.classes_)}, that of the classes')
    if arguments.batch_size < 1:
        raise ValueError(f'--batch-size is {arguments.batch_size}, expected 1 or more')
    columns = [
        'path',
        *(f'{name}{"" if place == 0 else f"_{place + 1}"}' for place in range(topk) for name in ('label', 'probability')),
        'fault',
    ]
    partial = arguments.out and Path(f'{arguments.out}.partial')
    found, broken = Counter(), []
    with open(partial, 'w', encoding='utf-8', newline='') if partial else _standard_output() as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(columns)
        with tqdm(total=len(sources), unit='picture', disable=arguments.quiet) as bar:
            for rows in classifier.predict_rows(sources, topk, arguments.batch_size):
                for place, answers, fault in rows:
                    path = _relative(sources[place], arguments.pictures)
                    writer.writerow(
                        [
                            path,
                            *(part for label, share in answers for part in (label, f'{share:.6f}')),
                            *[''] * (2 * topk - 2 * len(answers)),
                            fault,
                        ]
                    )
                    found.update(label for label, _ in answers[:1])
                    broken += [path] * bool(fault)
                bar.update(len(rows))
    if partial:
        os.replace(partial, arguments.out)
        counts = ', '.join(f'{label} {count}' for label, count in found.most_common(10))
        print(f'{len(sources) - len(broken)} pictures: {counts}{", ..." if len(found) > 10 else ""}\nwritten: {arguments.out}')
    for path in broken[:20]:
        print(f'cannot be read: {path}', file=sys.stderr)
    if len(broken) > 20:
        print(f'and {len(broken) - 20} more, see the column "fault"', file=sys.stderr)


def _relative(path, root):
    return os.path.relpath(path, root).replace(os.sep, '/') if Path(root).is_dir() else str(root)


def _standard_output():
    return os.fdopen(os.dup(sys.stdout.fileno()), 'w', encoding='utf-8', newline='')


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; 0 if all went well, 2 if an input was refused."""
    parsed = parse_arguments(arguments)
    with user_errors(parsed.traceback):
        status = parsed.run(parsed)
    sys.exit(status or 0)
