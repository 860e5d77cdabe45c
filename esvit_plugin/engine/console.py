"""What goes to the terminal, and what to the log file alone."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger

# Longer messages, such as the environment and the whole config, are for the file.
MAX_LINES = 8
# mmengine warns of its own code, in every training.
_NOT_FOR_USERS = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'Distributed training is not used, all SyncBatchNorm',
    'resumed key: loop_stage is not defined in message_hub',
)


class _ShortMessages(logging.Filter):
    """Lets short messages through, and warnings and errors of any length."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is shown."""
        text = record.getMessage()
        is_short = text.count('\n') < MAX_LINES or record.levelno > logging.INFO
        return is_short and not text.startswith(_NOT_FOR_USERS)


def show_short_messages(logger: MMLogger) -> None:
    """Keep long messages of a logger that has a file from the terminal.

    Args:
        logger: The logger. Without a file it is left as it is.
    """
    if not any(map(_is_file, logger.handlers)):
        return
    for handler in logger.handlers:
        if not _is_file(handler):
            handler.addFilter(_ShortMessages())


@contextmanager
def only_warnings() -> Iterator[None]:
    """Show only warnings and errors of the current logger; files have all."""
    handlers = [h for h in MMLogger.get_current_instance().handlers if not _is_file(h)]
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(max(handler.level, logging.WARNING))
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


def _is_file(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.FileHandler)
