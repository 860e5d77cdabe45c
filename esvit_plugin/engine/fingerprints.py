"""What tells whether a file is still the one that results were made with."""

import hashlib
import os


def fingerprint(path: str | os.PathLike) -> str | None:
    """A digest of the content of a file, which copies of it share.

    Args:
        path: The file, e.g. a checkpoint.

    Returns:
        Hexadecimal digits; None where there is no such file here, as of an address.

    Raises:
        OSError: If it cannot be read.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        return None
    digest = hashlib.sha256()
    with open(path, 'rb', buffering=0) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
