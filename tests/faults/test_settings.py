"""A run that goes on under other settings, as the authors' program would."""

import re

import pytest
import torch
from support.faults.runs import (
    checkpoints,
    ended,
    hooks,
    load,
    run_cases,
    start_ranks,
    start_train,
    train,
    write_config,
)

SCHEDULED = ('lr', 'weight_decay', 'teacher_temp', 'teacher_momentum')
# What is killed has not gone on when it is looked at.
PAUSE = dict(type='At', iteration=7, what='sleep', seconds=100)
NUMBER = r'(-?\d[\d.]*(?:e[+-]?\d+)?)'


def schedules(run):
    """What the log shows of each iteration: (epoch, iteration) -> values."""
    found = {}
    for line in run.out.splitlines():
        place = re.search(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/', line)
        if place:
            values = {
                name: re.search(rf'(?<!\w){name}: {NUMBER}', line) for name in SCHEDULED
            }
            found[int(place[1]), int(place[2])] = {
                name: value[1] for name, value in values.items() if value
            }
    return found


# name: settings of the second part, what the log says of the change
CHANGES = {
    'batch': (['train_dataloader.batch_size=2'], 'batch size per process 3 -> 2'),
    'images': (['train_dataloader.dataset.length=21'], 'images 12 -> 21'),
    'drop_last': (
        ['train_dataloader.drop_last=False', 'train_dataloader.batch_size=5'],
        'drop_last True -> False',
    ),
    'more epochs': (['train_cfg.max_epochs=5'], 'epochs 3 -> 5'),
    'fewer epochs': (['train_cfg.max_epochs=2'], 'epochs 3 -> 2'),
    'lr': (['optim_wrapper.optimizer.lr=0.004'], 'lr 0.001 -> 0.004'),
    'weight decay': (
        ['optim_wrapper.optimizer.weight_decay=0.01'],
        'weight_decay 0.04 -> 0.01',
    ),
    'momentum': (['custom_hooks.0.momentum=0.5'], ''),
    'temperature': (['custom_hooks.1.teacher_temp=0.06'], ''),
    'nothing': ([], ''),
}


@pytest.fixture(scope='module')
def half(tmp_path_factory):
    """Checkpoints at the end of the first epoch and inside the second."""
    folder = tmp_path_factory.mktemp('half')
    config = write_config(
        folder / 'c.py',
        custom_hooks=hooks(PAUSE),
        default_hooks=dict(recovery=dict(interval=6)),
    )
    run = start_train(folder, config=config)
    run.wait_for(lambda: (folder / 'run' / 'recovery.pth').exists()).kill()
    return {
        'end of an epoch': folder / 'run' / 'epoch_1.pth',
        'inside an epoch': folder / 'run' / 'recovery.pth',
    }


def test_schedules_follow_from_the_new_settings_and_the_position(tmp_path, half):
    def case(name):
        options, words = CHANGES[name]
        folder = tmp_path / name.replace(' ', '_')
        whole = start_train(folder / 'whole', options=options)
        yield whole
        ended(whole)
        expected = schedules(whole)
        for number, (where, path) in enumerate(half.items()):
            run = start_train(folder / str(number), '--resume', path, options=options)
            yield run
            ended(run)
            found = schedules(run)
            # Every one after the first, and no other
            assert list(found) == [key for key in expected if key >= min(found)], where
            assert min(found)[0] == 2 and (min(found)[1] > 1) == ('inside' in where)
            wrong = [
                f'{name} of {key} is {value}, not {expected[key][name]}'
                for key, values in found.items()
                for name, value in values.items()
                if value != expected[key][name]
            ]
            assert not wrong, f'{where}: {len(wrong)} wrong, {wrong[:3]}'
            said = [line for line in run.out.splitlines() if 'Other settings' in line]
            assert len(said) == bool(words) and words in ''.join(said), said

    run_cases({name: case(name) for name in CHANGES})


def test_fewer_processes(tmp_path):
    """Two processes, then one, with the batch of both."""
    first = start_ranks(tmp_path / 'two', options=['train_cfg.max_epochs=1'])
    for run in first:
        ended(run.wait())
    batch = ['train_dataloader.batch_size=6']
    path = tmp_path / 'two' / 'run' / 'epoch_1.pth'
    run = train(tmp_path / 'one', '--resume', path, options=batch)
    whole = train(tmp_path / 'whole', options=batch)
    found, expected = schedules(run), schedules(whole)
    assert list(found) == [key for key in expected if key[0] > 1]
    assert all(values == expected[key] for key, values in found.items())
    said = [line for line in run.out.splitlines() if 'Other settings' in line]
    assert 'processes 2 -> 1' in said[0] and len(said) == 1


def test_the_optimizer_of_a_resumed_run_is_the_whole_one(tmp_path, half):
    """Also what is only logged, as base_lr."""
    train(tmp_path / 'whole')
    for number, path in enumerate(half.values()):
        train(tmp_path / str(number), '--resume', path)
        one, other = (
            load(tmp_path / name / 'run' / 'epoch_3.pth')['optimizer']
            for name in ('whole', str(number))
        )
        assert one['base_param_settings'] == other['base_param_settings']


def without(path, folder, *keys):
    checkpoint = load(path)
    for key in keys:
        part, _, inner = key.partition('.')
        del (checkpoint[part] if inner else checkpoint)[inner or part]
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, folder / 'changed.pth')
    return folder / 'changed.pth'


