"""Small data sets in the layouts of the real ones."""

from pathlib import Path

import cv2
import numpy as np


def write_image(path: Path, seed: int = 0) -> None:
    """Write a picture of smooth random colours, 120 x 160 px."""
    rng = np.random.RandomState(seed)
    coarse = rng.randint(0, 256, (6, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(coarse, (160, 120), interpolation=2))


def imagenet(root: Path, images: int = 2) -> Path:
    """ImageNet-1K with lists, as mmpretrain's ``ImageNet`` reads it."""
    for number, split in enumerate(('train', 'val')):
        lines = []
        for i in range(images):
            name = f'n{i:04d}/{i}.JPEG' if split == 'train' else f'{i}.JPEG'
            write_image(root / split / name, 10 * number + i)
            lines.append(f'{name} {i}')
        (root / 'meta').mkdir(parents=True, exist_ok=True)
        (root / 'meta' / f'{split}.txt').write_text('\n'.join(lines))
    return root


def webvision(root: Path) -> Path:
    """WebVision 1.0 with one image of each source."""
    for number, source in enumerate(('google', 'flickr')):
        name = f'{source}/q0001/a.jpg'
        write_image(root / name, number)
        path = root / 'info' / f'train_filelist_{source}.txt'
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{name} 3\n')
    return root


def openimages(root: Path) -> Path:
    """Open Images with one image, which is selected."""
    write_image(root / 'train' / '000a1249af2bc5f0.jpg')
    (root / 'image_ids_and_rotation.csv').write_text(
        'ImageID,Subset\n000a1249af2bc5f0,train\n'
    )
    (root / 'train-balanced.txt').write_text('000a1249af2bc5f0\n')
    return root


def folder(root: Path) -> Path:
    """A folder of one image."""
    write_image(root / 'n01440764' / 'a.JPEG')
    return root
