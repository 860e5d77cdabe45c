"""Checkpoint files: whole or not there, and nothing but data."""

import builtins
import errno
import os
import struct
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, Runner
from support.training import build_runner

from esvit_plugin.engine import AtomicCheckpointHook, checkpoints
from esvit_plugin.engine.checkpoints import (
    atomic_file,
    check_finite_weights,
    find_damage,
    load_checkpoint_file,
    save_weights,
)
from esvit_plugin.engine.hooks import RecoveryHook
from esvit_plugin.engine.newest import newest_checkpoint
from esvit_plugin.engine.resume import find_position


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def write(path, **content):
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    checkpoint = dict(
        meta=dict(epoch=1, iter=4, saved_at=time.time()),
        state_dict=dict(weight=torch.arange(999.0)),
        optimizer={},
        message_hub=dict(
            log_scalars=dict(loss=buffer), runtime_info={}, resumed_keys={}
        ),
        number=np.float64(3),
    )
    checkpoint.update(content)
    torch.save(checkpoint, path)
    return path


def test_an_atomic_file_is_whole_or_the_old_one(tmp_path):
    path = tmp_path / 'out.txt'
    with atomic_file(path) as unfinished:
        assert unfinished.endswith('.txt')
        with open(unfinished, 'w') as file:
            file.write('first')
        assert not path.exists()
    with (
        pytest.raises(OSError, match='no space'),
        atomic_file(path) as unfinished,
        open(unfinished, 'w') as file,
    ):
        file.write('sec')
        raise OSError('no space')
    assert path.read_text() == 'first'
    assert os.listdir(tmp_path) == ['out.txt']


def test_processes_that_write_the_same_file_do_not_meet(tmp_path, monkeypatch):
    path = tmp_path / 'out.txt'
    with atomic_file(path, shared=True) as mine, open(mine, 'w') as file:
        file.write('mine')
        monkeypatch.setattr(os, 'getpid', lambda: 1)
        with atomic_file(path, shared=True) as other, open(other, 'w') as another:
            another.write('other')
        assert path.read_text() == 'other'
    assert path.read_text() == 'mine'
    # What a kill has left of others is written over.
    (tmp_path / '.out.part.txt').write_text('left')
    with atomic_file(path) as alone, open(alone, 'w') as file:
        file.write('alone')
    assert os.listdir(tmp_path) == ['out.txt'] and path.read_text() == 'alone'


def test_logs_and_numpy_values_load_and_text_to_run_is_dropped(tmp_path):
    meta = dict(epoch=1, iter=4, config=f'import os\nos.mkdir("{tmp_path}/run")')
    info = dict(
        keep_ckpt_ids=[1, '../../x'], best_ckpt='/etc/passwd', last_ckpt='../b.pth'
    )
    hub = dict(log_scalars={}, runtime_info=info, resumed_keys={})
    path = write(tmp_path / 'a.pth', meta=meta, message_hub=hub)
    for load in (load_checkpoint_file, CheckpointLoader.load_checkpoint):
        loaded = load(str(path))
        assert 'config' not in loaded['meta'] and loaded['number'] == 3
        assert loaded['message_hub']['runtime_info'] == dict(
            keep_ckpt_ids=[1],
            best_ckpt=f'{tmp_path}/passwd',
            last_ckpt=f'{tmp_path}/b.pth',
        )
    hub = load_checkpoint_file(write(tmp_path / 'b.pth'))['message_hub']
    assert hub['log_scalars']['loss'].mean() == 1.5


@pytest.mark.parametrize('old_torch', [False, True])
def test_no_code_of_a_file_runs(tmp_path, monkeypatch, old_torch):
    if old_torch:  # whose default was to run it
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    path = write(tmp_path / 'a.pth', extra=Payload(tmp_path / 'ran'))

    def fetch(url, **kwargs):
        return torch.load(path, kwargs['map_location'], weights_only=False)

    monkeypatch.setattr('mmengine.runner.checkpoint.load_url', fetch)
    for source in (str(path), 'https://example.com/a.pth'):
        with pytest.raises(ValueError, match='not loaded') as error:
            CheckpointLoader.load_checkpoint(source)
        assert source in str(error.value)
        for word in ('weights_only', 'safe_globals', 'trust'):
            assert word not in str(error.value)
    assert not (tmp_path / 'ran').exists()
    assert torch.load.__name__ == 'load' and not hasattr(torch.load, '__wrapped__')


