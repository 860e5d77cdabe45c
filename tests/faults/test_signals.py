"""A run that is asked to end saves first, and goes on where it stopped."""

import signal
import time

import pytest
from support.faults.runs import (
    CLASSIFIER,
    assert_same,
    checkpoints,
    ended,
    hooks,
    knn,
    run_cases,
    start_ranks,
    start_train,
    train,
    write_config,
)

CODES = {
    signal.SIGTERM: 143,
    signal.SIGUSR1: 138,
    signal.SIGINT: 130,
    signal.SIGHUP: 129,
}
PAUSE = dict(type='At', iteration=5, what='sleep', seconds=0.7)
ACCUMULATE = dict(optim_wrapper=dict(accumulative_counts=2))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Uninterrupted runs, by name."""
    folder = tmp_path_factory.mktemp('whole')
    settings = dict(plain={}, accumulated=ACCUMULATE)
    configs = {
        name: write_config(folder / f'{name}.py', **found)
        for name, found in settings.items()
    }
    configs['classifier'] = CLASSIFIER

    def case(name):
        run = start_train(folder / name, config=configs[name])
        yield run
        ended(run)

    run_cases({name: case(name) for name in configs})
    return {name: folder / name / 'run' / 'epoch_3.pth' for name in configs}


def check_stopped(run, number, folder):
    ended(run, CODES[number])
    assert 'recovery.pth' in checkpoints(folder)
    how = [line for line in run.err.splitlines() if '--resume' in line]
    assert len(how) == 1, run.message
    assert 'recovery.pth' in how[0] and signal.Signals(number).name in how[0]


def interrupted(
    folder,
    whole,
    number,
    group=False,
    wait='sleeping',
    base=None,
    custom_hooks=None,
    options=(),
    **settings,
):
    """Stop a run by a signal, go on, and compare with an uninterrupted one."""
    base = dict(base=base) if base else {}
    spoiled = write_config(
        folder / 'stopped.py',
        custom_hooks=custom_hooks or hooks(PAUSE),
        **base,
        **settings,
    )
    run = start_train(folder, config=spoiled, options=options)
    run.wait_for(wait)
    (run.send_group if group else run.send)(number)
    yield run
    check_stopped(run, number, folder)
    settings.pop('val_dataloader', None)
    config = write_config(folder / 'c.py', **base, **settings)
    run = start_train(folder, '--resume', config=config, options=options)
    yield run
    ended(run)
    assert 'resumed epoch' in run.text
    assert 'Epoch(train) [1][' not in run.text
    assert_same(folder / 'run' / 'epoch_3.pth', whole)


WORKERS = ('train_dataloader.num_workers=2',)
PERSISTENT = (*WORKERS, 'train_dataloader.persistent_workers=True')


def test_signals_end_after_the_iteration(tmp_path, whole):
    cases = {
        f'{number.name}, {len(options)}': interrupted(
            tmp_path / f'{number.name}{len(options)}',
            whole['plain'],
            number,
            # A terminal and Slurm signal the workers, too.
            group=bool(options),
            options=options,
        )
        for number in CODES
        for options in ((), PERSISTENT if number == signal.SIGINT else WORKERS)
    }
    cases['accumulated'] = interrupted(
        tmp_path / 'accumulated', whole['accumulated'], signal.SIGTERM, **ACCUMULATE
    )
    run_cases(cases)


def test_signals_end_an_evaluation(tmp_path, whole):
    pause = dict(type='SpoilImage', images=[1], what='pause')
    loader = dict(dataset=dict(pipeline=[dict(type='PackInputs'), pause]))
    cases = {
        'k-NN': interrupted(
            tmp_path / 'knn',
            whole['plain'],
            signal.SIGUSR1,
            wait='pausing',
            custom_hooks=hooks(knn(pause)),
        ),
        'validation': interrupted(
            tmp_path / 'val',
            whole['classifier'],
            signal.SIGTERM,
            wait='pausing',
            base=CLASSIFIER,
            custom_hooks=[dict(type='RandomStateHook')],
            val_dataloader=loader,
        ),
    }
    run_cases(cases)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_second_interrupt_ends_at_once(tmp_path, workers):
    hook = dict(type='At', iteration=5, what='sleep', seconds=50)
    config = write_config(tmp_path / 'c.py', custom_hooks=hooks(hook))
    options = WORKERS if workers else ()
    run = start_train(tmp_path, config=config, options=options)
    run.wait_for('sleeping').send(signal.SIGINT)
    run.wait_for('ending after this iteration')
    start = time.monotonic()
    run.send(signal.SIGINT)
    run.wait()
    # The pause has 50 s.
    assert time.monotonic() - start < 20
    ended(run, 130)
    assert checkpoints(tmp_path) == ['epoch_1.pth']


@pytest.mark.parametrize('what', ['hang', 'die'])
def test_a_lost_loader_worker_ends_the_run(tmp_path, what):
    pipeline = [
        dict(type='MultiCrop', views=[dict(size=32, num_views=2)]),
        dict(type='PackInputs'),
        dict(type='SpoilImage', images=[3], what=what),
    ]
    loader = dict(num_workers=1, timeout=2, dataset=dict(pipeline=pipeline))
    config = write_config(tmp_path / 'c.py', train_dataloader=loader)
    # The worker hangs for 1000 s.
    run = train(tmp_path, config=config, code=1)
    assert 'Loading data failed' in run.message and '--resume' in run.message
    assert len(run.message.splitlines()) <= 3


def test_a_process_that_does_not_answer_ends_the_run(tmp_path):
    hook = dict(type='At', iteration=5, what='sleep', seconds=0.5, rank=1)
    config = write_config(
        tmp_path / 'c.py',
        custom_hooks=hooks(hook),
        default_hooks=dict(recovery=dict(timeout=8)),
        env_cfg=dict(dist_cfg=dict(timeout=8)),
    )
    runs = start_ranks(tmp_path, config=config)
    runs[1].wait_for('sleeping').send(signal.SIGSTOP)
    runs[0].wait(100)
    ended(runs[0], 1)
    assert len(runs[0].message.splitlines()) <= 3
    assert '--resume' in runs[0].message and 'timeout' in runs[0].message
    runs[1].kill()


def test_two_processes_stop_and_go_on_together(tmp_path):
    both = [start_ranks(tmp_path / 'whole')]
    for run in both[0]:
        ended(run.wait())
    hook = dict(type='At', iteration=5, what='sleep', seconds=0.7)
    config = write_config(tmp_path / 'c.py', custom_hooks=hooks(hook))
    runs = start_ranks(tmp_path / 'parts', config=config)
    runs[1].wait_for('sleeping').send(signal.SIGTERM)  # one of them is enough
    for run in runs:
        ended(run.wait(), 143)
    assert runs[0].err.count('--resume') == 1 and '--resume' not in runs[1].err
    for run in start_ranks(tmp_path / 'parts', '--resume'):
        ended(run.wait())
    folders = [tmp_path / name / 'run' / 'epoch_3.pth' for name in ('parts', 'whole')]
    assert_same(*folders)
