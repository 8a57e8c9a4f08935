"""Ports of this machine that a test has to itself."""

import atexit
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_claims = ExitStack()
atexit.register(_claims.close)


def free_port() -> int:
    """Return a port at which nobody listens, for a server that must be told one.

    It lies below the ports that the system hands out, so that no outgoing connection takes it. Its
    UDP counterpart stays bound until this process ends: tests of other processes, of another
    checkout too, are given other ports.
    """
    for _ in range(1_000):
        port = secrets.randbelow(12_000) + 20_000  # not from random: all workers share its seed
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as server:
                server.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            _claims.enter_context(claim)
            return port
    raise AssertionError("no free port from 20000 to 32000")


@contextmanager
def refusing() -> Iterator[str]:
    """Yield an origin that refuses every connection: it is bound, and nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"
