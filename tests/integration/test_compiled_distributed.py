"""Compiled backbones in two gloo processes against backbones as they are."""

import pytest
import torch
from support.training import RandomViews, build_runner, join_two, small_model, spawn_two

pytestmark = pytest.mark.slow  # tracing takes long

ARCH = dict(embed_dims=64, depths=[1, 1], num_heads=[1, 2])


def train(folder, compile_backbones, **cfg):
    torch.manual_seed(0)
    runner = build_runner(
        folder,
        model=dict(
            small_model(arch=ARCH, out_indices=(1,)),
            compile_backbones=compile_backbones,
        ),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            dataset=RandomViews(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        **cfg,
    )
    runner.train()
    return runner.model.module.state_dict()


def worker(rank, port, folder):
    cfg = join_two(rank, port)
    result = dict(plain=train(f'{folder}/plain', False, **cfg))
    options = dict(backend='eager', fullgraph=True)
    result['compiled'] = train(f'{folder}/compiled', options, **cfg)
    result['graphs'] = torch._dynamo.utils.counters['stats']['unique_graphs']
    torch.save(result, f'{folder}/rank{rank}.pth')
    torch.distributed.destroy_process_group()


def test_weights_are_those_of_plain_backbones(tmp_path):
    results = spawn_two(worker, tmp_path)
    for result in results:
        # Two sizes of the student, one of the teacher.
        assert result['graphs'] == 3
        assert result['compiled'].keys() == result['plain'].keys()
        for name, value in result['compiled'].items():
            assert torch.equal(value, results[0]['compiled'][name]), name
            torch.testing.assert_close(
                value, result['plain'][name], atol=1e-5, rtol=1e-4, msg=name
            )
