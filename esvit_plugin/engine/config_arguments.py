"""What the classes take that a config names."""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from mmengine import registry as mmengine_registry
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper, _ParamScheduler
from mmengine.registry import Registry
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
)
from torch.utils.data import DataLoader


class Arguments(NamedTuple):
    """What a class or function takes.

    Args:
        names: Its named arguments.
        is_open: Whether it may take others.
    """

    names: frozenset[str]
    is_open: bool = False


# Beside what the signatures of mmengine show.
_ENV = [
    Arguments(
        frozenset(
            [
                'cudnn_benchmark',
                'mp_cfg',
                'dist_cfg',
                'resource_limit',
                'matmul_precision',
            ]
        )
    )
]
_LOADER = Arguments(
    frozenset(['num_batch_per_epoch', 'worker_init_fn', 'dataset', 'batch_sampler'])
)
_WRAPPER = Arguments(frozenset(['type', 'constructor', 'paramwise_cfg', 'optimizer']))


def arguments(function: Callable) -> Arguments:
    """What a class or function can be called with.

    For a class that passes other arguments on, those of its parents count too.
    """
    classes = function.__mro__ if inspect.isclass(function) else [None]
    names: set[str] = set()
    for cls in classes:
        called = vars(cls).get('__init__') if cls else function
        if called is None:
            continue
        try:
            parameters = inspect.signature(called).parameters.values()
        except (ValueError, TypeError):  # of a compiled module
            return Arguments(frozenset(names), True)
        names |= {
            p.name
            for p in parameters
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        }
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            return Arguments(frozenset(names - {'self'}), cls is object)
    return Arguments(frozenset(names - {'self'}), True)


@cache
def registries(scope: str) -> list[Registry]:
    """Those of mmengine and of a package; none if it has none, or is not there."""
    try:
        package = importlib.import_module(f'{scope}.registry')
    except ImportError:
        return []
    both = {**vars(mmengine_registry), **vars(package)}
    roots = {id(r.root): r.root for r in both.values() if isinstance(r, Registry)}
    pairs = [(root, root._search_child(scope)) for root in roots.values()]
    # Not 'or': an empty registry is false.
    return [root if child is None else child for root, child in pairs]


def find_classes(name: Any, scope: str) -> list[Callable]:
    """What a ``type`` may stand for, in all registries."""
    if not isinstance(name, str):
        return [name] if callable(name) else []
    # Only names with a package are looked for beyond the registries, which takes time.
    tables = registries(scope) if '.' in name else registered(scope)
    classes = (table.get(name) for table in tables)
    return [cls for cls in classes if cls is not None]


def registered(scope: str) -> Iterator[dict[str, Any]]:
    """What is registered for a scope, by name, registry by registry."""
    for registry in registries(scope):
        registry.import_from_location()
        node: Registry | None = registry
        while node is not None:
            yield node.module_dict
            node = node.parent


@cache
def runner_names() -> frozenset[str]:
    """What a config may have at its top level for mmengine's ``Runner``."""
    return arguments(Runner).names - {'cfg'}


def arguments_of(parents: list[str], node: Mapping, scope: str) -> list[Arguments]:
    """What the keys of a dict of a config may be; empty if that is not known.

    Args:
        parents: The words of its dotted name.
        node: The dict.
        scope: The config's default scope.
    """
    name = parents[-1]
    special = {
        'randomness': [Arguments(arguments(Runner.set_randomness).names)],
        'auto_scale_lr': [Arguments(frozenset(['enable', 'base_batch_size']))],
        'env_cfg': [arguments(Runner.setup_env), *_ENV],
        'log_processor': [arguments(LogProcessor)],
        'val_cfg': [arguments(ValLoop)],
        'test_cfg': [arguments(TestLoop)],
    }
    if len(parents) == 1 and 'type' not in node:
        if name == 'train_cfg':
            loops = arguments(EpochBasedTrainLoop), arguments(IterBasedTrainLoop)
            return [*loops, Arguments(frozenset(['by_epoch']))]
        if name in special:
            return special[name]
    if name.endswith('dataloader') and 'type' not in node:
        return [arguments(DataLoader), _LOADER]
    choices = []
    if name == 'optim_wrapper':
        # --amp may make the wrapper one of mixed precision.
        choices += [arguments(OptimWrapper), arguments(AmpOptimWrapper), _WRAPPER]
    for cls in find_classes(node.get('type'), scope):
        names, is_open = arguments(cls)
        if inspect.isclass(cls) and issubclass(cls, Hook):
            names |= {'priority'}
        if inspect.isclass(cls) and issubclass(cls, _ParamScheduler):
            names |= {'convert_to_iter_based'}
        if name == 'norm_cfg':
            names |= {'requires_grad'}  # mmcv's build_norm_layer takes it
        choices.append(Arguments(names | {'type'}, is_open))
    return choices
