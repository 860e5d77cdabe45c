"""Pictures of what changes over a training."""

import copy
import json

import pytest
from support.made_up_data import write_image
from support.tools import is_drawn, run
from support.training import build_runner

from esvit_plugin.engine.configs import config_path, load_config
from esvit_plugin.visualization import draw_schedules, read_schedules


@pytest.fixture(scope='module')
def recipe():
    return load_config(config_path('esvit_swin_t'))


def test_schedules_are_those_that_a_training_logs(tmp_path, recipe):
    options = dict(
        train_cfg=dict(by_epoch=True, max_epochs=4),
        param_scheduler=[
            dict(recipe.param_scheduler[0], end=1),
            dict(recipe.param_scheduler[1], begin=1),
            dict(recipe.param_scheduler[2], convert_to_iter_based=False),
            dict(type='MultiStepLR', milestones=[5], gamma=0.1, by_epoch=False),
        ],
        custom_hooks=[
            dict(type='EMATeacherHook', momentum=0.99, start_share=0.1),
            dict(type='TeacherTempHook', warmup_epochs=3),
            dict(type='TrainingMonitorHook'),
        ],
    )
    runner = build_runner(tmp_path, **copy.deepcopy(options))
    optimizer = dict(type='AdamW', lr=1e-3, weight_decay=0.04, fused=True)
    cfg = dict(options, optim_wrapper=dict(optimizer=optimizer))
    found = read_schedules(cfg, epoch_length=2)
    runner.train()
    log = next(tmp_path.glob('*/vis_data/scalars.json')).read_text()
    records = [json.loads(line) for line in log.splitlines()]
    assert list(found) == ['lr', 'weight_decay', 'teacher_momentum', 'teacher_temp']
    for key, points in found.items():
        epochs, values = zip(*points, strict=True)
        assert list(epochs) == [i / 2 for i in range(8)]
        logged = [record[key] for record in records]
        assert values == pytest.approx(logged, rel=1e-6), key


def test_the_papers_schedules(recipe):
    found = {k: dict(points) for k, points in read_schedules(recipe, 4).items()}
    # At the end of the warm-up, and in the middle of the rest (Section 4).
    assert found['lr'][0] < 1e-9 and found['lr'][10] == pytest.approx(1e-3)
    assert found['lr'][155] == pytest.approx((1e-3 + 1e-6) / 2)
    assert found['weight_decay'][0] == pytest.approx(0.04)
    assert found['weight_decay'][150] == pytest.approx(0.22)
    assert found['teacher_momentum'][150] == pytest.approx(0.998)
    assert found['teacher_temp'][0] == 0.04 and found['teacher_temp'][29] == 0.07
    assert set(found) == {'lr', 'weight_decay', 'teacher_momentum', 'teacher_temp'}


@pytest.mark.parametrize('kind', ['ReleasedMoCoV3', 'MoCoV3'])
def test_the_momentum_of_moco_v3(kind):
    cfg = load_config('mocov3_vit_s', {'model.type': kind})
    points = dict(read_schedules(cfg, 4)['teacher_momentum'])
    # The paper's m, 0.99 at first (Section 4.3)
    assert points[0] == 0.99 and points[150] == pytest.approx(0.995)
    assert 0.999999 < points[299.75] < 1
    cfg.model.update(base_momentum=0.2, end_momentum=0.1)
    points = dict(read_schedules(cfg, 4)['teacher_momentum'])
    assert points[0] == 0.8 and points[150] == pytest.approx(0.85)


def test_a_config_without_epochs_is_refused():
    with pytest.raises(ValueError, match='train_cfg=dict'):
        read_schedules(dict(train_cfg=dict(max_iters=4)), 2)


def test_the_picture_has_a_panel_for_each(recipe):
    figure = draw_schedules(read_schedules(recipe, 2), 'esvit_swin_t')
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        'learning rate',
        'weight decay',
        'teacher momentum',
        'teacher temperature',
    ]
    assert all(axis.get_xlabel() == 'epoch' for axis in figure.axes)
    assert not figure.legends and figure.get_suptitle() == 'esvit_swin_t'


def test_the_tool(tmp_path):
    tool, out = 'analysis_tools/draw_schedules.py', tmp_path / 'schedules.png'
    output = run(tool, 'mocov3_vit_s', '-o', out, '--epoch-length=3')
    assert 'learning rate: 2.4e-07 at first, ' in output
    assert 'teacher momentum: 0.99 at first, ' in output
    wanted = 'max_epochs=300, epochs of 3 iterations (--epoch-length)\n'
    assert output.endswith(wanted)
    assert is_drawn(out)
    config = config_path('esvit_swin_photos')
    short = ('--epoch-length=24', '--cfg-options', 'train_cfg.max_epochs=4')
    output = run(tool, config, '-o', out, *short)
    assert 'teacher momentum: 0.9' in output and 'epochs of 24' in output
    with pytest.raises(ValueError, match='--epoch-length must be >= 1'):
        run(tool, config, '-o', out, '--epoch-length=0')


def test_an_epoch_is_that_of_the_images_where_they_are(tmp_path):
    images = tmp_path / 'images'
    for number in range(7):
        write_image(images / f'{number}.jpg', number)
    config = str(config_path('esvit_swin_folder_laptop'))
    words = ('draw_schedules.py', config, '-o', tmp_path / 'schedules.png')
    tool = f'analysis_tools/{words[0]}'
    short = ('train_cfg.max_epochs=2', 'train_dataloader.batch_size=3')
    output = run(tool, *words[1:], '--cfg-options', f'data_root={images}', *short)
    assert 'epochs of 3 iterations (of its images on one process)' in output
    output = run(tool, *words[1:], '--cfg-options', *short)
    assert 'epochs of 100 iterations (assumed, as the images are not there' in output
