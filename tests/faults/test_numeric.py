"""Values that are not finite stop a training before they spoil what is good."""

import re

import pytest
import support.faults.parts  # noqa: F401  registers hooks
from mmengine.hooks import Hook
from support.faults.forks import TINY, run_function
from support.faults.runs import (
    assert_same,
    checkpoints,
    differences,
    ended,
    finite,
    hooks,
    run_cases,
    start_ranks,
    start_train,
    train,
    write_config,
)
from support.training import RandomViews, build_runner

SPOILED = [
    dict(
        type='MultiCrop',
        views=[
            dict(size=32, scale=(0.4, 1.0), num_views=2),
            dict(size=16, scale=(0.1, 0.4), num_views=2),
        ],
    ),
    dict(type='PackInputs'),
]


def image_spoiled(folder, number=3):
    """A NaN pixel in an image, from the second epoch on until a file is there."""
    spoil = dict(
        type='SpoilImage',
        images=[number],
        what='nan',
        unless=str(folder / 'mended'),
        when=str(folder / 'run' / 'epoch_1.pth'),
    )
    return dict(train_dataloader=dict(dataset=dict(pipeline=[*SPOILED, spoil])))


def check_stopped(run, folder, iteration=None):
    ended(run, 1)
    assert 'finite' in run.message, run.message
    found = re.search(r'iteration (\d+) of 12', run.message)
    assert found, run.message
    assert iteration in (None, int(found[1]))
    for word in ('learning rate', 'nothing was saved'):
        assert word in run.message
    for name in checkpoints(folder):
        assert finite(folder / 'run' / name), name


def test_faults_stop_and_what_is_kept_is_finite(tmp_path):
    at = dict(type='At', iteration=6)
    settings = {
        'lr 1e6': dict(optim_wrapper=dict(optimizer=dict(lr=1e6), clip_grad=None)),
        'lr 1e30': dict(optim_wrapper=dict(optimizer=dict(lr=1e30))),
        'SGD lr 1e38': dict(
            optim_wrapper=dict(optimizer=dict(_delete_=True, type='SGD', lr=1e38))
        ),
        'weight': dict(custom_hooks=hooks({**at, 'what': 'nan weight'})),
        'teacher': dict(custom_hooks=hooks({**at, 'what': 'nan teacher'})),
        'centre': dict(custom_hooks=hooks({**at, 'what': 'nan centre'})),
        'loss': dict(custom_hooks=hooks({**at, 'what': 'inf loss'})),
        'gradient': dict(custom_hooks=hooks({**at, 'what': 'nan gradient'})),
    }
    exact = dict(weight=7, teacher=7, centre=7, loss=7, gradient=7)

    def case(name):
        folder = tmp_path / name.replace(' ', '_')
        config = write_config(folder / 'c.py', **settings[name])
        run = start_train(folder, config=config)
        yield run
        check_stopped(run, folder, exact.get(name))
        if name in exact:
            assert checkpoints(folder) == ['epoch_1.pth']
            run = start_train(folder, '--resume')
            yield run
            ended(run)
            assert finite(folder / 'run' / 'epoch_3.pth')

    run_cases({name: case(name) for name in settings})


def test_a_bad_pixel(tmp_path):
    """Stops, goes on when the image is mended, and ends as if nothing had been."""
    config = write_config(tmp_path / 'c.py', **image_spoiled(tmp_path))
    run = train(tmp_path, config=config, code=1)
    check_stopped(run, tmp_path)
    assert checkpoints(tmp_path) == ['epoch_1.pth']
    (tmp_path / 'mended').touch()
    ended(train(tmp_path, '--resume', config=config))
    train(tmp_path / 'whole')
    paths = [
        folder / 'run' / 'epoch_3.pth' for folder in (tmp_path, tmp_path / 'whole')
    ]
    assert_same(*paths)


def test_a_bad_pixel_on_the_second_of_two_processes(tmp_path):
    config = write_config(
        tmp_path / 'c.py',
        custom_hooks=hooks(
            dict(type='At', iteration=3, what='nan gradient', rank=1),
        ),
    )
    runs = start_ranks(tmp_path, config=config)
    for run in runs:
        run.wait()
        assert run.code == 1 and 'Traceback' not in run.text, run.tail
    message = runs[0].message + runs[1].message
    assert 'iteration 4 of 6' in message and 'finite' in message, message
    assert checkpoints(tmp_path) == ['epoch_1.pth']
    assert finite(tmp_path / 'run' / 'epoch_1.pth')
    for run in start_ranks(tmp_path, '--resume', config=TINY):
        ended(run.wait())


