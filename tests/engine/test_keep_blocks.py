"""Fine-tuning from the first blocks of a checkpoint alone."""

from unittest import mock

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.models.selfsup import MoCoV3ViT
from mmpretrain.registry import MODELS
from support.backbones import BACKBONES, build
from support.paths import CONFIGS

from esvit_plugin.engine.configs import load_config

ARCH = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)
VIT = {**BACKBONES['DeiT'][0], 'arch': ARCH, 'patch_size': 32}
TIMM = {**BACKBONES['TIMMBackbone'][0], 'depth': 3}
KINDS = {
    'VisionTransformer': VIT,
    'DINOVisionTransformer': {**VIT, 'type': 'DINOVisionTransformer'},
    'MoCoV3ViT': {**VIT, 'type': MoCoV3ViT},
    'timm': TIMM,
}
EMBEDDING = ('cls_token', 'pos_embed', 'patch_embed.')


@pytest.fixture
def weights(tmp_path):
    """A function that writes weights unlike fresh ones; the path and the weights."""

    def write(cfg, prefix='backbone.'):
        state = build(cfg).state_dict()
        path = tmp_path / 'pretrained.pth'
        torch.save(dict(state_dict={prefix + k: v for k, v in state.items()}), path)
        return str(path), state

    return write


def initialised(cfg, path, prefix='backbone.', **options):
    init = dict(type='Pretrained', checkpoint=path, prefix=prefix, **options)
    return drawn(dict(cfg, init_cfg=init))


def drawn(cfg):
    """Initial weights, the same ones every time."""
    torch.manual_seed(5)
    backbone = MODELS.build(dict(cfg))
    backbone.init_weights()
    return backbone.state_dict()


def names_of(state, number, kind):
    """Names before a block, by hand."""
    place, blocks = ('timm_model.', 'blocks') if kind == 'timm' else ('', 'layers')
    first = [f'{place}{blocks}.{i}.' for i in range(number)]
    starts = *(f'{place}{name}' for name in EMBEDDING), *first
    if number == 3:
        return set(state)
    return {name for name in state if name.startswith(starts)}


@pytest.mark.parametrize('number', [0, 1, 2, 3])
@pytest.mark.parametrize('kind', KINDS)
def test_exactly_the_first_blocks_are_loaded(weights, kind, number):
    path, pretrained = weights(KINDS[kind])
    found = initialised(KINDS[kind], path, keep_blocks=number)
    kept = names_of(found, number, kind)
    assert len(kept) >= 4 and (number == 3) == (kept == set(found))
    # The weights were moved from 0 and 1, so that none is there by chance.
    equal = {name for name in found if torch.equal(found[name], pretrained[name])}
    assert equal == kept


@pytest.mark.parametrize('kind', ['VisionTransformer', 'DINOVisionTransformer', 'MoCo'])
def test_later_blocks_begin_as_without_a_file(weights, kind):
    cfg = {**VIT, 'type': MoCoV3ViT if kind == 'MoCo' else kind}
    path, _ = weights(cfg)
    found, fresh = initialised(cfg, path, keep_blocks=1), drawn(cfg)
    later = [n for n in fresh if n.startswith(('layers.1.', 'layers.2.', 'ln1.'))]
    assert len(later) == 26
    for name in later:
        assert torch.equal(found[name], fresh[name]), name


def test_names_without_a_prefix_are_taken_too(weights):
    path, pretrained = weights(VIT, prefix='')
    found = initialised(VIT, path, None, keep_blocks=2)
    assert torch.equal(found['layers.1.ln1.bias'], pretrained['layers.1.ln1.bias'])
    assert not torch.equal(found['layers.2.ln1.bias'], pretrained['layers.2.ln1.bias'])


def test_the_log_says_what_was_kept(weights):
    path, _ = weights(VIT)
    with mock.patch('esvit_plugin.engine.keep_blocks.print_log') as log:
        initialised(VIT, path, keep_blocks=2)
    (line, _) = log.call_args.args
    assert line.startswith('keep_blocks=2: what comes ')
    assert f'before block 3 is from {path}; 14 tensors keep their initial' in line
    assert 'layers.2.ln1.weight' in line and line.endswith('ln1.weight, ln1.bias')
    assert ' layers.1.' not in line


