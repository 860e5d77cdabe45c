"""``tools/knn.py`` as torchrun starts it on two processes."""

import sys

import pytest
from mmengine.config import Config
from support.paths import ROOT
from support.tools import call, run, saved_model


def loader(split):
    # 26 images: the shares are not whole batches.
    data = dict(type='BundledPhotos', num_train=2, num_test=2, split=split, indices=26)
    data['pipeline'] = [dict(type='PackInputs')]
    return dict(batch_size=4, num_workers=0, dataset=data)


@pytest.mark.slow
def test_two_processes_print_once_what_one_prints(tmp_path):
    path, checkpoint, _ = saved_model(tmp_path)
    cfg = Config.fromfile(str(path))
    cfg.knn_dataloader, cfg.knn_val_dataloader = loader('train'), loader('test')
    cfg.dump(str(path))
    args = ('knn.py', path, checkpoint, '--k', 1, 5, 1000)
    expected = [line for line in run(*args).splitlines() if line[:2] in ('Ex', 'k=')]
    assert len(expected) == 4
    launch = ('-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2')
    program = (ROOT / 'tools' / args[0], *args[1:], '--launcher', 'pytorch')
    lines = call(sys.executable, *launch, *program).splitlines()
    assert [line for line in lines if line[:2] in ('Ex', 'k=')] == expected
    assert sum('Only 26 images vote' in line for line in lines) == 1
    assert not [line for line in lines if 'destroy_process_group' in line]
