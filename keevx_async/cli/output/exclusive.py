"""One process at a time."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from keevx_async.journal.lock import lock_file, open_binary


class InUse(Exception):
    """Someone else has it."""


class Exclusive:
    """A lock beside a file that is replaced; the kernel frees it when the process dies.

    Args:
        path: the lock's own file, there only while it is held.

    Raises:
        Held: someone else has it.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        while self._file is None:
            self._file = self._taken()

    def _taken(self) -> int | None:
        """Return the open lock; None if its file was removed while it was taken."""
        file = open_binary(self._path)
        try:
            lock_file(file)
            if os.path.samestat(os.fstat(file), self._path.stat()):
                return file
        except FileNotFoundError:
            pass
        except (BlockingIOError, PermissionError):  # of Unix, and of Windows
            os.close(file)
            raise InUse from None
        os.close(file)
        return None

    def release(self) -> None:
        """Let go, once or again."""
        if self._file is not None:
            with suppress(OSError):  # Windows removes no open file
                self._path.unlink()
            os.close(self._file)
            self._file = None
