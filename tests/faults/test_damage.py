"""Damaged files: named, and the next older whole one is taken."""

import random
import re
import shutil
import zipfile

import pytest
import torch
from support.faults.entries import TOOLS, start
from support.faults.runs import (
    assert_same,
    ended,
    run_cases,
    start_train,
    train,
)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The folder of a run of two epochs, and its end after three."""
    folder = tmp_path_factory.mktemp('whole')
    train(folder / 'a')
    shutil.copytree(folder / 'a', folder / 'b')
    (folder / 'b' / 'run' / 'epoch_3.pth').unlink()
    pointer = folder / 'b' / 'run' / 'last_checkpoint'
    pointer.write_text(str(folder / 'b' / 'run' / 'epoch_2.pth'))
    return folder / 'b' / 'run', folder / 'a' / 'run' / 'epoch_3.pth'


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << offset % 8
    path.write_bytes(content)


def offsets(path):
    """Where to flip a bit: in tensors, in the pickle, and in zip's directory."""
    rng = random.Random(5)
    size = path.stat().st_size
    found = {}
    with zipfile.ZipFile(path) as archive:
        records = sorted(archive.infolist(), key=lambda info: info.file_size)
        directory = archive.start_dir
        for info in (records[-1], records[-10]):
            inside = rng.randrange(200, info.file_size - 1)
            found[f'tensor {info.filename}'] = info.header_offset + inside
        info = next(r for r in records if r.filename.endswith('data.pkl'))
        for number in range(3):
            inside = rng.randrange(200, info.file_size - 1)
            found[f'pickle {number}'] = info.header_offset + inside
    for number in range(3):
        found[f'directory {number}'] = rng.randrange(directory, size)
    found['first byte'] = 0
    return found


def damages(path):
    """Functions that damage a file, by name."""
    size = path.stat().st_size
    found = {
        'empty': lambda path: path.write_bytes(b''),
        'text': lambda path: path.write_text('no checkpoint\n'),
        'zeros': lambda path: path.write_bytes(bytes(size)),
    }
    for share in (0.001, 0.3, 0.7, 0.999):
        found[f'cut at {share}'] = lambda path, share=share: path.write_bytes(
            path.read_bytes()[: int(size * share)]
        )
    for name, offset in offsets(path).items():
        found[name] = lambda path, offset=offset: flip(path, offset)
    return found


def test_a_damaged_checkpoint_is_named_and_an_older_one_taken(tmp_path, whole):
    source, expected = whole

    def case(name, folder, damage):
        shutil.copytree(source, folder / 'run')
        damage(folder / 'run' / 'epoch_2.pth')
        run = start_train(folder, '--resume')
        yield run
        ended(run)
        named = re.search(r'Left out .*epoch_2\.pth', run.text)
        # Some bits of zip's directory, such as times, mean nothing.
        assert named or name.startswith('directory')
        assert ('Epoch(train) [2][1/4]' in run.text) == bool(named)
        assert 'Epoch(train) [1][' not in run.text
        assert_same(folder / 'run' / 'epoch_3.pth', expected)

    run_cases(
        {
            name: case(name, tmp_path / str(number), damage)
            for number, (name, damage) in enumerate(
                damages(source / 'epoch_2.pth').items()
            )
        }
    )


def test_a_bad_pointer_is_named_and_the_newest_taken(tmp_path, whole):
    source, expected = whole
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    shutil.copy(source / 'epoch_1.pth', elsewhere / 'epoch_1.pth')
    shutil.copy(source / 'epoch_1.pth', elsewhere / 'epoch_9.pth')
    pointers = {
        'empty': b'',
        'missing': b'epoch_7.pth',
        'elsewhere': str(elsewhere / 'epoch_1.pth').encode(),
        'elsewhere alone': str(elsewhere / 'epoch_9.pth').encode(),
        'garbage': bytes(range(256)),
        'long': b'x' * 5000,
        'a folder': str(elsewhere).encode(),
        'absent': None,
    }

    def case(folder, pointer):
        shutil.copytree(source, folder / 'run')
        path = folder / 'run' / 'last_checkpoint'
        path.unlink() if pointer is None else path.write_bytes(pointer)
        run = start_train(folder, '--resume')
        yield run
        ended(run)
        assert pointer is None or 'last_checkpoint' in run.text
        assert 'Epoch(train) [3][1/4]' in run.text
        assert 'Epoch(train) [2][' not in run.text
        assert_same(folder / 'run' / 'epoch_3.pth', expected)

    run_cases({name: case(tmp_path / name, p) for name, p in pointers.items()})


def test_never_from_scratch(tmp_path, whole):
    source, _ = whole

    def emptied(run):
        for path in run.glob('*.pth'):
            path.write_bytes(b'')

    def deleted(run):
        for path in run.glob('*.pth'):
            path.unlink()

    def cut(run):
        for path in run.glob('*.pth'):
            path.write_bytes(path.read_bytes()[:999])
        (run / 'last_checkpoint').unlink()

    def case(folder, damage):
        shutil.copytree(source, folder / 'run')
        damage(folder / 'run')
        run = start_train(folder, '--resume')
        yield run
        ended(run, 1)
        assert len(run.message.splitlines()) <= 3
        assert '--work-dir' in run.message and '.pth' in run.message
        assert 'Epoch(train)' not in run.text

    run_cases(
        {f.__name__: case(tmp_path / f.__name__, f) for f in (emptied, deleted, cut)}
    )


def test_every_tool_names_a_damaged_checkpoint(tmp_path, trained):
    def case(name, what):
        folder = tmp_path / f'{name}_{kinds.index(what)}'
        folder.mkdir()
        path = folder / 'spoiled.pth'
        shutil.copy(trained['classifier' if name == 'test' else 'esvit'], path)
        if what == 'missing':
            path.unlink()
        elif what == 'list':
            torch.save([1, 2], path)
        else:
            damages(path)[what](path)
        run = start(name, path, folder)
        yield run
        ended(run, 1)
        assert len(run.message.splitlines()) <= 3, run.message
        assert 'spoiled.pth' in run.message, run.message
        assert not list(folder.glob('result_*')) + list(folder.glob('*/*.pth'))

    # Each tool several, each damage several times.
    kinds = ['missing', 'empty', 'cut at 0.7', 'list', 'pickle 0', 'text']
    kinds += [name for name in damages(trained['esvit']) if 'tensor' in name][:1]
    run_cases(
        {
            f'{name}, {kinds[(3 * i + j) % len(kinds)]}': case(
                name, kinds[(3 * i + j) % len(kinds)]
            )
            for i, name in enumerate(TOOLS)
            for j in range(3)
        }
    )


def training(name):
    return name in ('load_from', 'pretrained')


def test_weights_that_are_not_finite_are_refused(tmp_path, trained):
    def case(name):
        folder = tmp_path / name
        folder.mkdir()
        path = folder / 'spoiled.pth'
        checkpoint = torch.load(trained['classifier' if name == 'test' else 'esvit'])
        for key, value in checkpoint['state_dict'].items():
            if value.is_floating_point():
                checkpoint['state_dict'][key] = value.fill_(float('nan'))
        torch.save(checkpoint, path)
        run = start(name, path, folder)
        yield run
        ended(run, 1)
        assert len(run.message.splitlines()) <= 3, run.message
        assert 'finite' in run.message, run.message
        # A training has other reasons, too.
        assert training(name) or 'spoiled.pth' in run.message, run.message
        assert not list(folder.glob('result_*'))

    names = set(TOOLS) - {'mmengine', 'resume', 'esvit_to_mmpretrain'}
    run_cases({name: case(name) for name in sorted(names)})
