"""Distributed training, in two processes where there are two GPUs; and resuming."""

import os

import pytest
import torch
from mmengine.model import is_model_wrapper
from support.backbones import BACKBONES
from support.training import build_runner, join, spawn, with_backbone
from torch import nn

DEVICE = os.environ.get('ESVIT_GPU_TESTS_DEVICE', 'cuda')
PROCESSES = min(2, torch.cuda.device_count()) if DEVICE == 'cuda' else 1


def run(folder, cfg, epochs, **options):
    torch.manual_seed(0)
    runner = build_runner(
        folder,
        # With batch norms.
        model=with_backbone(*BACKBONES['ResNet']),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        env_cfg=dict(dist_cfg=dict(backend='nccl')),
        **cfg,
        **options,
    )
    runner.train()
    return runner


def worker(rank, port, folder):
    cfg = join(rank, port, PROCESSES, sync_bn='torch')
    runner = run(f'{folder}/whole', cfg, 2)
    assert is_model_wrapper(runner.model)
    whole = runner.model.module
    # Halves, of schedules that are those of the whole.
    load_from = f'{folder}/whole/epoch_1.pth'
    resumed = run(f'{folder}/half', cfg, 2, resume=True, load_from=load_from)
    result = dict(
        synced=any(isinstance(m, nn.SyncBatchNorm) for m in whole.modules()),
        backend=torch.distributed.get_backend(),
        shared=runner.model.gradient_as_bucket_view,
        whole={k: v.cpu() for k, v in whole.state_dict().items()},
        resumed={k: v.cpu() for k, v in resumed.model.module.state_dict().items()},
        iterations=resumed.iter,
    )
    torch.save(result, f'{folder}/rank{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    return spawn(worker, tmp_path_factory.mktemp('processes'), PROCESSES)


def test_processes_agree(results, device):
    for result in results:
        assert result['backend'] == ('nccl' if device.type == 'cuda' else 'gloo')
        assert result['synced'] == (device.type == 'cuda')
        assert result['shared']
        for name, value in results[0]['whole'].items():
            # Statistics of the teacher's batch norms follow from the same batches.
            torch.testing.assert_close(result['whole'][name], value, msg=name)


def test_a_resumed_run_is_the_same_run(results):
    for result in results:
        assert result['iterations'] == 8 // 4 // PROCESSES * 2
        for name, value in result['whole'].items():
            found = result['resumed'][name]
            # Sums of a GPU come in any order.
            torch.testing.assert_close(found, value, rtol=1e-2, atol=1e-3, msg=name)
