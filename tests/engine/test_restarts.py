"""A job that is started again goes on from its own checkpoints."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from support.training import StopAfter, build_runner

from esvit_plugin.commands.train import merge_args
from esvit_plugin.engine import launch
from esvit_plugin.engine.hooks import LazyRuntimeInfoHook


@pytest.fixture
def job(monkeypatch):
    """Set what a launcher tells a job of Slurm, or of torch."""

    def tell(slurm=None, restarts=0, torch_job=None, torch_restarts=0):
        for name, value in (
            ('SLURM_JOB_ID', slurm),
            ('SLURM_RESTART_COUNT', restarts),
            ('ESVIT_JOB', torch_job),
            ('TORCHELASTIC_RESTART_COUNT', torch_restarts),
        ):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, str(value))

    tell()
    return tell


def train(folder, epochs=2, stop=None, **options):
    runner = build_runner(
        folder, train_cfg=dict(by_epoch=True, max_epochs=epochs), **options
    )
    if stop:
        runner.register_hook(StopAfter(stop))
    said = []
    info = runner.logger.info
    for level in ('info', 'warning'):
        setattr(runner.logger, level, lambda m, *a: (said.append(str(m)), info(m, *a)))
    runner.train()
    return runner, ' '.join(said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('first', 'again'),
    [
        (dict(slurm='7'), dict(slurm='7', restarts=1)),
        (dict(torch_job='a-1'), dict(torch_job='a-1', torch_restarts=2)),
        # A job of Slurm, in it one of torch: another one after the restart.
        (
            dict(slurm='7', torch_job='a-1'),
            dict(slurm='7', restarts=1, torch_job='a-2'),
        ),
    ],
)
def test_a_restart_goes_on_from_what_the_job_has_written(tmp_path, job, first, again):
    job()
    train(tmp_path)
    given = tmp_path / 'epoch_1.pth'
    begin = dict(epochs=4, resume=True, load_from=str(given))
    # Of an earlier job epoch 2 is there; it is not of this one.
    job(**again)
    runner, said = train(tmp_path, stop=1, **begin)
    assert f'from {given}' in said and 'Started again' not in said
    job(**first)
    train(tmp_path, stop=3, **begin)
    job(**again)
    given.unlink()
    _, said = train(tmp_path, **begin)
    assert f'Started again, so {tmp_path}/epoch_3.pth counts, not {given}' in said


@pytest.mark.slow
def test_a_launcher_that_names_no_job_is_said(tmp_path, job):
    train(tmp_path)
    given = str(tmp_path / 'epoch_1.pth')
    job(torch_restarts=1)
    _, said = train(tmp_path, resume=True, load_from=given)
    assert 'names no job (ESVIT_JOB)' in said and f'from {given}' in said


@pytest.mark.slow
def test_the_command_that_began_elsewhere_is_not_done_again(tmp_path, job):
    """A second phase of training that was stopped, and its command given again."""
    train(tmp_path / 'first')
    given, folder = tmp_path / 'first' / 'epoch_1.pth', tmp_path / 'second'
    begin = dict(resume=True, load_from=str(given))
    train(folder, epochs=3, stop=2, **begin)
    with pytest.raises(ValueError, match=f'further, to {folder}/epoch_2.pth. Give --r'):
        train(folder, epochs=3, **begin)
    _, said = train(folder, epochs=3, resume=True)
    assert f'from {folder}/epoch_2.pth' in said
    # A run is set back by its own checkpoint; what is no further is no obstacle.
    back = dict(resume=True, load_from=str(folder / 'epoch_2.pth'))
    _, said = train(folder, epochs=3, **back)
    assert f'from {folder}/epoch_2.pth' in said
    last = dict(resume=True, load_from=str(folder / 'epoch_3.pth'))
    train(tmp_path / 'first', epochs=4, **last)


@pytest.mark.slow
def test_a_run_that_is_resumed_may_begin_with_weights(tmp_path, job):
    """``--resume`` finds nothing at first, and its own checkpoints later."""
    train(tmp_path / 'other')
    weights = torch.load(tmp_path / 'other' / 'epoch_2.pth')['state_dict']
    begin = dict(resume='auto', load_from=str(tmp_path / 'other' / 'epoch_2.pth'))
    rate = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)))
    rate['custom_hooks'] = []
    runner, said = train(tmp_path / 'run', stop=1, **begin, **rate)
    assert 'the run begins with the weights of' in said and runner.epoch == 1
    for name, value in runner.model.named_parameters():
        assert torch.equal(value, weights[name]), name
    runner, said = train(tmp_path / 'run', **begin, **rate)
    assert f'from {tmp_path}/run/epoch_1.pth' in said


@pytest.mark.parametrize(
    ('cfg', 'resume', 'expected'),
    [
        (dict(runner_type='EsViTRunner', load_from='w.pth'), 'auto', 'w.pth'),
        (dict(runner_type='EsViTRunner'), 'auto', None),
        (dict(load_from='w.pth'), 'auto', None),
        (dict(runner_type='EsViTRunner', load_from='w.pth'), __file__, __file__),
    ],
)
def test_what_resume_leaves_of_load_from(job, cfg, resume, expected):
    args = SimpleNamespace(
        resume=resume, no_validate=False, amp=False, auto_scale_lr=False, config='a'
    )
    args.batch_size = args.num_workers = None
    cfg = Config(cfg)
    merge_args(cfg, args)
    assert cfg.resume and cfg.get('load_from') == expected
    # The file that a job began with may be gone when it is started again.
    args.resume = 'gone.pth'
    with pytest.raises(FileNotFoundError, match='gone.pth'):
        merge_args(cfg, args)
    job(slurm='7', restarts=1)
    merge_args(cfg, args)


def test_names_of_jobs(job):
    assert launch.job_names() == [] and launch.restarted_jobs() is None
    job(slurm='7', torch_job='a')
    assert sorted(launch.job_names()) == ['ESVIT_JOB=a', 'SLURM_JOB_ID=7']
    assert launch.restarted_jobs() is None
    job(slurm='7', torch_job='a', torch_restarts=1)
    assert launch.restarted_jobs() == ['ESVIT_JOB=a']
    job(restarts=1)
    assert launch.restarted_jobs() == []


def test_waiting_losses_keep_nothing_alive():
    hook, runner = LazyRuntimeInfoHook(), SimpleNamespace(optim_wrapper=None)
    hook._waiting = []
    hook.is_last_train_iter = hook.end_of_epoch = lambda *_: False
    runner.hooks, runner.train_dataloader = [], None
    weight = torch.ones(3, requires_grad=True)
    hook.after_train_iter(runner, 0, outputs=dict(loss=weight.sum(), rate=0.1))
    (kept,) = hook._waiting
    assert kept['loss'].grad_fn is None and float(kept['loss']) == 3
    assert kept['rate'] == 0.1
