"""Cross-entropy of prototype probabilities, a block of logits at a time."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..utils import upcast

# Logits of student rows held at once. One row of an image at least, and the teacher's
# probabilities of one image, which all its rows need, come on top.
BLOCK_ELEMENTS = 2**24
# Elementwise work on a CPU runs over so many logits at a time, which a cache holds.
SLICE_ELEMENTS = 2**19


def blockwise_cross_entropy(
    student: Tensor,
    prototypes: Tensor,
    teacher: Tensor,
    teacher_prototypes: Tensor,
    center: Tensor,
    weights: Tensor,
    student_temp: float,
    teacher_temp: float,
) -> tuple[Tensor, Tensor]:
    r"""Weighted cross-entropies of teacher and student probabilities (eq. 1 and 2).

    With :math:`q_r = softmax(W x_r / T_s)` of each student row and
    :math:`p_j = softmax((V y_j - c) / T_t)` of each teacher row of the same image,

    .. math:: -\sum_{r, j} w_{rj} \sum_k p_{jk} \log q_{rk}.

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
        weights: The weights w >= 0, shape (B, R, T).
        student_temp: Temperature T_s.
        teacher_temp: Temperature T_t.

    Returns:
        The loss, differentiable once with respect to ``student`` and ``prototypes``,
        and the mean entropy of the teacher's rows in nats, without a gradient.
    """
    loss, entropy = _BlockwiseCrossEntropy.apply(
        student,
        prototypes,
        teacher,
        teacher_prototypes,
        center,
        weights,
        student_temp,
        teacher_temp,
    )
    return loss, entropy


class _BlockwiseCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        prototypes: Tensor,
        teacher: Tensor,
        teacher_prototypes: Tensor,
        center: Tensor,
        weights: Tensor,
        student_temp: float,
        teacher_temp: float,
    ) -> tuple[Tensor, Tensor]:
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
        grad_matrix = torch.zeros_like(prototypes, dtype=full) if with_grad else None
        losses, entropies = [], []
        buffers = _Buffers(student, len(prototypes))
        # Types are explicit here: products into buffers know no autocast.
        with torch.autocast(student.device.type, enabled=False):
            for image, image_weights in _blocks(weights, images):
                probs = buffers('probs', teacher_in[image].shape[:2], full)
                _product(teacher_in[image], teacher_matrix, probs)
                for part in _slices(probs):
                    log_probs = part.sub_(offset).log_softmax(-1)
                    torch.exp(log_probs, out=part)
                    entropies.append((part * log_probs).sum())
                for row, pair_weights in _blocks(image_weights, rows, dim=1):
                    inputs = student_in[image][:, row]
                    scores = buffers('scores', inputs.shape[:2], low)
                    _product(inputs, matrix, scores)
                    # The targets of a row, of all teacher views together, negative.
                    targets = buffers('targets', inputs.shape[:2], full)
                    torch.bmm(-pair_weights, probs, out=targets)
                    masses = pair_weights.sum(-1, keepdim=True)
                    losses += _gradients(scores, targets, masses, with_grad)
                    if grad_matrix is not None:
                        grad_student[image, row] = scores @ matrix
                        scores, inputs = scores.flatten(0, 1), inputs.flatten(0, 1)
                        if low == full:
                            grad_matrix.addmm_(scores.T, inputs)
                        else:
                            grad_matrix += scores.T @ inputs
            loss = torch.stack(losses).sum()
            grad_student /= student_temp
            if low == torch.float16:
                loss, grad_student = loss / scale, grad_student / scale
                grad_matrix = None if grad_matrix is None else grad_matrix / scale
        entropy = -torch.stack(entropies).sum() / teacher[..., 0].numel()
        if grad_matrix is not None:
            ctx.save_for_backward(
                grad_student.to(student.dtype), grad_matrix.to(prototypes.dtype)
            )
        ctx.mark_non_differentiable(entropy)
        return loss, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        grad_student, grad_matrix = ctx.saved_tensors
        return grad * grad_student, grad * grad_matrix, *[None] * 6


class _Buffers:
    """Blocks of logits, (images, rows, K), whose memory is allocated once."""

    def __init__(self, like: Tensor, width: int) -> None:
        self.like, self.width = like, width
        self.memory: dict[str, Tensor] = {}

    def __call__(self, name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
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


def _blocks(x: Tensor, size: int, dim: int = 0) -> Iterator[tuple[slice, Tensor]]:
    """Parts of a tensor and where they are."""
    for start in range(0, x.shape[dim], size):
        part = x.narrow(dim, start, min(size, x.shape[dim] - start))
        yield slice(start, start + size), part


def _product(rows: Tensor, matrix: Tensor, out: Tensor) -> None:
    """``rows @ matrix.T`` into a buffer, maybe of another type."""
    flat = rows.flatten(0, 1)
    if out.dtype == rows.dtype:
        torch.mm(flat, matrix.T, out=out.flatten(0, 1))
    else:
        out.flatten(0, 1).copy_(flat @ matrix.T)


def _gradients(
    scores: Tensor, targets: Tensor, masses: Tensor, with_grad: bool
) -> list[Tensor]:
    """Return the losses and turn scores into the loss's gradients by them."""
    losses = []
    for score, target, mass in zip(
        _slices(scores),
        _slices(targets),
        _slices(masses, scores.shape[-1]),
        strict=True,
    ):
        log_probs = score.to(target.dtype).log_softmax(-1)
        losses.append((target * log_probs).sum())
        if with_grad:
            if score.dtype == target.dtype:
                torch.addcmul(target, log_probs.exp_(), mass, out=score)
            else:
                score.copy_(target.addcmul_(log_probs.exp_(), mass))
    return losses


def _slices(block: Tensor, width: int = 0) -> tuple[Tensor, ...]:
    """Groups of rows (N, K) that fit a CPU's cache."""
    rows = block.flatten(0, 1)
    if rows.device.type != 'cpu':
        return (rows,)
    return rows.split(max(1, SLICE_ELEMENTS // (width or rows.shape[-1])))
