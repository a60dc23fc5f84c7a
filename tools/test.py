"""Test a checkpoint: python tools/test.py CONFIG CHECKPOINT [flags], or zero-shot CLIP: CONFIG --zero-shot."""

import argparse
from pathlib import Path

import mmengine
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults
from torch.distributed.elastic.multiprocessing.errors import record

from mmpretrain_mps.engine import command_line
from mmpretrain_mps.engine.launch import leave_processes
from mmpretrain_mps.engine.work_folder import check_writable
from mmpretrain_mps.utils.checkpoint import check_checkpoint
from mmpretrain_mps.utils.errors import user_errors
from mmpretrain_mps.utils.fetching import local_checkpoint
from mmpretrain_mps.utils.report import accuracy_table


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Test a checkpoint, or zero-shot CLIP.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file')
    parser.add_argument(
        '--zero-shot', action='store_true', help='test the CLIP of the config before any training, without a checkpoint'
    )
    parser.add_argument('--out', metavar='FILE', help='write results to this file')
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        help='what to write: the metrics (.json or .yml), or every prediction (.pkl); predictions by default',
    )
    command_line.add_common_flags(parser)
    arguments = parser.parse_args()
    if arguments.checkpoint and arguments.checkpoint.lower() == 'none':
        parser.error('the zero-shot model has no checkpoint: leave it out, and add --zero-shot')
    if arguments.zero_shot:
        if arguments.checkpoint or arguments.method or arguments.recipe:
            parser.error('--zero-shot tests CLIP as it is: leave out the checkpoint, --method and --recipe')
        arguments.method = 'zero_shot'
    elif not arguments.checkpoint and arguments.method != 'zero_shot':
        parser.error('expected CONFIG CHECKPOINT, or CONFIG --zero-shot')
    if arguments.out_item and not arguments.out:
        parser.error('--out-item needs --out FILE')
    endings = ('.json', '.yml', '.yaml') if arguments.out_item == 'metrics' else ('.pkl', '.pickle')
    if arguments.out and not arguments.out.endswith(endings):
        parser.error(f'--out {arguments.out}: expected a name that ends in {" or ".join(endings)}')
    return arguments


def configure(arguments):
    """Return the config with all flags applied, after a look at the checkpoint."""
    checkpoint = arguments.checkpoint and local_checkpoint(arguments.checkpoint)
    if checkpoint:
        check_checkpoint(checkpoint)
    cfg = command_line.read_config(arguments.config, arguments)
    cfg.load_from = checkpoint
    cfg.resume = False
    if arguments.amp:
        cfg.test_cfg.fp16 = True
    return cfg


def test(arguments):
    """Test and write what was asked for."""
    if arguments.out:  # known before the test, not after it
        check_writable(Path(arguments.out).parent, 'the folder', 'another --out')
    runner = command_line.build_runner(configure(arguments), ('test_dataloader',))
    if arguments.out and arguments.out_item != 'metrics':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=arguments.out))
    metrics = runner.test()
    if not is_main_process():
        return
    print(accuracy_table(metrics), flush=True)
    if arguments.out and arguments.out_item == 'metrics':
        mmengine.dump(metrics, arguments.out)


@record  # torchrun shows the error of the process that failed first
def main():
    """Test."""
    arguments = parse_arguments()
    with user_errors(arguments.traceback):
        test(arguments)
        leave_processes()


if __name__ == '__main__':
    main()
