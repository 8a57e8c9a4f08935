"""Ports for servers that must be told one beforehand."""

import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a port at which nobody listens, for a server that must be told one.

    Below the ports that the system hands out, so that no outgoing connection, of another test or
    program, takes it before that server does.
    """
    for _ in range(1_000):
        port = secrets.randbelow(12_000) + 20_000  # not from random: all workers share its seed
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port from 20000 to 32000")
