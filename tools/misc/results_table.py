"""Print the README's table of results from configs/metafile.yml."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from esvit_plugin.engine.cli import run_tool

METAFILE = Path(__file__).resolve().parents[2] / 'configs' / 'metafile.yml'


def results_table(metafile: Path = METAFILE) -> str:
    """A Markdown table of the pre-training runs with published accuracies.

    Args:
        metafile: The file that lists the models.
    """
    lines = [
        '| config | data | batch | epochs | linear (epoch) | k-NN (epoch) | source |',
        '|---|---|---|---|---|---|---|',
    ]
    for model in yaml.safe_load(metafile.read_text())['Models']:
        for result in model.get('Results', []):
            if 'Epochs' not in result:
                continue
            about = model['Metadata']
            linear, knn = (
                _cell(result, f'{kind} Top 1 Accuracy') for kind in ('Linear', 'k-NN')
            )
            lines.append(
                f'| [{model["Name"]}]({model["Config"]}) | {about["Training Data"]} '
                f'| {about["Batch Size"]} | {about["Epochs"]} | {linear} | {knn} '
                f'| {result["Source"]} |'
            )
    return '\n'.join(lines)


def _cell(result: dict[str, Any], metric: str) -> str:
    """A published number and the epoch it is of."""
    if metric not in result['Metrics']:
        return ''
    return f'{result["Metrics"][metric]} ({result["Epochs"][metric]})'


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(results_table())


if __name__ == '__main__':
    run_tool(main)
