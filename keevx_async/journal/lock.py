"""One process at a time, and a witness of how much was committed."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

from ..errors import JournalError

if sys.platform == "win32":
    import msvcrt

    def hold(file: int) -> None:
        """Lock an open file, or raise OSError if another process has."""
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def hold(file: int) -> None:
        """Lock an open file, or raise OSError if another process has."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_OFFSET = 8  # the first bytes are what Windows locks


class Lock:
    """Held while a journal is open; the kernel frees it when the process dies.

    The file beside the journal also tells the number of the last commit. It is written after
    the commit, so a journal that knows of fewer has lost some: a truncated log, an old copy.

    Args:
        path: the journal.

    Raises:
        JournalError: another process holds it, or the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._journal = path
        try:
            self._file = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise JournalError(
                f"{path} cannot be used as a journal: cannot write beside it: {error.strerror}"
            ) from error
        try:
            hold(self._file)
        except OSError as error:
            os.close(self._file)
            raise JournalError(
                f"{path} is held by another process, or by a Keevx or Journal of this one that was "
                "not closed. Close it (await keevx.close(); where a notebook has lost it, restart "
                "the kernel), or use another journal"
            ) from error
        try:
            self._witness = _mapped(self._file)
        except OSError:
            os.close(self._file)
            raise

    def check(self, number: int) -> None:
        """Raise JournalError if the journal knows of fewer commits than were witnessed."""
        witnessed = int.from_bytes(self._witness[_OFFSET:], "big")
        if number < witnessed:
            raise JournalError(
                f"{self._journal} has lost {witnessed - number} commits: its -wal file was cut or "
                "removed, or it is an old copy. Bring back the whole of it; or, to go on with "
                f"what is there and perhaps pay twice, delete {self._journal}-lock"
            )

    def committed(self, number: int) -> None:
        """Witness a commit: in memory that the kernel keeps, even if this process is killed."""
        self._witness[_OFFSET:] = number.to_bytes(8, "big")

    def close(self) -> None:
        """Let go."""
        self._witness.close()
        os.close(self._file)


def _mapped(file: int) -> mmap.mmap:
    """Return the file's 16 bytes as memory; they are written first, so that there is room."""
    there = os.read(file, _OFFSET + 8)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, there.ljust(_OFFSET + 8, b"\0"))
    return mmap.mmap(file, _OFFSET + 8)
