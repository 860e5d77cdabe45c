"""Random neighbours of Vision Longformer in training."""

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...models.backbones import ViL
from .utils import unwrap_model


@HOOKS.register_module()
class RandomNeighborHook(Hook):
    """Seeds the random neighbours of ``ViL`` and ends them late in training.

    For ``ViL(random_neighbor=True)``. The draws of an iteration follow from the run's
    seed and the iteration, so they are equal on all processes, and equal when a run
    is resumed; those of student and teacher differ. After the switch every chunk
    attends to all 8 neighbours, as in evaluation (arXiv 2103.15358, Section 4).

    Args:
        switch_at: Part of the training after which all neighbours are used; 1 for
            never. The authors' command asks for 0.75, although their program does
            not perform the switch. Defaults to 0.75.

    Raises:
        ValueError: If ``switch_at`` is outside [0, 1], or no backbone of the model
            is a ``ViL`` with ``random_neighbor=True``.
    """

    def __init__(self, switch_at: float = 0.75) -> None:
        if not 0 <= switch_at <= 1:
            raise ValueError(
                'RandomNeighborHook: switch_at is a part of the training, between 0 '
                f'and 1, got {switch_at}.'
            )
        self.switch_at = switch_at

    def schedule(
        self, iteration: int, epoch_length: int, max_iters: int
    ) -> dict[str, float]:
        """What the hook sets in an iteration, for pictures."""
        return dict(random_neighbor=iteration / max_iters < self.switch_at)

    def before_train(self, runner: Runner) -> None:
        """Find the backbones and agree on a seed."""
        self.backbones = [
            (name, module)
            for name, module in unwrap_model(runner).named_modules()
            if isinstance(module, ViL) and module.random_neighbor
        ]
        if not self.backbones:
            raise ValueError(
                'RandomNeighborHook found no ViL with random neighbours; set '
                "model.backbone=dict(type='ViL', random_neighbor=True, ...), or leave "
                'the hook out.'
            )
        seeds = [runner.seed]  # may differ by process
        broadcast_object_list(seeds)
        self.seed = seeds[0]

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Seed the draws of this iteration, or switch them off."""
        done = runner.iter / runner.max_iters
        for name, backbone in self.backbones:
            if done < self.switch_at:
                backbone.seed_neighbors(f'{self.seed}-{runner.iter}-{name}')
            elif backbone.random_neighbor:
                backbone.set_random_neighbor(False)
                runner.logger.info(f'{name} uses all neighbours from now on.')
