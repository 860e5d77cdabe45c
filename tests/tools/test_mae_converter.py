"""Checkpoints of MAE-lite's program, converted as a user does it."""

import json

import pytest
import torch
from mmpretrain.registry import MODELS
from support.mae import released_mae
from support.paths import CONFIGS
from support.released_checkpoints import convert
from support.tools import run

from esvit_plugin import get_model, load_backbone
from esvit_plugin.engine.configs import load_config

pytestmark = pytest.mark.slow


def released(golden, case):
    """A made-up checkpoint with the names of a reference case."""
    settings = json.loads((golden / f'{case}.json').read_text())
    if 'teacher_shapes' in settings:  # of which the converter takes nothing
        keep = ('norm.weight', 'norm.bias')
        settings['teacher_shapes'] = {k: settings['teacher_shapes'][k] for k in keep}
    checkpoint = released_mae(settings)
    # Positions that are not those of a fresh model
    for part in ('', 'decoder_'):
        checkpoint['model'][f'module.model.{part}pos_embed'] += 0.5
    return checkpoint


@pytest.mark.parametrize(
    ('case', 'config'), [('mae_tiny', 'mae_lite_tiny'), ('mae_distill', 'dmae_tiny')]
)
def test_checkpoints_load_strictly(case, config, golden, tmp_path):
    source = released(golden, case)
    output, dst = convert(tmp_path, source)
    assert "'num_heads': 12" in output and 'configs/mae_lite.' in output
    cfg = load_config(str(CONFIGS / 'mae_lite' / f'{config}.py'))
    model = MODELS.build(cfg.model)
    weights = torch.load(dst, weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=True)
    theirs, (block,) = source['model'], model.neck.decoder_blocks
    for ours, name in (
        (model.backbone.pos_embed, 'pos_embed'),
        (model.neck.decoder_pos_embed, 'decoder_pos_embed'),
        (model.backbone.layers[3].ln2.bias, 'blocks.3.norm2.bias'),
        (block.ffn.layers[1].weight, 'decoder_blocks.0.mlp.fc2.weight'),
        (model.neck.ln1.weight, 'decoder_norm.weight'),
    ):
        assert torch.equal(ours, theirs[f'module.model.{name}']), name
    if case == 'mae_distill':
        wanted = theirs['module.attn_adapter.weight']
        assert torch.equal(model.attn_adapter.weight, wanted)
    # Tools take it, and the backbone alone.
    backbone = load_backbone(cfg, dst)
    alone = tmp_path / 'alone.pth'
    run('model_converters/extract_backbone.py', dst, alone, '--student')
    images = torch.randn(1, 3, 224, 224)
    features = backbone.extract_feat(images)
    assert torch.equal(load_backbone(cfg, alone).extract_feat(images), features)
    assert torch.equal(model.eval().extract_feat(images)[0][:, 0], features)


def test_what_does_not_fit_is_named(golden, tmp_path):
    source = released(golden, 'mae_tiny')
    with pytest.raises(ValueError, match='--arch and --backbone-only are not for'):
        convert(tmp_path, source, '--backbone-only')
    del source['model']['module.model.blocks.2.norm1.bias']
    with pytest.raises(ValueError, match=r'missing: backbone\.layers\.2\.ln1\.bias'):
        convert(tmp_path, source)
    del source['model']['module.model.pos_embed']
    with pytest.raises(ValueError, match=r'it lacks .*backbone\.pos_embed'):
        convert(tmp_path, source)


def test_an_encoder_without_its_decoder_is_no_deit(golden, tmp_path):
    source = released(golden, 'mae_tiny')
    others = ('module.model.decoder_', 'module.model.mask_token')
    source['model'] = {
        n: v for n, v in source['model'].items() if not n.startswith(others)
    }
    with pytest.raises(ValueError, match='no whole pre-training: .*of 12 heads'):
        convert(tmp_path, source)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (lambda weight: weight.flatten(), 'is of shape .*not that of a convolution'),
        (lambda weight: 'weight', "patch_embed.proj.weight under 'model' is a str, no"),
    ],
)
def test_a_damaged_tensor_is_named(golden, tmp_path, value, message):
    source = released(golden, 'mae_tiny')
    name = 'module.model.patch_embed.proj.weight'
    source['model'][name] = value(source['model'][name])
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, source)


def test_unconverted_files_are_refused(golden, tmp_path):
    path = tmp_path / 'released.pth'
    torch.save(released(golden, 'mae_tiny'), path)
    with pytest.raises(ValueError, match='Convert it first: esvit convert'):
        get_model('mae_lite_tiny', path)
    with pytest.raises(ValueError, match='esvit convert .* instead of auto'):
        load_backbone('auto', path)
