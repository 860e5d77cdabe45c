"""Tables of configs and published numbers, made of all metafiles.

A page asks for one by a comment on a line of its own: ``<!-- zoo: NAME -->``, where
NAME is a folder of ``configs/``, '.' for its top, or 'checkpoints'.
"""

import os
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
_MARK = re.compile(r'^<!-- zoo: (\S+) -->$', re.MULTILINE)
_HEADER = (
    '| config | data | batch | epochs | published | source |\n|---|---|---|---|---|---|'
)


def read_models() -> list[dict[str, Any]]:
    """The models of all metafiles below ``configs/``."""
    paths = sorted((ROOT / 'configs').rglob('metafile.yml'))
    return [m for path in paths for m in yaml.safe_load(path.read_text())['Models']]


def folder_of(model: dict[str, Any]) -> str:
    """The folder of a model's config below ``configs/``, '.' for the top."""
    return os.path.relpath(os.path.dirname(model['Config']), 'configs')


def fill(text: str, page: Path) -> str:
    """Replace the marks of a page by their tables.

    Args:
        text: The page, Markdown.
        page: Its file, which links start from.

    Raises:
        ValueError: If there is no config in the folder that a mark names.
    """

    def table(mark: re.Match) -> str:
        name = mark[1]
        models = read_models()
        if name == 'checkpoints':
            return _checkpoints([m for m in models if 'Converted From' in m])
        models = [m for m in models if folder_of(m) == name]
        if not models:
            raise ValueError(
                f'{page}: no metafile lists a config of configs/{name}; correct the '
                f'line {mark[0]}'
            )
        return '\n'.join([_HEADER, *(_row(m, page) for m in models)])

    return _MARK.sub(table, text)


def _row(model: dict[str, Any], page: Path) -> str:
    """One config: its link, recipe and published numbers."""
    about = model.get('Metadata', {})
    results = model.get('Results', [])
    length = about.get('Epochs', '')
    if 'Iterations' in about:
        length = f'{about["Iterations"]} iterations'
    sources = {result.get('Source', '') for result in results}
    cells = [
        f'[{model["Name"]}]({os.path.relpath(ROOT / model["Config"], page.parent)})',
        about.get('Training Data', ''),
        about.get('Batch Size', ''),
        length,
        ', '.join(filter(None, map(_numbers, results))),
        '; '.join(sorted(sources - {''})),
    ]
    return f'| {" | ".join(map(str, cells))} |'


def _numbers(result: dict[str, Any]) -> str:
    """Published numbers, and the epochs they are of where the metafile says them."""
    parts = []
    for metric, value in result['Metrics'].items():
        epoch = result.get('Epochs', {}).get(metric)
        short = metric.replace(' Top 1 Accuracy', '').replace('Top 1 Accuracy', 'top-1')
        parts.append(f'{short} {value}' + (f' ({epoch})' if epoch else ''))
    return ', '.join(parts)


def _checkpoints(models: list[dict[str, Any]]) -> str:
    """The file of the authors that a config's numbers are of."""
    rows = [f'| {m["Name"]} | `{m["Converted From"]["Weights"]}` |' for m in models]
    return '\n'.join(['| config | file |', '|---|---|', *rows])
