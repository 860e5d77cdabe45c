"""Labels that are not waited for, shared gradients, and torch's precision."""

import pytest
import torch
from mmengine.model import is_model_wrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from support.host_waits import GPU, HostWait, forbid_host_waits
from support.training import build_runner, join_two, spawn_two
from torch.nn.parallel import DistributedDataParallel

from esvit_plugin.engine import EsViTRunner
from esvit_plugin.engine.devices import copy_without_waiting, share_gradients

RESNET = dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)
NORMALISED = dict(mean=[1.0] * 3, std=[2.0] * 3, num_classes=3)
CLASSIFIERS = dict(
    linear=dict(
        type='LinearSweepClassifier',
        backbone=dict(RESNET, out_indices=(2, 3)),
        num_classes=3,
        in_channels=32,
        num_blocks=2,
        lr_factors=[0.5, 1],
        data_preprocessor=NORMALISED,
    ),
    finetune=dict(
        type='ImageClassifier',
        backbone=RESNET,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=32),
        data_preprocessor=NORMALISED,
    ),
)


def batch():
    samples = [DataSample().set_gt_label(label) for label in (2, 0, 1)]
    images = torch.arange(3 * 3 * 32 * 32, dtype=torch.uint8).view(3, 3, 32, 32)
    return dict(inputs=images, data_samples=samples)


def loss(model, data):
    data = model.data_preprocessor(data, True)
    return sum(model(**data, mode='loss').values())


@pytest.mark.slow
@pytest.mark.parametrize('name', list(CLASSIFIERS))
def test_labels_are_one_copy_that_does_not_wait(name):
    model = MODELS.build(CLASSIFIERS[name])
    with forbid_host_waits() as watch:
        watch.may_wait = True
        model.to(GPU)
        watch.may_wait = False
        model.data_preprocessor._non_blocking = True
        with pytest.raises(
            HostWait, match=r'shape \(3,\) is copied to the GPU without'
        ):
            loss(model, batch())
        copy_without_waiting(model)
        watch.copies.clear()
        loss(model, batch()).backward()
    # Labels and images.
    assert watch.copies == [(3,), (3, 3, 32, 32)]


@pytest.mark.parametrize('name', list(CLASSIFIERS))
def test_labels_and_scores_are_what_they_were(name):
    model = MODELS.build(CLASSIFIERS[name])
    before = loss(model, batch())
    copy_without_waiting(model)
    assert torch.equal(loss(model, batch()), before)
    scored = batch()
    for number, sample in enumerate(scored['data_samples']):
        sample.set_gt_score(torch.eye(3)[number])
    processed = model.data_preprocessor(scored, True)['data_samples']
    for number, (label, sample) in enumerate(zip((2, 0, 1), processed)):
        assert sample.gt_label.tolist() == [label]
        assert torch.equal(sample.gt_score, torch.eye(3)[number])
    # Without labels, as in inference.
    alone = model.data_preprocessor(dict(inputs=batch()['inputs']))
    assert alone['data_samples'] is None


def worker(rank, port, folder):
    cfg = join_two(rank, port)
    states = []
    for number, shared in enumerate((None, False)):
        options = {} if shared is None else dict(gradient_as_bucket_view=shared)
        wrapper = {**cfg['model_wrapper_cfg'], **options}
        torch.manual_seed(0)
        runner = build_runner(
            f'{folder}/{rank}_{number}',
            launcher=cfg['launcher'],
            model_wrapper_cfg=wrapper,
            # Prototypes are frozen first, and every second iteration makes a step.
            optim_wrapper=dict(
                type='PerParamClipOptimWrapper',
                optimizer=dict(type='AdamW', lr=1e-2),
                clip_grad=dict(max_norm=0.1),
                accumulative_counts=2,
            ),
            default_hooks=dict(checkpoint=None),
            train_dataloader=loader(),
        )
        runner.train()
        assert is_model_wrapper(runner.model)
        is_shared = runner.model.gradient_as_bucket_view
        states.append((is_shared, runner.model.module.state_dict()))
    torch.save(states, f'{folder}/rank{rank}.pth')
    torch.distributed.destroy_process_group()


def loader():
    from support.training import RandomViews

    return dict(
        batch_size=1,
        num_workers=0,
        dataset=RandomViews(num_local=1),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )


@pytest.mark.slow
def test_shared_gradients_change_no_bit(tmp_path):
    for (shared, state), (copied, plain) in spawn_two(worker, tmp_path):
        assert (shared, copied) == (True, False)
        assert state['head.center'].abs().max() > 0
        for name, value in plain.items():
            assert torch.equal(state[name], value), name


def test_share_gradients():
    # What mmengine does by default, and this besides.
    assert share_gradients(None, True) == dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
    )
    own = dict(type=DistributedDataParallel, gradient_as_bucket_view=False)
    assert share_gradients(own, False) == own
    other = dict(type='MMFullyShardedDataParallel')
    assert share_gradients(other, False) == other
    assert share_gradients(own, False) is not own


@pytest.fixture
def _precision():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures('_precision')
def test_precision_of_products(tmp_path):
    before = torch.get_float32_matmul_precision()
    assert before != 'high'
    build_runner(tmp_path / '1', env_cfg=dict())
    assert torch.get_float32_matmul_precision() == before
    build_runner(tmp_path / '2', env_cfg=dict(matmul_precision='high'))
    assert torch.get_float32_matmul_precision() == 'high'


@pytest.mark.parametrize('value', ['tf32', True, 32])
def test_no_precision_of_products(tmp_path, value):
    message = "matmul_precision must be 'highest'.*got"
    env_cfg = dict(matmul_precision=value)
    with pytest.raises(ValueError, match=message):
        build_runner(tmp_path, env_cfg=env_cfg)
    # From a config before anything is built.
    with pytest.raises(ValueError, match=message):
        EsViTRunner.from_cfg(dict(model=None, work_dir=str(tmp_path), env_cfg=env_cfg))
