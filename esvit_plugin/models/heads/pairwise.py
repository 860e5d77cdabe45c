"""The plain twin of the block-wise loss: all logits, one pair of views at a time."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils import upcast


def view_logits(features: Sequence[Tensor], prototypes: Tensor) -> list[Tensor]:
    """Logits of every view.

    Args:
        features: Bottleneck features of the views of each size, (B, n, ..., D).
        prototypes: Shape (K, D).

    Returns:
        A tensor (B, ..., K) per view.
    """
    rows = F.linear(torch.cat([x.flatten(0, -2) for x in features]), prototypes)
    parts = rows.split([x[..., 0].numel() for x in features])
    return [
        view
        for part, x in zip(parts, features, strict=True)
        for view in part.view(*x.shape[:-1], -1).unbind(1)
    ]


def pairwise_cross_entropy(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    center: Tensor,
    student_temp: float,
    teacher_temp: float,
    match: Callable[[int, int], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy of every teacher view with every other student view (eq. 1, 2).

    Args:
        student: Logits (B, ..., K) of every view; the teacher's views come first.
        teacher: Logits (B, ..., K) of the global views.
        center: The centre, shape (1, K).
        student_temp: Temperature of the student.
        teacher_temp: Temperature of the teacher.
        match: Gives, for the numbers of a student view and a teacher view, the
            teacher's region (B, T_v) of each student region. Defaults to None: the
            views are compared as they are.

    Returns:
        The mean loss, the mean entropy of the teacher's probabilities in nats, and
        ``prototypes_used`` of their mean.
    """
    # Half-precision logits would round the probabilities.
    probs = [
        ((upcast(logits) - center) / teacher_temp).softmax(-1).detach()
        for logits in teacher
    ]
    losses = []
    for i, target in enumerate(probs):
        for v, logits in enumerate(student):
            if v == i:
                continue
            matched = target
            if match is not None:
                index = match(v, i).unsqueeze(-1).expand(-1, -1, target.shape[-1])
                matched = target.gather(1, index)
            log_q = F.log_softmax(upcast(logits) / student_temp, dim=-1)
            losses.append((-matched * log_q).sum(-1).mean())
    rows = torch.cat([p.flatten(0, -2) for p in probs])
    entropy = torch.special.entr(rows).sum(-1).mean()
    return torch.stack(losses).mean(), entropy, prototypes_used(rows.mean(0))


def prototypes_used(mean_target: Tensor) -> Tensor:
    """To how many prototypes targets go, as the exponential of an entropy.

    Args:
        mean_target: The mean of probabilities, shape (K,).

    Returns:
        Tensor of shape (): 1 where all targets are one prototype, K where they use all
        alike. Of N targets with entropy H each it is at most N exp(H).
    """
    return torch.special.entr(mean_target).sum().exp()
