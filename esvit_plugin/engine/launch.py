"""Starting the processes of a run, also without a GPU."""

import contextlib
import datetime
import logging
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import init_dist
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing

from .memory import keep_freed_memory

# What each launcher, or PyTorch's environment, tells its processes.
LAUNCHERS = {
    'none': ((), ''),
    'pytorch': (
        ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'),
        'tools/dist_train.sh, tools/dist_test.sh or torchrun',
    ),
    'slurm': (
        ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
        'tools/slurm_train.sh or srun',
    ),
    'mpi': (('OMPI_COMM_WORLD_LOCAL_RANK', 'MASTER_ADDR'), 'mpirun'),
}
# Those of them that are no numbers.
_WORDS = ('MASTER_ADDR', 'SLURM_NODELIST')
# What counts a job's restarts, and what names the job in all of them.
RESTARTS = {
    'TORCHELASTIC_RESTART_COUNT': 'ESVIT_JOB',
    'SLURM_RESTART_COUNT': 'SLURM_JOB_ID',
}


def build_runner(cfg: Config) -> Runner:
    """Build the Runner of a config, of the class that ``runner_type`` names."""
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def check_launcher(launcher: str) -> None:
    """Refuse a launcher that did not start this process.

    Raises:
        ValueError: If what it tells its processes is missing, or no number where it
            must be one; the message says how to start.
    """
    number = os.environ.get('WORLD_SIZE')
    if launcher == 'none' and 'TORCHELASTIC_RUN_ID' in os.environ and number != '1':
        raise ValueError(
            f'torchrun started {number} processes, which would all do the same, as '
            '--launcher is none. Add --launcher pytorch.'
        )
    names, remedy = LAUNCHERS[launcher]
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f'--launcher {launcher}: {", ".join(missing)} '
            f'{"is" if len(missing) == 1 else "are"} not set, so it did not start this '
            f'process. Start with {remedy}, or leave out --launcher.'
        )
    for name in names:
        if name not in _WORDS:
            read_number(name, 0)


def read_number(name: str, default: int) -> int:
    """Read a number of the environment, of what started this process.

    Args:
        name: The variable.
        default: What counts where it is not set, or empty.

    Returns:
        The number.

    Raises:
        ValueError: If it is no whole number.
    """
    text = os.environ.get(name, '').strip()
    try:
        return int(text or default)
    except ValueError:
        raise ValueError(
            f'The environment variable {name} must be a whole number, got {text!r}: '
            'set it as its launcher does, or unset it.'
        ) from None


def job_names() -> list[str]:
    """What names the jobs that this process belongs to, for its checkpoints."""
    found = {name: os.environ.get(name) for name in RESTARTS.values()}
    return [f'{name}={value}' for name, value in found.items() if value]


def restarted_jobs() -> list[str] | None:
    """Those of ``job_names`` that were started again; None if none was."""
    counters = [name for name in RESTARTS if os.environ.get(name, '0') not in ('', '0')]
    again = tuple(f'{RESTARTS[name]}=' for name in counters)
    return [job for job in job_names() if job.startswith(again)] if again else None


def prepare_launch(cfg: ConfigDict | Config, launcher: str) -> None:
    """Make the Runner of a config work with a launcher, also without a GPU.

    mmengine starts processes with CUDA calls, and wraps the model for a CUDA
    device, even for the gloo backend. On a CPU, freed memory is kept.

    Args:
        cfg: The config; ``launcher`` is set, and with several processes on a CPU
            ``model_wrapper_cfg``, while ``sync_bn`` is switched off.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
    """
    check_launcher(launcher)
    cfg.launcher = launcher
    if launcher == 'slurm':
        # At mmengine's fixed port two jobs on a node would meet, or two steps of a job.
        # Linux gives ports from 32768 on to whoever asks for any.
        job, step = (read_number(f'SLURM_{name}', 0) for name in ('JOB_ID', 'STEP_ID'))
        os.environ.setdefault('MASTER_PORT', str(10000 + (job + 997 * step) % 20000))
    if get_device() != 'cpu':
        return
    keep_freed_memory()
    if launcher == 'pytorch':
        # torchrun alone says how many are on this machine.
        here = read_number('LOCAL_WORLD_SIZE', read_number('WORLD_SIZE', 1))
        if not dist.is_initialized():
            seconds = (cfg.get('env_cfg') or {}).get('dist_cfg', {}).get('timeout')
            limit = datetime.timedelta(seconds=seconds) if seconds else None
            dist.init_process_group('gloo', timeout=limit)
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        if cfg.get('sync_bn'):
            print_log(
                "torch's SyncBatchNorm needs a GPU: batch norms run on the batch of "
                'each process alone.',
                logger='current',
                level=logging.WARNING,
            )
            cfg.sync_bn = None
        # Processes share the cores; torch would give each of them all.
        per_process = torch.get_num_threads() // max(1, here)
        torch.set_num_threads(max(1, per_process))


@contextlib.contextmanager
def joined_processes(cfg: Config, launcher: str) -> Iterator[None]:
    """Join the processes of a launcher, in a program that has no Runner.

    Args:
        cfg: The config; its ``env_cfg`` counts as in a training.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        ValueError: If the launcher did not start this process.
    """
    prepare_launch(cfg, launcher)
    if launcher != 'none' and not dist.is_initialized():
        env = cfg.get('env_cfg') or {}
        # Before init_dist, which would have loaders spawn their workers.
        set_multi_processing(**env.get('mp_cfg', {}), distributed=True)
        init_dist(launcher, **env.get('dist_cfg', {}))
    yield
    # Not after an error, as others may not get here.
    if dist.is_initialized():
        dist.destroy_process_group()
