"""The tests of `make unit` are held to opening no socket and starting no process."""

import asyncio
import socket
import subprocess
import sys

import pytest

FORBIDDEN = "opens no socket and starts no process"


async def test_a_unit_test_that_connects_or_listens_fails() -> None:
    with pytest.raises(AssertionError, match=FORBIDDEN):
        await asyncio.open_connection("127.0.0.1", 9)
    with socket.socket() as sock, pytest.raises(AssertionError, match=FORBIDDEN):
        sock.bind(("127.0.0.1", 0))


def test_a_unit_test_that_starts_a_process_fails() -> None:
    with pytest.raises(AssertionError, match=FORBIDDEN):
        subprocess.run([sys.executable, "-c", ""], check=True)
    with pytest.raises(AssertionError, match=FORBIDDEN):
        asyncio.run(asyncio.create_subprocess_exec(sys.executable, "-c", ""))
