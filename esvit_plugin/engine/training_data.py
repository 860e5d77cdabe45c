"""The images to train on, built before anything that takes longer."""

from types import MethodType
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..type_names import type_name
from .batch_size import scale_lr
from .class_count import build_dataset, fill_num_classes, hand_on
from .launch import build_runner, read_number
from .loops import no_iteration

# What each launcher tells its processes of their number.
_NUM_PROCESSES = {
    'pytorch': 'WORLD_SIZE',
    'slurm': 'SLURM_NTASKS',
    'mpi': 'OMPI_COMM_WORLD_SIZE',
}


def build_training_runner(cfg: Config) -> Runner:
    """Build the Runner of a training; its images first, and only once.

    Args:
        cfg: The config, after ``prepare_launch``. Numbers of classes that are None are
            filled in.

    Raises:
        ValueError: If there are too few images for an iteration, or what
            ``fill_num_classes`` refuses.
    """
    built: dict[str, Any] = {}
    loader = cfg.get('train_dataloader')
    if isinstance(loader, dict) and isinstance(loader.get('dataset'), dict):
        built['train_dataloader'] = build_dataset(cfg, 'train_dataloader')
        _check_length(cfg, len(built['train_dataloader']))
    # What it is tested on, a training does not read.
    fill_num_classes(cfg, built, ('train_dataloader', 'val_dataloader'))
    runner = build_runner(cfg)
    hand_on(runner, built)
    # Of mmengine's own Runner, too.
    runner.scale_lr = MethodType(scale_lr, runner)
    return runner


def _check_length(cfg: Config, images: int) -> None:
    """Refuse a training without an iteration.

    The loop does so, too, of any loader, but only when the model is built.
    """
    loader = cfg.train_dataloader
    sampler, batch_size = loader.get('sampler'), loader.get('batch_size')
    # Others decide by themselves how many images there are.
    is_usual = type_name(sampler) == 'DefaultSampler' and batch_size
    if not is_usual or {'batch_sampler', 'num_batch_per_epoch'} & set(loader):
        return
    variable = _NUM_PROCESSES.get(cfg.get('launcher', 'none'), '')
    processes = read_number(variable, 1)
    drop_last = loader.get('drop_last', False)
    # Of those of a process mmengine's sampler rounds up the number by default.
    share = images + processes - 1 if sampler.get('round_up', True) else images
    least = batch_size if drop_last else 1
    if share // processes < least:
        raise no_iteration(images, batch_size, processes, drop_last)
