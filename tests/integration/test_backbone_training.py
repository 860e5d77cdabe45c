"""Every kind of backbone trains, in one process and in two."""

import os

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from support.backbones import BACKBONES
from support.training import (
    RandomViews,
    build_runner,
    join_two,
    spawn_two,
    with_backbone,
)

from esvit_plugin.models import ViL


class Record(Hook):
    """Keeps the losses, and which parameters had a gradient when one step began."""

    def before_train(self, runner):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.grads = {}

        def keep(*_):
            for name, param in model.named_parameters():
                if param.grad is not None:
                    self.grads[name] = bool(param.grad.isfinite().all())

        runner.optim_wrapper.optimizer.register_step_pre_hook(keep)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.loss = outputs['loss'].item()
        # What ViL would draw next, of student and teacher.
        self.draws = [
            stage.random.random()
            for backbone in runner.model.modules()
            if isinstance(backbone, ViL)
            for stage in backbone.stages[:2]
        ]


def train_once(name, work_dir, **overrides):
    """One iteration through the Runner."""
    record = Record()
    extra = [dict(type='RandomNeighborHook')] if name == 'ViL' else []
    batch = 4 // int(os.environ.get('WORLD_SIZE', 1))
    runner = build_runner(
        work_dir / name,
        model=with_backbone(*BACKBONES[name]),
        train_dataloader=dict(
            batch_size=batch,
            num_workers=0,
            dataset=RandomViews(4),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        custom_hooks=[dict(type='EMATeacherHook'), *extra, record],
        default_hooks=dict(checkpoint=None),
        **overrides,
    )
    runner.train()
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    return dict(
        loss=record.loss,
        draws=record.draws,
        grads=record.grads,
        trained=trained,
        state=dict(model.named_parameters()),
    )


def worker(rank, port, folder):
    cfg = join_two(rank, port, sync_bn='torch')
    cfg.pop('sync_bn')  # build_runner has no such option, and it is off on a CPU
    results = {}
    for name in BACKBONES:
        torch.manual_seed(0)
        results[name] = train_once(name, folder / 'two', **cfg)
    torch.save(results, folder / f'rank{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    return spawn_two(worker, tmp_path_factory.mktemp('backbones'))


def check(result):
    assert torch.tensor(result['loss']).isfinite()
    assert set(result['grads']) == result['trained']
    assert all(result['grads'].values())
    assert any(name.startswith('backbone.') for name in result['trained'])
    assert not any(name.startswith('teacher.') for name in result['trained'])


@pytest.mark.parametrize('name', BACKBONES)
def test_one_process(name, tmp_path):
    check(train_once(name, tmp_path))


@pytest.mark.parametrize('name', BACKBONES)
def test_two_processes(name, two_processes):
    results = [ranks[name] for ranks in two_processes]
    for result in results:
        check(result)
    # Each sees its own images, both take the same step.
    assert results[0]['loss'] != results[1]['loss']
    assert results[0]['draws'] == results[1]['draws']
    assert len(set(results[0]['draws'])) == (4 if name == 'ViL' else 0)
    for key, value in results[0]['state'].items():
        assert torch.equal(value, results[1]['state'][key]), key