def test_what_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r'a\.pth is no checkpoint: it holds a list'):
        load_checkpoint_file(path)
    path.write_text('no checkpoint at all')
    with pytest.raises(ValueError, match=r'a\.pth is no'):
        load_checkpoint_file(path)
    with pytest.raises(FileNotFoundError, match=r'no checkpoint .*b\.pth'):
        load_checkpoint_file(tmp_path / 'b.pth')


def test_damage_anywhere_is_found(tmp_path):
    path = write(tmp_path / 'a.pth')
    assert find_damage(path) is None
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    found = 0
    for place in rng.integers(len(content), size=60):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        try:
            loaded = load_checkpoint_file(path)
        except ValueError:
            found += 1
        else:  # between the records, where nothing is
            assert torch.equal(loaded['state_dict']['weight'], torch.arange(999.0))
    assert found > 40
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r'a\.pth'):
            load_checkpoint_file(path)


def header_places(path):
    """Where the headers of the record with the most bytes stand in the file."""
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda info: info.file_size)
        start = archive.start_dir
    content, name = path.read_bytes(), record.filename.encode()
    entry = content.index(name, start) - 46
    lengths = struct.unpack('<HHH', content[entry + 28 : entry + 34])
    local = record.header_offset
    extra = struct.unpack('<H', content[local + 28 : local + 30])[0]
    yield from range(local, local + 30 + len(name) + extra)
    yield from range(entry, entry + 46 + sum(lengths))


def test_no_byte_of_a_header_ends_the_search_for_damage(tmp_path):
    path = write(tmp_path / 'a.pth')
    content = path.read_bytes()
    found = set()
    for place in header_places(path):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            found.add(find_damage(path))
    assert {None, 'is truncated or damaged'} < found
    assert all(damage is None or 'damaged' in damage for damage in found)


