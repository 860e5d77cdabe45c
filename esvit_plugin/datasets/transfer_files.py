"""Data sets of the transfer evaluation that come as image files with lists."""

import json
import os
from typing import Any

from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from .folder import EXTENSIONS
from .paths import inside, printable, walk_files, warn_of_skipped
from .text_files import read_columns, read_lines
from .transfer import check_split, transfer_path

GTSRB_ARCHIVES = 'the unpacked GTSRB_Final_* archives'
GTSRB_TEST_LABELS = 'the list with labels of GTSRB_Final_Test_GT.zip'
UCF101_LISTS = 'the unpacked UCF101TrainTestSplits-RecognitionTask.zip'
UCF101_FRAMES = (
    'one image per video, <class>/<video>.jpg, or a folder of frames, <class>/<video>/,'
)
MEMES_ARCHIVE = 'the unpacked hateful_memes.zip'


class _ListedImages(BaseDataset):
    """A data set whose list is read from its own files."""

    splits: tuple[str, ...] = ('train', 'test')

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        self.split = check_split(type(self).__name__, split, self.splits)
        root = os.path.expanduser(data_root)
        super().__init__(ann_file='', data_root=root, **kwargs)

    def path(self, *names: str, download: str) -> str:
        """Return a path below the folder, after checking that it is there."""
        name = type(self).__name__
        return transfer_path(name, self.data_root, *names, download=download)


@DATASETS.register_module()
class GTSRB(_ListedImages):
    """German traffic signs of 43 classes, whole images as they come.

    The training images are at ``{data_root}/Final_Training/Images/{class}/``, each
    folder with ``GT-{class}.csv``, the test images at ``Final_Test/Images/``, and their
    labels in ``GT-final_test.csv`` there or in ``data_root``. Training records have
    the ``group`` of their track, some 30 images of one sign, for ``HeldOut``.

    Args:
        data_root: The folder.
        split: 'train' (default) or 'test'.
        **kwargs: Others of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If the folder or a list is missing.
        ValueError: If the split is unknown, or a row is malformed or leads out of the
            folder (with the line).
    """

    def load_data_list(self) -> list[dict]:
        """Return one record per image, in the order of the lists."""
        if self.split == 'test':
            folder = self.path('Final_Test', 'Images', download=GTSRB_ARCHIVES)
            lists = [
                os.path.join(place, 'GT-final_test.csv')
                for place in (folder, self.data_root)
            ]
            # The archive of the images itself has a list without labels.
            path = next(filter(os.path.isfile, lists), '') or self.path(
                'GT-final_test.csv', download=GTSRB_TEST_LABELS
            )
            return self._read(path, folder)
        root = self.path('Final_Training', 'Images', download=GTSRB_ARCHIVES)
        names = sorted(n for n in os.listdir(root) if n.isdecimal())
        data_list = []
        for name in names:
            parts = ('Final_Training', 'Images', name, f'GT-{name}.csv')
            path = self.path(*parts, download=GTSRB_ARCHIVES)
            for record in self._read(path, os.path.join(root, name)):
                track = os.path.basename(record['img_path']).partition('_')[0]
                data_list.append(record | dict(group=track))
        if not data_list:
            raise ValueError(
                f'GTSRB found no class folder in {printable(root)}: put '
                f'{GTSRB_ARCHIVES} there'
            )
        return data_list

    def _read(self, path: str, folder: str) -> list[dict]:
        """Records of one list."""
        records = []
        rows = read_columns(
            path,
            ('Filename', 'ClassId'),
            hint=f'put {GTSRB_ARCHIVES} there, and {GTSRB_TEST_LABELS}',
            delimiter=';',
        )
        for line, (name, label) in rows:
            place = f'{printable(path)}, line {line}'
            if not label.isdecimal():
                raise ValueError(
                    f'{place} needs a Filename and an integer ClassId, got '
                    f'{name!r} and {label!r}'
                )
            image = inside(folder, name, place)
            records.append(dict(img_path=image, gt_label=int(label)))
        return records


