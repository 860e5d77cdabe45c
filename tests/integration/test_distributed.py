"""Two gloo processes with batch B against one process with batch 2 B."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from support.training import (
    Labelled,
    RandomViews,
    build_runner,
    join_two,
    small_model,
    spawn_two,
)

from esvit_plugin.engine import KNNMonitorHook
from esvit_plugin.evaluation import extract_features


class Record(Hook):
    """Keeps the losses, the last gradients of the student and k-NN accuracies."""

    def __init__(self):
        self.losses, self.grads, self.accuracies = [], {}, []

    def before_train(self, runner):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model

        def keep(*_):
            for name, param in model.named_parameters():
                if param.grad is not None:
                    self.grads[name] = param.grad.clone()

        runner.optim_wrapper.optimizer.register_step_pre_hook(keep)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        names = ('loss', 'loss_view', 'loss_region')
        self.losses.append(torch.stack([outputs[name].detach() for name in names]))

    def after_val_epoch(self, runner, metrics=None):
        self.accuracies.append(metrics)


def labelled(number):
    return dict(batch_size=4, num_workers=0, dataset=Labelled(number))


def train(work_dir, batch_size, **overrides):
    record = Record()
    hooks = [
        dict(type='EMATeacherHook', momentum=0.9),
        dict(type='TeacherTempHook', warmup_epochs=2),
        dict(type='RandomStateHook'),
        KNNMonitorHook(labelled(21), labelled(13), interval=1, ks=(1, 5)),
        record,
    ]
    runner = build_runner(
        work_dir,
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            dataset=RandomViews(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=dict(
            type='PerParamClipOptimWrapper',
            optimizer=dict(type='SGD', lr=0.1),
            clip_grad=dict(max_norm=3.0),
        ),
        custom_hooks=hooks,
        **overrides,
    )
    runner.train()
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return dict(
        losses=torch.stack(record.losses),
        grads=record.grads,
        accuracies=record.accuracies,
        state=model.state_dict(),
        wrapped=is_model_wrapper(runner.model),
    )


def worker(rank, port, folder):
    cfg = join_two(rank, port)
    torch.manual_seed(0)
    result = train(f'{folder}/two', 2, **cfg)
    result['features'] = features()
    torch.save(result, f'{folder}/rank{rank}.pth')
    torch.distributed.destroy_process_group()


def features():
    """Features of a labelled set, gathered from the processes."""
    from mmengine.runner import Runner
    from mmpretrain.registry import MODELS

    torch.manual_seed(0)
    model = MODELS.build(small_model())
    model.eval()
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=0,
            dataset=dict(
                type='BundledPhotos',
                num_train=1,
                indices=13,  # does not divide by two
                pipeline=[dict(type='PackInputs')],
            ),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        seed=0,
    )
    return extract_features(model, loader)


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp('distributed')
    two = spawn_two(worker, folder)
    torch.manual_seed(0)
    one = train(folder / 'one', 4)
    one['features'] = features()
    return one, two


def test_losses_are_the_same(results):
    one, two = results
    assert [two[0]['wrapped'], one['wrapped']] == [True, False]
    mean = (two[0]['losses'] + two[1]['losses']) / 2
    assert not torch.equal(two[0]['losses'], two[1]['losses'])
    torch.testing.assert_close(mean[0], one['losses'][0], atol=0, rtol=2e-6)
    # Rounding grows with each step of this high learning rate.
    torch.testing.assert_close(mean, one['losses'], atol=0, rtol=2e-4)


def test_gradients_are_the_same(results):
    one, two = results
    assert set(one['grads']) == set(two[0]['grads'])
    for name, grad in one['grads'].items():
        for rank in range(2):
            torch.testing.assert_close(
                two[rank]['grads'][name], grad, atol=1e-5, rtol=1e-4, msg=name
            )


def test_centers_teacher_and_weights_are_the_same(results):
    one, two = results
    assert one['state']['head.center'].abs().max() > 1e-3
    for name, value in one['state'].items():
        assert torch.equal(two[0]['state'][name], two[1]['state'][name]), name
        torch.testing.assert_close(
            two[0]['state'][name], value, atol=1e-5, rtol=1e-4, msg=name
        )


def test_accuracies_are_the_same(results):
    one, two = results
    assert len(one['accuracies']) == 2
    assert len({numbers['knn/top1_k5'] for numbers in one['accuracies']} - {50}) > 0
    for rank in range(2):
        assert two[rank]['accuracies'] == one['accuracies']


def test_features_come_in_the_order_of_the_data_set(results):
    one, two = results
    feats, labels = one['features']
    assert labels.tolist() == list(range(13))
    for rank in range(2):
        torch.testing.assert_close(two[rank]['features'][0], feats)
        assert torch.equal(two[rank]['features'][1], labels)