@pytest.mark.parametrize(
    'options',
    [
        'model.data_preprocessor.std=[0,0,0]',
        'model.head.student_temp=1e-40',
        'custom_hooks.1.teacher_temp=1e-40',
        'custom_hooks.1.warmup_teacher_temp=1e-40',
        'optim_wrapper.optimizer.lr=inf',
        'optim_wrapper.optimizer.lr=nan',
        'optim_wrapper.clip_grad.max_norm=0',
    ],
)
def test_values_that_cannot_be_right_are_refused(tmp_path, options):
    run = train(tmp_path, options=[options], code=1)
    assert 'Epoch(train)' not in run.text
    assert len(run.message.splitlines()) <= 3
    key, value = options.split('=')
    assert key.rpartition('.')[2] in run.message, run.message
    assert value.strip('[]').split(',')[0] in run.message, run.message


class States(Hook):
    """Keeps the model's state after each iteration."""

    priority = 'VERY_HIGH'

    def __init__(self):
        self.states = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        state = runner.model.state_dict()
        self.states.append({name: value.clone() for name, value in state.items()})


@pytest.mark.parametrize('what', ['nan gradient', 'nan image'])
def test_on_a_device_the_step_is_skipped(tmp_path, what):
    """As on a GPU: weights, teacher and centres are those from before the fault."""

    def program():
        kept = States()
        runner = build_runner(
            tmp_path,
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=RandomViews(16),
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
            ),
            optim_wrapper=dict(
                type='PerParamClipOptimWrapper',
                constructor='MatrixDecayOptimWrapperConstructor',
                optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04, fused=True),
                clip_grad=dict(max_norm=3.0),
            ),
            custom_hooks=[
                dict(type='EMATeacherHook'),
                dict(type='TeacherTempHook', warmup_epochs=2),
                dict(type='RandomStateHook'),
                dict(type='At', iteration=2, what=what),
                kept,
            ],
            default_hooks=dict(
                runtime_info=dict(type='LazyRuntimeInfoHook'),
                logger=dict(type='LoggerHook', interval=100),
                checkpoint=dict(type='AtomicCheckpointHook', interval=1),
                finite_guard=dict(type='FiniteGuardHook', at_once=False),
                recovery=dict(type='RecoveryHook'),
            ),
        )
        with pytest.raises(FloatingPointError, match='iteration 3 of 16'):
            runner.train()
        before = kept.states[1]
        assert len(kept.states) > 4, 'it was asked at once'
        changed = differences(before, kept.states[0])
        assert any('teacher' in name for name in changed), 'nothing moves at all'
        assert any('center' in name for name in changed), changed
        after = kept.states[2]
        if what == 'nan gradient':
            # A centre moves in the forward pass, which had no fault.
            for state in (before, after):
                for name in [name for name in state if 'center' in name]:
                    assert state.pop(name).isfinite().all()
        assert not (found := differences(before, after)), found
        for later in kept.states[3:]:
            weights = {name: later[name] for name in before if 'center' not in name}
            expected = {name: before[name] for name in weights}
            assert not (found := differences(expected, weights)), found

    ended(run_function(program, folder=tmp_path))
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize(('every', 'code'), [(4, 0), (1, 1)])
def test_a_scaler_may_skip_steps_now_and_then(tmp_path, every, code):
    """float16 overflows at times; when every step does, nothing is learned."""
    custom = hooks(dict(type='Overflows', every=every))
    config = write_config(
        tmp_path / 'c.py',
        custom_hooks=custom,
        train_cfg=dict(max_epochs=12),
        optim_wrapper=dict(type='FakeScalerOptimWrapper'),
    )
    run = train(tmp_path, config=config, code=code)
    if code:
        assert 'float16' in run.message and 'overflow' in run.message, run.message
    for name in checkpoints(tmp_path):
        assert finite(tmp_path / 'run' / name)
