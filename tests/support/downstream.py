"""What the checks of detectors and segmenters share; needs no mmdet and no mmseg."""

from functools import partial

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.models.backbones import SwinTransformer
from mmpretrain.registry import MODELS

from support.training import with_backbone


class Watch(Hook):
    """Keeps what a run shows: first weights, gradients, losses and metrics."""

    def __init__(self):
        self.gradients, self.losses, self.metrics = {}, [], {}

    def before_train(self, runner):
        backbone = runner.model.backbone
        self.before = {k: v.clone() for k, v in backbone.state_dict().items()}
        for name, param in backbone.named_parameters():
            if param.requires_grad:
                param.register_hook(partial(self.note, name))

    def note(self, name, gradient):
        assert gradient.isfinite().all(), name
        largest = gradient.abs().max().item()
        self.gradients[name] = max(largest, self.gradients.get(name, 0.0))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: value.item() for name, value in outputs.items()})

    def after_val_epoch(self, runner, metrics=None):
        self.metrics = metrics


def write_esvit(path, backbone, width):
    """Write a checkpoint of an EsViT; the weights of the teacher's backbone."""
    cfg = with_backbone(backbone, width)
    # In mmdet and mmseg types without a scope are theirs.
    esvit = MODELS.build(dict(cfg, _scope_='mmpretrain'))
    esvit.init_weights()
    teacher = esvit.teacher['backbone'].state_dict()
    for value in teacher.values():
        if value.is_floating_point():  # unlike the student, and batch norms moved
            value.add_(torch.rand_like(value), alpha=0.02)
    torch.save(dict(state_dict=esvit.state_dict()), path)
    return teacher


def write_supervised(path):
    """Write a supervised Swin-T as mmpretrain's are published; the backbone's weights.

    Those of 2021 call the last norm ``norm`` and keep masks. Whether that norm is
    found does not matter here, where the norms of the outputs are trained anew.
    """
    weights = SwinTransformer(arch='tiny').state_dict()
    state = {
        f'backbone.{name.replace("norm3.", "norm.")}': value
        for name, value in weights.items()
    }
    state['backbone.stages.0.blocks.1.attn.attn_mask'] = torch.zeros(64, 49, 49)
    state['head.fc.bias'] = torch.zeros(1000)
    torch.save(dict(state_dict=state), path)
    return {k: v for k, v in weights.items() if not k.startswith('norm3.')}


def write_starts(folder):
    """Write what the configs start from: path and weights by prefix in ``init_cfg``."""
    torch.manual_seed(0)
    esvit, supervised = folder / 'esvit.pth', folder / 'supervised.pth'
    swin = dict(type='EsViTSwin', arch='tiny')
    return {
        'teacher.backbone.': (str(esvit), write_esvit(esvit, swin, 768)),
        'backbone.': (str(supervised), write_supervised(supervised)),
    }


def point_to_start(cfg, starts):
    """Let a config read its file of ``write_starts``; the weights to find."""
    start = cfg.model.backbone.init_cfg
    start.checkpoint, weights = starts[start.prefix]
    return weights


def assert_loaded(state, weights):
    """The weights are in a backbone's state, which has other norms of its own."""
    for name, value in weights.items():
        assert state[name].equal(value), name
    others = {name.split('.')[0] for name in state.keys() - weights.keys()}
    assert others <= {'norm0', 'norm1', 'norm2', 'norm3'}


def without_scope(node):
    """A config without the marks that inheriting from another package leaves."""
    if isinstance(node, dict):
        return {k: without_scope(v) for k, v in node.items() if k != '_scope_'}
    if isinstance(node, (list, tuple)):
        return [without_scope(item) for item in node]
    return node


def assert_differs_in_backbone_alone(cfg: Config, baseline: Config):
    """Nothing but the backbone, and the import of its class, is another one."""
    ours, theirs = (without_scope(c.to_dict()) for c in (cfg, baseline))
    assert ours.pop('custom_imports') == dict(imports=['esvit_plugin'])
    assert ours['model'].pop('backbone')['type'] == 'mmpretrain.EsViTSwin'
    assert theirs['model'].pop('backbone')['type'] == 'SwinTransformer'
    assert ours == theirs


def assert_same_network(ours, theirs):
    """Two backbones give the same maps with the same weights, also in training."""
    with torch.no_grad():
        for name, param in theirs.named_parameters():
            scale = 'norm' in name and name.endswith('.weight')
            param.normal_(float(scale), 0.1)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    # The second one's windows are larger than its last maps, of 2 x 3 positions.
    for size in ((150, 230), (64, 96)):
        images = torch.randn(2, 3, *size)
        for mode in (False, True):
            outputs = []
            for backbone in (ours, theirs):
                backbone.train(mode)
                torch.manual_seed(1)  # the same paths are dropped
                with torch.no_grad():
                    outputs.append(backbone(images))
            torch.testing.assert_close(*outputs, atol=1e-4, rtol=1e-4)
