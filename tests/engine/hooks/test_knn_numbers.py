"""k-NN accuracies in place of those of a validation."""

import torch
from mmengine.hooks import EarlyStoppingHook, Hook
from support.training import Labelled, build_runner

from esvit_plugin.engine import KNNMonitorHook


class Watch(Hook):
    def __init__(self):
        self.seen = []

    def after_val_epoch(self, runner, metrics=None):
        self.seen.append((runner.epoch, metrics))


def knn(**options):
    loader = dict(batch_size=4, num_workers=0, dataset=Labelled())
    return KNNMonitorHook(loader, loader, ks=(1,), **options)


def test_mmengine_stops_early_by_them(tmp_path):
    # Training images classify themselves: 100 % from the first epoch on.
    stop = EarlyStoppingHook('knn/top1_k1', rule='greater', patience=2)
    watch = Watch()
    runner = build_runner(
        tmp_path,
        custom_hooks=[knn(interval=1), stop, watch, dict(type='EMATeacherHook')],
        train_cfg=dict(by_epoch=True, max_epochs=6),
    )
    runner.train()
    assert [epoch for epoch, _ in watch.seen] == [1, 2, 3]
    assert all(metrics['knn/top1_k1'] == 100 for _, metrics in watch.seen)
    assert runner.epoch == 3
    assert (tmp_path / 'epoch_3.pth').is_file()


def test_the_best_checkpoint_is_theirs(tmp_path):
    checkpoint = dict(
        type='AtomicCheckpointHook', interval=1, save_best='knn/top1_k1', rule='greater'
    )
    runner = build_runner(
        tmp_path,
        custom_hooks=[knn(interval=1), dict(type='EMATeacherHook')],
        default_hooks=dict(checkpoint=checkpoint),
    )
    runner.train()
    (best,) = tmp_path.glob('best_*.pth')
    assert best.name.endswith('_epoch_1.pth')
    assert torch.load(best)['meta']['epoch'] == 1


def test_the_numbers_of_a_validation_are_left_alone(tmp_path, monkeypatch):
    watch = Watch()
    runner = build_runner(tmp_path, custom_hooks=[knn(interval=1), watch])
    monkeypatch.setattr(type(runner), 'val_loop', property(lambda self: 'a loop'))
    hook = next(h for h in runner.hooks if isinstance(h, KNNMonitorHook))
    hook.before_train(runner)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    hook.after_train_epoch(runner)
    assert not watch.seen
