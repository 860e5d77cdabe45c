"""Print the README's table of results from configs/metafile.yml."""

import argparse
from pathlib import Path

import yaml

from esvit_plugin.engine.cli import run_tool

METAFILE = Path(__file__).resolve().parents[2] / 'configs' / 'metafile.yml'


def results_table(metafile: Path = METAFILE) -> str:
    """A Markdown table of the pre-training runs with published accuracies.

    Args:
        metafile: The file that lists the models.
    """
    lines = [
        '| config | data | epochs | batch | linear | k-NN |',
        '|---|---|---|---|---|---|',
    ]
    for model in yaml.safe_load(metafile.read_text())['Models']:
        for result in model.get('Results', []):
            metrics = result['Metrics']
            if 'Linear Top 1 Accuracy' not in metrics:
                continue
            about = model['Metadata']
            lines.append(
                f'| [{model["Name"]}]({model["Config"]}) | {about["Training Data"]} '
                f'| {about["Epochs"]} | {about["Batch Size"]} '
                f'| {metrics["Linear Top 1 Accuracy"]} '
                f'| {metrics["k-NN Top 1 Accuracy"]} |'
            )
    return '\n'.join(lines)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(results_table())


if __name__ == '__main__':
    run_tool(main)
