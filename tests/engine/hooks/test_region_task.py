"""A view-only run goes on with the region task."""

import pytest
import torch
from mmengine.hooks import Hook
from support.training import build_runner, small_model

pytestmark = pytest.mark.slow

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


def second_phase(work_dir, checkpoint, hook=(), **overrides):
    record = Record()
    runner = build_runner(
        work_dir,
        custom_hooks=[
            dict(type='EMATeacherHook'),
            dict(type='RegionTaskHook', **dict(hook)),
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
    same_moments(carried, saved)
    assert record.lr == pytest.approx(saved['param_schedulers'][0]['_last_value'][0])


def same_moments(carried, saved):
    """The moments of a checkpoint, found by the names that it has."""
    optimizer = saved['optimizer']
    numbers = {
        name: number
        for group in optimizer['param_groups']
        for name, number in zip(group['param_names'], group['params'], strict=True)
    }
    for name, state in carried.items():
        wanted = optimizer['state'][numbers[name]]
        assert torch.equal(state['exp_avg'], wanted['exp_avg']), name
        assert torch.equal(state['exp_avg_sq'], wanted['exp_avg_sq']), name


def fixed_norms():
    model = small_model()
    for neck in ('neck', 'region_neck'):
        model[neck]['norm_last_layer'] = True
    return model


def test_prototypes_of_fixed_norm_in_the_second_phase(tmp_path, first_phase):
    record = second_phase(tmp_path, first_phase, model=fixed_norms())
    saved = torch.load(first_phase)
    carried = {n: s for n, s in record.start.items() if s}
    # The norms are not trained any more; what comes after them keeps its own moments.
    assert 'neck.last_layer.weight_g' not in record.start
    assert 'neck.last_layer.weight_v' in carried
    same_moments(carried, saved)
    # They stay where the first phase has left them, not at 1.
    after = torch.load(tmp_path / 'epoch_3.pth')['state_dict']
    gain = saved['state_dict']['neck.last_layer.weight_g']
    assert torch.equal(after['neck.last_layer.weight_g'], gain)


def test_parameters_that_are_trained_from_now_on(tmp_path):
    first = build_runner(
        tmp_path / 'a',
        model={**fixed_norms(), 'region_neck': None, 'region_head': None},
        custom_hooks=[dict(type='EMATeacherHook'), Stop()],
        **SCHEDULE,
    )
    with pytest.raises(KeyboardInterrupt):
        first.train()
    checkpoint = tmp_path / 'a' / 'epoch_1.pth'
    record = second_phase(tmp_path / 'b', checkpoint)
    carried = {n: s for n, s in record.start.items() if s}
    assert 'neck.last_layer.weight_g' not in carried
    same_moments(carried, torch.load(checkpoint))


def test_the_optimiser_may_begin_anew(tmp_path, first_phase):
    options = dict(reset_optimizer=True)
    record = second_phase(tmp_path / 'a', first_phase, options)
    saved = torch.load(first_phase)
    assert not any(record.start.values())
    for name, value in saved['state_dict'].items():
        assert torch.equal(record.model[name], value), name
    assert record.lr == pytest.approx(saved['param_schedulers'][0]['_last_value'][0])
    # Only once: what is resumed later has moments.
    record = second_phase(tmp_path / 'b', tmp_path / 'a' / 'epoch_2.pth', options)
    assert all(record.start.values())


def without_names(first_phase, path):
    """A checkpoint of an older version."""
    saved = torch.load(first_phase)
    for group in saved['optimizer']['param_groups']:
        del group['param_names']
    torch.save(saved, path)
    return path


def test_checkpoints_without_names(tmp_path, first_phase):
    old = without_names(first_phase, tmp_path / 'old.pth')
    record = second_phase(tmp_path / 'a', old)
    same_moments({n: s for n, s in record.start.items() if s}, torch.load(first_phase))
    with pytest.raises(ValueError, match='does not name them.*reset_optimizer=True'):
        second_phase(tmp_path / 'b', old, model=fixed_norms())
    second_phase(tmp_path / 'c', old, dict(reset_optimizer=True), model=fixed_norms())


def test_the_second_phase_is_resumed_as_ever(tmp_path, first_phase):
    second_phase(tmp_path / 'a', first_phase)
    record = second_phase(tmp_path / 'b', tmp_path / 'a' / 'epoch_2.pth')
    assert sorted(record.losses) == [4, 5]
    assert all(record.start.values())


def test_another_optimiser_is_refused(tmp_path, first_phase):
    other = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
    with pytest.raises(ValueError, match='has 2 groups .* this config has 1'):
        second_phase(tmp_path, first_phase, optim_wrapper=other)