def test_the_report_of_mmengine_is_right_too(weights):
    path, _ = weights({**VIT, 'type': 'DINOVisionTransformer'})
    found = {}

    def dump(self):
        for name, param in self.named_parameters():
            found[name] = self._params_init_info[param]['init_info']

    with mock.patch('mmengine.model.BaseModule._dump_init_info', dump):
        initialised({**VIT, 'type': 'DINOVisionTransformer'}, path, keep_blocks=1)
    assert path in found['layers.0.attn.qkv.weight'] and path in found['pos_embed']
    assert found['layers.1.attn.qkv.weight'] == 'Drawn anew, as keep_blocks=1'
    assert path not in found['ln1.weight']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(keep_blocks=-1), 'keep_blocks must be a number of blocks, .* got -1'),
        (dict(keep_blocks=1.0), r'keep_blocks must be a number .* got 1\.0'),
        (dict(keep_blocks=True), 'keep_blocks must be a number of blocks, .* got True'),
        (dict(keep_blocks='2'), "keep_blocks must be a number of blocks, .* got '2'"),
        (dict(keep_blocks=4), 'has 3 blocks: set init_cfg.keep_blocks to 0 to 3'),
        (dict(keep_blocks=2, prefix='x.'), "under 'backbone.': set init_cfg.prefix="),
    ],
)
def test_wrong_numbers_are_refused(weights, options, message):
    path, _ = weights(VIT)
    with pytest.raises(ValueError, match=message):
        initialised(VIT, path, **options)


def test_other_backbones_and_files_are_refused(weights, tmp_path):
    swin = BACKBONES['EsViTSwin'][0]
    path, _ = weights(swin)
    with pytest.raises(ValueError, match='keep_blocks=1 is for plain .* a EsViTSwin'):
        initialised(swin, path, keep_blocks=1)
    path, pretrained = weights(VIT)
    del pretrained['pos_embed'], pretrained['layers.1.ln1.bias']
    torch.save(pretrained, path)
    message = (
        r'pretrained\.pth lacks 2 weights .*e\.g\. layers\.1\.ln1\.bias, pos_embed'
    )
    with pytest.raises(ValueError, match=message):
        initialised(VIT, path, None, keep_blocks=2)
    del pretrained['layers.2.ln1.bias']
    torch.save(dict(pretrained, pos_embed=torch.ones(1, 5, 32)), path)
    with pytest.raises(ValueError, match='lacks 1 weights'):
        initialised(VIT, path, None, keep_blocks=2)
    # Those of later blocks are not asked for.
    torch.save(dict(pretrained, pos_embed=torch.ones(1, 5, 32)), path)
    found = initialised(VIT, path, None, keep_blocks=1)
    assert torch.equal(found['pos_embed'], torch.ones(1, 5, 32))


def test_a_norm_that_pre_training_had_not_is_new(weights):
    # Fine-tuning of MAE: the mean of the patches has a norm of its own.
    pooled = {**VIT, 'out_type': 'avg_featmap', 'final_norm': False}
    path, pretrained = weights(VIT)
    for number in (2, 3):
        found = initialised(pooled, path, keep_blocks=number)
        assert torch.equal(found['ln2.weight'], torch.ones(32))
        same = torch.equal(found['layers.2.ln1.bias'], pretrained['layers.2.ln1.bias'])
        assert same == (number == 3)


@pytest.mark.slow
def test_a_fine_tuning_config_takes_it_with_layer_decay(weights):
    path, pretrained = weights(VIT)
    options = {
        'model.backbone.arch': {**ARCH, '_delete_': True},
        'model.backbone.img_size': 64,
        'model.backbone.patch_size': 32,
        'model.head.in_channels': 32,
        'model.backbone.init_cfg.checkpoint': path,
        'model.backbone.init_cfg.prefix': 'backbone.',
        'model.backbone.init_cfg.keep_blocks': 2,
    }
    cfg = load_config(str(CONFIGS / 'finetune' / 'finetune_deit_s.py'), options)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for number in range(3):
        block = model.backbone.layers[number].state_dict()
        same = [
            torch.equal(v, pretrained[f'layers.{number}.{k}']) for k, v in block.items()
        ]
        assert all(same) if number < 2 else not any(same)
    init_default_scope('mmpretrain')
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    rates = {
        group['params'][0]: group['lr'] for group in wrapper.optimizer.param_groups
    }
    names = ['layers.0.ln1.weight', 'layers.1.ln1.weight', 'layers.2.ln1.weight']
    params = dict(model.backbone.named_parameters())
    first, second, third = (rates[params[name]] for name in names)
    assert first == pytest.approx(0.65 * second) == pytest.approx(0.65**2 * third)


def test_the_first_blocks_may_be_of_a_deeper_vit(tmp_path):
    deeper = dict(VIT, arch=dict(VIT['arch'], num_layers=5))
    weights, path = drawn(deeper), str(tmp_path / 'deeper.pth')
    torch.save(weights, path)
    found = initialised(VIT, path, None, keep_blocks=2)
    name = 'layers.1.attn.qkv.weight'
    assert torch.equal(found[name], weights[name])
    with pytest.raises(ValueError, match=r'of another architecture .* has layers\.3\.'):
        initialised(VIT, path, None)
