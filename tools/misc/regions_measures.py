"""What a network of the regions experiment knows of parts of photographs unseen.

    python tools/misc/regions_measures.py CONFIG [CHECKPOINT ...] -o FILE.json

Training crops lie in the left 60 % of the photographs, all that is measured in the
right 40 %. Of the most similar matches between the regions of a crop and of a copy the
shares at the true place are means over crops and copies, in percent.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.device import get_device
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from esvit_plugin import get_model
from esvit_plugin.datasets import BundledPhotos
from esvit_plugin.engine.checkpoints import atomic_file
from esvit_plugin.engine.cli import run_tool
from esvit_plugin.evaluation import match_regions, prepare_images, weighted_knn
from esvit_plugin.evaluation.view_pairs import COPIES, MIRRORED, copy_of

CROP, VIEW, BATCH = 128, 112, 64
# They look alike everywhere, so that no region of theirs has one place.
TEXTURES = ('brick', 'grass', 'gravel')
NUM_COPIES = 3


class Crops(NamedTuple):
    """Crops at the size of a view.

    Args:
        images: RGB uint8 arrays.
        names: Their photographs.
        labels: The numbers of these.
    """

    images: list[np.ndarray]
    names: list[str]
    labels: Tensor


def crops_of(split: str) -> Crops:
    """The crops of the left or the right part of all photographs."""
    data = BundledPhotos(split=split, crop_size=CROP, pipeline=[])
    records = [data.get_data_info(index) for index in range(len(data))]
    images = [
        np.asarray(
            Image.fromarray(record['img'][..., ::-1]).resize(
                (VIEW, VIEW), Image.Resampling.BICUBIC
            )
        )
        for record in records
    ]
    names = [record['img_path'].split('#')[0] for record in records]
    labels = torch.tensor([record['gt_label'] for record in records])
    return Crops(images, names, labels)


@torch.no_grad()
def encode(model: Any, images: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """The teacher's views (N, C) and regions (N, T, C)."""
    parts = [
        model.encode(
            prepare_images(list(images[start : start + BATCH]), model, resize=False)
        )
        for start in range(0, len(images), BATCH)
    ]
    views, regions = zip(*parts, strict=True)
    return torch.cat(views).cpu(), torch.cat(regions).cpu()


def correspondence(
    regions: Tensor, others: Sequence[Tensor], chosen: np.ndarray
) -> tuple[float, float]:
    """Shares of the 10 most similar and of all matches at the mirrored place."""
    side = int(regions.shape[1] ** 0.5)
    found = [
        match_regions(
            regions[index].unflatten(0, (side, side)),
            other[index].unflatten(0, (side, side)),
            place=MIRRORED,
        )
        for other in others
        for index in np.flatnonzero(chosen)
    ]
    tops, everything = zip(*((m.accuracy, m.accuracy_all) for m in found), strict=True)
    return float(np.mean(tops)), float(np.mean(everything))


def measure(
    model: Any, train: Crops, test: Crops, copies: dict[str, list[list[np.ndarray]]]
) -> dict[str, float]:
    """All measures of a model."""
    views, regions = encode(model, test.images)
    sets = encode(model, train.images)[0], train.labels, views, test.labels
    values = {'knn': weighted_knn(*sets, ks=(20,))[20][0], 'linear': linear(*sets)}
    unit = F.normalize(regions, dim=-1)
    count = regions.shape[1]
    # Of different regions of one crop.
    cosines = (unit @ unit.transpose(1, 2)).sum((1, 2)) - count
    values['likeness'] = 100 * float(cosines.mean()) / (count * (count - 1))
    texture = np.isin(test.names, TEXTURES)
    for kind, seen in copies.items():
        others = [encode(model, images)[1] for images in seen]
        for name, chosen in (('', ~texture), ('_textures', texture)):
            shares = correspondence(regions, others, chosen)
            values[f'{kind}{name}'], values[f'{kind}_all{name}'] = shares
    return values


def linear(train: Tensor, train_labels: Tensor, test: Tensor, labels: Tensor) -> float:
    """Accuracy of a logistic regression on standardised features, in percent."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, C=0.01))
    probe.fit(train.numpy(), train_labels.numpy())
    return 100 * float(probe.score(test.numpy(), labels.numpy()))


def main() -> None:
    """Measure checkpoints, and write what was found, a dict of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoints', nargs='*', help='default: random weights')
    parser.add_argument('--seed', type=int, default=0, help='of random weights')
    parser.add_argument('-o', '--out', required=True)
    args = parser.parse_args()
    train, test = crops_of('train'), crops_of('test')
    copies = {
        kind: [
            [
                copy_of(image, kind, np.random.default_rng([number, index]))
                for index, image in enumerate(test.images)
            ]
            for number in range(NUM_COPIES)
        ]
        for kind in COPIES
    }
    found = []
    for checkpoint in args.checkpoints or [None]:
        torch.manual_seed(args.seed)
        model = get_model(args.config, checkpoint).to(get_device())
        found.append(measure(model, train, test, copies))
        print(checkpoint, json.dumps(found[-1]))
    with atomic_file(args.out) as part:
        Path(part).write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    run_tool(main)
