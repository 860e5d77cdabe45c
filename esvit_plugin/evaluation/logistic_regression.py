"""Logistic regression on frozen features, the paper's transfer evaluation."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

# 8 values per factor of ten, from 1e-6 to 1e6.
REGULARIZATIONS = np.logspace(-6, 6, 97)
IGNORED = -1
_Split = tuple[np.ndarray, np.ndarray]


class ProbeResult(NamedTuple):
    """What a probe found.

    Args:
        value: The metric on the test images, in percent.
        best_c: Inverse strength of the regularisation, chosen on the validation images.
        sweep: The metric on the validation images, in percent, for each C tried.
    """

    value: float
    best_c: float
    sweep: dict[float, float]


def logistic_probe(
    train: Any,
    train_labels: Any,
    val: Any,
    val_labels: Any,
    test: Any,
    test_labels: Any,
    metric: str = 'accuracy',
    regularizations: Sequence[float] | np.ndarray = REGULARIZATIONS,
    max_iter: int = 1000,
) -> ProbeResult:
    """Fit logistic regressions on features, choose one, and test it (Section 4).

    The regularisation is chosen on the validation images as CLIP's protocol (arXiv
    2103.00020, Appendix A.3) does: first widely spaced values of C, then ever closer
    ones around the best. The final classifier is fitted to training and validation
    images together. The result depends on the arguments alone.

    Args:
        train: Features (N, C), a tensor on the CPU or an array, taken as they are.
        train_labels: Classes (N,), integers. For 'map11' (N, K), where 1 means that
            the class is there, 0 that it is not, and -1 that the image does not count
            for this class.
        val: Features (M, C) that choose the regularisation.
        val_labels: Their classes.
        test: Features (L, C).
        test_labels: Their classes.
        metric: 'accuracy' (default); 'mean_per_class', the mean of the accuracies of
            the classes; 'roc_auc', the area under the ROC curve of two classes; or
            'map11', one classifier per class, the mean of their 11-point average
            precisions (VOC2007).
        regularizations: Values of C, ascending. Defaults to 97 from 1e-6 to 1e6.
        max_iter: Most iterations of L-BFGS. Defaults to 1000.

    Returns:
        The metric on the test images, the best C (of equal ones the smallest), and
        the sweep.

    Raises:
        ImportError: If scikit-learn is missing.
        ValueError: If shapes do not fit, a value is not finite, the metric is unknown,
            or the labels do not suit it.

    Example:
        >>> value, best_c, sweep = logistic_probe(
        ...     train, train_labels, val, val_labels, test, test_labels
        ... )
    """
    check_sklearn()
    if metric not in METRICS:
        raise ValueError(
            f'logistic_probe: metric must be one of {", ".join(METRICS)}, got '
            f'{metric!r}.'
        )
    values = np.asarray(regularizations, np.float64)
    if not len(values) or values.min() <= 0 or (np.diff(values) <= 0).any():
        raise ValueError(
            'logistic_probe: regularizations must be positive and ascend, got '
            f'{values}.'
        )
    splits = [
        _checked(name, feats, labels, metric)
        for name, feats, labels in (
            ('train', train, train_labels),
            ('val', val, val_labels),
            ('test', test, test_labels),
        )
    ]
    _check_fit(splits, metric)

    def evaluate(c: float, fitted: _Split, tested: _Split) -> float:
        scores = _fit_scores(c, fitted, tested[0], metric, max_iter)
        return 100 * METRICS[metric](scores, tested[1])

    sweep = search(lambda c: evaluate(c, splits[0], splits[1]), values)
    best = max(sweep, key=lambda c: (sweep[c], -c))
    both = (
        np.concatenate([splits[0][0], splits[1][0]]),
        np.concatenate([splits[0][1], splits[1][1]]),
    )
    return ProbeResult(evaluate(best, both, splits[2]), best, sweep)


def check_sklearn() -> None:
    """Refuse to go on without scikit-learn.

    Raises:
        ImportError: If it is missing.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Logistic regression needs scikit-learn: pip install 'scikit-learn>=1.3'"
        ) from error


def search(
    evaluate: Callable[[float], float], values: Sequence[float] | np.ndarray
) -> dict[float, float]:
    """Look for the best of ascending values without trying all.

    About every sixth part of the range is tried first; then, with half the distance
    each time, the two neighbours of the best.

    Args:
        evaluate: Function from a value to its score; higher is better.
        values: The values, ascending.

    Returns:
        The scores of the values that were tried, ascending.
    """
    last = len(values) - 1
    # A power of two, so that the distance ends at 1.
    step = 2 ** max(0, int(np.log2(max(1, last / 6))))
    scores = {i: evaluate(float(values[i])) for i in {*range(0, last, step), last}}
    while step > 1:
        step //= 2
        # Of equal ones the smaller, as in the choice at the end.
        best = max(scores, key=lambda i: (scores[i], -i))
        for i in (best - step, best + step):
            if 0 <= i <= last and i not in scores:
                scores[i] = evaluate(float(values[i]))
    return {float(values[i]): scores[i] for i in sorted(scores)}


