"""Mixed precision on a CPU: bfloat16, and checkpoints from and to float32."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from support.training import build_runner
from torch import nn

from esvit_plugin.engine import (
    MixedPrecisionOptimWrapper,
    PerParamClipAmpOptimWrapper,
    PerParamClipOptimWrapper,
)
from esvit_plugin.engine.resume import resume_optimizers


def wrapper(kind, **options):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1)
    return kind(optimizer=optimizer, **options)


@pytest.mark.parametrize(
    'kind', [MixedPrecisionOptimWrapper, PerParamClipAmpOptimWrapper]
)
def test_types(kind):
    for dtype in (None, 'bfloat16', torch.bfloat16):
        found = wrapper(kind, dtype=dtype)
        assert found.cast_dtype == torch.bfloat16
        assert not found.loss_scaler.is_enabled()
        with found.optim_context(nn.Identity()):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    for dtype in ('float64', torch.float32):
        with pytest.raises(ValueError, match="'float16' or 'bfloat16', got "):
            wrapper(kind, dtype=dtype)
    for dtype in ('float16', torch.float16):
        with pytest.raises(ValueError, match='float16 is for GPUs.*leave out --amp'):
            wrapper(kind, dtype=dtype)


def test_scaling_on_a_gpu_is_of_float16_alone(monkeypatch):
    """Without a GPU only what mmengine's class would be given is seen."""
    path = 'esvit_plugin.engine.optimizers.mixed_precision.get_device'
    monkeypatch.setattr(path, lambda: 'cuda')
    given = []
    monkeypatch.setattr(
        AmpOptimWrapper, '__init__', lambda self, **options: given.append(options)
    )
    for options in (
        dict(),
        dict(dtype='bfloat16'),
        dict(dtype=torch.bfloat16, loss_scale=8.0),
        dict(dtype='float16', loss_scale='dynamic'),
    ):
        MixedPrecisionOptimWrapper(**options)
    assert given == [
        dict(dtype='float16', loss_scale='dynamic'),
        dict(dtype='bfloat16', loss_scale=dict(enabled=False)),
        dict(dtype='bfloat16', loss_scale=8.0),
        dict(dtype='float16', loss_scale='dynamic'),
    ]


@pytest.mark.slow
def test_the_runner_takes_it_in_place_of_mmengines(tmp_path):
    for number, kind in enumerate(
        ('AmpOptimWrapper', 'mmengine.AmpOptimWrapper', AmpOptimWrapper)
    ):
        optim_wrapper = dict(type=kind, optimizer=dict(type='SGD', lr=0.1))
        runner = build_runner(tmp_path / str(number), optim_wrapper=optim_wrapper)
        runner.train()
        assert type(runner.optim_wrapper) is MixedPrecisionOptimWrapper
        assert runner.iter == 4


@pytest.mark.parametrize(
    ('meant', 'taken'),
    [
        ('PerParamClipOptimWrapper', PerParamClipAmpOptimWrapper),
        ('mmpretrain.PerParamClipAmpOptimWrapper', PerParamClipAmpOptimWrapper),
        ('OptimWrapper', MixedPrecisionOptimWrapper),
        (None, MixedPrecisionOptimWrapper),
    ],
)
def test_amp_of_other_programs_clips_as_the_config_does(tmp_path, meant, taken):
    """mmpretrain's ``tools/train.py --amp`` replaces the type, whatever it was."""
    optimizer = dict(type='SGD', lr=0.1)
    wrapper = dict(optimizer=optimizer, clip_grad=dict(max_norm=3.0))
    runner = build_runner(tmp_path)
    runner.cfg = Config()
    if meant is not None:
        path = tmp_path / 'config.py'
        Config(dict(optim_wrapper=dict(wrapper, type=meant))).dump(path)
        runner.cfg = Config.fromfile(path)
    built = runner.build_optim_wrapper(
        dict(wrapper, type='AmpOptimWrapper', loss_scale='dynamic')
    )
    assert type(built) is taken


TYPES = dict(float32=PerParamClipOptimWrapper, bfloat16=PerParamClipAmpOptimWrapper)


def recipe(kind):
    return dict(
        type=kind.__name__,
        constructor='MatrixDecayOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04),
        clip_grad=dict(max_norm=3.0),
    )


@pytest.mark.parametrize(
    ('first', 'second'), [('float32', 'bfloat16'), ('bfloat16', 'float32')]
)
def test_a_checkpoint_resumes_in_another_type(tmp_path, first, second):
    def options(name, epochs):
        return dict(
            optim_wrapper=dict(
                type=TYPES[name].__name__, optimizer=dict(type='AdamW', lr=1e-3)
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
        )

    build_runner(tmp_path, **options(first, 1)).train()
    runner = build_runner(tmp_path, resume=True, **options(second, 2))
    runner.train()
    assert type(runner.optim_wrapper) is TYPES[second]
    assert runner.iter == 4
    steps = {int(s['step']) for s in runner.optim_wrapper.optimizer.state.values()}
    assert max(steps) == 4


@pytest.mark.slow
def test_a_scaled_checkpoint_resumes_without_scaling(tmp_path):
    """Of float16 on a GPU; only its state is made up."""
    build_runner(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1)).train()
    path = tmp_path / 'epoch_1.pth'
    checkpoint = torch.load(path)
    scaler = torch.amp.GradScaler('cpu', init_scale=64.0)
    checkpoint['optimizer']['loss_scaler'] = scaler.state_dict()
    torch.save(checkpoint, path)
    for number, kind in enumerate(TYPES.values()):
        runner = build_runner(
            tmp_path / str(number),
            load_from=str(path),
            resume=True,
            optim_wrapper=recipe(kind),
        )
        runner.train()
        assert runner.iter == 4


@pytest.mark.slow
def test_losses_are_near_those_of_float32(tmp_path):
    losses = {}
    for name, kind in TYPES.items():
        runner = build_runner(
            tmp_path / name,
            optim_wrapper=recipe(kind),
        )
        runner.train()
        history = runner.message_hub.get_scalar('train/loss').data[0]
        losses[name] = torch.tensor(history)
        assert all(p.dtype == torch.float32 for p in runner.model.parameters())
    assert not torch.equal(losses['float32'], losses['bfloat16'])
    torch.testing.assert_close(losses['bfloat16'], losses['float32'], rtol=0.02, atol=0)


def test_training_with_scaling_takes_over_one_without():
    """bfloat16 has no state of a scaler, which torch refuses where scaling is on."""
    ours = wrapper(MixedPrecisionOptimWrapper)
    states = ours.state_dict()
    assert states['loss_scaler'] == {}
    ours.loss_scaler = torch.amp.GradScaler('cpu', init_scale=64.0)
    with pytest.raises(RuntimeError, match='source state dict is empty'):
        ours.load_state_dict(copy.deepcopy(states))
    resume_optimizers(ours, states)
    assert ours.loss_scaler.get_scale() == 64
