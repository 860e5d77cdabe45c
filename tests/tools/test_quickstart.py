"""What a newcomer sees first."""

import re

import numpy as np
import pytest
from support.tools import is_drawn, run

from esvit_plugin.visualization.neighbours import FRAMES, draw_retrievals

# Seconds instead of minutes.
QUICK = [
    'train_cfg.max_epochs=2',
    'train_dataloader.dataset.num_train=8',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'custom_hooks.5.train_dataloader.dataset.num_train=16',
    'custom_hooks.5.val_dataloader.dataset.num_test=8',
]


@pytest.mark.slow
def test_quickstart_says_what_training_changed(tmp_path):
    output = run('quickstart.py', '--work-dir', tmp_path, '--cfg-options', *QUICK)
    values = {
        name: [float(x) for x in re.findall(rf'^  {name} +([\d.]+) %$', output, re.M)]
        for name in ('raw pixels', 'random weights', 'trained teacher')
    }
    # Accuracies of all, then shares of neighbours of the two networks.
    assert [len(found) for found in values.values()] == [1, 2, 2]
    # The last evaluation in the training saw the same teacher.
    (log,) = tmp_path.glob('*/*.log')
    logged = re.findall(r'k-NN, k=20: top-1 ([\d.]+) %', log.read_text())
    assert values['trained teacher'][0] == float(logged[-1])
    for task in ('view', 'region'):
        first, last, uniform = map(
            float,
            re.search(
                rf'  {task} +([\d.]+) -> ([\d.]+) +ln K = ([\d.]+)', output
            ).groups(),
        )
        assert last < first == pytest.approx(uniform, rel=0.1)
        assert uniform == pytest.approx(np.log(512), abs=0.01)
    after, before = re.search(
        r'of (\d+) of 100 unseen crops after training, of (\d+) before', output
    ).groups()
    assert int(after) == round(values['trained teacher'][0])
    assert int(before) == round(values['random weights'][0])
    assert 'mirrored' not in output
    for name in ('learning_curve.png', 'neighbours.png'):
        assert str(tmp_path / name) in output and is_drawn(tmp_path / name)


def test_retrievals_are_framed_by_what_they_are():
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), np.uint8)
    found = {
        'before': [[(images[2], False), (images[3], True)]] * 2,
        'after': [[(images[4], True), (images[3], True)]] * 2,
    }
    figure = draw_retrievals(list(images[:2]), found)
    parts = figure.subfigs
    assert [part._suptitle.get_text() for part in parts] == [
        'unseen',
        'before',
        'after',
    ]
    shown, frames = [], []
    for part in parts:
        first_row = part.axes[: len(part.axes) // 2]
        shown += [axis.images[0].get_array() for axis in first_row]
        frames += [axis.spines['left'] for axis in first_row]
    for array, index in zip(shown, (0, 2, 3, 4, 3), strict=True):
        assert (array == images[index]).all()
    colors = [frame.get_edgecolor() for frame in frames]
    assert colors[1] != colors[2] == colors[3] == colors[4] != colors[0]
    assert frames[1].get_linestyle() == FRAMES[False][1]