def _checked(name: str, feats: Any, labels: Any, metric: str) -> _Split:
    """Features and labels as arrays, after checking their shapes."""
    feats, labels = np.asarray(feats), np.asarray(labels)
    dims, form = (2, '(N, K)') if metric == 'map11' else (1, '(N,)')
    if (
        feats.ndim != 2
        or labels.ndim != dims
        or len(feats) != len(labels)
        or not len(feats)
    ):
        raise ValueError(
            f'logistic_probe: {name} features must be (N, C) and labels {form} with '
            f'N > 0 for {metric}, got {feats.shape} and {labels.shape}.'
        )
    if not np.isfinite(feats).all():
        row = int(np.isfinite(feats).all(1).argmin())
        raise ValueError(
            f'logistic_probe: the {name} features of image {row} are not finite; the '
            'checkpoint may be one of a diverged training.'
        )
    return feats, labels


def _check_fit(splits: list[_Split], metric: str) -> None:
    """Refuse splits that do not fit each other or the metric."""
    widths = [feats.shape[1] for feats, _ in splits]
    if len(set(widths)) > 1:
        raise ValueError(
            'logistic_probe: train, val and test features differ in their channels: '
            f'{widths}.'
        )
    train_labels = splits[0][1]
    if metric == 'map11':
        counts = [labels.shape[1] for _, labels in splits]
        if len(set(counts)) > 1:
            raise ValueError(
                'logistic_probe: train, val and test labels differ in their number of '
                f'classes: {counts}.'
            )
        for k, column in enumerate(train_labels.T):
            if not {0, 1} <= set(column.tolist()):
                raise ValueError(
                    f'logistic_probe: class {k} needs training images that show it '
                    'and others that do not.'
                )
        columns: Any = [('val', splits[1][1]), ('test', splits[2][1])]
        for name, labels in columns:
            if not (labels == 1).any():
                raise ValueError(f'logistic_probe: no {name} image shows any class.')
        return
    if len(np.unique(train_labels)) < 2:
        raise ValueError(
            'logistic_probe: the training images need two classes or more, all are of '
            f'{np.unique(train_labels)}.'
        )
    for name, (_, labels) in zip(('train', 'val', 'test'), splits, strict=True):
        if metric == 'roc_auc' and set(labels.tolist()) != {0, 1}:
            raise ValueError(
                f'logistic_probe: roc_auc needs both classes 0 and 1, the {name} '
                f'images are of {np.unique(labels)[:9]}.'
            )


def _fit_scores(
    c: float,
    split: _Split,
    tested: np.ndarray,
    metric: str,
    max_iter: int,
) -> np.ndarray:
    """Fit one C; classes (M,), scores of class 1 (M,), or of all classes (M, K)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    feats, labels = split

    def fit(rows: Any, targets: np.ndarray) -> Any:
        classifier = LogisticRegression(C=c, solver='lbfgs', max_iter=max_iter)
        return classifier.fit(feats[rows], targets[rows])

    with warnings.catch_warnings():
        # The protocol stops after max_iter, weak regularisation rarely converges.
        warnings.simplefilter('ignore', ConvergenceWarning)
        if metric == 'map11':
            columns = [fit(y != IGNORED, y).decision_function(tested) for y in labels.T]
            return np.stack(columns, axis=1)
        classifier = fit(slice(None), labels)
    if metric == 'roc_auc':
        return classifier.decision_function(tested)
    return classifier.predict(tested)


def _accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    return float((predicted == labels).mean())


def _mean_per_class(predicted: np.ndarray, labels: np.ndarray) -> float:
    hits = predicted == labels
    return float(np.mean([hits[labels == k].mean() for k in np.unique(labels)]))


def _roc_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores))


def _map11(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the classes' 11-point average precisions; classes never seen are out."""
    precisions = []
    for score, label in zip(scores.T, labels.T, strict=True):
        counted = label != IGNORED
        positive = label[counted] == 1
        if positive.any():
            order = np.argsort(-score[counted], kind='stable')
            hits = positive[order].cumsum()
            precision = hits / np.arange(1, len(hits) + 1)
            # In integers: 0.1 steps would miss recalls that rounding lowers.
            reached = [10 * hits >= t * hits[-1] for t in range(11)]
            precisions.append(np.mean([precision[rows].max() for rows in reached]))
    return float(np.mean(precisions))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = dict(
    accuracy=_accuracy,
    mean_per_class=_mean_per_class,
    roc_auc=_roc_auc,
    map11=_map11,
)
