"""The name that may be meant by one that is unknown."""

import difflib
from collections.abc import Collection, Iterable


def nearest(name: str, names: Collection[str]) -> str:
    """The end of a message: the name that may be meant, or all of few."""
    candidates = sorted(other for other in names if other.startswith(name))
    candidates += filter(None, [similar(name, names)])
    candidates += difflib.get_close_matches(name, names, 1, 0.5)
    if candidates:
        return f'did you mean {candidates[0]}?'
    return f'there is {", ".join(sorted(names)[:20])}.' if names else 'remove it.'


def distance(one: str, other: str) -> int:
    """Letters to insert, remove, replace or swap to make one word of another."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b)))
            if i > 1 and j > 1 and (a, one[i - 2]) == (other[j - 2], b):
                row[j] = min(row[j], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


def similar(name: str, names: Iterable[str]) -> str | None:
    """A name that this one may be a slip of: two letters off, one in short names."""
    limit = 2 if len(name) > 7 else 1
    distances = {other: distance(name, other) for other in names if other != name}
    best = min(distances, key=lambda other: distances[other], default=None)
    return best if best is not None and distances[best] <= limit else None
