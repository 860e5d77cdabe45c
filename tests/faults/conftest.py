import os

import pytest
from support.faults import forks
from support.faults.runs import CLASSIFIER, train


@pytest.fixture(scope='session', autouse=True)
def _python_path():
    """Real programs of a test find the package and the parts of its configs."""
    os.environ['PYTHONPATH'] = f'{forks.ROOT}{os.pathsep}{forks.ROOT / "tests"}'


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    forks.kill_all()


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """Checkpoints of a pre-training and of a classifier."""
    folder = tmp_path_factory.mktemp('trained')
    train(folder / 'esvit')
    train(folder / 'classifier', config=CLASSIFIER)
    return {
        name: folder / name / 'run' / 'epoch_3.pth' for name in ('esvit', 'classifier')
    }
