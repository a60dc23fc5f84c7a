"""Train a model from a config: python tools/train.py CONFIG [flags]."""

import argparse

from torch.distributed.elastic.multiprocessing.errors import record

from mmpretrain_mps.engine import command_line
from mmpretrain_mps.utils.errors import user_errors


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train a model.')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or from the last one in the work folder',
    )
    parser.add_argument('--allow-changes', action='store_true', help='resume under another config than the training began')
    parser.add_argument('--overwrite', action='store_true', help='overwrite the checkpoints of an earlier training')
    parser.add_argument('--no-validate', action='store_true', help='no validation during training')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size of all processes')
    command_line.add_common_flags(parser)
    return parser.parse_args()


def configure(arguments):
    """Return the config with all flags applied."""
    cfg = command_line.read_config(arguments.config, arguments)
    command_line.require_training(cfg)
    if arguments.no_validate:
        command_line.without_validation(cfg)
    if arguments.resume:
        command_line.resume_from(cfg, arguments.resume)
    if arguments.allow_changes:
        command_line.allow_changes(cfg)
    if arguments.amp:
        command_line.with_mixed_precision(cfg)
    if arguments.auto_scale_lr:
        command_line.with_scaled_learning_rate(cfg)
    return cfg


@record  # torchrun shows the error of the process that failed first
def main():
    """Train."""
    arguments = parse_arguments()
    with user_errors(arguments.traceback):
        command_line.train(configure(arguments), arguments.overwrite)


if __name__ == '__main__':
    main()
