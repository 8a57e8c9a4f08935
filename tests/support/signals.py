"""Signals as at a terminal, whatever the test run was started by."""

import signal
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def default_signals() -> Generator[None]:
    """Within it, this process and what it starts are stopped by signals as at a terminal.

    A child inherits the signals that its parent ignores, and a runner in the background
    (``nohup make test &``) ignores SIGINT. To set this here needs no ``preexec_fn``, which may
    deadlock beside threads.
    """
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers: list[signal.Signals] = [getattr(signal, name) for name in names]
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        interrupt = number is signal.SIGINT
        signal.signal(number, signal.default_int_handler if interrupt else signal.SIG_DFL)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
