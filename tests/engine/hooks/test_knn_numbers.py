"""k-NN accuracies in place of those of a validation."""

import cv2
import numpy as np
import pytest
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


def test_a_checkpoint_of_the_best_is_as_whole_as_others(tmp_path):
    """It is saved after that of the epoch, which then is saved again."""
    checkpoint = dict(save_best='knn/top1_k1', rule='greater')
    runner = build_runner(
        tmp_path,
        custom_hooks=[
            dict(type='RandomStateHook'),
            knn(interval=2),
            dict(type='EMATeacherHook'),
        ],
        train_cfg=dict(by_epoch=True, max_epochs=3),
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', interval=1, **checkpoint)
        ),
    )
    saved = []
    save = runner.save_checkpoint

    def record(out_dir, filename, *args, **kwargs):
        save(out_dir, filename, *args, **kwargs)
        saved.append((filename, 'random_states' in torch.load(tmp_path / filename)))

    runner.save_checkpoint = record
    runner.train()
    assert [name for name, _ in saved[:2]] == ['epoch_1.pth', 'epoch_2.pth']
    assert saved[2][0].startswith('best') and saved[3] == ('epoch_2.pth', True)
    assert all(whole for name, whole in saved if name.startswith('epoch'))


def test_only_batches_that_all_processes_have_are_left_together(tmp_path, monkeypatch):
    loader = dict(batch_size=2, num_workers=0, dataset=Labelled(5))
    hook = KNNMonitorHook(loader, loader, interval=1, ks=(1,))
    asked = []
    runner = build_runner(
        tmp_path, custom_hooks=[hook], train_cfg=dict(by_epoch=True, max_epochs=1)
    )
    (recovery,) = (h for h in runner.hooks if type(h).__name__ == 'RecoveryHook')
    monkeypatch.setattr(recovery, 'leave_evaluation', asked.append)
    # As if there was another process, which may have one batch less.
    monkeypatch.setattr('esvit_plugin.engine.hooks.utils.get_world_size', lambda: 2)
    runner.train()
    # Of the three batches of each set, another process may have one or two.
    assert len(asked) == 2


def test_classes_are_compared_before_training(tmp_path):
    for path in ('train/ant', 'train/bee', 'val/bee'):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / 'a.png').touch()
    loaders = [
        dict(
            batch_size=1,
            num_workers=0,
            dataset=dict(
                type='LabeledFolder',
                data_root=str(tmp_path),
                data_prefix=part,
                pipeline=[],
            ),
        )
        for part in ('train', 'val')
    ]
    runner = build_runner(
        tmp_path / 'run', custom_hooks=[KNNMonitorHook(*loaders, ks=(1,))]
    )
    with pytest.raises(ValueError, match='KNNMonitorHook: .*classes: ant.'):
        runner.train()


def on_folder(folder, damaged, on_error):
    """The hook on a folder of two classes, one image of which is damaged."""
    for part in ('train', 'val'):
        for number in range(6):
            path = folder / part / ('ant', 'bee')[number % 2] / f'{number}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng(number).integers(256, size=(64, 64, 3))
            cv2.imwrite(str(path), image.astype(np.uint8))
    path = folder / damaged
    path.write_bytes(path.read_bytes()[:99])
    load = dict(type='LoadImage', on_error=on_error)
    loaders = [
        dict(
            batch_size=2,
            num_workers=0,
            dataset=dict(
                type='LabeledFolder',
                data_root=str(folder),
                data_prefix=part,
                pipeline=[load, dict(type='PackInputs')],
            ),
        )
        for part in ('train', 'val')
    ]
    return KNNMonitorHook(*loaders, interval=1, ks=(1,))


@pytest.mark.parametrize('damaged', ['train/ant/2.png', 'val/bee/3.png'])
def test_a_damaged_image_does_not_end_the_training(tmp_path, damaged):
    watch = Watch()
    hooks = [on_folder(tmp_path, damaged, 'skip'), watch, dict(type='EMATeacherHook')]
    runner = build_runner(tmp_path / 'run', custom_hooks=hooks)
    runner.train()
    # Images of val/ are those of train/, of which one is missing in either.
    shares = [metrics['knn/top1_k1'] for _, metrics in watch.seen]
    assert len(shares) == 2
    assert all(share == 100 or 'train' in damaged for share in shares)
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert f'Cannot load the image {tmp_path / damaged}: the file is truncated' in log
    word = '1 of 6 images are damaged and left out of the evaluation, among them'
    assert word in log


def test_an_error_of_the_evaluation_does_not_cost_the_epoch(tmp_path):
    hook = on_folder(tmp_path, 'val/bee/3.png', 'raise')
    runner = build_runner(
        tmp_path / 'run', custom_hooks=[hook, dict(type='EMATeacherHook')]
    )
    with pytest.raises(OSError, match=r'val/bee/3\.png: the file is truncated'):
        runner.train()
    assert torch.load(tmp_path / 'run' / 'epoch_1.pth')['meta']['epoch'] == 1
