"""Cross-entropy of prototype probabilities, a block of logits at a time."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..utils import upcast
from .blocks import block_shape, logits_buffer, multiply_into, parts_of, slices_of
from .pairwise import prototypes_used


def blockwise_cross_entropy(
    student: Tensor,
    prototypes: Tensor,
    teacher: Tensor,
    teacher_prototypes: Tensor,
    center: Tensor,
    targets: Tensor,
    weights: Tensor,
    student_temp: float,
    teacher_temp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Weighted cross-entropies of teacher and student probabilities (eq. 1 and 2).

    With :math:`q_r = softmax(W x_r / T_s)` of each student row,
    :math:`p_j = softmax((V y_j - c) / T_t)` of each teacher row of the same image, and
    the N teacher rows :math:`j_{rn}` that student row r is compared with,

    .. math:: -\sum_{r, n} w_{rn} \sum_k p_{j_{rn} k} \log q_{rk}.

    A row's targets are added before they meet its log-softmax, which is taken once.
    Loss and gradients are computed together, block by block: no (rows x K) tensor
    is kept for the backward pass, which only scales the gradients.

    Under autocast the matrix products are in its type, the rest in float32.

    Args:
        student: Bottleneck features x, shape (B, R, D).
        prototypes: The student's prototypes W, shape (K, D).
        teacher: The teacher's bottleneck features y, shape (B, T, D).
        teacher_prototypes: The teacher's prototypes V, shape (K, D).
        center: The centre c, shape (1, K).
        targets: The teacher rows j of each student row, shape (B, R, N).
        weights: Their weights w >= 0, shape (B, R, N).
        student_temp: Temperature T_s.
        teacher_temp: Temperature T_t.

    Returns:
        The loss, differentiable once with respect to ``student`` and ``prototypes``,
        and without a gradient the mean entropy of the
        teacher's rows in nats and ``prototypes_used`` of their mean.
    """
    return _BlockwiseCrossEntropy.apply(
        student,
        prototypes,
        teacher,
        teacher_prototypes,
        center,
        targets,
        weights,
        student_temp,
        teacher_temp,
    )


