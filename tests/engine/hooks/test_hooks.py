import copy
import logging
import math

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from mmpretrain.registry import HOOKS, PARAM_SCHEDULERS
from support.paths import CONFIGS
from support.training import RandomViews, build_runner, small_model
from torch import nn

from esvit_plugin.engine import EMATeacherHook, TeacherTempHook, TrainingMonitorHook


class Watch(Hook):
    """Keeps copies of teacher, student and prototypes after each iteration."""

    priority = 'LOWEST'

    def __init__(self):
        self.teacher, self.student, self.last_layer, self.temps = [], [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = runner.model
        self.teacher.append(copy.deepcopy(model.teacher['neck'].state_dict()))
        self.student.append(copy.deepcopy(model.neck.state_dict()))
        self.last_layer.append(model.neck.last_layer.weight_v.detach().clone())
        temps = model.head.teacher_temp, model.region_head.teacher_temp
        assert temps[0] == temps[1]
        self.temps.append(temps[0])


def changed(states, index, name='mlp.0.weight'):
    return not torch.equal(states[index][name], states[index - 1][name])


def run(tmp_path, hooks, **overrides):
    watch = Watch()
    runner = build_runner(tmp_path, custom_hooks=[*hooks, watch], **overrides)
    runner.train()
    return runner, watch


def test_the_teacher_follows_by_a_cosine_momentum(tmp_path):
    runner, watch = run(tmp_path, [dict(type='EMATeacherHook', momentum=0.9)])
    assert runner.max_iters == 4
    for i in range(1, 4):
        m = 1 - 0.1 * (1 + math.cos(math.pi * i / 4)) / 2
        for name, value in watch.teacher[i].items():
            old, student = watch.teacher[i - 1][name], watch.student[i][name]
            torch.testing.assert_close(value, m * old + (1 - m) * student)
    assert runner.message_hub.get_scalar('train/teacher_momentum').current() == m


def test_the_teacher_waits_for_accumulated_gradients(tmp_path):
    wrapper = dict(
        type='PerParamClipOptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-2),
        accumulative_counts=2,
    )
    _, watch = run(
        tmp_path, [dict(type='EMATeacherHook', momentum=0.5)], optim_wrapper=wrapper
    )
    assert [changed(watch.student, i) for i in (1, 2, 3)] == [True, False, True]
    assert [changed(watch.teacher, i) for i in (1, 2, 3)] == [True, False, True]


class CpuAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's wrapper with torch's scaler for a CPU; its own refuses one."""

    def __init__(self, **kwargs):
        super(AmpOptimWrapper, self).__init__(**kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=4.0)
        self.cast_dtype = torch.bfloat16


class Overflow(Hook):
    """Makes one gradient infinite in the second iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        param = runner.model.neck.mlp[0].bias
        if runner.iter == 1:
            handle = param.register_hook(lambda grad: grad * math.inf)
            self.handle = handle
        elif runner.iter == 2:
            self.handle.remove()


@pytest.mark.slow
@pytest.mark.parametrize('fused', [False, True])
def test_the_teacher_stays_when_mixed_precision_skips_a_step(tmp_path, fused):
    model = small_model()
    hook = EMATeacherHook(momentum=0.5)
    runner = build_runner(tmp_path, model=model, custom_hooks=[])
    optimizer = torch.optim.AdamW(
        [p for p in runner.model.parameters() if p.requires_grad], lr=1e-2, fused=fused
    )
    watch = Watch()
    for each in (hook, Overflow(), watch):
        runner.register_hook(each)
    runner.optim_wrapper = CpuAmpOptimWrapper(optimizer=optimizer)
    runner.train()
    assert [changed(watch.student, i) for i in (1, 2, 3)] == [False, True, True]
    assert [changed(watch.teacher, i) for i in (1, 2, 3)] == [False, True, True]


def test_prototypes_are_fixed_in_the_first_epochs(tmp_path):
    runner, watch = run(
        tmp_path,
        [dict(type='FreezeLastLayerHook', freeze_epochs=1)],
        optim_wrapper=dict(
            type='PerParamClipOptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.5),
        ),
    )
    first = [
        not torch.equal(watch.last_layer[i], watch.last_layer[i - 1]) for i in (1, 2, 3)
    ]
    assert first == [False, True, True]  # two iterations per epoch
    optimizer = runner.optim_wrapper.optimizer
    for neck in (runner.model.neck, runner.model.region_neck):
        assert optimizer.state[neck.last_layer.weight_v]['step'] == 2
        assert optimizer.state[neck.mlp[0].weight]['step'] == 4


@pytest.mark.parametrize('by_epoch', [True, False])
def test_the_temperature_rises_by_epoch_in_both_loops(tmp_path, by_epoch):
    loop = dict(max_epochs=3) if by_epoch else dict(max_iters=6)
    _, watch = run(
        tmp_path,
        [dict(type='TeacherTempHook', warmup_epochs=2)],
        train_cfg=dict(by_epoch=by_epoch, **loop),
    )
    assert watch.temps == pytest.approx([0.04, 0.04, 0.07, 0.07, 0.07, 0.07])


@pytest.fixture
def warnings_of(tmp_path, monkeypatch):
    """Trains with equal images or not, and returns what the monitor has warned of."""
    messages = []
    monkeypatch.setattr(
        'esvit_plugin.engine.hooks.training_monitor_hook.print_log',
        lambda message, logger, level: messages.append((message, level)),
    )

    def train(images_alike=False, change=None, monitor=None, num_epochs=4, **model):
        dataset = RandomViews()
        if images_alike:
            dataset.globals[:], dataset.locals[:] = dataset.globals[:1, :1], 0.0
        runner = build_runner(
            tmp_path,
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='default_collate'),
            ),
            model=small_model(regions=model.pop('regions', True)) | model,
            custom_hooks=[
                EMATeacherHook(0.5),
                TrainingMonitorHook(max_start_share=1.0, **monitor or {}),
            ],
            train_cfg=dict(by_epoch=True, max_epochs=num_epochs),
        )
        if change:
            change(runner.model)
        runner.train()
        assert {level for _, level in messages} <= {logging.WARNING}
        return runner, [message for message, _ in messages]

    return train


