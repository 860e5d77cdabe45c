"""The best checkpoint stays until a better one is whole."""

from types import SimpleNamespace

import pytest
from mmengine.fileio import LocalBackend
from mmengine.logging import MessageHub, MMLogger

from esvit_plugin.engine import AtomicCheckpointHook


def make(folder, keys):
    """The hook as after ``before_train``, and a runner whose files hold a number."""
    hook = AtomicCheckpointHook(interval=1, save_best=keys, rule='greater')
    hook.out_dir, hook.file_backend = str(folder), LocalBackend()
    hook.best_ckpt_path_dict = dict.fromkeys(keys)
    hub = MessageHub(f'best_{folder.name}_{len(keys)}')
    runner = SimpleNamespace(
        epoch=0, iter=0, message_hub=hub, logger=MMLogger.get_instance('best')
    )
    runner.seen = []

    def save(out_dir, filename, **kwargs):
        runner.seen.append(names(folder))
        if runner.epoch == 3:
            raise OSError('No space left on device')
        (folder / filename).write_text('whole')

    runner.save_checkpoint = save
    return hook, runner


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def validate(hook, runner, epoch, **metrics):
    runner.epoch = epoch
    hook._save_best_checkpoint(runner, metrics)


@pytest.mark.parametrize('keys', [['a'], ['a', 'b']])
def test_the_best_before_goes_after_the_new_one(tmp_path, keys):
    hook, runner = make(tmp_path, keys)
    validate(hook, runner, 1, a=1, b=5)
    validate(hook, runner, 2, a=2, b=4)
    assert 'best_a_epoch_1.pth' in runner.seen[-1]
    left = ['best_a_epoch_2.pth', *(f'best_{k}_epoch_1.pth' for k in keys[1:])]
    assert names(tmp_path) == left
    with pytest.raises(OSError, match='No space'):
        validate(hook, runner, 3, a=3, b=3)
    assert names(tmp_path) == left
    assert runner.seen[-1] == left


def test_the_same_file_is_not_deleted(tmp_path):
    hook, runner = make(tmp_path, ['a'])
    validate(hook, runner, 1, a=1)
    validate(hook, runner, 1, a=2)
    validate(hook, runner, 2, a=2)
    assert names(tmp_path) == ['best_a_epoch_1.pth']
    validate(hook, runner, 4, a=3)
    assert names(tmp_path) == ['best_a_epoch_4.pth']
