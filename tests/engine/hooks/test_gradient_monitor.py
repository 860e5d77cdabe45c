"""Gradient norms of the first and the last layer."""

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from support.mocov3 import small_mocov3
from support.training import build_runner, small_model
from torch.utils._python_dispatch import TorchDispatchMode

from esvit_plugin.engine import GradientMonitorHook
from esvit_plugin.engine.hooks.gradient_monitor_hook import find_layers

KEYS = ('train/grad_norm_first', 'train/grad_norm_last')
FACTOR = 1e-3


class CountReads(TorchDispatchMode):
    """Counts how often the host reads a value, as ``item`` does."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Record(Hook):
    """The plain norms of every step, and the number of logged ones."""

    def __init__(self, layers):
        self.layers, self.norms, self.logged = layers, [], []
        self.seen = None

    def before_train(self, runner):
        backbone = runner.model.backbone
        wrapper = runner.optim_wrapper
        step = wrapper.step

        def watch(**kwargs):
            self.norms.append(
                [
                    torch.cat(
                        [
                            p.grad.flatten()
                            for p in backbone.get_submodule(n).parameters()
                        ]
                    )
                    .norm()
                    .item()
                    for n in self.layers
                ]
            )
            step(**kwargs)

        wrapper.step = watch

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        history = runner.message_hub.log_scalars.get(KEYS[0])
        self.logged.append(0 if history is None else len(history.data[0]))


def history(runner):
    return [runner.message_hub.get_scalar(key).data[0].tolist() for key in KEYS]


SWIN_LAYERS = ('patch_embed.projection', 'stages.3.blocks.0.attn.w_msa.proj')


@pytest.mark.parametrize('counts', [1, 2])
def test_norms_are_those_of_the_whole_gradient_before_clipping(tmp_path, counts):
    record = Record(SWIN_LAYERS)
    runner = build_runner(
        tmp_path,
        optim_wrapper=dict(
            type='PerParamClipOptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-3),
            clip_grad=dict(max_norm=1e-4),
            accumulative_counts=counts,
        ),
        custom_hooks=[dict(type='EMATeacherHook'), dict(type='GradientMonitorHook')],
    )
    runner.register_hook(record, 'LOWEST')
    runner.train()
    assert len(record.norms) == 4 // counts
    for values, plain in zip(history(runner), zip(*record.norms), strict=True):
        assert values == pytest.approx(plain, rel=1e-5)
        assert min(values) > 1e-4  # what clipping leaves


def test_a_loss_scale_is_taken_off_and_overflows_are_left_out():
    hook = GradientMonitorHook()
    param = torch.nn.Parameter(torch.zeros(3, 3))
    hook._layers = {'grad_norm_first': [param]}
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    wrapper = SimpleNamespace(
        optimizer=torch.optim.SGD([param], lr=0.1), loss_scaler=scaler
    )
    hub = MessageHub('test_scale')
    runner = SimpleNamespace(iter=0, message_hub=hub)
    steps = []
    step = hook._watched(runner, wrapper, lambda: steps.append(1))
    for grad in (torch.ones(3, 3), torch.full((3, 3), torch.inf), torch.ones(3, 3)):
        param.grad = grad * 1024
        step()
    hook._fetch(runner)
    assert hub.get_scalar(KEYS[0]).data[0].tolist() == [3.0, 3.0]
    assert len(steps) == 3


def test_schedules_find_their_mark_on_the_step(tmp_path, recwarn):
    runner = build_runner(
        tmp_path,
        custom_hooks=[dict(type='EMATeacherHook'), dict(type='GradientMonitorHook')],
        param_scheduler=dict(type='CosineAnnealingLR', convert_to_iter_based=True),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        default_hooks=dict(
            checkpoint=None, param_scheduler=dict(type='ParamSchedulerHook')
        ),
    )
    runner.train()
    assert not [w for w in recwarn if 'overridden' in str(w.message)]


@pytest.mark.slow
def test_nothing_is_read_between_logs(tmp_path):
    def train(hooks, folder):
        record = Record(())
        record.before_train = lambda runner: None
        runner = build_runner(
            tmp_path / folder,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            custom_hooks=hooks,
            default_hooks=dict(
                runtime_info=dict(type='LazyRuntimeInfoHook'),
                logger=dict(type='LoggerHook', interval=50),
                checkpoint=None,
            ),
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=build_runner(tmp_path / 'data').train_dataloader.dataset,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
            ),
        )
        runner.register_hook(record, 'LOWEST')
        reads = CountReads()
        with reads:
            runner.train()
        return reads.count, record.logged

    plain, _ = train([], 'plain')
    watched, logged = train([dict(type='GradientMonitorHook')], 'watched')
    assert logged == [0, 0, 0, 4]
    # The four steps' norms of two layers, at the end.
    assert watched - plain <= 8


def feed(hook, runner, values):
    for value in values:
        hook._waiting.append((runner.iter, dict(grad_norm_first=torch.tensor(value))))
        runner.iter += 1
        hook._fetch(runner)


@pytest.fixture
def warnings(monkeypatch):
    messages = []
    place = 'esvit_plugin.engine.hooks.gradient_monitor_hook.print_log'
    monkeypatch.setattr(place, lambda text, level, **_: messages.append((level, text)))
    return messages


def test_a_spike_warns_once_and_a_healthy_run_does_not(warnings):
    hook = GradientMonitorHook(factor=5.0, window=50)
    runner = SimpleNamespace(iter=0, message_hub=MessageHub('test_spike'))
    # From a high start, with noise, to a low end.
    noise = torch.rand(300, generator=torch.Generator().manual_seed(0))
    healthy = (2.0 * 0.99 ** torch.arange(300) * (0.5 + noise)).tolist()
    feed(hook, runner, healthy)
    assert not warnings
    median = float(torch.tensor(healthy[-50:]).median())
    feed(hook, runner, [6 * median, 7 * median])
    ((level, text),) = warnings
    assert level == logging.WARNING
    assert 'spikes in iteration 301' in text and 'stop_grad_conv1' in text
    feed(hook, runner, [median] * 50 + [6 * median])
    assert 'spikes in iteration 353' in warnings[1][1]


def test_the_first_steps_are_not_compared(warnings):
    runner = SimpleNamespace(iter=0, message_hub=MessageHub('test_first'))
    feed(GradientMonitorHook(), runner, [1e-3] * 19 + [1.0])
    assert not warnings


@pytest.mark.slow
def test_a_resumed_run_compares_with_the_steps_before(tmp_path, warnings):
    options = dict(
        custom_hooks=[
            dict(type='EMATeacherHook'),
            dict(type='RandomStateHook'),
            dict(type='GradientMonitorHook'),
        ],
    )
    whole = build_runner(tmp_path / 'whole', **options)
    whole.train()
    first = build_runner(
        tmp_path / 'part', **options, train_cfg=dict(by_epoch=True, max_epochs=1)
    )
    first.train()
    second = build_runner(tmp_path / 'part', **options, resume=True)
    second.train()
    assert history(second)[0][:2] == history(first)[0]
    assert len(history(second)[0]) == len(history(whole)[0]) == 4


def test_layers_of_each_kind_of_backbone():
    def names(backbone):
        return [name for name, _ in find_layers(backbone).values()]

    moco = small_mocov3()['backbone']
    last = 'layers.1.ffn.layers.1'
    assert names(MODELS.build(moco)) == ['patch_embed.projection', last]
    frozen = MODELS.build(dict(moco, stop_grad_conv1=True))
    assert names(frozen) == ['layers.0.attn.qkv', last]
    stem = MODELS.build(dict(moco, conv_stem=True))
    assert names(stem) == ['patch_embed.projection.0', last]
    resnet = MODELS.build(
        dict(type='ResNet', depth=18, stem_channels=8, base_channels=8)
    )
    assert names(resnet) == ['conv1', 'layer4.1.conv2']
    mae = MODELS.build(dict(type='MAEViT', arch=moco['arch'], img_size=32))
    assert names(mae) == ['patch_embed.projection', last]
    swin = MODELS.build(small_model()['backbone'])
    assert names(swin) == list(SWIN_LAYERS)
    assert not find_layers(copy.deepcopy(swin).requires_grad_(False))
    named = find_layers(swin, dict(grad_norm_first='stages.0', grad_norm_last=None))
    assert named['grad_norm_first'][0] == 'stages.0'
    with pytest.raises(ValueError, match="no module 'stem'.*patch_embed"):
        find_layers(swin, dict(grad_norm_first='stem'))
    swin.patch_embed.requires_grad_(False)
    with pytest.raises(ValueError, match='nothing of the module'):
        find_layers(swin, dict(grad_norm_first='patch_embed'))


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match='factor must be above 1, got 1'):
        GradientMonitorHook(factor=1.0)
    with pytest.raises(ValueError, match='window must be 20 or more steps, got 5'):
        GradientMonitorHook(window=5)
