"""Several processes on one machine, joined by gloo, for tests."""

import multiprocessing
import os

import torch
import torch.distributed as dist


def run_ranks(function, num_ranks, folder, *arguments):
    """Run ``function(rank, num_ranks, *arguments)`` in as many processes and return their results in order.

    The processes come from a server that has imported what takes time once; results are saved and loaded as plain data.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['mmpretrain_mps.models', 'mmpretrain_mps.engine.command_line', 'sklearn.datasets'])
    folder.mkdir(parents=True, exist_ok=True)
    processes = [context.Process(target=_work, args=(function, rank, num_ranks, folder, arguments)) for rank in range(num_ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    if any(code != 0 for code in codes):  # None: it was still running
        raise RuntimeError(f'exit codes of the {num_ranks} processes: {codes}')
    return [torch.load(folder / f'{rank}.pt', weights_only=True) for rank in range(num_ranks)]


def _work(function, rank, num_ranks, folder, arguments):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(num_ranks), LOCAL_RANK=str(rank), CUDA_VISIBLE_DEVICES='')
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=num_ranks)
    torch.save(function(rank, num_ranks, *arguments), folder / f'{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()
