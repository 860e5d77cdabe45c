import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS, OPTIM_WRAPPERS
from support.backbones import BACKBONES
from torch import nn


def build(model, lr=0.1, **kwargs):
    cfg = dict(type='PerParamClipOptimWrapper', clip_grad=dict(max_norm=0.5), **kwargs)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return OPTIM_WRAPPERS.build({**cfg, 'optimizer': optimizer})


def test_every_parameter_is_clipped_by_its_own_norm():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    wrapper = build(model)
    unused = nn.Parameter(torch.ones(2))
    wrapper.optimizer.add_param_group(dict(params=[unused]))
    grads = []
    for index, param in enumerate(model.parameters()):
        param.grad = torch.randn_like(param) * 10.0 ** (index - 2)
        grads.append(param.grad.clone())
    wrapper._clip_grad()
    for param, grad in zip(model.parameters(), grads):
        norm = grad.norm()
        expected = grad * (0.5 / (norm + 1e-6)) if norm > 0.5 else grad
        torch.testing.assert_close(param.grad, expected)
    total = torch.cat([grad.flatten() for grad in grads]).norm()
    torch.testing.assert_close(wrapper.grad_norm, total)
    assert unused.grad is None


def test_what_is_joined_here_is_clipped_apart():
    """ViL's chunk attention: query and key-value, as where they are two layers."""
    backbone, _ = BACKBONES['ViL']
    model = MODELS.build(backbone)
    wrapper = build(model)
    for param in model.parameters():
        param.grad = 10 * torch.rand_like(param)
    grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    wrapper._clip_grad()
    joined = 0
    for name, param in model.named_parameters():
        parts = [grads[name]]
        # Full attention, of the last two stages, has one layer there, too.
        if '.attn.qkv.' in name and int(name.split('.')[1]) < 2:
            width = len(param) // 3
            parts = [grads[name][:width], grads[name][width:]]
            joined += 1
        wanted = torch.cat([part * min(0.5 / part.norm(), 1) for part in parts])
        torch.testing.assert_close(param.grad, wanted)
    assert joined == 4  # weights and biases of two blocks


def test_accumulated_gradients_are_clipped_once():
    torch.manual_seed(0)
    models = [nn.Linear(3, 1, bias=False) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    x = torch.randn(8, 3) * 10
    twice, once = build(models[0], accumulative_counts=2), build(models[1])
    for half in x.chunk(2):
        twice.update_params(models[0](half).square().mean())
    once.update_params(models[1](x).square().mean())
    torch.testing.assert_close(models[0].weight, models[1].weight)


@pytest.mark.parametrize('name', ['', 'Amp'])
def test_other_clipping_is_refused(name):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1)
    with pytest.raises(ValueError, match=r"clip_grad=\{'max_norm': 1, 'norm_type': 1"):
        OPTIM_WRAPPERS.build(
            dict(
                type=f'PerParamClip{name}OptimWrapper',
                clip_grad=dict(max_norm=1, norm_type=1),
                optimizer=optimizer,
            )
        )


def test_two_groups_with_decay_on_matrices_only():
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].extra = nn.Parameter(torch.ones(5))
    model[0].weight.requires_grad_(False)
    cfg = dict(
        constructor='mmpretrain.MatrixDecayOptimWrapperConstructor',
        type='mmpretrain.PerParamClipOptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04),
    )
    groups = build_optim_wrapper(model, cfg).param_groups[:2]
    assert [group['weight_decay'] for group in groups] == [0.04, 0.0]
    assert [p is model[2].weight for p in groups[0]['params']] == [True]
    shapes = [tuple(p.shape) for p in groups[1]['params']]
    assert sorted(shapes) == [(2,), (4,), (4,), (4,), (5,)]
    with pytest.raises(ValueError, match='takes no paramwise_cfg'):
        build_optim_wrapper(model, {**cfg, 'paramwise_cfg': dict(bias_lr_mult=2)})


@pytest.mark.parametrize('name', ['', 'Amp'])
@pytest.mark.parametrize('value', [0, -3.0, float('nan'), float('inf')])
def test_limits_that_stop_or_spoil_training_are_refused(name, value):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1)
    with pytest.raises(ValueError, match=f'max_norm must be .*, got {value}; .*=None'):
        OPTIM_WRAPPERS.build(
            dict(
                type=f'PerParamClip{name}OptimWrapper',
                clip_grad=dict(max_norm=value),
                optimizer=optimizer,
            )
        )