def make_uniform(model):
    for head in filter(None, (model.head, model.region_head)):
        head.student_temp, head.teacher_temp = 50.0, 50.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ('model', 'kinds'),
    [
        (dict(region_weight=0.5), ['view', 'region']),
        (dict(region_weight=1), ['region']),
        (dict(regions=False), ['view']),
    ],
)
def test_the_monitor_warns_once_of_a_uniform_output(warnings_of, model, kinds):
    _, messages = warnings_of(change=make_uniform, monitor=dict(window=2), **model)
    assert len(messages) == len(kinds)
    for message, kind in zip(messages, kinds, strict=True):
        assert f'The {kind} loss is 3.4' in message
        assert 'stuck at ln K = 3.466' in message


@pytest.mark.slow
@pytest.mark.parametrize(('num_epochs', 'num_warnings'), [(24, 0), (25, 2)])
def test_a_run_shorter_than_the_window_is_looked_at_when_it_ends(
    warnings_of, num_epochs, num_warnings
):
    # Two iterations an epoch; a last fifth of less than ten says nothing.
    _, messages = warnings_of(change=make_uniform, num_epochs=num_epochs)
    stuck = [message for message in messages if 'stuck at ln K' in message]
    assert len(stuck) == num_warnings
    assert all('over the last 10 iterations' in message for message in messages)


def test_images_that_are_alike_are_warned_of(warnings_of):
    _, messages = warnings_of(images_alike=True, monitor=dict(window=2), num_epochs=2)
    about_images, about_views = messages[:2]
    assert 'feature_spread is' in about_images
    assert 'all views of a batch' in about_views
    assert 'ln prototypes_used - teacher_entropy is' in about_views


@pytest.mark.parametrize('regions', [True, False])
@pytest.mark.parametrize(
    ('noise', 'num_warnings'),
    [(0.0, 1), (0.1, 1), (0.5, 0), (100.0, 0)],
)
def test_regions_that_become_alike_are_warned_of_once(
    warnings_of, regions, noise, num_warnings
):
    def make_alike(model):
        encode = model.encode_group

        def encode_alike(images, source):
            features = encode(images, source)
            own = features.regions
            mean = nn.functional.normalize(own.mean(2, keepdim=True), dim=-1)
            other = nn.functional.normalize(torch.randn_like(own), dim=-1)
            return features._replace(regions=mean.expand_as(own) + noise * other)

        model.encode_group = encode_alike

    _, messages = warnings_of(
        change=make_alike, monitor=dict(window=2), num_epochs=2, regions=regions
    )
    about_regions = [m for m in messages if 'region_spread is' in m]
    assert len(about_regions) == num_warnings
    assert all(('model.region_weight' in m) == regions for m in about_regions)


@pytest.mark.slow
@pytest.mark.parametrize('accumulate', [1, 2])
@pytest.mark.parametrize('momentum', [0.9995, 0.5])
def test_a_short_run_forgets_its_initial_weights(tmp_path, momentum, accumulate):
    hook = EMATeacherHook(momentum, start_share=0.01)
    runner = build_runner(
        tmp_path,
        custom_hooks=[hook],
        train_dataloader=loader_of(16),
        train_cfg=dict(by_epoch=True, max_epochs=5),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.0), accumulative_counts=accumulate
        ),
    )
    teacher, student = runner.model.teacher['neck'], runner.model.neck
    with torch.no_grad():
        for mine, theirs in zip(teacher.parameters(), student.parameters()):
            mine.copy_(theirs + 1)
    runner.model.init_weights = lambda: None
    runner.train()
    assert runner.max_iters == 20
    share = math.prod(
        hook.momentum(i, 20) for i in range(accumulate - 1, 20, accumulate)
    )
    assert hook.remaining_share(20, accumulate) == pytest.approx(share)
    # What is left of the difference is the share of the initial weights.
    left = (teacher.mlp[0].weight - student.mlp[0].weight).mean().item()
    assert left == pytest.approx(share, rel=1e-3)
    if momentum == 0.5 and accumulate == 1:
        assert hook.start_momentum == 0.5 and share < 0.01
    else:
        assert share == pytest.approx(0.01, rel=1e-6)


