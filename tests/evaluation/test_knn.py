from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from esvit_plugin.datasets.loaders import build_eval_loader
from esvit_plugin.evaluation import (
    extract_features,
    extraction,
    knn_accuracy,
    weighted_knn,
)
from esvit_plugin.evaluation.knn import find_loaders, folder_loaders
from esvit_plugin.evaluation.nearest import largest


def plain_knn(train, train_labels, test, test_labels, k, temperature):
    """Top-1 and top-5 accuracy, image by image."""
    hits = np.zeros(2)
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    for feature, label in zip(test, test_labels):
        cosine = torch.cosine_similarity(feature[None], train)
        votes = [0.0] * classes
        for index in sorted(range(len(train)), key=lambda i: -cosine[i])[:k]:
            votes[int(train_labels[index])] += float(
                torch.exp(cosine[index] / temperature)
            )
        order = sorted(range(classes), key=lambda c: -votes[c])
        hits += [order[0] == label, int(label) in order[:5]]
    return tuple(100 * hits / len(test))


def test_equals_the_plain_classifier_for_any_block_size():
    train, test = torch.randn(60, 6), torch.randn(25, 6)
    labels, test_labels = torch.randint(9, (60,)), torch.randint(9, (25,))
    for block_size, train_block_size in ((1, 60), (7, 9), (100, 1), (100, 1000)):
        results = weighted_knn(
            train,
            labels,
            test,
            test_labels,
            ks=(1, 5, 60),
            block_size=block_size,
            train_block_size=train_block_size,
        )
        for k, found in results.items():
            expected = plain_knn(train, labels, test, test_labels, k, 0.07)
            assert found == pytest.approx(expected), k


def test_of_equally_similar_images_the_first_ones_vote():
    """Similarities are -1, -0.5, 0, 0.5 or 1: the k-th is one of several equal ones."""
    train, test = torch.randn(60, 4).sign(), torch.randn(25, 4).sign()
    labels, test_labels = torch.randint(9, (60,)), torch.randint(9, (25,))
    for train_block_size in (7, 60):
        sizes = dict(train_block_size=train_block_size)
        results = weighted_knn(train, labels, test, test_labels, (1, 5, 17), **sizes)
        for k, found in results.items():
            expected = plain_knn(train, labels, test, test_labels, k, 0.07)
            assert found == pytest.approx(expected), k


def test_the_largest_values_are_those_of_a_stable_sort():
    values = torch.randint(5, (200, 30)).float()  # in more than one block of rows
    values[3, 4] = values[5] = float('nan')
    values[7] = -float('inf')
    for number in (1, 8, 30):
        expected = values.sort(dim=1, descending=True, stable=True)
        found, columns = largest(values, number)
        torch.testing.assert_close(
            found, expected.values[:, :number], rtol=0, atol=0, equal_nan=True
        )
        finite = values.isfinite().all(1)
        assert torch.equal(columns[finite], expected.indices[finite, :number])


def test_more_neighbours_than_images_and_fewer_than_five_classes():
    train, labels = torch.eye(3), torch.tensor([0, 1, 1])
    results = weighted_knn(train, labels, train, labels, ks=(200,))
    assert results[200] == (100.0, 100.0)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(train_labels=torch.zeros(3)), 'train features must be'),
        (dict(test_feats=torch.zeros(0, 2)), 'test features must be'),
        (dict(test_feats=torch.zeros(4, 3)), 'test\n?.*features 3'),
        (dict(train_labels=torch.arange(-1, 3)), 'train labels .*got -1 for image 0'),
        (dict(test_labels=torch.tensor([0, 1, -100, 0])), 'test labels .*-100 .* 2'),
        (dict(ks=(0,)), r'every k must be >= 1, got \(0,\)'),
        (dict(ks=(10, 2.5)), r'every k must be >= 1, got \(10, 2.5\)'),
        (dict(ks=()), r'every k must be >= 1, got \(\)'),
        (dict(temperature=0), 'finite .* got temperature=0; .* 0.07 for k-NN'),
        (dict(temperature=-0.07), 'got temperature=-0.07'),
        (dict(temperature=float('nan')), 'got temperature=nan'),
    ],
)
def test_bad_input_is_refused(change, message):
    labels = torch.zeros(4, dtype=torch.long)
    options = dict(
        train_feats=torch.zeros(4, 2),
        train_labels=labels,
        test_feats=torch.zeros(4, 2),
        test_labels=labels,
    )
    with pytest.raises(ValueError, match=message):
        weighted_knn(**{**options, **change})


@pytest.mark.parametrize('options', [dict(ks=(20, 0)), dict(temperature=0.0)])
def test_options_are_checked_before_features_are_extracted(options):
    def never(*_):
        raise AssertionError

    with pytest.raises(ValueError, match='^knn_accuracy: '):
        knn_accuracy(never, [never, never], extract=never, **options)


def test_small_temperatures_do_not_overflow():
    """The nearest one decides, not the first class of several infinite votes."""
    train = torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, 0.01]])
    labels = torch.tensor([0, 1, 2])
    for temperature in (1e-4, 0.005, 0.07):
        found = weighted_knn(
            train,
            labels,
            train,
            labels,
            ks=(3,),
            temperature=temperature,
        )
        assert found[3][0] == 100.0


