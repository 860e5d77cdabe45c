"""Tiny trainings, and what is asked of them."""

import pprint
import time

import torch

from support.faults.forks import TINY, start_tool
from support.ports import free_port

CLASSIFIER = TINY.with_name('tiny_classifier.py')


def start_train(folder, *args, config=TINY, options=(), **kwargs):
    """Start a training whose work folder is ``folder``/run."""
    folder.mkdir(exist_ok=True, parents=True)
    extra = ['--cfg-options', *options] if options else []
    args = [config, '--work-dir', folder / 'run', *args, *extra]
    return start_tool('train.py', *args, folder=folder, **kwargs)


def start_ranks(folder, *args, env=None, **kwargs):
    """Start a training on two processes, without a launcher."""
    shared = dict(
        WORLD_SIZE=2,
        LOCAL_WORLD_SIZE=2,
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=free_port(),
    )
    return [
        start_train(
            folder,
            '--launcher',
            'pytorch',
            *args,
            env={**shared, **(env or {}), 'RANK': rank, 'LOCAL_RANK': rank},
            **kwargs,
        )
        for rank in range(2)
    ]


def train(folder, *args, code=0, timeout=180, **kwargs):
    """Train to the end, and check the exit code; None: any."""
    run = start_train(folder, *args, **kwargs).wait(timeout)
    if code is not None:
        ended(run, code)
    return run


def ended(run, code=0):
    """Check an exit code, and that there is no traceback."""
    shown = f'exit code {run.code}\n{run.tail}'
    assert run.code == code and 'Traceback' not in run.text, shown


def run_cases(cases, at_once=2, timeout=120):
    """Run cases side by side, and report all that failed.

    Args:
        cases: By name, generators that yield a program that they want ended, or a
            program and the time at which to kill it.
        at_once: How many at a time.
        timeout: Seconds that one program may take.
    """
    waiting, active, failed = list(cases.items()), [], []

    def go_on(name, case):
        try:
            tool = next(case)
        except StopIteration:
            return
        except Exception as error:
            failed.append(f'{name}: {type(error).__name__}: {error}')
            return
        tool, kill_at = tool if isinstance(tool, tuple) else (tool, None)
        active.append((name, case, tool, kill_at, time.monotonic() + timeout))

    while waiting or active:
        while waiting and len(active) < at_once:
            go_on(*waiting.pop(0))
        time.sleep(0.003)
        for entry in list(active):
            name, case, tool, kill_at, end = entry
            now = time.monotonic()
            if tool.poll() is None and now > min(end, kill_at or end):
                tool.kill()
                if kill_at is None:
                    active.remove(entry)
                    failed.append(f'{name}: no end after {timeout} s\n{tool.tail}')
                    continue
            if tool.poll() is not None:
                active.remove(entry)
                go_on(name, case)
    assert not failed, f'{len(failed)} of {len(cases)}:\n' + '\n\n'.join(failed)


def write_config(path, base=TINY, **settings):
    """Write a config that changes ``tiny.py``."""
    lines = [f'_base_ = [{str(base)!r}]']
    lines += [f'{name} = {pprint.pformat(value)}' for name, value in settings.items()]
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text('\n'.join(lines) + '\n')
    return path


def hooks(*more):
    """The hooks of the tiny training, and more."""
    return [
        dict(type='EMATeacherHook', momentum=0.9),
        dict(type='TeacherTempHook', warmup_epochs=3),
        dict(type='FreezeLastLayerHook'),
        dict(type='RandomStateHook'),
        dict(type='TrainingMonitorHook'),
        *more,
    ]


def knn(*transforms):
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(
            type='TinyImages',
            pipeline=[dict(type='PackInputs'), *transforms],
        ),
    )
    return dict(
        type='KNNMonitorHook',
        train_dataloader=loader,
        val_dataloader=loader,
        interval=1,
        ks=(1,),
    )


def load(path):
    return torch.load(path, weights_only=True)


def differences(one, other, place=''):
    """Where two nested values of tensors and plain values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other):
            return [f'{place}: keys']
        pairs = [(f'{place}.{key}', one[key], other[key]) for key in one]
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return [f'{place}: length']
        pairs = [(f'{place}.{i}', a, b) for i, (a, b) in enumerate(zip(one, other))]
    elif isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [place]
    else:
        return [] if one == other else [f'{place}: {one} and {other}']
    return [found for key, a, b in pairs for found in differences(a, b, key)]


def assert_same(path, expected):
    """Weights, teacher, centres, optimiser and random states of two checkpoints."""
    one, other = load(path), load(expected)
    for checkpoint in (one, other):
        # Only logged, as base_lr; see test_settings.
        checkpoint['optimizer'].pop('base_param_settings', None)
    for key in ('state_dict', 'optimizer', 'random_states'):
        assert not (found := differences(one.get(key), other.get(key))), (key, found)
    for key in ('epoch', 'iter'):
        assert one['meta'][key] == other['meta'][key]


def checkpoints(folder):
    names = (path.name for path in (folder / 'run').glob('*.pth'))
    return sorted(name for name in names if not name.startswith('.'))


def unfinished(folder):
    """What a save that was cut short has left."""
    names = [path.name for path in (folder / 'run').iterdir()]
    return [n for n in names if '.part' in n or n.startswith('.') or 'tmp' in n]


def finite(path):
    state = load(path)['state_dict']
    return all(bool(torch.isfinite(v).all()) for v in state.values())
