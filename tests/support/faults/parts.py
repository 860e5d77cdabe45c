"""Data and hooks of the tiny trainings; named in ``custom_imports`` of ``tiny.py``."""

import io
import os
import resource
import signal
import sys
import time

import numpy as np
import torch
from mmengine.hooks import Hook
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS, HOOKS, OPTIM_WRAPPERS, TRANSFORMS

from esvit_plugin.engine import PerParamClipOptimWrapper


@DATASETS.register_module()
class TinyImages(BaseDataset):
    """Made-up images of several classes, by their number."""

    METAINFO = dict(classes=['a', 'b', 'c'])

    def __init__(self, length=12, start=0, size=48, **kwargs):
        self.length, self.start, self.size = length, start, size
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self):
        images = []
        for number in range(self.start, self.start + self.length):
            rng = np.random.default_rng(number)
            small = rng.integers(256, size=(6, 6, 3), dtype=np.uint8)
            image = small.repeat(self.size // 6, 0).repeat(self.size // 6, 1)
            images.append(dict(img=image, gt_label=number % 3))
        return images


@HOOKS.register_module()
class At(Hook):
    """Does something before or after an iteration, counted from 0.

    Args:
        iteration: When.
        what: 'kill', 'sleep', 'inf loss', or 'nan' and what: weight, teacher, centre,
            gradient or image.
        seconds: How long to sleep.
        rank: The process; default all.
        before: Whether before the iteration.
    """

    priority = 'VERY_HIGH'

    def __init__(self, iteration, what, seconds=0.0, rank=None, before=True):
        self.iteration, self.what, self.seconds = iteration, what, seconds
        self.rank, self.before = rank, before

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.what == 'nan image' and runner.iter == self.iteration:
            data_batch['inputs'][0].view(-1)[0] = float('nan')
        elif self.before:
            self.act(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if not self.before:
            self.act(runner)

    def act(self, runner):
        if self.rank not in (None, runner.rank) or self.iteration not in (
            None,
            runner.iter,
        ):
            return
        if self.what == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.what == 'sleep':
            print(f'sleeping in iteration {runner.iter}', flush=True)
            time.sleep(self.seconds)
        elif self.what == 'nan image':
            return
        elif self.what == 'inf loss':
            self.spoil_loss(runner)
        elif self.what == 'nan gradient':
            self.spoil_gradient(runner)
        else:
            kind = self.what.removeprefix('nan ')
            self.spoil_tensor(
                runner, dict(weight='neck', centre='center').get(kind, kind)
            )

    def spoil_tensor(self, runner, part):
        state = runner.model.state_dict()
        name = next(
            name
            for name, value in state.items()
            if part in name and value.is_floating_point()
        )
        state[name].view(-1)[0] = float('nan')

    def spoil_loss(self, runner):
        wrapper, step = runner.optim_wrapper, runner.optim_wrapper.update_params

        def update(loss, *args, **kwargs):
            wrapper.update_params = step
            return step(loss * float('inf'), *args, **kwargs)

        wrapper.update_params = update

    def spoil_gradient(self, runner):
        params = [p for p in runner.model.parameters() if p.requires_grad]

        def spoil(grad):
            handle.remove()
            return torch.full_like(grad, float('nan'))

        handle = params[0].register_hook(spoil)


@HOOKS.register_module()
class KillAtFileEvent(Hook):
    """Kills the process just before it changes its checkpoints for the n-th time.

    Whatever opens a file for writing, renames or deletes one is an event of Python's,
    so this does not depend on how checkpoints are written.

    Args:
        number: Which change, counted from 0; -1 only prints them all.
        during: Kill in the middle of the n-th file that is written instead, when it
            has so many bytes.
    """

    def __init__(self, number, during=None):
        self.number, self.during = number, during

    def before_train(self, runner):
        self.folder = os.path.realpath(runner.work_dir)
        self.count = 0
        sys.addaudithook(self.event)

    def event(self, name, args):
        if name == 'open':
            path, mode, flags = args
            change = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        else:
            change = name in ('os.rename', 'os.remove', 'os.truncate')
            path = args[0] if change else None
        if not change or not isinstance(path, str):
            return
        path = os.path.realpath(path)
        base = os.path.basename(path)
        if not path.startswith(self.folder) or not (
            '.pth' in base or 'last_checkpoint' in base
        ):
            return
        if self.number < 0:
            print(f'file event {self.count}: {name} {base}', flush=True)
        if self.count == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


@TRANSFORMS.register_module()
class SpoilImage:
    """Makes an image unusable, or a worker slow.

    Args:
        images: Numbers of images.
        what: 'nan', 'hang', 'die' or 'pause', which says so and goes on after 0.3 s.
        unless: Not while there is a file of this name.
        when: Only when there is a file of this name.
    """

    def __init__(self, images, what, unless=None, when=None):
        self.images, self.what = set(images), what
        self.unless, self.when = unless, when

    def __call__(self, results):
        number = results.get('sample_idx')
        if number is None:
            number = results['data_samples'].sample_idx
        unless = self.unless and os.path.exists(self.unless)
        when = not self.when or os.path.exists(self.when)
        if self.what == 'nan':
            results['inputs'] = [view.float() for view in results['inputs']]
        if number in self.images and when and not unless:
            if self.what == 'hang':
                time.sleep(1000)
            elif self.what == 'pause':
                print(f'pausing at image {number}', flush=True)
                time.sleep(0.3)
            elif self.what == 'die':
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                results['inputs'][0].view(-1)[0] = float('nan')
        return results


@HOOKS.register_module()
class LimitFiles(Hook):
    """Lets no file grow beyond a size, as a full disk does.

    Args:
        iteration: From when on.
        size: In bytes.
        kill: Whether the system ends the process that tries.
    """

    priority = 'VERY_HIGH'

    def __init__(self, iteration, size, kill=False):
        self.iteration, self.size, self.kill = iteration, size, kill

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.iteration:
            if self.kill:
                # The log must not be what is cut.
                for handler in list(runner.logger.handlers):
                    runner.logger.removeHandler(handler)
                sys.stdout = sys.stderr = io.StringIO()
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, hard))


class FakeScaler:
    """Acts as a float16 scaler does, without float16."""

    def __init__(self):
        self.factor = 65536.0
        self.overflows = False

    def is_enabled(self):
        return True

    def get_scale(self):
        return self.factor

    def scale(self, value):
        return value * self.factor

    def step(self, optimizer):
        if self.overflows:
            self.factor /= 2
        else:
            optimizer.step()


@OPTIM_WRAPPERS.register_module()
class FakeScalerOptimWrapper(PerParamClipOptimWrapper):
    """Skips a step where ``Overflows`` says so."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.loss_scaler = FakeScaler()

    def step(self, **kwargs):
        if self.clip_grad_kwargs:
            self._clip_grad()
        self.loss_scaler.step(self.optimizer)


@HOOKS.register_module()
class Overflows(Hook):
    """Lets every n-th step overflow."""

    def __init__(self, every):
        self.every = every

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        late = runner.iter % self.every == self.every - 1
        runner.optim_wrapper.loss_scaler.overflows = late