@DATASETS.register_module()
class UCF101Frames(_ListedImages):
    """The middle frames of UCF101's videos of 101 actions.

    The lists of the three official splits, ``trainlist01.txt``... and
    ``classInd.txt``, are in ``{data_root}/ucfTrainTestlist``; below
    ``{data_root}/frames`` each video has an image ``{class}/{video}.jpg`` (or .png...),
    or a folder ``{class}/{video}/`` of frames, of which the middle one by name counts.
    Records have the ``group`` of their film, for ``HeldOut``.

    Args:
        data_root: The folder.
        split: 'train' (default) or 'test'.
        fold: Which official split, 1 (default), 2 or 3.
        **kwargs: Others of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If a list or a frame is missing.
        ValueError: If the split or fold is unknown, or a line is malformed or leads
            out of the folder.
    """

    def __init__(
        self, data_root: str, split: str = 'train', fold: int = 1, **kwargs: Any
    ) -> None:
        if fold not in (1, 2, 3):
            raise ValueError(f"UCF101Frames's fold must be 1, 2 or 3, got {fold!r}")
        self.fold = fold
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one record per video, in the order of the list."""
        labels = {}
        for place, parts in self._lines('classInd.txt'):
            if len(parts) != 2 or not parts[0].isdecimal():
                raise ValueError(f"{place} must be 'number class', got {parts}")
            labels[parts[1]] = int(parts[0]) - 1
        frames = self.path('frames', download=UCF101_FRAMES)
        data_list = []
        skipped: list[str] = []
        for place, parts in self._lines(f'{self.split}list{self.fold:02d}.txt'):
            action, slash, video = parts[0].partition('/')
            if not slash or action not in labels:
                raise ValueError(
                    f"{place} must be 'class/video.avi' with a class of classInd.txt, "
                    f'got {parts[0]!r}'
                )
            video = os.path.splitext(video)[0]
            stem = inside(frames, os.path.join(action, video), place)
            data_list.append(
                dict(
                    img_path=self._frame(stem, place, skipped),
                    gt_label=labels[action],
                    # v_ApplyEyeMakeup_g08_c01: the first clip of the eighth film
                    group=video.rpartition('_')[0],
                )
            )
        warn_of_skipped('UCF101Frames', skipped)
        return data_list

    def _lines(self, name: str) -> list[tuple[str, list[str]]]:
        """Places and words of the lines of a list that are not empty."""
        path = self.path('ucfTrainTestlist', name, download=UCF101_LISTS)
        lines = [
            (f'{printable(path)}, line {number}', line.split())
            for number, line in read_lines(path)
            if line.strip()
        ]
        if not lines:
            raise ValueError(f'{printable(path)} is empty: put {UCF101_LISTS} there')
        return lines

    def _frame(self, video: str, place: str, skipped: list[str]) -> str:
        """The image of a video, or the middle one of its folder."""
        if os.path.isdir(video):
            files = walk_files(video, skipped, recursive=False)
            names = [name for name in files if name.lower().endswith(EXTENSIONS)]
            if names:
                return os.path.join(video, sorted(names)[len(names) // 2])
        for extension in EXTENSIONS:
            if os.path.isfile(video + extension):
                return video + extension
        raise FileNotFoundError(
            f'{place}: UCF101Frames found no image {printable(video)}.jpg and no frame '
            f'in the folder {printable(video)}: extract the frames of the video'
        )


@DATASETS.register_module()
class HatefulMemes(_ListedImages):
    """Memes that are hateful (1) or not (0); the image alone, without its text.

    ``{data_root}/{split}.jsonl`` has one JSON object per line with ``img``, a path
    below ``data_root``, and ``label``.

    Args:
        data_root: The folder.
        split: 'train' (default) or 'dev'; also 'dev_seen', 'dev_unseen', 'test_seen'
            and 'test_unseen' of the second edition.
        **kwargs: Others of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If the list is missing.
        ValueError: If the split is unknown, or a line is malformed or leads out of
            the folder.
    """

    splits = (
        'train',
        'dev',
        'dev_seen',
        'dev_unseen',
        'test_seen',
        'test_unseen',
    )

    def load_data_list(self) -> list[dict]:
        """Return one record per meme, in the order of the list."""
        path = self.path(f'{self.split}.jsonl', download=MEMES_ARCHIVE)
        data_list = []
        for number, line in read_lines(path):
            if not line.strip():
                continue
            place = f'{printable(path)}, line {number}'
            try:
                meme = json.loads(line)
                name = os.fspath(meme['img'])  # refuses all but strings
                label = {0: 0, 1: 1}[meme['label']]
            # Nesting without end makes Python's parser recurse.
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(
                    f"{place} must be JSON with an 'img' and a 'label' "
                    f'of 0 or 1, got {line.strip()[:80]!r}'
                ) from error
            image = inside(self.data_root, name, place)
            data_list.append(dict(img_path=image, gt_label=label))
        if not data_list:
            raise ValueError(f'{printable(path)} is empty: put {MEMES_ARCHIVE} there')
        return data_list
