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
        buffers = _Buffers(student, len(prototypes))
        # Types are explicit here: products into buffers know no autocast.
        with torch.autocast(student.device.type, enabled=False):
            for image in _parts(len(student), images):
                probs = buffers('probs', teacher_in[image], full)
                _product(teacher_in[image], teacher_matrix, probs)
                for part in _slices(probs):
                    logits = part - offset
                    torch.softmax(logits, -1, out=part)
                    if with_entropy:
                        entropies.append(_cross_entropy(logits, part, -part))
                # The probabilities of all images of the block are one table.
                first = torch.arange(len(probs), device=probs.device) * probs.shape[1]
                for row in _parts(student.shape[1], rows):
                    inputs = student_in[image, row]
                    scores = buffers('scores', inputs, low)
                    _product(inputs, matrix, scores)
                    losses += _gradients(
                        scores,
                        probs,
                        targets[image, row] + first[:, None, None],
                        weights[image, row],
                        with_grad,
                    )
                    if not with_grad:
                        continue
                    grad_student[image, row] = scores @ matrix
                    scores, inputs = scores.flatten(0, 1), inputs.flatten(0, 1)
                    if grad_matrix is None:
                        grad_matrix = (scores.T @ inputs).to(full)
                    elif low == full:
                        grad_matrix.addmm_(scores.T, inputs)
                    else:
                        grad_matrix += scores.T @ inputs
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


class _Buffers:
    """Blocks of logits, (images, rows, K), whose memory is allocated once."""

    def __init__(self, like: Tensor, width: int) -> None:
        self.like, self.width = like, width
        self.memory: dict[str, Tensor] = {}

    def __call__(self, name: str, inputs: Tensor, dtype: torch.dtype) -> Tensor:
        """The block of the logits of inputs (images, rows, D)."""
        shape = inputs.shape[:2]
        number = shape.numel() * self.width
        if name not in self.memory:  # no later block is larger than the first
            self.memory[name] = self.like.new_empty(number, dtype=dtype)
        return self.memory[name][:number].view(*shape, self.width)


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


def _product(rows: Tensor, matrix: Tensor, out: Tensor) -> None:
    """``rows @ matrix.T`` into a buffer, maybe of another type."""
    rows, out = rows.flatten(0, 1), out.flatten(0, 1)
    if out.dtype != rows.dtype:
        out.copy_(rows @ matrix.T)
        return
    size = SLICE_PROTOTYPES if rows.device.type == 'cpu' else len(matrix)
    for part in _parts(len(matrix), size):
        torch.mm(rows, matrix[part].T, out=out[:, part])


def _gradients(
    scores: Tensor, probs: Tensor, targets: Tensor, weights: Tensor, with_grad: bool
) -> list[Tensor]:
    """Return the losses and turn scores into the loss's gradients by them."""
    table, losses = probs.flatten(0, 1), []
    slices = _slices(scores)
    sizes = [len(part) for part in slices]
    for score, target, weight in zip(
        slices,
        targets.flatten(0, 1).split(sizes),
        weights.flatten(0, 1).split(sizes),
        strict=True,
    ):
        logits = score.to(table.dtype)
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


def _slices(block: Tensor) -> tuple[Tensor, ...]:
    """Groups of rows (N, K) that fit a CPU's cache."""
    rows = block.flatten(0, 1)
    if rows.device.type != 'cpu':
        return (rows,)
    return rows.split(max(1, SLICE_ELEMENTS // rows.shape[-1]))
