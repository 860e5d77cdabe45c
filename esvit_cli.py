"""The command ``esvit``, whose sub-commands are in ``esvit_plugin.commands``.

It lies beside the package, as importing that takes seconds, which help should not.
"""

import difflib
import importlib
import sys

# Name, module of esvit_plugin.commands and what it does; the order is that of the help.
COMMANDS = {
    'train': ('train', 'train a config, e.g. esvit_swin_folder'),
    'test': ('test', 'test a classifier'),
    'knn': ('knn', 'k-NN accuracy of a checkpoint on labelled images'),
    'features': ('features', 'write the features of images into a file'),
    'search': ('search', 'find the most similar images in a file of features'),
    'transfer': ('transfer', 'logistic regression on other data sets'),
    'embedding': ('embedding', 'draw features in the plane by t-SNE or UMAP'),
    'attention': ('attention', 'draw and measure where heads look'),
    'attention-distance': (
        'attention_distance',
        'how far and how widely the heads of all blocks look',
    ),
    'cka': ('cka', 'how similar the layers of two models are'),
    'correspondence': (
        'correspondence',
        'draw and measure which regions of two views correspond',
    ),
    'curves': ('curves', 'draw learning curves of runs'),
    'views': ('views', "draw the views that a config's augmentation makes"),
    'schedules': ('schedules', 'draw learning rate, weight decay, temperature ...'),
    'throughput': ('throughput', 'images per second, FLOPs and memory of backbones'),
    'extract-backbone': ('extract_backbone', 'write the backbone of a checkpoint'),
    'to-timm': ('to_timm', 'write a backbone as weights of timm'),
    'convert': ('convert', "convert weights of the authors' programs"),
    'tsv-index': ('tsv_index', 'write the index of TSV files'),
    'openimages-selection': (
        'openimages_selection',
        'write the balanced selection of Open Images',
    ),
    'quickstart': ('quickstart', 'train on 16 photographs, show what is learnt'),
}


def usage() -> str:
    """The help: every command with one line."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:<{width}}  {line}' for name, (_, line) in COMMANDS.items()]
    return '\n'.join(
        [
            'usage: esvit COMMAND ...',
            '',
            'Efficient self-supervised vision transformers: train, evaluate, look.',
            '',
            *lines,
            '',
            'esvit COMMAND --help says more.',
            'A CONFIG is a file or a name, such as esvit_swin_t.',
        ]
    )


def main() -> None:
    """Run the sub-command that the command line names.

    Raises:
        SystemExit: With 2 if there is no such command, otherwise as ``run_tool``.
    """
    if len(sys.argv) < 2:
        sys.exit(usage())
    name, *arguments = sys.argv[1:]
    if name in ('-h', '--help'):
        print(usage())
        return
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f'did you mean {close[0]}?' if close else 'esvit --help lists all.'
        print(f'error: esvit has no command {name!r}; {hint}', file=sys.stderr)
        sys.exit(2)
    sys.argv = [f'esvit {name}', *arguments]
    module = COMMANDS[name][0]
    program = importlib.import_module(f'esvit_plugin.commands.{module}').main
    importlib.import_module('esvit_plugin.engine.cli').run_tool(program)


if __name__ == '__main__':
    main()
