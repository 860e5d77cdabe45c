"""Images per second and core of multi-crop pipelines, from JPEG bytes to views.

    python benchmarks/multi_crop.py
    python benchmarks/multi_crop.py --size 2000 1500 --min-side 500

Every pipeline makes the paper's 2 views of 224 px and 8 of 96 px, augmented, of the
photographs that scikit-image and scikit-learn ship, scaled to one size and saved as
JPEG. A round takes all photographs through each pipeline in turn, so that noise hits
all alike; the table shows medians over rounds. Time is CPU time of this process, which
runs on one thread, so other programs of the machine matter little. torchvision's and
lightly's views are normalised too; ours are uint8 until they are on the device, whose
part for ``DeviceMultiCrop``, here done by the CPU, is the last row.
"""

import argparse
import io
import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose, default_collate
from mmpretrain.datasets.transforms import PackInputs
from PIL import Image, ImageFilter
from torchvision import transforms as T

from esvit_plugin.datasets import (
    PHOTO_NAMES,
    DeviceMultiCrop,
    LoadImageFromBytes,
    MultiCrop,
    load_photo,
)
from esvit_plugin.models import MultiCropDataPreprocessor

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
BASE = 'torchvision, PIL'
Pipeline = Callable[[Sequence[bytes]], Any]


def jpegs(width: int, height: int, quality: int = 90) -> list[bytes]:
    """Return the photographs as JPEG files of one size."""
    files = []
    for name in PHOTO_NAMES:
        photo = Image.fromarray(load_photo(name, height))
        file = io.BytesIO()
        scaled = photo.resize((width, height), Image.Resampling.BICUBIC)
        scaled.save(file, 'JPEG', quality=quality)
        files.append(file.getvalue())
    return files


def pil_blur(image: Image.Image) -> Image.Image:
    """Blur by a random radius."""
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def torchvision_pipeline() -> Pipeline:
    """Multi-crop of Pillow images by torchvision's transforms, as DINO's users do."""

    def view(
        size: int, scale: tuple[float, float], blur: float, solarize: float
    ) -> Any:
        return T.Compose(
            [
                T.RandomResizedCrop(
                    size, scale, interpolation=T.InterpolationMode.BICUBIC
                ),
                T.RandomHorizontalFlip(),
                T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
                T.RandomGrayscale(0.2),
                T.RandomApply([T.Lambda(pil_blur)], p=blur),
                T.RandomSolarize(128, p=solarize),
                T.ToTensor(),
                T.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
            ]
        )

    views = [view(224, (0.4, 1), 1, 0), view(224, (0.4, 1), 0.1, 0.2)]
    views += [view(96, (0.05, 0.4), 0.5, 0)] * 8

    def run(files: Sequence[bytes]) -> None:
        for file in files:
            image = Image.open(io.BytesIO(file)).convert('RGB')
            for transform in views:
                transform(image)

    return run


def lightly_pipeline() -> Pipeline | None:
    """The DINO transform of lightly; None if it is not installed."""
    try:
        from lightly.transforms import DINOTransform
    except ImportError:
        return None
    transform = DINOTransform(
        n_local_views=8,
    )

    def run(files: Sequence[bytes]) -> None:
        for file in files:
            transform(Image.open(io.BytesIO(file)).convert('RGB'))

    return run


def own_pipeline(transform: MultiCrop, min_side: int | None) -> Pipeline:
    """Loading, one of our transforms, and packing."""
    transform.set_epoch(0, 0)
    steps = Compose([LoadImageFromBytes(min_side=min_side), transform, PackInputs()])

    def run(files: Sequence[bytes]) -> list[dict]:
        return [
            steps(dict(img_bytes=file, img_path=str(i), sample_idx=i))
            for i, file in enumerate(files)
        ]

    return run


def decoding(files: Sequence[bytes]) -> None:
    """Decode in full by OpenCV, and nothing else."""
    for file in files:
        cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)


def main() -> None:
    """Time all pipelines and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--size', type=int, nargs=2, default=(500, 375), help='width and height'
    )
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument(
        '--min-side', type=int, help="LoadImage's option for scaled decoding"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    random.seed(0)
    torch.manual_seed(0)
    files = jpegs(*args.size)

    on_device = own_pipeline(DeviceMultiCrop(), args.min_side)
    batch = default_collate(on_device(files))
    finish = MultiCropDataPreprocessor(mean=MEAN, std=STD, to_rgb=True)
    pipelines: dict[str, Pipeline | None] = {
        'decoding only, OpenCV': decoding,
        BASE: torchvision_pipeline(),
        'lightly, DINOTransform': lightly_pipeline(),
        'MultiCrop': own_pipeline(MultiCrop(), args.min_side),
        'DeviceMultiCrop, workers': on_device,
        'DeviceMultiCrop, device = CPU': lambda _: finish(batch),
    }
    times: dict[str, list[float]] = {name: [] for name in pipelines}
    for number in range(args.rounds + 1):
        for name, run in pipelines.items():
            if run is None:
                continue
            start = time.process_time()
            run(files)
            if number:  # the first round warms up
                times[name].append((time.process_time() - start) / len(files))
    width, height = args.size
    print(
        f'{len(files)} JPEGs of {width}x{height} px, {args.rounds} rounds, one thread; '
        f'OpenCV {cv2.__version__}, torch {torch.__version__}'
    )
    print(f'{"pipeline":30}{"ms/image":>10}{"fastest":>10}{"images/s":>10}{"ratio":>8}')
    for name, spent in times.items():
        if not spent:
            print(f'{name:30}{"not installed":>15}')
            continue
        middle = median(spent)
        # Of the same round each, so that a slow spell hits both sides of a ratio.
        ratio = median(a / b for a, b in zip(times[BASE], spent, strict=True))
        print(
            f'{name:30}{middle * 1e3:10.2f}{min(spent) * 1e3:10.2f}'
            f'{1 / middle:10.1f}{ratio:7.2f}x'
        )


if __name__ == '__main__':
    main()