def loader_of(length):
    return dict(
        batch_size=4,
        num_workers=0,
        dataset=RandomViews(length),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )


def test_the_papers_momentum_is_as_it_was():
    hook = EMATeacherHook()
    assert (hook.start_momentum, hook.start_share) == (0.996, None)
    assert hook.remaining_share(300 * 2502) < 1e-300
    for share in (0, 1, -0.1):
        with pytest.raises(ValueError, match='start_share must lie in'):
            EMATeacherHook(start_share=share)


def test_a_teacher_that_stays_random_is_warned_of(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'esvit_plugin.engine.hooks.training_monitor_hook.print_log',
        lambda message, logger, level: messages.append(message),
    )
    build_runner(tmp_path).train()
    (message,) = messages
    assert 'After all 4 iterations 99 % of the weights' in message
    assert 'EMATeacherHook.start_share=0.01' in message


def test_a_healthy_run_has_no_warning_and_a_full_log(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'esvit_plugin.engine.hooks.training_monitor_hook.print_log',
        lambda message, logger, level: messages.append(message),
    )
    runner = build_runner(tmp_path, model=small_model(num_prototypes=512))
    for hook in runner.hooks:
        if isinstance(hook, EMATeacherHook):
            hook.start_share = 0.01
    runner.train()
    assert not messages
    logged = set(runner.message_hub.log_scalars)
    names = (
        'loss loss_view loss_region teacher_temp teacher_momentum weight_decay '
        'grad_norm teacher_entropy prototypes_used feature_spread '
        'region_entropy region_prototypes_used region_spread'
    )
    assert {f'train/{name}' for name in names.split()} <= logged


def test_the_schedules_match_the_authors_program(golden):
    reference = np.load(golden / 'schedules.npz')
    cfg = Config.fromfile(_config('esvit_swin_t.py'))
    per_epoch, total = 50, 15000
    assert cfg.auto_scale_lr.base_batch_size == 512
    decayed, plain = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    options = dict(cfg.optim_wrapper.optimizer)
    assert options.pop('type') == 'AdamW'
    optimizer = torch.optim.AdamW(
        [dict(params=[decayed]), dict(params=[plain], weight_decay=0.0)], **options
    )
    schedulers = []
    for scheduler in cfg.param_scheduler:
        scheduler = dict(scheduler, optimizer=optimizer)
        # As the Runner does.
        scheduler.setdefault('end', cfg.train_cfg.max_epochs)
        kind = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        assert scheduler.pop('convert_to_iter_based')
        schedulers.append(
            kind.build_iter_from_epoch(epoch_length=per_epoch, **scheduler)
        )
    hooks = {hook.type: hook for hook in cfg.custom_hooks}
    ema = HOOKS.build(hooks['EMATeacherHook'])
    temp: TeacherTempHook = HOOKS.build(hooks['TeacherTempHook'])
    found = {'lr': [], 'weight_decay': [], 'momentum': []}
    for iteration in range(total):
        found['lr'].append(optimizer.param_groups[0]['lr'])
        found['weight_decay'].append(optimizer.param_groups[0]['weight_decay'])
        found['momentum'].append(ema.momentum(iteration, total))
        assert optimizer.param_groups[1]['weight_decay'] == 0
        for scheduler in schedulers:
            scheduler.step()
    for name, values in found.items():
        np.testing.assert_allclose(values, reference[name], rtol=1e-5, atol=1e-9)
    temps = [temp.temperature(epoch) for epoch in range(300)]
    np.testing.assert_allclose(temps, reference['teacher_temp'], rtol=1e-12)


def _config(name):

    return CONFIGS / name


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='EMATeacherHook', momentum=1.1), 'momentum=1.1'),
        (dict(type='TeacherTempHook', teacher_temp=0), 'teacher_temp=0'),
        (dict(type='FreezeLastLayerHook', freeze_epochs=-1), 'got -1'),
        (
            dict(
                type='KNNMonitorHook',
                train_dataloader={},
                val_dataloader={},
                interval=0,
            ),
            'interval must be >= 1, got 0',
        ),
    ],
)
def test_bad_options_are_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        HOOKS.build(cfg)


def test_a_model_without_teacher_is_refused(tmp_path):
    runner = build_runner(tmp_path)
    runner.model = nn.Linear(1, 1)
    with pytest.raises(TypeError, match='such as EsViT, but the model is Linear'):
        EMATeacherHook().before_train(runner)
