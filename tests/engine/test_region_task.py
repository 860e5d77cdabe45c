"""A view-only run goes on with the region task."""

import pytest
import torch
from helpers import build_runner, small_model
from mmengine.hooks import Hook

SCHEDULE = dict(
    param_scheduler=[
        dict(type='CosineAnnealingLR', eta_min=1e-6, convert_to_iter_based=True)
    ],
    train_cfg=dict(by_epoch=True, max_epochs=3),
)


class Record(Hook):
    """Keeps the losses by iteration, and the optimiser's state at the start."""

    def __init__(self):
        self.losses = {}

    def before_train(self, runner):
        optimizer = runner.optim_wrapper.optimizer
        self.start = {
            name: {k: v.clone() for k, v in optimizer.state.get(param, {}).items()}
            for name, param in runner.model.named_parameters()
            if param.requires_grad
        }
        self.model = {k: v.clone() for k, v in runner.model.state_dict().items()}
        self.lr = runner.optim_wrapper.get_lr()['lr'][0]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses[runner.iter] = set(outputs)


class Stop(Hook):
    """Ends a run after its first epoch."""

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope='module')
def first_phase(tmp_path_factory):
    folder = tmp_path_factory.mktemp('first')
    runner = build_runner(
        folder,
        model=small_model(regions=False),
        custom_hooks=[dict(type='EMATeacherHook'), Stop()],
        **SCHEDULE,
    )
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    return folder / 'epoch_1.pth'


def second_phase(work_dir, checkpoint, **overrides):
    record = Record()
    runner = build_runner(
        work_dir,
        custom_hooks=[
            dict(type='EMATeacherHook'),
            dict(type='RegionTaskHook'),
            record,
        ],
        load_from=str(checkpoint),
        resume=True,
        **{**SCHEDULE, **overrides},
    )
    runner.train()
    return record


def test_everything_but_the_region_necks_goes_on(tmp_path, first_phase):
    record = second_phase(tmp_path, first_phase)
    saved = torch.load(first_phase)
    assert sorted(record.losses) == [2, 3, 4, 5]  # two of six iterations are done
    assert all('loss_region' in names for names in record.losses.values())
    for name, value in saved['state_dict'].items():
        assert torch.equal(record.model[name], value), name
    for name, value in record.model.items():
        if name.startswith('region_neck.'):
            assert torch.equal(value, record.model[f'teacher.{name}']), name
    states = [state for state in saved['optimizer']['state'].values()]
    carried = {n: s for n, s in record.start.items() if s}
    assert {n for n in record.start if n not in carried} == {
        n for n in record.start if n.startswith('region_neck.')
    }
    assert len(carried) == len(states)
    for name, state in carried.items():
        assert state['exp_avg'].shape == record.model[name].shape
        assert any(
            torch.equal(state['exp_avg'], other['exp_avg'])
            for other in states
            if other['exp_avg'].shape == state['exp_avg'].shape
        ), name
    assert record.lr == pytest.approx(saved['param_schedulers'][0]['_last_value'][0])


def test_the_second_phase_is_resumed_as_ever(tmp_path, first_phase):
    second_phase(tmp_path / 'a', first_phase)
    record = second_phase(tmp_path / 'b', tmp_path / 'a' / 'epoch_2.pth')
    assert sorted(record.losses) == [4, 5]
    assert all(record.start.values())


def test_another_optimiser_is_refused(tmp_path, first_phase):
    other = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
    with pytest.raises(ValueError, match='has 2 groups .* this config has 1'):
        second_phase(tmp_path, first_phase, optim_wrapper=other)
