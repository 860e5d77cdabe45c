"""Similar images: the numbers, the tool and its picture."""

import os

import cv2
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from support.tools import is_drawn, run, saved_model

from esvit_plugin.engine.fingerprints import fingerprint
from esvit_plugin.evaluation.feature_file import (
    FeatureOrigin,
    read_origin,
    read_paths,
)
from esvit_plugin.evaluation.search import Neighbours, find_image, nearest
from esvit_plugin.visualization import draw_neighbours


def test_nearest_is_by_cosine():
    rng = np.random.default_rng(0)
    features, query = rng.normal(size=(30, 8)), rng.normal(size=8)
    features[7] = 5 * query
    features[3] = features[4]
    cosines = [
        sum(a * b for a, b in zip(row, query))
        / (sum(a * a for a in row) * sum(b * b for b in query)) ** 0.5
        for row in features
    ]
    expected = sorted(range(30), key=lambda i: -cosines[i])
    order, similarities = nearest(query, features, 40)
    assert order.tolist() == expected and order[0] == 7
    np.testing.assert_allclose(similarities, sorted(cosines, reverse=True))
    assert nearest(query, features, 5)[0].tolist() == expected[:5]
    with pytest.raises(ValueError, match='width 8, the file such of width 4: give'):
        nearest(query, features[:, :4], 1)


