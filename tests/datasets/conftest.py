import contextlib
import logging

import pytest
from mmengine.logging import MMLogger


class Recorder(logging.Handler):
    def __init__(self, level):
        super().__init__(level)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def recorded(level):
    logger = MMLogger.get_current_instance()
    recorder = Recorder(level)
    for duplicates in logger.handlers[0].filters:
        recorder.addFilter(type(duplicates)(logger.name))
    logger.addHandler(recorder)
    yield recorder.lines
    logger.removeHandler(recorder)


@pytest.fixture
def logged():
    """The warnings that mmengine's logger shows, repeated ones once as it does."""
    with recorded(logging.WARNING) as lines:
        yield lines


@pytest.fixture
def told():
    """All lines of mmengine's logger."""
    with recorded(logging.INFO) as lines:
        yield lines
