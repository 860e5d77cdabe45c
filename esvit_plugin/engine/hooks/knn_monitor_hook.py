"""k-NN accuracy of the teacher, or the backbone, while it is trained."""

from collections.abc import Sequence

from mmengine.hooks import EMAHook, Hook, LoggerHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader

from ...datasets.loaders import build_eval_loader
from ...evaluation.knn import extract_view, knn_accuracy
from ..class_count import check_datasets
from .recovery_hook import RecoveryHook
from .utils import common_batches, find_hook, unwrap_model


@HOOKS.register_module()
class KNNMonitorHook(Hook):
    """Evaluates the teacher, or the backbone of others, by k-NN during training.

    Results stand in the log and in the visualiser as ``knn/top1_k20`` and so on.
    ``esvit knn`` takes its data from this hook's config as well. In a run without a
    validation, hooks that wait for one have these numbers instead, e.g.
    ``dict(type='EarlyStoppingHook', monitor='knn/top1_k20', rule='greater')`` and
    ``save_best='knn/top1_k20'``, ``rule='greater'`` of a checkpoint hook.

    Damaged images that the pipeline gives up, with ``LoadImage(on_error='skip')``, are
    left out with a warning. Whatever else fails, the epoch's checkpoint is written
    before. A resumed run does not make up for a k-NN that was killed; ``esvit knn``
    does.

    Args:
        train_dataloader: Config of the loader of the images that vote, in mmengine's
            form. Its pipeline has no random steps and ends in ``PackInputs``.
        val_dataloader: Config of the loader of the images to classify.
        interval: Epochs between evaluations; the last epoch always has one.
            Defaults to 10.
        ks: Numbers of neighbours. Defaults to (10, 20, 100, 200).
        temperature: Temperature of the votes. Defaults to 0.07.

    Raises:
        ValueError: If ``interval`` is not positive.
    """

    # As CheckpointHook, which comes before it as a default hook.
    priority = 'VERY_LOW'

    def __init__(
        self,
        train_dataloader: dict,
        val_dataloader: dict,
        interval: int = 10,
        ks: Sequence[int] = (10, 20, 100, 200),
        temperature: float = 0.07,
    ) -> None:
        if interval < 1:
            raise ValueError(f'KNNMonitorHook: interval must be >= 1, got {interval}.')
        self.interval = interval
        self.ks = tuple(ks)
        self.temperature = temperature
        self._configs = (train_dataloader, val_dataloader)
        self._loaders: list[DataLoader] = []

    def before_train(self, runner: Runner) -> None:
        """Build the loaders, so that wrong data shows before training.

        Raises:
            ValueError: If they number their classes in different ways.
        """
        self._loaders = [build_eval_loader(cfg) for cfg in self._configs]
        check_datasets('KNNMonitorHook', *(loader.dataset for loader in self._loaders))

    def after_train_epoch(self, runner: Runner) -> None:
        """Evaluate, if it is time."""
        last = runner.epoch + 1 == runner.max_epochs
        if not (last or self.every_n_epochs(runner, self.interval)):
            return
        model = unwrap_model(runner)
        name = 'teacher' if hasattr(model, 'teacher') else 'backbone'
        network = getattr(model, name)
        network.eval()
        runner.logger.info(f'k-NN of the {name}: extracting features')
        recovery = find_hook(runner, RecoveryHook)

        in_all = (
            index < common_batches(loader)
            for loader in self._loaders
            for index in range(len(loader))
        )

        def leave_if_asked() -> None:
            if next(in_all) and recovery is not None:
                recovery.leave_evaluation(runner)

        results = knn_accuracy(
            model,
            self._loaders,
            self.ks,
            self.temperature,
            extract=lambda images: extract_view(model, images, 'teacher'),
            each_batch=leave_if_asked,
        )
        network.train()
        scalars = {}
        for k, (top1, top5) in results.items():
            runner.logger.info(f'k-NN, k={k}: top-1 {top1:.2f} %, top-5 {top5:.2f} %')
            scalars[f'knn/top1_k{k}'] = top1
            scalars[f'knn/top5_k{k}'] = top5
        runner.visualizer.add_scalars(scalars, step=runner.iter)
        if runner.val_loop is None:
            _tell(runner, scalars)


def _tell(runner: Runner, metrics: dict[str, float]) -> None:
    """Call the hooks that wait for the metrics of a validation."""
    loop = runner.train_loop
    # Validations come when the epoch is counted.
    loop._epoch += 1
    try:
        for hook in runner.hooks:
            # These write a line about the validation's loader, and take back the
            # average's weights that they gave the model before it.
            if not isinstance(hook, LoggerHook | EMAHook):
                hook.after_val_epoch(runner, metrics)
    finally:
        loop._epoch -= 1
