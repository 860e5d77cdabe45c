import logging

import pytest
from mmengine.logging import MMLogger


class Recorder(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def logged():
    """The warnings that mmengine's logger shows, repeated ones once as it does."""
    logger = MMLogger.get_current_instance()
    recorder = Recorder()
    for duplicates in logger.handlers[0].filters:
        recorder.addFilter(type(duplicates)(logger.name))
    logger.addHandler(recorder)
    yield recorder.lines
    logger.removeHandler(recorder)
