"""Files that would do something when they are read."""

import functools
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import torch

GET_MODEL = Path(__file__).with_name('call_get_model.py')
RUNNER = Path(__file__).with_name('call_runner.py')
ALLOWING = ('weights_only', 'safe_globals', 'trust', 'allow')


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def objects(marker):
    """Objects that make a marker file when they are unpickled, by name."""
    line = f'open({str(marker)!r}, "w").close()'
    lazy = functools.partial(open, str(marker), 'w')
    return {
        'os.system': Calls(os.system, f'touch {marker}'),
        'exec': Calls(exec, line),
        'eval': Calls(eval, line),
        'open': Calls(open, str(marker), 'w'),
        'getattr': Calls(getattr, Calls(__import__, 'os'), 'system'),
        'partial': Calls(lazy),
        'mkdir': Calls(os.mkdir, str(marker)),
        'Path.touch': Calls(Path.touch, Path(str(marker))),
        'subprocess': Calls(subprocess.getoutput, f'touch {marker}'),
        'numpy': np.array([Calls(os.system, f'touch {marker}')], dtype=object),
        'torch.hub': Calls(torch.hub.load, str(marker), 'f', 'local'),
        'torch.load': Calls(torch.serialization.load, str(marker)),
    }


def spoiled(checkpoint, where, payload):
    """A checkpoint that has a payload at some place."""
    checkpoint = {**checkpoint, 'meta': dict(checkpoint['meta'])}
    if where == 'weights':
        checkpoint['state_dict'] = {**checkpoint['state_dict'], 'x': payload}
    elif where == 'meta':
        checkpoint['meta']['note'] = payload
    elif where == 'optimizer':
        checkpoint['optimizer'] = payload
    else:
        return payload
    return checkpoint


def save(path, content, form):
    """Write in one of the forms that torch reads.

    Args:
        path: The file.
        content: What to write.
        form: 'zip', 'legacy' (torch < 1.6) or 'pickle' (a plain one).
    """
    if form == 'pickle':
        with open(path, 'wb') as file:
            pickle.dump(content, file)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == 'zip')
    return path