class _BlockwiseCrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over the blocks.

    Sizes: B images of R student and T teacher rows, each student row with N targets;
    K prototypes of width D. A block is ``images`` of the B with ``rows`` of the R.
    """

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        prototypes: Tensor,
        teacher: Tensor,
        teacher_prototypes: Tensor,
        center: Tensor,
        targets: Tensor,
        weights: Tensor,
        student_temp: float,
        teacher_temp: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        with_grad = any(ctx.needs_input_grad[:2])
        full, low = _types(student)
        images, rows = block_shape(
            len(weights), weights.shape[1], len(prototypes), weights.device
        )
        weights = weights.to(full)
        if low == torch.float16:
            # Gradients of a block and their sums fill the range of float16.
            scale = 2**12 / (images * rows * weights.sum(-1).amax())
            weights = weights * scale
        # Temperatures divide the small side of the products, which costs nothing.
        student_in = (student.to(full) / student_temp).to(low)
        teacher_in = (teacher.to(full) / teacher_temp).to(low)
        matrix, teacher_matrix = prototypes.to(low), teacher_prototypes.to(low)
        offset = center.to(full) / teacher_temp
        sum_of_probs = torch.zeros_like(offset[0])  # (K,)
        grad_student = torch.zeros_like(student, dtype=full)  # (B, R, D)
        grad_matrix = None  # (K, D)
        losses, entropies = [], []
        num_targets = teacher.shape[1]
        logits_NK = logits_buffer(student_in, images * rows, len(matrix))
        # The probabilities of all teacher rows of a block's images.
        probs_NK = offset.new_empty(images * num_targets, len(matrix))
        # Types are explicit here: products into buffers know no autocast.
        with torch.autocast(student.device.type, enabled=False):
            for image in parts_of(len(student), images):
                teacher_ND = teacher_in[image].flatten(0, 1)
                table = probs_NK[: len(teacher_ND)]
                for part in parts_of(len(teacher_ND), len(logits_NK)):
                    block = multiply_into(logits_NK, teacher_ND[part], teacher_matrix)
                    entropies += _probabilities(
                        block, offset, table[part], sum_of_probs
                    )
                # The first row of each image in the table.
                first = torch.arange(0, len(table), num_targets, device=table.device)
                for row in parts_of(student.shape[1], rows):
                    student_ND = student_in[image, row].flatten(0, 1)
                    block = multiply_into(logits_NK, student_ND, matrix)
                    losses += _loss_to_gradients(
                        block,
                        table,
                        (targets[image, row] + first[:, None, None]).flatten(0, 1),
                        weights[image, row].flatten(0, 1),
                        with_grad,
                    )
                    if not with_grad:
                        continue
                    grad_rows = grad_student[image, row]
                    grad_rows.copy_((block @ matrix).view(grad_rows.shape))
                    if grad_matrix is None:
                        grad_matrix = (block.T @ student_ND).to(full)
                    elif low == full:
                        grad_matrix.addmm_(block.T, student_ND)
                    else:
                        grad_matrix += block.T @ student_ND
            loss = torch.stack(losses).sum()
            grad_student /= student_temp
            if low == torch.float16:
                loss, grad_student = loss / scale, grad_student / scale
                grad_matrix = None if grad_matrix is None else grad_matrix / scale
        if grad_matrix is not None:
            ctx.save_for_backward(
                grad_student.to(student.dtype), grad_matrix.to(prototypes.dtype)
            )
        num_rows = teacher[..., 0].numel()
        entropy = torch.stack(entropies).sum() / num_rows
        used = prototypes_used(sum_of_probs / num_rows)
        ctx.mark_non_differentiable(entropy, used)
        return loss, entropy, used

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        grad_student, grad_matrix = ctx.saved_tensors
        return grad * grad_student, grad * grad_matrix, *[None] * 7


def _types(x: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """The types of sums and of matrix products."""
    full = upcast(x).dtype
    if full == torch.float32 and torch.is_autocast_enabled(x.device.type):
        return full, torch.get_autocast_dtype(x.device.type)
    return full, full


def _probabilities(
    scores: Tensor, offset: Tensor, out: Tensor, sum_of_probs: Tensor
) -> list[Tensor]:
    """Write the teacher's probabilities and return the sums of their entropies.

    Args:
        scores: Logits over the temperature, shape (N, K).
        offset: The centre over the temperature, shape (1, K).
        out: Where the probabilities go, shape (N, K).
        sum_of_probs: The sum of the rows is added to it, shape (K,).
    """
    entropies = []
    for score, probs in zip(slices_of(scores), slices_of(out), strict=True):
        logits = score - offset
        torch.softmax(logits, -1, out=probs)
        sum_of_probs += probs.sum(0)
        entropies.append(-_cross_entropy(logits, probs, probs, -1.0))
    return entropies


def _loss_to_gradients(
    scores: Tensor, table: Tensor, targets: Tensor, weights: Tensor, with_grad: bool
) -> list[Tensor]:
    """Return the losses of student rows, and overwrite their logits by the gradients.

    Args:
        scores: Logits over the temperature, shape (N, K); the loss's gradients with
            respect to them afterwards.
        table: Probabilities of the teacher's rows, shape (M, K).
        targets: Rows of the table that each student row is compared with, (N, n).
        weights: Weights of these, shape (N, n).
        with_grad: Whether gradients are wanted.
    """
    losses = []
    slices = slices_of(scores)
    sizes = [len(part) for part in slices]
    for score, target, weight in zip(
        slices, targets.split(sizes), weights.split(sizes), strict=True
    ):
        logits = score.to(table.dtype).contiguous()
        # The targets of a row, of all teacher views together, negative.
        mixed = F.embedding_bag(target, table, mode='sum', per_sample_weights=-weight)
        mass = weight.sum(-1, keepdim=True)
        q = logits.softmax(-1)
        losses.append(_cross_entropy(logits, q, mixed, mass))
        if not with_grad:
            continue
        if score.dtype == table.dtype:
            torch.addcmul(mixed, q, mass, out=score)
        else:
            score.copy_(mixed.addcmul_(q, mass))
    return losses


def _cross_entropy(
    logits: Tensor, probs: Tensor, mixed: Tensor, mass: Tensor | float
) -> Tensor:
    """``(mixed * log probs).sum()`` with ``probs = softmax(logits)``, without the log.

    Args:
        logits: Shape (N, K).
        probs: Their softmax.
        mixed: Negative weights of all log-probabilities, shape (N, K).
        mass: Minus the sums of ``mixed`` over K, shape (N, 1) or a number.
    """
    normalizer = logits.amax(-1, keepdim=True) - probs.amax(-1, keepdim=True).log()
    return (mass * normalizer).sum() + torch.dot(mixed.flatten(), logits.flatten())
