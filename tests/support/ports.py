"""A port for processes that find each other."""

import random
import socket


def free_port() -> int:
    """A free port below those that systems give to any connection meanwhile."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                continue
        return port
