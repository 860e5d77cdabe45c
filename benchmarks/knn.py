"""Weighted k-NN: ours in blocks, all similarities at once, and scikit-learn.

python benchmarks/knn.py
python benchmarks/knn.py --train 1281167 --test 50000 --only ours --rounds 1
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import add_options, measure, show
from torch import Tensor

from esvit_plugin.evaluation import weighted_knn

TEMPERATURE = 0.07


def features(args: argparse.Namespace, device: torch.device) -> list[Tensor]:
    """Made-up features and labels of training and test images."""
    sets: list[Tensor] = []
    for number in (args.train, args.test):
        sets.append(torch.randn(number, args.channels, device=device))
        sets.append(torch.randint(args.classes, (number,), device=device))
    return sets


def ours(args: argparse.Namespace, device: torch.device) -> Callable[[], object]:
    """Block by block over test and training images."""
    sets = features(args, device)
    return lambda: weighted_knn(*sets, ks=(args.k,), temperature=TEMPERATURE)


def plain(args: argparse.Namespace, device: torch.device) -> Callable[[], object]:
    """One matrix of all similarities."""
    train, labels, test, _ = features(args, device)

    def step() -> Tensor:
        similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
        weights, neighbours = similarity.topk(args.k, dim=1)
        votes = weights.new_zeros(len(test), args.classes)
        votes.scatter_add_(1, labels[neighbours], (weights / TEMPERATURE).exp())
        return votes.argmax(1)

    return step


def sklearn(args: argparse.Namespace, device: torch.device) -> Callable[[], object]:
    """``KNeighborsClassifier`` with the same weights."""
    from sklearn.neighbors import KNeighborsClassifier

    train, labels, test, _ = (part.cpu().numpy() for part in features(args, device))
    knn = KNeighborsClassifier(
        args.k,
        weights=lambda distance: (
            torch.tensor((1 - distance) / TEMPERATURE).exp().numpy()
        ),
        metric='cosine',
        algorithm='brute',
    )
    return lambda: knn.fit(train, labels).predict(test)


VARIANTS = {'plain': plain, 'scikit-learn': sklearn, 'ours': ours}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--train', type=int, default=50000, help='images that vote')
    parser.add_argument('--test', type=int, default=5000, help='images to classify')
    parser.add_argument('--channels', type=int, default=768)
    parser.add_argument('--classes', type=int, default=1000)
    parser.add_argument('-k', type=int, default=20)
    add_options(parser, VARIANTS)
    args = parser.parse_args()
    title = f'{args.k}-NN, {args.test} among {args.train}, {args.channels} channels'
    show(measure(args, VARIANTS), 'plain', title)


if __name__ == '__main__':
    main()
