"""Write the balanced selection of Open Images, for OpenImages(selection=...).

Reads image-level labels (train-annotations-human-imagelabels.csv, verified by people,
train-annotations-machine-imagelabels.csv, or both), counts the images of each class and
writes the ImageIDs, one per line, of the images with at least one class of at least
--min-images images. A class that several rows or files give to the same image counts it
once, wherever the rows are. Labels with a lower confidence than --min-confidence do not
count, such as those that people have rejected (0); the column Source is not looked at.
Prints what it keeps, and the epochs that see as many images as 300 of ImageNet-1K. It
takes about 30 bytes of memory per label that counts.
"""

import argparse

from ..datasets.openimages_files import balanced_images, equal_epochs
from ..engine.checkpoints import atomic_file
from ..engine.cli import check_at_least, check_output


def main() -> None:
    """Read LABELS and write the selection."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'labels', nargs='+', metavar='LABELS', help='CSV files of image-level labels'
    )
    parser.add_argument(
        '-o',
        '--out',
        required=True,
        help='text file to write, e.g. data/openimages/train-balanced.txt',
    )
    parser.add_argument(
        '--min-images',
        type=int,
        default=1000,
        help='images that a class needs; default 1000',
    )
    parser.add_argument(
        '--min-confidence',
        type=float,
        default=0.5,
        help='confidence that a label needs, above 0 and up to 1; default 0.5',
    )
    args = parser.parse_args()
    check_at_least(1, min_images=args.min_images)
    if not 0 < args.min_confidence <= 1:
        raise ValueError(
            '--min-confidence must be above 0 and at most 1, got '
            f'{args.min_confidence}; labels with 0 say what is not there.'
        )
    check_output(args.out, *args.labels)
    selection = balanced_images(args.labels, args.min_images, args.min_confidence)
    ids = selection.ids
    with atomic_file(args.out) as path, open(path, 'w', encoding='utf-8') as file:
        file.writelines(f'{ids[i]}\n' for i in range(len(ids)))
    print(
        f'{args.out}: {len(ids)} of {selection.num_images} images, of the '
        f'{selection.num_kept} of {selection.num_classes} classes with at least '
        f'{args.min_images} images'
    )
    print(
        'As many images as in 300 epochs of ImageNet-1K: '
        f'train_cfg.max_epochs={equal_epochs(len(ids))}'
    )
