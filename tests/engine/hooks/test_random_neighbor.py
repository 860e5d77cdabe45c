import pytest
from mmengine.hooks import Hook
from support.backbones import BACKBONES
from support.training import build_runner, with_backbone

from esvit_plugin.engine import RandomNeighborHook


def vil_model(random_neighbor=True):
    return with_backbone(
        dict(BACKBONES['ViL'][0], random_neighbor=random_neighbor), BACKBONES['ViL'][1]
    )


class Record(Hook):
    """Keeps the state of the student's and the teacher's draws at each iteration."""

    def __init__(self):
        self.states = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        backbones = runner.model.backbone, runner.model.teacher['backbone']
        self.states.append(
            [
                b.stages[0].random and hash(b.stages[0].random.getstate())
                for b in backbones
            ]
        )


def run(work_dir, model=None, epochs=2, **hook):
    record = Record()
    runner = build_runner(
        work_dir,
        model=model or vil_model(),
        custom_hooks=[
            dict(type='EMATeacherHook'),
            dict(type='RandomNeighborHook', **hook),
            record,
        ],
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
    )
    runner.train()
    return record.states, runner


@pytest.mark.slow
def test_draws_follow_seed_and_iteration_and_end_at_three_quarters(tmp_path):
    states, runner = run(tmp_path / 'a')
    assert len(states) == 4
    drawn = [state for pair in states[:3] for state in pair]
    assert len(set(drawn)) == 6  # of every iteration, student and teacher their own
    assert states[3] == [None, None]
    assert not runner.model.backbone.random_neighbor
    again, _ = run(tmp_path / 'b')
    assert again == states
    always, _ = run(tmp_path / 'c', switch_at=1)
    assert always[:3] == states[:3]
    assert None not in always[3]


@pytest.mark.slow
def test_a_resumed_run_draws_what_an_uninterrupted_one_does(tmp_path):
    states, _ = run(tmp_path / 'a')
    record = Record()
    runner = build_runner(
        tmp_path / 'a',
        model=vil_model(),
        custom_hooks=[
            dict(type='EMATeacherHook'),
            dict(type='RandomNeighborHook'),
            record,
        ],
        load_from=str(tmp_path / 'a' / 'epoch_1.pth'),
        resume=True,
    )
    runner.train()
    assert record.states == states[2:]


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match='random_neighbor=True'):
        run(tmp_path, model=vil_model(random_neighbor=False))
    with pytest.raises(ValueError, match='between 0 and 1, got 75'):
        RandomNeighborHook(switch_at=75)
