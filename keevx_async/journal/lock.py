"""One run at a time on a journal, and a witness of how much was committed."""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
from pathlib import Path
from typing import Final

from ..errors import JournalError

LOCKED_BYTE: Final = 0x4000_0800
"""The byte of the journal that is locked.

It lies in the page that SQLite never keeps data in, behind the 512 bytes of it that SQLite itself
locks, so neither sees the other. Source: https://www.sqlite.org/fileformat2.html#lock_byte_page
"""

if sys.platform == "win32":
    import msvcrt

    def lock_file(file: int) -> None:
        """Lock an open file, or raise OSError if another process has."""
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _hold_journal(file: int) -> None:
        os.lseek(file, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def lock_file(file: int) -> None:
        """Lock an open file, or raise OSError if another process has."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _hold_journal(file: int) -> None:
        # On Linux the lock belongs to the open file. Elsewhere it belongs to the process, which
        # loses it when it closes any descriptor of the journal.
        if sys.platform == "linux":
            wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, LOCKED_BYTE, 1, 0)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCKED_BYTE)


def open_binary(path: Path | str) -> int:
    """Open a file of ours for reading and writing, made if need be; return its descriptor.

    Windows opens it in text mode otherwise, where a line feed is written as two bytes.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)


_MARK = b"keevx-1\n"
"""What a witness begins with, before the eight bytes of the number."""
_SIZE = len(_MARK) + 8

_Identity = tuple[int, int]
_locks: dict[_Identity, Lock] = {}
"""The locks of this process. To open a journal that SQLite has open here, and to close it again,
would take SQLite's own locks away: https://www.sqlite.org/howtocorrupt.html#posix_close_bug"""
_turn = threading.Lock()


class Lock:
    """Held while a journal is open; the kernel frees it when the process dies.

    It is a lock on the journal itself, which nobody can remove apart from it. The ``-lock`` file
    beside the journal is a witness only: it holds the number of the last commit. It is written
    after the commit, so a journal that knows of fewer has lost some: a truncated log, an old
    copy. A witness that is missing or was emptied knows nothing.

    Args:
        path: the journal.

    Raises:
        JournalError: another process holds it, or the file or the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_dir():
            raise JournalError(f"{path} is a folder; name a file in it")
        self._witness = self._opened(f"{path}-lock", "cannot write beside it")
        try:
            with _turn:
                self._file, self._identity = self._held()
                _locks[self._identity] = self
        except BaseException:
            os.close(self._witness)
            raise

    def _opened(self, path: Path | str, problem: str) -> int:
        try:
            return open_binary(path)
        except OSError as error:
            raise JournalError(
                f"{self._path} cannot be used as a journal: {problem}: {error.strerror}"
            ) from error

    def _held(self) -> tuple[int, _Identity]:
        """Lock the journal; return its descriptor and what it is known by."""
        if self._path.exists() and _identity(self._path.stat()) in _locks:
            raise self._held_elsewhere()
        file = self._opened(self._path, "it is a readonly database")
        try:
            _hold_journal(file)
            return file, _identity(os.fstat(file))
        except OSError as error:
            os.close(file)
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise self._held_elsewhere() from error
            raise JournalError(
                f"{self._path} cannot be used as a journal: its file system takes no lock on it: "
                f"{error.strerror}"
            ) from error

    def _held_elsewhere(self) -> JournalError:
        return JournalError(
            f"{self._path} is held by another process, or by a Keevx or Journal of this one that "
            "was not closed. Close it (await keevx.close(); where a notebook has lost it, restart "
            "the kernel), or use another journal"
        )

    def check(self, number: int, *, log_is_missing: bool = False) -> None:
        """Raise JournalError if the journal has lost commits.

        1. It knows of fewer than the witness: it has.
        2. It knows of as many: it has not, though its log may be gone, as after another program
           has opened the journal of a run that was killed, and moved the log into it.
        3. There is no witness, or that of another journal: it has, if it says that a log belongs
           to it and there is none.

        Args:
            number: the commits that it knows of.
            log_is_missing: whether a log should be beside it, and is not.
        """
        witnessed = self._witnessed()
        if witnessed is not None and number < witnessed:
            lost = f"has lost {witnessed - number} commits: its -wal file was cut or removed, or"
            raise self._lost(f"{lost} it is an old copy")
        # A run may be killed, or stopped by an error, between a commit and its witness.
        is_whole = witnessed is not None and number - witnessed <= 1
        if log_is_missing and not is_whole:
            raise self._lost(
                "has lost what its -wal file held: it was copied or moved without that file, "
                "or copied while a run was using it"
            )

    def _lost(self, what: str) -> JournalError:
        delete = "DELETE FROM notes WHERE name = 'open'"
        return JournalError(
            f"{self._path} {what}. Bring back the whole of it; or, to go on with what is there "
            f"and perhaps pay twice, delete {self._path}-lock and run: "
            f'sqlite3 {self._path} "{delete}"'
        )

    def _witnessed(self) -> int | None:
        os.lseek(self._witness, 0, os.SEEK_SET)
        there = os.read(self._witness, _SIZE)
        if len(there) < _SIZE or not there.startswith(_MARK):
            return None
        return int.from_bytes(there[len(_MARK) :], "big")

    def committed(self, number: int) -> None:
        """Witness a commit: in memory that the kernel keeps, even if this process is killed.

        Raises:
            OSError: it could not be written.
        """
        # Not mapped into memory: a mapping of a file that someone empties kills the process.
        os.lseek(self._witness, 0, os.SEEK_SET)
        if os.write(self._witness, _MARK + number.to_bytes(8, "big")) != _SIZE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Let go."""
        with _turn:
            if _locks.pop(self._identity, None) is not None:
                os.close(self._witness)
                os.close(self._file)


def _identity(stat: os.stat_result) -> _Identity:
    return stat.st_dev, stat.st_ino


def _forget_all() -> None:
    """Hold none of the locks of the process that this one was forked from."""
    global _turn
    _turn = threading.Lock()
    for lock in list(_locks.values()):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
