"""A unit test that reaches for the network or another process fails."""

import os
import socket
import subprocess

import pytest


@pytest.fixture(autouse=True)
def no_io(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a unit test opens no socket and starts no process")

    for owner, name in (
        (socket.socket, "bind"),
        (socket.socket, "connect"),
        (socket.socket, "connect_ex"),
        (subprocess.Popen, "__init__"),
        (os, "fork"),
    ):
        monkeypatch.setattr(owner, name, forbidden, raising=False)
