"""Accuracy of the best classifier of a sweep."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS


@METRICS.register_module()
class LinearSweepAccuracy(BaseMetric):
    """Top-k accuracy of every classifier of a ``LinearSweepClassifier``.

    It reports ``top1`` of each as ``x<lr_factor>``, and ``top1``, ``top5``... and the
    ``best_lr_factor`` of the one whose top-1 accuracy is best, as the paper's linear
    evaluation does (Section 4). All in percent.

    Args:
        topk: Which top-k accuracies of the best. Defaults to (1, 5).
        collect_device: Device that results of several processes are gathered on.
            Defaults to 'cpu'.
        prefix: Prefix of the names. Defaults to 'accuracy'.
    """

    default_prefix = 'accuracy'

    def __init__(
        self,
        topk: Sequence[int] = (1, 5),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the best classes of each sample and classifier, and the label."""
        for sample in data_samples:
            scores = sample['sweep_scores']
            number = min(max(self.topk), scores.shape[-1])
            self.results.append(
                dict(
                    ranked=scores.topk(number).indices.cpu(),
                    label=int(sample['gt_label']),
                    factors=sample['lr_factors'],
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Accuracies in percent from what ``process`` kept."""
        labels = torch.tensor([result['label'] for result in results])
        ranked = torch.stack([result['ranked'] for result in results])
        # (N, classifiers, k): whether the label is among the first k.
        hits = (ranked == labels[:, None, None]).cumsum(-1)
        accuracy = 100 * hits.double().mean(0)
        factors = results[0]['factors']
        metrics = {
            f'x{factor:g}': row[0].item()
            for factor, row in zip(factors, accuracy, strict=True)
        }
        best = int(accuracy[:, 0].argmax())
        for k in self.topk:
            metrics[f'top{k}'] = accuracy[best, min(k, ranked.shape[-1]) - 1].item()
        metrics['best_lr_factor'] = factors[best]
        return metrics
