"""What ViL and CvT share with any backbone of mmpretrain."""

import pytest
import torch
from mmpretrain.registry import MODELS

from esvit_plugin.models.last_blocks import pool_last_blocks

ARCH = dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4])
OPTIONS = {
    'ViL': dict(img_size=64, window_size=4),
    'CvT': dict(window_size=4),
}


@pytest.fixture(params=OPTIONS)
def small(request):
    def build(**kwargs):
        cfg = dict(type=request.param, arch=ARCH, drop_path_rate=0.0)
        cfg.update(OPTIONS[request.param])
        model = MODELS.build({**cfg, **kwargs})
        model.init_weights()
        return model

    return build


def test_outputs_of_all_stages_are_normalised_maps(small):
    model = small(out_indices=(0, 1, 2, 3))
    outputs = model(torch.randn(2, 3, 64, 96))
    shapes = [tuple(out.shape) for out in outputs]
    assert shapes == [
        (2, width, 16 // 2**i, 24 // 2**i) for i, width in enumerate([8, 16, 16, 32])
    ]
    for out in outputs:
        assert out.is_contiguous()
        torch.testing.assert_close(
            out.mean(1), torch.zeros_like(out[:, 0]), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize('size', [(32, 32), (64, 160), (50, 75), (224, 224)])
def test_any_input_size_gives_finite_gradients(small, size):
    model = small()
    out = model(torch.randn(2, 3, *size))[-1]
    assert out.shape[2:] == tuple(-(-side // 32) for side in size)
    out.square().sum().backward()
    for name, param in model.named_parameters():
        assert param.grad is not None, name
        assert param.grad.isfinite().all(), name


def test_images_of_a_batch_do_not_mix_in_evaluation(small):
    model = small()
    model.eval()
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        single = torch.cat([model(image[None])[-1] for image in x])
        torch.testing.assert_close(model(x)[-1], single, atol=1e-5, rtol=1e-4)


def test_frozen_stages_have_no_gradient(small):
    model = small(frozen_stages=1, out_indices=(1, 3))
    model.train()
    frozen = ('stages.0.', 'stages.1.', 'norm1.')
    for name, param in model.named_parameters():
        assert param.requires_grad != name.startswith(frozen), name
    assert not model.stages[1].training
    assert model.stages[2].training
    model(torch.randn(2, 3, 64, 64))[-1].sum().backward()


def test_checkpointing_activations_changes_no_gradient(small):
    plain, saving = small(), small(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, saving):
        model(x)[-1].square().sum().backward()
    for ours, theirs in zip(saving.parameters(), plain.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_half_precision_is_close(small):
    model = small()
    x = torch.randn(2, 3, 64, 96)
    full = model(x)[-1]
    with torch.autocast('cpu', torch.bfloat16):
        half = model(x)[-1]
    half.float().square().sum().backward()
    # Normalised values of order 1; bfloat16 has a precision of 2^-8.
    assert (half.float() - full).abs().mean() < 0.05
    assert all(param.grad.isfinite().all() for param in model.parameters())


def test_drop_path_grows_linearly_and_acts_in_training_only(small):
    model = small(drop_path_rate=0.4)
    blocks = [block for stage in model.stages for block in stage.blocks]
    rates = [block.drop_path.drop_prob for block in blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert rates == [block.ffn.dropout_layer.drop_prob for block in blocks]
    x = torch.randn(8, 3, 64, 64)
    assert not torch.equal(model(x)[-1], model(x)[-1])
    model.eval()
    assert torch.equal(model(x)[-1], model(x)[-1])


def test_layer_depths_for_layer_decay(small):
    model = small()
    depth = {n: model.get_layer_depth(n) for n, _ in model.named_parameters()}
    assert depth['stages.0.embed.projection.weight'] == (0, 7)
    assert depth['stages.2.embed.norm.weight'] == (2, 7)
    assert depth['stages.2.blocks.1.norm1.weight'] == (4, 7)
    assert depth['norm3.weight'] == (6, 7)
    assert model.get_layer_depth('backbone.norm3.weight', 'backbone.') == (6, 7)
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (6, 7)


def test_initial_weights(small):
    model = small(arch=dict(ARCH, embed_dims=[32, 64, 64, 128]))
    for name, param in model.named_parameters():
        if 'bias_table' in name or name.endswith('qkv.weight'):
            assert 0.015 < param.std() < 0.025, name
        elif name.endswith('norm1.weight'):
            assert (param == 1).all(), name
        elif name.endswith(('qkv.bias', 'norm1.bias')):
            assert (param == 0).all(), name


def test_pooled_blocks(small):
    model = small()
    model.eval()
    with torch.no_grad():
        x = torch.randn(2, 3, 64, 64)
        pooled = pool_last_blocks(model, x, 3)
        assert pooled.shape == (2, 16 + 16 + 32)
        last = model(x)[-1].mean((2, 3))
        torch.testing.assert_close(pooled[:, -32:], last)
    with pytest.raises(ValueError, match='num_blocks=6.* 5 blocks'):
        pool_last_blocks(model, x, 6)
    with pytest.raises(ValueError, match=r'add 3 to out_indices=\(1,\)'):
        pool_last_blocks(small(out_indices=(1,)), x)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='huge'), r"has no arch 'huge'; choose one of \['small', 'tiny'\]"),
        (dict(arch=dict(ARCH, depths=[1, 1])), 'lists of one length'),
        (dict(arch=dict(embed_dims=[8])), 'arch needs embed_dims, depths and num'),
        (dict(arch=dict(ARCH, num_heads=[3, 2, 2, 4])), '8 channels .* 3 heads'),
        (dict(out_indices=(1, 4)), r'stages 0 to 3, but got out_indices=\(1, 4\)'),
        (dict(frozen_stages=4), 'frozen_stages=4'),
    ],
)
def test_bad_options_are_refused(small, options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(img_size=72), 'img_size=72 is no multiple .* stage 2 would cut 9'),
        (dict(patch_sizes=(4, 2)), 'patch_sizes needs one number for each of 4'),
        (dict(num_global_tokens=(1,)), 'num_global_tokens needs one number'),
    ],
)
def test_bad_options_of_vil_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='ViL', **options))
