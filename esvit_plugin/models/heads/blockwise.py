"""Cross-entropy of prototype probabilities, a block of logits at a time."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..utils import upcast

# Logits of student rows held at once. One row of an image at least, and the teacher's
# probabilities of the same images, which their rows share, come on top.
BLOCK_ELEMENTS = 2**24
# On a CPU, elementwise work runs over so many logits at a time and products over so
# many prototypes, which its caches hold.
SLICE_ELEMENTS = 2**19
SLICE_PROTOTYPES = 512
# Elements between its rows of logits there: at strides of a power of two, all rows
# compete for the same few places of the caches.
ROW_GAP = 80


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
    with_entropy: bool = False,
) -> tuple[Tensor, ...]:
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
        with_entropy: Whether to return the entropy, too. Defaults to False.

    Returns:
        The loss, differentiable once with respect to ``student`` and ``prototypes``,
        and if wanted the mean entropy of the teacher's rows in nats, without a
        gradient.
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
        with_entropy,
    )


class _BlockwiseCrossEntropy(torch.autograd.Function):
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
        with_entropy: bool,
    ) -> tuple[Tensor, ...]:
        with_grad = any(ctx.needs_input_grad[:2])
        full, low = _types(student)
        images, rows = _block_shape(weights, len(prototypes))
        weights = weights.to(full)
        if low == torch.float16:
            # Gradients of a block and their sums fill the range of float16.
            scale = 2**12 / (images * rows * weights.sum(-1).amax())
            weights = weights * scale
        # A factor of the small side of a product costs nothing.
        student_in = (student.to(full) / student_temp).to(low)
        teacher_in = (teacher.to(full) / teacher_temp).to(low)
        matrix, teacher_matrix = prototypes.to(low), teacher_prototypes.to(low)
        offset = center.to(full) / teacher_temp
        grad_student = torch.zeros_like(student, dtype=full)
        grad_matrix = None
        losses, entropies = [], []
        num_targets = teacher.shape[1]
        scores = _rows(student_in, images * rows, len(matrix))
        probs = offset.new_empty(images * num_targets, len(matrix))
        # Types are explicit here: products into buffers know no autocast.
        with torch.autocast(student.device.type, enabled=False):
            for image in _parts(len(student), images):
                # The probabilities of all images of the block are one table.
                inputs = teacher_in[image].flatten(0, 1)
                table = probs[: len(inputs)]
                for part in _parts(len(inputs), len(scores)):
                    block = _product(inputs[part], teacher_matrix, scores)
                    entropies += _probabilities(
                        block, offset, table[part], with_entropy
                    )
                first = torch.arange(0, len(table), num_targets, device=table.device)
                for row in _parts(student.shape[1], rows):
                    inputs = student_in[image, row].flatten(0, 1)
                    block = _product(inputs, matrix, scores)
                    losses += _gradients(
                        block,
                        table,
                        (targets[image, row] + first[:, None, None]).flatten(0, 1),
                        weights[image, row].flatten(0, 1),
                        with_grad,
                    )
                    if not with_grad:
                        continue
                    place = grad_student[image, row]
                    place.copy_((block @ matrix).view(place.shape))
                    if grad_matrix is None:
                        grad_matrix = (block.T @ inputs).to(full)
                    elif low == full:
                        grad_matrix.addmm_(block.T, inputs)
                    else:
                        grad_matrix += block.T @ inputs
            loss = torch.stack(losses).sum()
            grad_student /= student_temp
            if low == torch.float16:
                loss, grad_student = loss / scale, grad_student / scale
                grad_matrix = None if grad_matrix is None else grad_matrix / scale
        if grad_matrix is not None:
            ctx.save_for_backward(
                grad_student.to(student.dtype), grad_matrix.to(prototypes.dtype)
            )
        if not with_entropy:
            return (loss,)
        entropy = torch.stack(entropies).sum() / teacher[..., 0].numel()
        ctx.mark_non_differentiable(entropy)
        return loss, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        grad_student, grad_matrix = ctx.saved_tensors
        return grad * grad_student, grad * grad_matrix, *[None] * 8


def _types(x: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """The types of sums and of matrix products."""
    full = upcast(x).dtype
    if full == torch.float32 and torch.is_autocast_enabled(x.device.type):
        return full, torch.get_autocast_dtype(x.device.type)
    return full, full


def _block_shape(weights: Tensor, num_prototypes: int) -> tuple[int, int]:
    """How many images, and how many rows of each, make a block."""
    num_images, num_rows, _ = weights.shape
    held = max(1, BLOCK_ELEMENTS // num_prototypes)
    images = min(num_images, max(1, held // num_rows))
    parts = -(-num_rows // held)
    return images, -(-num_rows // parts)


def _parts(length: int, size: int) -> Iterator[slice]:
    """Cut a length into parts of a size."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _rows(like: Tensor, number: int, width: int) -> Tensor:
    """A buffer of rows."""
    gap = ROW_GAP if like.device.type == 'cpu' else 0
    return like.new_empty(number, width + gap)[:, :width]


def _product(rows: Tensor, matrix: Tensor, buffer: Tensor) -> Tensor:
    """``rows @ matrix.T`` in the first rows of a buffer."""
    out = buffer[: len(rows)]
    size = SLICE_PROTOTYPES if rows.device.type == 'cpu' else len(matrix)
    for part in _parts(len(matrix), size):
        torch.mm(rows, matrix[part].T, out=out[:, part])
    return out


def _probabilities(
    scores: Tensor, offset: Tensor, out: Tensor, with_entropy: bool
) -> list[Tensor]:
    """Write the teacher's probabilities and return their entropies, if wanted."""
    entropies = []
    for score, probs in zip(_slices(scores), _slices(out), strict=True):
        logits = score - offset
        torch.softmax(logits, -1, out=probs)
        if with_entropy:
            entropies.append(_cross_entropy(logits, probs, -probs))
    return entropies


def _gradients(
    scores: Tensor, table: Tensor, targets: Tensor, weights: Tensor, with_grad: bool
) -> list[Tensor]:
    """Return the losses and turn scores into the loss's gradients by them."""
    losses = []
    slices = _slices(scores)
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
    logits: Tensor, probs: Tensor, mixed: Tensor, mass: Any = 1.0
) -> Tensor:
    """``(mixed * log probs).sum()`` with ``probs = softmax(logits)``, without the log.

    Args:
        logits: Shape (N, K).
        probs: Their softmax.
        mixed: Negative weights of all log-probabilities, shape (N, K).
        mass: Minus the sums of ``mixed`` over K, shape (N, 1). Defaults to 1.
    """
    normalizer = logits.amax(-1, keepdim=True) - probs.amax(-1, keepdim=True).log()
    return (mass * normalizer).sum() + torch.dot(mixed.flatten(), logits.flatten())


def _slices(rows: Tensor) -> tuple[Tensor, ...]:
    """Groups of rows (N, K) that fit a CPU's cache."""
    if rows.device.type != 'cpu':
        return (rows,)
    return rows.split(max(1, SLICE_ELEMENTS // rows.shape[-1]))
