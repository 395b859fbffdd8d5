"""Ports of this machine."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port that nothing listens on, and that the system gives to no other who asks for any."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)  # below the range that Linux takes
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
