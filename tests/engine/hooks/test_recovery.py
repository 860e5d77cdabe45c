"""A run that is stopped inside an epoch, by whatever, and goes on from there."""

import os
import signal

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from support.training import PIPELINE, build_runner, small_model

from esvit_plugin.engine.newest import newest_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('photos_once')]

COSINE = [
    dict(type='LinearLR', start_factor=1e-9, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingParamScheduler',
        param_name='weight_decay',
        eta_min_ratio=10,
        convert_to_iter_based=True,
    ),
]


class SignalAt(Hook):
    """Signals its own process in the middle of an iteration."""

    def __init__(self, iteration, number=signal.SIGTERM):
        self.iteration, self.number = iteration, number

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), self.number)


class Values(Hook):
    """Records what is scheduled, by iteration."""

    priority = 'LOW'

    def __init__(self):
        self.values = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        group = runner.optim_wrapper.optimizer.param_groups[0]
        base = runner.optim_wrapper.get_lr().get('base_lr')
        self.values[runner.iter] = (group['lr'], group['weight_decay'], base)


def run(
    work_dir,
    *hooks,
    plain=False,
    workers=0,
    resume=False,
    accumulate=1,
    epochs=3,
    **changes,
):
    """One image of each photograph: 4 iterations per epoch by default."""
    values = Values()
    checkpoint = changes.get('checkpoint', dict(type='AtomicCheckpointHook'))
    runner = build_runner(
        work_dir,
        model=small_model(drop_path_rate=0.3),
        train_dataloader=dict(
            batch_size=changes.get('batch_size', 4),
            num_workers=workers,
            persistent_workers=workers > 0,
            dataset=dict(
                type='BundledPhotos',
                num_train=changes.get('num_train', 1),
                pipeline=PIPELINE,
            ),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            type='PerParamClipOptimWrapper',
            constructor='MatrixDecayOptimWrapperConstructor',
            accumulative_counts=accumulate,
            optimizer=dict(type='AdamW', lr=changes.get('lr', 1e-3), weight_decay=0.04),
            clip_grad=dict(max_norm=3.0),
        ),
        param_scheduler=COSINE,
        custom_hooks=[
            dict(type='EMATeacherHook'),
            dict(type='TeacherTempHook', warmup_epochs=3),
            dict(type='FreezeLastLayerHook'),
            dict(type='RandomStateHook'),
            values,
            *hooks,
        ],
        resume=resume,
        default_hooks=dict(
            runtime_info=dict(type='LazyRuntimeInfoHook'),
            checkpoint={**checkpoint, 'interval': 1},
            finite_guard=dict(type='FiniteGuardHook'),
            recovery=dict(type='RecoveryHook'),
        ),
    )
    if plain:
        runner.__class__ = Runner
    try:
        runner.train()
    finally:
        iterator = runner.train_dataloader._iterator
        if iterator is not None:
            iterator._shutdown_workers()
    return runner, values.values


@pytest.fixture(scope='module')
def whole_run(tmp_path_factory, photos_once):
    """A run that was not stopped, and what was scheduled."""
    return run(tmp_path_factory.mktemp('whole'))


def assert_equal(one, other):
    expected = other.model.state_dict()
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    states = [r.optim_wrapper.optimizer.state_dict()['state'] for r in (one, other)]
    for ours, theirs in zip(*(state.values() for state in states)):
        assert torch.equal(ours['exp_avg'], theirs['exp_avg'])


@pytest.mark.parametrize(('workers', 'number'), [(0, 'SIGTERM'), (2, 'SIGUSR1')])
def test_a_signalled_run_goes_on_inside_the_epoch(
    whole_run, tmp_path, capfd, workers, number
):
    whole, expected = whole_run
    number = getattr(signal, number)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / 'parts', SignalAt(5, number), workers=workers)
    assert stop.value.code == 128 + number
    assert signal.getsignal(number) is before
    error = capfd.readouterr().err
    assert 'same command with --resume' in error and 'Traceback' not in error
    torch.manual_seed(5), np.random.seed(5)
    resumed, values = run(tmp_path / 'parts', resume=True, workers=workers)
    assert list(values) == list(range(6, 12))
    assert values == {i: expected[i] for i in values}
    assert_equal(resumed, whole)


def test_a_signal_waits_for_accumulated_gradients(tmp_path):
    whole, _ = run(tmp_path / 'whole', accumulate=2)
    with pytest.raises(SystemExit):
        run(tmp_path / 'parts', SignalAt(4), accumulate=2)
    resumed, values = run(tmp_path / 'parts', resume=True, accumulate=2)
    assert min(values) == 6
    assert_equal(resumed, whole)


def test_mmengines_runner_goes_on_inside_the_epoch_too(whole_run, tmp_path):
    whole, expected = whole_run
    with pytest.raises(SystemExit):
        run(tmp_path / 'parts', SignalAt(5), plain=True)
    resumed, values = run(tmp_path / 'parts', plain=True, resume=True)
    assert values == {i: expected[i] for i in range(6, 12)}
    assert_equal(resumed, whole)


