"""What each hand-written piece saves in a training step of Swin-T.

    python benchmarks/pieces.py                   # 2 images; one pair holds 6 GiB
    python benchmarks/pieces.py --amp bfloat16
    python benchmarks/pieces.py --only 'torch GELU' --rounds 9

Each line replaces one piece by the simplest form and leaves the rest: a ratio above 1,
of time or of the memory that steps take, is what the piece saves. Every form is
measured in turn with ``ours``; ``spread`` is the distance between the quartiles of
the rounds' ratios of times.
"""

import argparse
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from measure import Variant, add_options, as_trained, measure
from step import ours
from torch import Tensor

MODELS = 'esvit_plugin.models'
NO_LIMIT = 2**62


def never(x: Tensor) -> bool:
    """Attention keeps its weights, as torch's does where the bias is trained."""
    return False


def always() -> bool:
    """A head takes all logits at once, pair by pair."""
    return True


def activation_linear(x: Tensor, weight: Tensor, bias: Any, activation: str) -> Tensor:
    """What comes before and after the activation is kept."""
    return F.linear(getattr(F, activation)(x), weight, bias)


def reorder(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """The gradient of a gather adds row by row."""
    return x[:, order]


def add_branch(x: Tensor, branch: Tensor, drop: Any) -> Tensor:
    """Stochastic depth, then the sum."""
    return x + drop(branch)


def weight_norm(weight: Tensor, gain: Tensor, dim: int) -> Tensor:
    """The formula."""
    return weight * (gain / weight.norm(dim=1, keepdim=True))


# What replaces which names of which modules.
FORMS: dict[str, list[tuple[str, str, Any]]] = {
    'torch attention': [
        (f'{MODELS}.layers.biased_attention', 'computes_weights_again', never),
        (f'{MODELS}.layers.window_attention', 'computes_weights_again', never),
    ],
    'attention in one part': [
        (f'{MODELS}.layers.biased_attention', 'PART_ELEMENTS', NO_LIMIT)
    ],
    'torch GELU': [
        (f'{MODELS}.layers.residual', 'activation_linear', activation_linear)
    ],
    'gather': [(f'{MODELS}.backbones.swin_blocks', 'reorder', reorder)],
    'drop, then add': [(f'{MODELS}.backbones.swin_blocks', 'add_branch', add_branch)],
    'all logits': [
        (f'{MODELS}.heads.dino_view_head', 'use_plain', always),
        (f'{MODELS}.heads.region_matching_head', 'use_plain', always),
    ],
    'blocks not sliced': [(f'{MODELS}.heads.blocks', 'SLICE_ELEMENTS', NO_LIMIT)],
    'prototypes not sliced': [(f'{MODELS}.heads.blocks', 'SLICE_PROTOTYPES', NO_LIMIT)],
    'rows without gaps': [(f'{MODELS}.heads.blocks', 'ROW_GAP', 0)],
    'weight norm by formula': [
        (f'{MODELS}.necks.dino_projection', 'weight_norm', weight_norm)
    ],
    'memory not kept': [],
}


def simplest(form: str) -> Variant:
    """A step with a piece replaced, in a process of its own."""
    step = partial(_replaced, FORMS[form])
    return step if form == 'memory not kept' else as_trained(step)


def _replaced(
    changes: list[tuple[str, str, Any]], args: argparse.Namespace, device: torch.device
) -> Callable[[], None]:
    for module_name, name, value in changes:
        module = import_module(module_name)
        if not hasattr(module, name):
            raise AttributeError(f'{module_name} has no {name} to be replaced.')
        setattr(module, name, value)
    return ours(args, device)


def main() -> None:
    """Measure one form after the other and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--batch-size', type=int, default=2)
    parser.add_argument('--prototypes', type=int, default=65536)
    parser.add_argument('--amp', choices=('bfloat16', 'float16'))
    parser.set_defaults(compile=False)
    add_options(parser, FORMS)
    args = parser.parse_args()
    forms, args.only = args.only or list(FORMS), None
    print(f'{args.batch_size} images, K = {args.prototypes}, {args.amp or "float32"}')
    print(f'{"":26}{"time":>8}{"spread":>8}{"memory":>8}')
    for form in forms:
        pair = dict(ours=as_trained(ours), form=simplest(form))
        base, row = measure(args, pair)
        memory = row['extra'] / base['extra']
        cells = f'{row["ratio"]:8.2f}{row["spread"]:8.2f}{memory:8.2f}'
        print(f'{form:26}{cells}', flush=True)


if __name__ == '__main__':
    main()
