"""What is trained is final once a backbone is built, before a runner wraps it."""

import pytest
import torch
import torch.distributed as dist
from mmpretrain.registry import MODELS
from support.training import SMALL_SWIN
from torch.nn.parallel import DistributedDataParallel

ARCH = dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4])
SMALL = {
    'EsViTSwin': SMALL_SWIN,
    'ViL': dict(type='ViL', arch=ARCH, img_size=64, window_size=4),
    'CvT': dict(type='CvT', arch=ARCH, window_size=4),
}
OPTIONS = [
    {},
    *(dict(frozen_stages=i) for i in range(4)),
    dict(frozen_stages=1, out_indices=(0, 1, 2, 3)),
    dict(with_cp=True),
]
OWN = {
    'EsViTSwin': [dict(use_abs_pos_embed=True, frozen_stages=1)],
    'ViL': [dict(random_neighbor=True)],
    'CvT': [dict(norm_eval=True)],
}
CASES = [(name, option) for name in SMALL for option in OPTIONS + OWN[name]]


def trained(model):
    return {name: param.requires_grad for name, param in model.named_parameters()}


@pytest.mark.parametrize(('name', 'option'), CASES)
def test_what_is_trained_is_final_after_construction(name, option):
    model = MODELS.build({**SMALL[name], **option})
    built, modes = trained(model), [module.training for module in model.modules()]
    assert all(built.values()) == (option.get('frozen_stages', -1) < 0)
    for change in (model.init_weights, model.train, model.eval, model.train):
        change()
        assert trained(model) == built
    assert [module.training for module in model.modules()] == modes
    for stage, frozen in enumerate(modes_of(model)):
        assert frozen == (stage > option.get('frozen_stages', -1))


def modes_of(model):
    return [stage.training for stage in model.stages]


def test_frozen_batch_norms_keep_their_statistics():
    model = MODELS.build({**SMALL['CvT'], 'frozen_stages': 1})
    before = {k: v.clone() for k, v in model.state_dict().items() if 'running' in k}
    model(torch.randn(2, 3, 64, 64))
    for name, value in before.items():
        same = torch.equal(model.state_dict()[name], value)
        assert same == name.startswith(('stages.0.', 'stages.1.')), name


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize('name', SMALL)
def test_wrapped_before_it_is_trained(name, one_process):
    """As mmengine's runner does; without it the second step raises."""
    wrapped = DistributedDataParallel(MODELS.build({**SMALL[name], 'frozen_stages': 1}))
    wrapped.train()
    for _ in range(3):
        wrapped(torch.randn(2, 3, 64, 64))[-1].square().sum().backward()


VIT = dict(
    arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
    img_size=32,
    out_type='raw',
    drop_path_rate=0.5,
    frozen_stages=1,
)


@pytest.mark.parametrize(
    'options',
    [
        dict(type='DINOVisionTransformer'),
        dict(type='MoCoV3VisionTransformer'),
        dict(type='MoCoV3VisionTransformer', conv_stem=True),
    ],
)
def test_frozen_blocks_of_a_vit_stay_so(options):
    model = MODELS.build({**VIT, **options})
    built = trained(model)
    for _ in range(2):
        for part in (model.patch_embed, model.layers[0]):
            assert not any(module.training for module in part.modules())
            assert not any(param.requires_grad for param in part.parameters())
        assert model.layers[1].training and trained(model) == built
        before = {k: v.clone() for k, v in model.patch_embed.state_dict().items()}
        model(torch.randn(2, 3, 32, 32))
        for name, value in model.patch_embed.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert model.eval().train() is model