def test_matches_the_authors_program(golden):
    data = np.load(golden / 'knn.npz')
    names = ('train', 'train_labels', 'test', 'test_labels')
    tensors = [torch.from_numpy(data[name]) for name in names]
    results = weighted_knn(*tensors, ks=(10, 20, 100), temperature=0.07)
    for k, found in results.items():
        assert found == pytest.approx(tuple(data[f'top1_top5_k{k}'])), k


def test_a_labelled_folder_serves_in_place_of_the_configs_images(tmp_path):
    cfg = Config(dict(eval_pipeline=[dict(type='PackInputs')], knn_dataloader=None))
    with pytest.raises(ValueError, match='cfg.py does not say .* --data'):
        find_loaders(cfg, 'cfg.py')
    with pytest.raises(FileNotFoundError, match='no folder train; .*train/CLASS/'):
        folder_loaders(cfg, 'cfg.py', str(tmp_path))
    for path in ('train/ant', 'train/bee', 'test/ant', 'test/cow'):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / 'a.WebP').touch()
    train, test = folder_loaders(cfg, 'cfg.py', str(tmp_path))
    init_default_scope('mmpretrain')
    loaders = [build_eval_loader(part) for part in (train, test)]
    assert [len(loader.dataset) for loader in loaders] == [2, 2]
    with pytest.raises(ValueError, match='train and .*different classes: bee, cow'):
        knn_accuracy(None, loaders)
    assert train['dataset']['data_prefix'] == 'train'
    assert test['dataset'] == dict(
        type='LabeledFolder',
        data_root=str(tmp_path),
        data_prefix='test',
        pipeline=cfg.eval_pipeline,
    )
    with pytest.raises(ValueError, match='cfg.py has no eval_pipeline'):
        folder_loaders(Config(), 'cfg.py', str(tmp_path))
    # Lists with labels go before folders of the same name, if both are there.
    (tmp_path / 'train.txt').write_text('a.png 0\nb.png 1\n')
    train, test = folder_loaders(cfg, 'cfg.py', str(tmp_path))
    assert train['dataset']['data_prefix'] == 'train'
    (tmp_path / 'val.txt').write_text('c.png 1\n')
    train, test = folder_loaders(cfg, 'cfg.py', str(tmp_path))
    assert train['dataset']['ann_file'] == 'train.txt'
    assert DATASETS.build(test['dataset']).get_gt_labels().tolist() == [1]


def labelled(folder, images=4, damaged=()):
    """A folder of two classes; the class of an image shows in its brightness."""
    for number in range(images):
        path = folder / ('ant', 'bee')[number % 2] / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = 40 + 100 * (number % 2) + number
        cv2.imwrite(str(path), np.full((8, 8, 3), grey, np.uint8))
        if number in damaged:
            path.write_bytes(path.read_bytes()[:40])
    return dict(
        type='LabeledFolder',
        data_root=str(folder),
        pipeline=[dict(type='LoadImage', on_error='skip'), dict(type='PackInputs')],
    )


@pytest.fixture
def found(monkeypatch):
    """What an extraction warns of."""
    lines = []
    monkeypatch.setattr(
        extraction, 'print_log', lambda text, **options: lines.append(text)
    )
    return lines


def brightness(dataset, **options):
    """Mean grey levels and labels of a data set's images, as of a model."""
    init_default_scope('mmpretrain')
    options = dict(batch_size=3, num_workers=0) | options
    loader = build_eval_loader(dict(dataset=dataset, **options))
    model = SimpleNamespace(data_preprocessor=lambda batch, training: batch)
    return extract_features(
        model, loader, lambda images: images.float().mean((2, 3))[:, :1]
    )


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('kind', ['plain', 'test_mode', 'joined', 'repeated'])
def test_damaged_images_are_left_out_with_their_labels(tmp_path, found, kind, workers):
    # With one batch of which no image is left.
    dataset = labelled(tmp_path, 8, damaged=(0, 3, 4, 6))
    wanted = [42, 141, 145, 147]  # the ants go first
    total = 8
    if kind == 'test_mode':
        dataset['test_mode'] = True
    elif kind == 'joined':
        dataset = dict(type='ConcatDataset', datasets=[dataset, dict(dataset)])
        wanted, total = 2 * wanted, 16
    elif kind == 'repeated':
        dataset = dict(type='RepeatDataset', times=2, dataset=dataset)
        wanted, total = 2 * wanted, 16
    state = np.random.get_state()[1].copy()
    features, labels = brightness(dataset, num_workers=workers, batch_size=2)
    assert features.flatten().tolist() == wanted
    assert labels.tolist() == [int(grey > 100) for grey in wanted]
    (line,) = found
    assert line.startswith(f'{total // 2} of {total} images are damaged and left out')
    # None was drawn in place of another.
    assert (np.random.get_state()[1] == state).all()


def test_whole_images_are_not_spoken_of(tmp_path, found):
    features, labels = brightness(labelled(tmp_path), drop_last=True)
    assert features.flatten().tolist() == [40, 42, 141] and labels.tolist() == [0, 0, 1]
    assert not found


def test_nothing_but_damaged_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match='None of the 4 images could be read'):
        brightness(labelled(tmp_path, damaged=range(4)))


def test_damage_that_is_not_to_be_skipped_names_the_file(tmp_path):
    dataset = labelled(tmp_path, damaged=[1])
    dataset['pipeline'][0] = dict(type='LoadImage')
    with pytest.raises(OSError, match=r'bee/1\.png: the file is truncated'):
        brightness(dataset)