def test_paths_open_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_image('a/b.png', str(tmp_path)) == os.path.join('a', 'b.png')
    assert find_image('a/b.png', '') == 'a/b.png'
    assert find_image('/a/b.png', '/c') == '/a/b.png'
    assert find_image('b.png', '/somewhere') == '/somewhere/b.png'


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A config, a checkpoint and, relative to here, features of images of 2 kinds."""
    config, checkpoint, model = saved_model(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    for number in range(3):
        fine = rng.integers(256, size=(80, 90, 3))
        coarse = np.kron(rng.integers(256, size=(5, 6, 1)), np.ones((16, 15, 3)))
        for kind, image in dict(fine=fine, coarse=coarse).items():
            path = tmp_path / 'images' / f'{kind}{number}.png'
            cv2.imwrite(str(path), image.astype(np.uint8))
    monkeypatch.chdir(tmp_path)
    options = ['-o', 'f.npz', '--num-workers=0', '--keys', 'pooled']
    run('extract_features.py', config, 'checkpoint.pth', 'images', *options)
    return config, checkpoint, model


def test_the_features_file_knows_its_model(tmp_path, files):
    config, checkpoint, _ = files
    origin = FeatureOrigin(
        str(config), str(checkpoint), 'teacher', 64, str(tmp_path),
        digest=fingerprint(checkpoint),
    )  # fmt: skip
    assert read_origin('f.npz') == origin
    options = ['-o', 'g.npz', '--num-workers=0', '--size=32', '--student']
    run('extract_features.py', config, checkpoint, 'images', *options)
    assert read_origin('g.npz') == origin._replace(source='student', size=32)


def test_the_tool_finds_the_nearest(tmp_path, files, monkeypatch):
    features = np.load('f.npz')
    rows = dict(zip(features['paths'].tolist(), features['pooled']))
    own = rows.pop('images/fine0.png')
    cosines = {
        path: row @ own / np.linalg.norm(row) / np.linalg.norm(own)
        for path, row in rows.items()
    }
    ranking = sorted(cosines, key=lambda path: -cosines[path])
    # From elsewhere, by the paths in the file.
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    query = tmp_path / 'images' / 'fine0.png'
    copy = tmp_path / 'copy.png'
    copy.write_bytes(query.read_bytes())
    options = ['--num-neighbours=3', '--out', 'nearest.png']
    output = run('search.py', '../f.npz', query, copy, *options)
    lines = [line.split() for line in output.splitlines()]
    assert lines[0] == [str(query)]
    for number, path in enumerate(ranking[:3], 1):
        found = lines[number]
        assert found[::2] == [str(number), str(tmp_path / path)]
        assert float(found[1]) == pytest.approx(cosines[path], abs=2e-3)
    # A copy has the image itself as its nearest.
    assert lines[4] == [str(copy)]
    assert lines[5] == ['1', '1.000', str(query)]
    assert is_drawn('nearest.png')


def test_files_of_older_versions_need_the_model(files):
    config, checkpoint, _ = files
    arrays = dict(np.load('f.npz'))
    np.savez('old.npz', paths=arrays['paths'], pooled=arrays['pooled'])
    query = 'images/fine0.png'
    with pytest.raises(ValueError, match='older version: give --config and --checkp'):
        run('search.py', 'old.npz', query)
    model = [f'--config={config}', f'--checkpoint={checkpoint}']
    output = run('search.py', 'old.npz', query, *model)
    assert len(output.splitlines()) == 6
    with pytest.raises(OSError, match=r'Cannot load the image images/none\.png'):
        run('search.py', 'f.npz', 'images/none.png')
    with pytest.raises(ValueError, match='--num-neighbours must be >= 1'):
        run('search.py', 'f.npz', query, '--num-neighbours=0')
    with pytest.raises(FileNotFoundError, match=r'no file none\.npz'):
        run('search.py', 'none.npz', query)


def test_a_checkpoint_that_was_written_over_is_refused(tmp_path, files):
    _, checkpoint, model = files
    query = ('search.py', 'f.npz', 'images/fine0.png')
    old = tmp_path / 'old.pth'
    old.write_bytes(checkpoint.read_bytes())
    torch.nn.init.ones_(next(model.parameters()))
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    with pytest.raises(ValueError, match=r'checkpoint\.pth is not the .* that f\.npz'):
        run(*query)
    # A copy of the old one will do.
    assert len(run(*query, '--checkpoint', old).splitlines()) == 6
    arrays = dict(np.load('f.npz'))
    del arrays['digest']
    np.savez('f.npz', **arrays)
    assert len(run(*query).splitlines()) == 6


def save_array(path):
    with open(path, 'wb') as file:
        np.save(file, np.ones((3, 4)))


OTHERS = {
    'an array': save_array,
    'a checkpoint': lambda path: torch.save(dict(a=torch.ones(2)), path),
    'objects': lambda path: np.savez(path, paths=np.array([{}], dtype=object)),
    'nothing': lambda path: np.savez(path),
    'text': lambda path: path.write_text('a,b\n1,2\n'),
}


@pytest.mark.parametrize('kind', OTHERS)
def test_other_files_are_no_features(tmp_path, kind):
    path = tmp_path / 'f.npz'
    OTHERS[kind](path)
    for read in (read_paths, read_origin):
        with pytest.raises(ValueError, match='f.npz is no .npz file of numbers, or is'):
            read(str(path))


def test_arrays_that_are_not_asked_for_stay_in_the_file(tmp_path, monkeypatch):
    path, names = tmp_path / 'f.npz', []
    pooled = np.ones((2, 3))
    np.savez(path, paths=np.array(['a', 'b']), pooled=pooled, regions=np.ones((2, 9)))
    read = np.lib.npyio.NpzFile.__getitem__

    def recorded(self, name):
        names.append(name)
        return read(self, name)

    monkeypatch.setattr(np.lib.npyio.NpzFile, '__getitem__', recorded)
    assert np.array_equal(read_paths(str(path))[0], pooled)
    assert read_origin(str(path)) is None
    assert set(names) == {'paths', 'pooled'}
    with pytest.raises(ValueError, match="'other' .*; it has pooled, regions of this"):
        read_paths(str(path), 'other')


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_damage_of_a_features_file_is_named(tmp_path, save):
    path, pooled = tmp_path / 'f.npz', np.random.default_rng(0).normal(size=(9, 8))
    save(path, paths=np.array(['a.png'] * 9), pooled=pooled)
    content = path.read_bytes()
    found = 0
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            features, _ = read_paths(str(path))
        except ValueError as error:
            assert str(error).startswith(str(path))
            found += 1
        else:  # of a date and the like
            assert np.array_equal(features, pooled)
    assert found > len(content) / 6


def test_arrays_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / 'f.npz'
    for paths, pooled in (
        (['a.png'], np.ones((2, 3))),
        ('a.png', np.ones((1, 3))),
        (['a.png'], np.array([['text']])),
    ):
        np.savez(path, paths=np.array(paths), pooled=pooled)
        with pytest.raises(ValueError, match=r"f\.npz has no paths \(N,\) .*'pooled'"):
            read_paths(str(path))
    origin = dict.fromkeys(FeatureOrigin._fields, 'a')
    for name, value in dict(config=['a', 'b'], options='[1]').items():
        np.savez(path, **{**origin, 'options': '{}', name: np.array(value)})
        with pytest.raises(ValueError, match=r'f\.npz does not say as it should'):
            read_origin(str(path))


@pytest.mark.slow
def test_images_that_are_gone_are_empty_boxes(tmp_path):
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, np.full((30, 40, 3), (0, 0, 255), np.uint8))
    found = [
        Neighbours(path, [path, 'gone.png'], [0.9, 0.5]),
        Neighbours(path, ['gone.png'], [0.5]),
    ]
    figure = draw_neighbours(found)
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert [image.std() > 50 for image in shown] == [True, True, False, True, False]
    assert tuple(shown[0][0, 0]) == (255, 0, 0)  # red, not blue
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0].startswith('query\n') and titles[1].startswith('cosine 0.900\n')
    figure.savefig(tmp_path / 'b.png')
    assert imread(tmp_path / 'b.png').shape[1] > 500
    many = [Neighbours('gone.png', ['gone.png'] * 99, [0.5] * 99)] * 99
    assert len(draw_neighbours(many).axes) == 20 * 13