@pytest.mark.parametrize(
    'keys', [['optimizer'], ['meta'], ['meta.epoch'], ['meta.iter']]
)
def test_what_is_no_training_is_refused(tmp_path, half, keys):
    path = without(half['end of an epoch'], tmp_path, *keys)
    run = train(tmp_path, '--resume', path, code=1)
    assert 'load_from' in run.message and 'changed.pth' in run.message
    assert len(run.message.splitlines()) <= 3
    assert 'Epoch(train)' not in run.text


def test_checkpoints_of_mmengine(tmp_path, half):
    """Without what this package adds; also by an absolute pointer."""
    folder = tmp_path / 'run'
    keys = ['meta.run', 'meta.saved_at', 'random_states']
    path = without(half['end of an epoch'], folder, *keys)
    path = path.rename(folder / 'epoch_1.pth')
    (folder / 'last_checkpoint').write_text(str(path))
    run = train(tmp_path, '--resume')
    whole = schedules(train(tmp_path / 'whole'))
    assert schedules(run) == {key: whole[key] for key in whole if key[0] > 1}


def test_old_checkpoints_inside_an_epoch_do_not_overshoot(tmp_path, half):
    """mmengine's CheckpointHook by iterations, as epoch and iter of its own."""
    path = without(half['inside an epoch'], tmp_path, 'meta.run', 'random_states')
    run = train(tmp_path, '--resume', path)
    found = schedules(run)
    assert min(found) == (2, 3) and max(found) == (3, 4) and len(found) == 6
    assert load(tmp_path / 'run' / 'epoch_3.pth')['meta']['iter'] == 12


def test_the_old_hook_by_iterations(tmp_path):
    hook = dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=5,
        max_keep_ckpts=2,
        _delete_=True,
    )
    config = write_config(tmp_path / 'c.py', default_hooks=dict(checkpoint=hook))
    paused = write_config(
        tmp_path / 'paused.py', base=config, custom_hooks=hooks(PAUSE)
    )
    run = start_train(tmp_path, config=paused)
    run.wait_for(lambda: (tmp_path / 'run' / 'iter_5.pth').exists()).kill()
    run = train(tmp_path, '--resume', config=config)
    found = schedules(run)
    assert min(found) == (2, 2) and max(found) == (3, 4) and len(found) == 7
    assert 'iter_10.pth' in checkpoints(tmp_path)