def test_a_run_is_stopped_twice(whole_run, tmp_path):
    whole, expected = whole_run
    with pytest.raises(SystemExit):
        run(tmp_path / 'parts', SignalAt(1))
    with pytest.raises(SystemExit):
        run(tmp_path / 'parts', SignalAt(6), resume=True)
    resumed, values = run(tmp_path / 'parts', resume=True)
    assert values == {i: expected[i] for i in range(7, 12)}
    assert_equal(resumed, whole)
    settings = [r.optim_wrapper.base_param_settings for r in (resumed, whole)]
    assert settings[0]['lr'] == settings[1]['lr']


class Crash(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 7:
            raise KeyError('crash')


def test_checkpoints_every_few_iterations(whole_run, tmp_path):
    whole, _ = whole_run
    with pytest.raises(KeyError, match='crash'):
        run(tmp_path / 'parts', Crash(), dict(type='RecoveryHook', interval=3))
    assert newest_checkpoint(str(tmp_path / 'parts')).endswith('recovery.pth')
    resumed, values = run(tmp_path / 'parts', resume=True)
    assert min(values) == 6
    assert_equal(resumed, whole)
    # A finished run needs it no more.
    assert not (tmp_path / 'parts' / 'recovery.pth').exists()


def test_an_interval_waits_for_accumulated_gradients(tmp_path):
    hooks = Crash(), dict(type='RecoveryHook', interval=5)
    with pytest.raises(KeyError, match='crash'):
        run(tmp_path, *hooks, accumulate=2)
    assert torch.load(tmp_path / 'recovery.pth')['meta']['iter'] == 6


@pytest.mark.parametrize('where', ['elsewhere', 'run'])
def test_a_run_that_saves_elsewhere_is_found(tmp_path, where, caplog):
    """recovery.pth is in the work folder, the checkpoints of epochs are not."""
    folder = str(tmp_path / where)
    hook = dict(type='AtomicCheckpointHook', out_dir=folder, max_keep_ckpts=9)
    begin = tmp_path / 'run', SignalAt(1)
    with pytest.raises(SystemExit):
        run(*begin, checkpoint=hook)
    with pytest.raises(SystemExit):
        run(tmp_path / 'run', SignalAt(6), resume=True, checkpoint=hook)
    whole = tmp_path / 'run' if where == 'run' else tmp_path / where / 'run'
    assert (whole / 'epoch_1.pth').is_file()
    _, values = run(tmp_path / 'run', resume=True, checkpoint=hook)
    assert min(values) == 7
    # Now the newest one is that of the last epoch.
    _, values = run(tmp_path / 'run', resume=True, checkpoint=hook, epochs=4)
    assert min(values) == 12
    assert 'which is not in' not in caplog.text
    assert 'of another folder' not in caplog.text


def test_a_signal_at_the_last_iteration_of_an_epoch(whole_run, tmp_path):
    whole, expected = whole_run
    with pytest.raises(SystemExit):
        run(tmp_path / 'parts', SignalAt(3))
    assert not (tmp_path / 'parts' / 'epoch_1.pth').exists()
    resumed, values = run(tmp_path / 'parts', resume=True)
    assert values == {i: expected[i] for i in values}
    # What belongs to the end of the epoch is done now.
    assert (tmp_path / 'parts' / 'epoch_1.pth').exists()
    assert min(values) == 4
    assert_equal(resumed, whole)


@pytest.mark.parametrize(
    'changes',
    [dict(batch_size=2), dict(num_train=2), dict(epochs=5), dict(lr=5e-4)],
    ids=str,
)
def test_schedules_follow_the_position_and_the_new_config(tmp_path, changes, caplog):
    with pytest.raises(SystemExit):
        run(tmp_path / 'run', SignalAt(5))  # 6 of 4 x 3 iterations
    messages = []
    runner, values = run_and_log(tmp_path / 'run', messages, changes)
    _, expected = run(tmp_path / 'new', **changes)
    per_epoch = len(runner.train_dataloader)
    assert min(values) == per_epoch + per_epoch // 2
    assert values == {i: expected[i] for i in values}
    assert max(values) == changes.get('epochs', 3) * per_epoch - 1
    (line,) = [m for m in messages if 'Other settings' in m]
    names = dict(batch_size='batch size', num_train='images', epochs='epochs', lr='lr')
    assert names[next(iter(changes))] in line and line.count('\n') == 0


def run_and_log(work_dir, messages, changes):
    class Listen(Hook):
        def before_run(self, runner):
            warn = runner.logger.warning
            runner.logger.warning = lambda m, *a: (messages.append(m), warn(m, *a))

    return run(work_dir, Listen(), resume=True, **changes)


def test_a_checkpoint_without_its_optimiser_is_refused(tmp_path):
    run(tmp_path, epochs=2)
    path = tmp_path / 'epoch_1.pth'
    checkpoint = torch.load(path)
    del checkpoint['optimizer']
    torch.save(checkpoint, path)
    runner = build_runner(tmp_path, resume=True, load_from=str(path))
    with pytest.raises(ValueError, match='no state of an optimiser.* load_from'):
        runner.train()
