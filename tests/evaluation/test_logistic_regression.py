"""Logistic regression on features, against plain versions."""

import sys
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from esvit_plugin.evaluation import logistic_probe
from esvit_plugin.evaluation.logistic_regression import METRICS, search

FEW = (0.001, 0.1, 10.0)


def made_up(num_classes=3, size=(60, 45, 50), seed=0):
    """Noisy clusters: features and labels of three splits, classes of unequal size."""
    rng = np.random.RandomState(seed)
    centers = rng.randn(num_classes, 5)
    parts = []
    for n in size:
        labels = np.minimum(rng.randint(0, num_classes + 1, n), num_classes - 1)
        parts += [centers[labels] + 1.5 * rng.randn(n, 5), labels]
    return parts


def plain_map11(scores, labels):
    """11-point average precision, with loops over ranks and recalls."""
    found = []
    for k in range(labels.shape[1]):
        ranked = sorted(range(len(scores)), key=lambda i: (-scores[i, k], i))
        ranked = [labels[i, k] for i in ranked if labels[i, k] != -1]
        total = ranked.count(1)
        if not total:
            continue
        points = [
            (ranked[:n].count(1), ranked[:n].count(1) / n)
            for n in range(1, len(ranked) + 1)
        ]
        best = [
            max(p for hits, p in points if 10 * hits >= t * total) for t in range(11)
        ]
        found.append(sum(best) / 11)
    return sum(found) / len(found)


def plain_metric(name, classifier, feats, labels):
    if name == 'roc_auc':
        return roc_auc_score(labels, classifier.predict_proba(feats)[:, 1])
    hits = classifier.predict(feats) == labels
    if name == 'accuracy':
        return hits.mean()
    return np.mean([hits[labels == k].mean() for k in set(labels)])


@pytest.mark.parametrize('metric', ['accuracy', 'mean_per_class', 'roc_auc'])
def test_equals_a_plain_sweep(metric):
    x, y, vx, vy, tx, ty = made_up(2 if metric == 'roc_auc' else 3)
    found = logistic_probe(x, y, vx, vy, tx, ty, metric, FEW)
    expected = {
        c: 100
        * plain_metric(metric, LogisticRegression(C=c, max_iter=1000).fit(x, y), vx, vy)
        for c in FEW
    }
    assert found.sweep == pytest.approx(expected)
    assert found.best_c == max(FEW, key=lambda c: (expected[c], -c))
    final = LogisticRegression(C=found.best_c, max_iter=1000)
    final.fit(np.concatenate([x, vx]), np.concatenate([y, vy]))
    assert found.value == pytest.approx(100 * plain_metric(metric, final, tx, ty))


def test_several_classes_per_image_equal_plain_classifiers():
    x, y, vx, vy, tx, ty = made_up(3, seed=1)
    labels = [np.eye(3, dtype=int)[part] for part in (y, vy, ty)]
    rng = np.random.RandomState(0)
    for part in labels:
        part[rng.rand(*part.shape) < 0.2] = 1
        part[rng.rand(*part.shape) < 0.1] = -1
    y, vy, ty = labels
    found = logistic_probe(x, y, vx, vy, tx, ty, 'map11', FEW)

    def plain(c, feats, labels, tested):
        scores = []
        for column in labels.T:
            rows = column != -1
            one = LogisticRegression(C=c, max_iter=1000)
            scores.append(one.fit(feats[rows], column[rows]).decision_function(tested))
        return np.stack(scores, 1)

    expected = {c: 100 * plain_map11(plain(c, x, y, vx), vy) for c in FEW}
    assert found.sweep == pytest.approx(expected)
    scores = plain(found.best_c, np.concatenate([x, vx]), np.concatenate([y, vy]), tx)
    assert found.value == pytest.approx(100 * plain_map11(scores, ty))


def test_average_precision_is_that_of_voc():
    # Hits at ranks 1 and 3: precision 1 up to recall 0.5, then 2/3.
    scores, labels = np.array([[4.0], [3], [2], [1]]), np.array([[1], [0], [1], [0]])
    assert METRICS['map11'](scores, labels) == pytest.approx((6 + 5 * 2 / 3) / 11)
    rng = np.random.RandomState(0)
    for _ in range(20):
        scores, labels = rng.randn(30, 4), rng.randint(-1, 2, (30, 4))
        found = METRICS['map11'](scores, labels)
        assert found == pytest.approx(plain_map11(scores, labels))


@pytest.mark.parametrize('peak', [0, 5, 33, 50, 96])
def test_the_search_finds_a_peak_with_few_tries(peak):
    values = np.logspace(-6, 6, 97)
    tried = []

    def score(value):
        tried.append(value)
        return -abs(np.log10(value) - np.log10(values[peak]))

    found = search(score, values)
    assert max(found, key=found.get) == values[peak]
    assert len(tried) == len(set(tried)) == len(found) <= 7 + 2 * 4
    # The coarse values are those of every second power of ten.
    assert {round(np.log10(v)) for v in tried[:7]} == set(range(-6, 7, 2))


@pytest.mark.parametrize('number', [1, 2, 5, 13, 30])
def test_the_search_stays_inside_any_range(number):
    found = search(lambda value: value, np.arange(number) + 1.0)
    assert max(found) == number
    assert list(found) == sorted(found)


def test_tensors_give_the_same_every_time():
    parts = [torch.as_tensor(part) for part in made_up()]
    first, second = (logistic_probe(*parts, max_iter=50) for _ in range(2))
    assert first == second
    assert first == logistic_probe(*(part.numpy() for part in parts), max_iter=50)
    assert first.value > 50


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(metric='top1'), "one of accuracy, .* got 'top1'"),
        (dict(regularizations=(1, 0.1)), 'must be positive and ascend'),
        (dict(train_labels=np.zeros(60)), 'need two classes or more'),
        (dict(val_labels=np.zeros(3)), r'val features .* got \(45, 5\) and \(3,\)'),
        (dict(test=np.zeros((50, 4))), r'differ in their channels: \[5, 5, 4\]'),
        (dict(train=np.full((60, 5), np.nan)), 'train features of image 0 are not'),
        (dict(metric='roc_auc'), 'needs both classes 0 and 1, the train'),
        (dict(metric='map11'), r'labels \(N, K\)'),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    names = ('train', 'train_labels', 'val', 'val_labels', 'test', 'test_labels')
    with pytest.raises(ValueError, match=message):
        logistic_probe(**dict(zip(names, made_up())) | change)


def test_classes_without_examples_are_refused():
    x, y, vx, vy, tx, ty = made_up(2)
    y, vy, ty = (np.eye(3, dtype=int)[part] for part in (y, vy, ty))
    with pytest.raises(ValueError, match='class 2 needs training images that show it'):
        logistic_probe(x, y, vx, vy, tx, ty, 'map11')


def test_a_missing_package_is_named():
    with (
        mock.patch.dict(sys.modules, sklearn=None),
        pytest.raises(ImportError, match="pip install 'scikit-learn"),
    ):
        logistic_probe(*made_up())