def test_weights_that_are_not_finite_are_named():
    weights = dict(a=torch.ones(2), n=torch.tensor(3), b=dict(c=torch.ones(3)))
    check_finite_weights(weights, 'x.pth')
    for value in (torch.nan, torch.inf, -torch.inf):
        weights['b']['c'] = torch.tensor([1.0, value])
        with pytest.raises(ValueError, match=r'x\.pth has values .* finite in c'):
            check_finite_weights(weights, 'x.pth')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three checkpoints, the newest last; and what is said about them."""
    said = []
    monkeypatch.setattr('esvit_plugin.engine.newest._warn', said.append)
    for epoch in (1, 2, 3):
        meta = dict(epoch=epoch, iter=4 * epoch, saved_at=1000.0 + epoch)
        write(tmp_path / f'epoch_{epoch}.pth', meta=meta)
        os.utime(tmp_path / f'epoch_{epoch}.pth', (5000 - epoch, 5000 - epoch))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    torch.save(dict(state_dict={}), tmp_path / 'backbone.pth')
    return tmp_path, said


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


DAMAGE = {
    'nothing': (lambda f: None, 'epoch_3', ''),
    'empty': (lambda f: (f / 'epoch_3.pth').write_bytes(b''), 'epoch_2', 'is empty'),
    'truncated': (lambda f: cut(f / 'epoch_3.pth'), 'epoch_2', 'epoch_3.pth is trunc'),
    'missing': (lambda f: (f / 'epoch_3.pth').unlink(), 'epoch_2', 'is not in'),
    'no pointer': (lambda f: (f / 'last_checkpoint').unlink(), 'epoch_3', ''),
    'empty pointer': (
        lambda f: (f / 'last_checkpoint').write_text(''),
        'epoch_3',
        'is empty',
    ),
    'zeros': (
        lambda f: (f / 'last_checkpoint').write_bytes(bytes(40)),
        'epoch_3',
        'is empty',
    ),
    'garbage': (
        lambda f: (f / 'last_checkpoint').write_bytes(bytes(range(256))),
        'epoch_3',
        'is not in',
    ),
    'a name after garbage': (
        lambda f: (f / 'last_checkpoint').write_bytes(b'/a\0\xff/epoch_3.pth'),
        'epoch_3',
        'of another folder',
    ),
    'another folder': (
        lambda f: (f / 'last_checkpoint').write_text('/else/epoch_3.pth'),
        'epoch_3',
        'of another folder',
    ),
    'an older pointer': (
        lambda f: (f / 'last_checkpoint').write_text(str(f / 'epoch_1.pth')),
        'epoch_3',
        '',
    ),
    'two': (
        lambda f: [cut(f / f'epoch_{i}.pth') for i in (2, 3)],
        'epoch_1',
        'epoch_2.pth is truncated',
    ),
}


@pytest.mark.parametrize('kind', DAMAGE)
def test_the_newest_whole_checkpoint_is_taken(folder, kind):
    folder, said = folder
    damage, expected, word = DAMAGE[kind]
    damage(folder)
    assert newest_checkpoint(str(folder)) == str(folder / f'{expected}.pth')
    assert (word in ' '.join(said)) and bool(said) == bool(word)


def wrong_method(path):
    """As if records were compressed in a way that they are not, or none is known."""
    with zipfile.ZipFile(path) as archive:
        place = archive.start_dir + 10
    content = bytearray(path.read_bytes())
    for content[place] in (8, 12, 14, 99):
        path.write_bytes(content)
        yield


def test_headers_that_are_damaged_do_not_end_a_resume(folder):
    folder, said = folder
    for number, _ in enumerate(wrong_method(folder / 'epoch_3.pth'), 1):
        assert newest_checkpoint(str(folder)) == str(folder / 'epoch_2.pth')
        assert len(said) == number
        assert 'Left out' in said[-1] and 'epoch_3.pth is ' in said[-1]
        assert 'damaged' in said[-1]


@pytest.mark.parametrize('number', [errno.EACCES, errno.EIO])
def test_an_unreadable_checkpoint_is_left_out(folder, monkeypatch, number):
    folder, said = folder
    opened = builtins.open

    def refuse(file, *args, **kwargs):
        if str(file).endswith('epoch_3.pth'):
            raise OSError(number, os.strerror(number), file)
        return opened(file, *args, **kwargs)

    monkeypatch.setattr(builtins, 'open', refuse)
    assert newest_checkpoint(str(folder)) == str(folder / 'epoch_2.pth')
    reason = f'epoch_3.pth cannot be read: {os.strerror(number)}'
    assert 'Left out' in said[0] and reason in said[0]
    with pytest.raises(ValueError, match=f'cannot be read: {os.strerror(number)}'):
        load_checkpoint_file(folder / 'epoch_3.pth')


@pytest.mark.parametrize(
    ('pointer', 'is_kept'),
    [
        (b'\xff\0\xfe garbage', True),
        (b'epoch_9.pth', True),
        (b'recovery.pth', True),
        (b'', True),
        (b'epoch_3.pth', False),
        (b'/moved/since/epoch_3.pth', False),
        (b'elsewhere/epoch_4.pth', False),
    ],
)
def test_a_recovery_goes_only_for_a_checkpoint_that_is_there(folder, pointer, is_kept):
    folder, _ = folder
    write(folder / 'recovery.pth')
    (folder / 'elsewhere').mkdir()
    write(folder / 'elsewhere' / 'epoch_4.pth')
    (folder / 'last_checkpoint').write_bytes(pointer)
    hooks = [Hook(), SimpleNamespace(out_dir=str(folder / 'elsewhere'))]
    RecoveryHook().after_train(SimpleNamespace(work_dir=str(folder), hooks=hooks))
    assert (folder / 'recovery.pth').exists() == is_kept


def test_a_folder_with_checkpoints_never_begins_anew(folder, tmp_path_factory):
    folder, _ = folder
    for epoch in (1, 2, 3):
        cut(folder / f'epoch_{epoch}.pth')
    with pytest.raises(ValueError, match='no whole checkpoint .*epoch_2.pth is trunc'):
        newest_checkpoint(str(folder))
    for epoch in (1, 2, 3):
        (folder / f'epoch_{epoch}.pth').unlink()
    with pytest.raises(ValueError, match='last_checkpoint names'):
        newest_checkpoint(str(folder))
    assert newest_checkpoint(str(tmp_path_factory.mktemp('new'))) is None


class Watch(Hook):
    """Lists the files at the moment of each deletion."""

    def __init__(self, monkeypatch, folder):
        self.seen = []
        delete = AtomicCheckpointHook._delete

        def watched(hook, step):
            self.seen.append(sorted(p.name for p in folder.glob('*.pth')))
            delete(hook, step)

        monkeypatch.setattr(AtomicCheckpointHook, '_delete', watched)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['EsViTRunner', 'Runner'])
def test_old_ones_are_deleted_after_the_new_is_there(tmp_path, monkeypatch, kind):
    watch = Watch(monkeypatch, tmp_path)
    (tmp_path / '.epoch_9.part.pth').write_bytes(b'left by a kill')
    runner = build_runner(
        tmp_path,
        train_cfg=dict(by_epoch=True, max_epochs=3),
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', max_keep_ckpts=1, interval=1)
        ),
    )
    if kind == 'Runner':
        runner.__class__ = Runner
    runner.train()
    assert watch.seen == [
        ['epoch_1.pth', 'epoch_2.pth'],
        ['epoch_2.pth', 'epoch_3.pth'],
    ]
    assert [p.name for p in tmp_path.glob('*.pth')] == ['epoch_3.pth']
    assert not list(tmp_path.glob('.*'))
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_3.pth')


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    flush = checkpoints._flush

    def full(path):
        if 'epoch_2' in path:
            raise OSError(28, 'No space left on device')
        flush(path)

    monkeypatch.setattr(checkpoints, '_flush', full)
    runner = build_runner(
        tmp_path,
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', max_keep_ckpts=1, interval=1)
        ),
    )
    with pytest.raises(OSError, match=r'epoch_2\.pth cannot be written: No space left'):
        runner.train()
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_1.pth')


def test_mmengines_hook_becomes_the_atomic_one(tmp_path):
    runner = build_runner(
        tmp_path, default_hooks=dict(checkpoint=dict(type='CheckpointHook'))
    )
    assert any(isinstance(hook, AtomicCheckpointHook) for hook in runner.hooks)


@pytest.mark.parametrize(
    ('meta', 'expected'),
    [
        (dict(epoch=2, iter=8, run={'iterations per epoch': 4}), (2, 0, 20)),
        (dict(epoch=1, iter=6, run={'iterations per epoch': 4}), (1, 5, 15)),
        (dict(epoch=1, iter=8, run={'iterations per epoch': 4}), (1, 10, 20)),
        (dict(epoch=2, iter=8), (2, 0, 20)),  # of mmengine
        (dict(epoch=0, iter=0), (0, 0, 0)),
        (dict(epoch=0, iter=5), (0, 5, 5)),
    ],
)
def test_a_position_keeps_its_part_of_the_epoch(meta, expected):
    found = find_position(meta, 10)
    assert (found.epoch, found.start, found.iteration) == expected


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_files_are_readable_as_any_other(tmp_path, name):
    pytest.importorskip('safetensors')
    other = tmp_path / 'other'
    other.write_text('')
    save_weights(tmp_path / name, dict(weight=torch.ones(2)))
    modes = [path.stat().st_mode for path in (tmp_path / name, other)]
    assert modes[0] == modes[1]
