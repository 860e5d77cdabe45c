import pytest
from mmengine.config import Config
from support.training import build_runner, small_model

from esvit_plugin.engine.configs import load_config
from esvit_plugin.engine.hooks.checkpoint_hook import first_save


@pytest.mark.slow
def test_milestones_stay_while_other_checkpoints_go(tmp_path, request):
    """What is evaluated, and what a second phase begins with, outlives the others."""
    cfg = Config.fromfile(request.config.rootpath / 'configs/esvit_swin_t_w14_view.py')
    keep, milestone = (cfg.default_hooks[k] for k in ('checkpoint', 'milestone'))
    runner = build_runner(
        tmp_path,
        model=small_model(regions=False),
        custom_hooks=[dict(type='EMATeacherHook')],
        train_cfg=dict(by_epoch=True, max_epochs=5),
        default_hooks=dict(checkpoint=keep, milestone=dict(milestone, interval=1)),
    )
    runner.train()
    names = sorted(path.name for path in tmp_path.glob('*.pth'))
    assert names == [
        'epoch_3.pth',
        'epoch_4.pth',
        'epoch_5.pth',
        'milestone_3.pth',
        'milestone_4.pth',
        'milestone_5.pth',
    ]


# Of 300 epochs 11 of 1.2 GB, and of a short run at least the last
LENGTHS = {300: (200, 11), 800: (530, 28), 100: (70, 4), 20: (10, 2), 10: (10, 1)}


@pytest.mark.parametrize('epochs', LENGTHS)
def test_milestones_follow_the_length_of_the_run(epochs):
    cfg = load_config('esvit_swin_t').default_hooks.milestone
    first, number = LENGTHS[epochs]
    assert first_save(cfg.save_begin, cfg.interval, epochs) == first
    assert len(range(first, epochs + 1, cfg.interval)) == number


def test_none_leaves_any_default_hook_out(tmp_path):
    runner = build_runner(
        tmp_path,
        custom_hooks=[dict(type='EMATeacherHook')],
        default_hooks=dict(
            timer=None,
            checkpoint=None,
            milestone=None,
            recovery=dict(type='RecoveryHook'),
        ),
    )
    names = {type(hook).__name__ for hook in runner.hooks}
    assert 'RecoveryHook' in names
    assert not names & {'IterTimerHook', 'AtomicCheckpointHook', 'CheckpointHook'}
