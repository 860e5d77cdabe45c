"""Write the index of TSV files, the offset in bytes of each line.

``train.lineidx``, or with ``--binary`` the smaller ``train.lineidx.8b``, appears beside
``train.tsv``; ``TSVDataset`` needs it. An index that is there already is kept.
"""

import argparse
import os

from ..datasets.tsv_file import build_tsv_index, index_paths, read_tsv_index
from ..engine.cli import check_output


def main() -> None:
    """Read FILES and write an index for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('files', nargs='+', metavar='FILE', help='TSV files')
    parser.add_argument(
        '--binary',
        action='store_true',
        help='8 bytes per line (.lineidx.8b), best for millions; default text',
    )
    parser.add_argument(
        '--force', action='store_true', help='replace an index that is there already'
    )
    args = parser.parse_args()
    for path in args.files:
        if not os.path.isfile(path) or not os.path.getsize(path):
            parser.error(f'{path} does not exist or is empty')
        for index in index_paths(path):
            check_output(index, *args.files)
    for path in args.files:
        index = build_tsv_index(path, args.binary, args.force)
        print(f'{index}: {len(read_tsv_index(index))} lines')
