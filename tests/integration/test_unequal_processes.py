"""Processes of machines that do not share their folders, or have other images."""

import os

import pytest
import torch
from mmpretrain.structures import DataSample
from support.training import RandomViews, build_runner, join_two, spawn_two

pytestmark = pytest.mark.slow


def error_of(function, *args):
    try:
        function(*args)
    except ValueError as error:
        return str(error)
    return ''


def unequal(rank, port, folder):
    cfg = join_two(rank, port)
    own = folder / str(rank)
    own.mkdir()
    # Machines need not share the current folder.
    os.chdir(own)
    found = {}

    def runner(length, work_dir, **options):
        loader = dict(
            batch_size=2,
            num_workers=0,
            dataset=RandomViews(length),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        )
        return build_runner(
            work_dir,
            train_dataloader=loader,
            launcher=cfg.launcher,
            model_wrapper_cfg=cfg.model_wrapper_cfg,
            **options,
        )

    for name, length in (('batches', 8 + 4 * rank), ('images', 7 + rank)):
        found[name] = error_of(runner(length, own).build_train_loop, LOOP)
    trained = runner(8, own)
    evaluator = trained.build_evaluator(dict(type='Accuracy'))
    evaluator.process([sample(right=rank == 0) for _ in range(2)])
    found['accuracy'] = evaluator.evaluate(4)['accuracy/top1']
    trained.train()
    # The main process has written one on its own disk.
    if rank:
        isfile = os.path.isfile
        os.path.isfile = lambda p: isfile(p) and not str(p).endswith('.pth')
    trained = runner(8, own, resume=True, train_cfg={**LOOP, 'max_epochs': 3})
    found['resume'] = error_of(trained.train)
    torch.save(found, folder / f'rank{rank}.pth')


LOOP = dict(by_epoch=True, max_epochs=2)


def sample(right):
    made = DataSample().set_gt_label(1).set_pred_score(torch.tensor([0.2, 0.8]))
    return (made if right else made.set_gt_label(0)).to_dict()


def test_what_differs_is_refused_by_all_or_does_not_matter(tmp_path):
    first, second = spawn_two(unequal, tmp_path)
    assert first == second
    assert (
        'process 0 on' in first['batches']
        and 'give all the same images' in (first['batches'])
    )
    assert 'has 7 images' in first['images'] and ' 8: give' in first['images']
    assert first['accuracy'] == 50.0
    assert 'epoch_2.pth is not there on' in first['resume']
