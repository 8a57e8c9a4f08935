"""Allow one process at a time to use a journal, and count its commits in a file next to it."""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Final

from ..errors import JournalError

LOCKED_BYTE: Final = 0x4000_0800
"""The offset of the journal byte that is locked.

It lies in a page in which SQLite never stores data, after the 512 bytes that SQLite itself locks,
so neither lock affects the other. Source: https://www.sqlite.org/fileformat2.html#lock_byte_page
"""

if sys.platform == "win32":
    import msvcrt

    def lock_file(file: int) -> None:
        """Lock an open file for this process; raise OSError if another process has locked it."""
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _mark_live(file: int) -> None:
        os.lseek(file, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _lock_byte(file: int) -> None:
        os.lseek(file, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def lock_file(file: int) -> None:
        """Lock an open file for this process; raise OSError if another process has locked it."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    _mark_live = lock_file

    def _lock_byte(file: int) -> None:
        # On Linux the lock belongs to the open file. On other systems it belongs to the process,
        # which loses it when it closes any descriptor of the journal.
        if sys.platform == "linux":
            request = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, LOCKED_BYTE, 1, 0)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, request)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCKED_BYTE)


def open_binary(path: Path | str) -> int:
    """Open a file for reading and writing, creating it if necessary; return its descriptor.

    The mode is binary, because Windows would otherwise write each line feed as two bytes.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)


_MARK = b"keevx-1\n"
"""The start of a witness file. The commit number follows in eight bytes."""
_SIZE = len(_MARK) + 8
_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""The error codes for a lock that another process holds."""

Identity = tuple[int, int]
"""A file's device and inode."""
_locks: dict[Identity, Lock] = {}
"""This process's locks. Opening and closing a journal that SQLite has open in this process would
drop SQLite's own locks: https://www.sqlite.org/howtocorrupt.html#posix_close_bug"""
_turn = threading.Lock()


def is_live(path: Path) -> bool:
    """Return whether a live program has the journal open for writing.

    The result is only for display. The lock itself is not touched, so this never prevents a run
    from starting.
    """
    # A separate mark on the witness, because opening and closing the journal would drop SQLite's
    # locks.
    if path.exists() and identity_of(path.stat()) in _locks:
        return True
    try:
        witness = os.open(f"{path}-lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        _mark_live(witness)
    except OSError as error:
        return error.errno in _TAKEN
    finally:
        os.close(witness)
    return False


class LostCommits(JournalError):
    """A journal has lost its log and the commits in it. It is read-only, so nothing may be sent."""


def check_witness(path: Path, content: bytes, number: int, *, log_is_missing: bool) -> None:
    """Check that a journal has lost no commits.

    Args:
        path: the journal's path.
        content: the content of the journal's witness file, which must be read before the number.
        number: the number of commits that the journal has recorded.
        log_is_missing: whether the journal needs a log that does not exist.

    Raises:
        LostCommits: the journal has lost commits together with its log.
        JournalError: the journal has lost commits, but no log is missing.
    """
    witnessed = None
    if len(content) == _SIZE and content.startswith(_MARK):
        witnessed = int.from_bytes(content[len(_MARK) :], "big")
    # 1. The journal has fewer commits than the witness: it has lost them.
    # 2. It has as many, or one more, since a run may be killed after a commit but before writing
    #    the witness: nothing is lost. The log may still be missing, because another program that
    #    opened a killed run's journal may have moved the log's content into the file.
    # 3. There is no witness, or it is another journal's: if a log is missing, so is its content.
    if witnessed is not None and number < witnessed:
        lost = f"has lost {witnessed - number} commits: its -wal file was truncated or removed, or"
        message = _lost(path, f"{lost} it is an old copy")
        raise LostCommits(message) if log_is_missing else JournalError(message)
    is_complete = witnessed is not None and number - witnessed <= 1
    if log_is_missing and not is_complete:
        problem = (
            "has lost the content of its -wal file: it was copied or moved without that file, "
            "or copied while a run was using it"
        )
        raise LostCommits(_lost(path, problem))


def _lost(path: Path, problem: str) -> str:
    delete = "DELETE FROM notes WHERE name = 'open'"
    return (
        f"{path} {problem}. Restore all of its files; or, to continue with what is left "
        f"and risk paying twice, delete {path}-lock and run: "
        f'sqlite3 {path} "{delete}"'
    )


class Lock:
    """The lock on an open journal; the kernel releases it when the process dies.

    The lock is on the journal file itself, so the journal cannot exist without its lock. The
    ``-lock`` file next to it is only a witness: it contains the last commit's number, which is
    written after that commit. A journal with fewer commits than its witness has lost some, because
    its log was truncated or the journal is an old copy. A missing or empty witness proves nothing.

    Args:
        path: the journal's path.

    Attributes:
        identity: the file's device and inode, which are the same for all paths to the file.

    Raises:
        JournalError: another process holds the lock, or the file or its folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_dir():
            raise JournalError(f"{path} is a folder; name a file in it")
        self._witness = self._open(f"{path}-lock", "cannot create a file next to it")
        # The witness is opened first, so that a read-only folder is reported as such.
        try:
            with _turn:
                self._file, self.identity = self._lock_journal()
                _locks[self.identity] = self
            for _ in range(5):  # a reader of the mark holds it for a few microseconds
                try:
                    _mark_live(self._witness)
                    break
                except OSError:
                    time.sleep(0.001)
        except BaseException:
            os.close(self._witness)
            raise

    def _open(self, path: Path | str, problem: str) -> int:
        try:
            return open_binary(path)
        except OSError as error:
            raise JournalError(
                f"{self._path} cannot be used as a journal: {problem}: {error.strerror}"
            ) from error

    def _lock_journal(self) -> tuple[int, Identity]:
        """Lock the journal, and return its descriptor and identity."""
        # This process's locks are checked before the file is opened, because closing the file again
        # would drop SQLite's locks on it. They are checked by identity, because several paths may
        # lead to the same file.
        if self._path.exists() and identity_of(self._path.stat()) in _locks:
            raise self._in_use()
        file = self._open(self._path, "it is a read-only database")
        try:
            _lock_byte(file)
            return file, identity_of(os.fstat(file))
        except OSError as error:
            os.close(file)
            if error.errno in _TAKEN:
                raise self._in_use() from error
            raise JournalError(
                f"{self._path} cannot be used as a journal: its file system does not support "
                f"locks: {error.strerror}"
            ) from error

    def _in_use(self) -> JournalError:
        path = self._path
        return JournalError(
            f"{path} is held by another process. In a terminal: wait for that run, or stop it "
            f"(keevx status --journal {path} --watch shows it). In a notebook: shut down the other "
            "kernel. On a server: give each worker process its own journal, or share a "
            "RedisJournal"
        )

    def check(self, number: int, *, log_is_missing: bool = False) -> None:
        """Check that the journal has lost no commits.

        Args:
            number: the number of commits that the journal has recorded.
            log_is_missing: whether the journal needs a log that does not exist.

        Raises:
            JournalError: the journal has lost commits; see ``check_witness``.
        """
        os.lseek(self._witness, 0, os.SEEK_SET)
        content = os.read(self._witness, _SIZE)
        check_witness(self._path, content, number, log_is_missing=log_is_missing)

    def committed(self, number: int) -> None:
        """Write the number of the last commit into the witness.

        On return, the number is in the kernel's memory, so it survives a crash of the process but
        not a power cut.

        Raises:
            OSError: the number could not be written.
        """
        # Not memory-mapped: if someone truncates a mapped file, the next write causes a SIGBUS.
        os.lseek(self._witness, 0, os.SEEK_SET)
        if os.write(self._witness, _MARK + number.to_bytes(8, "big")) != _SIZE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Release the lock. Calling it again has no effect."""
        with _turn:
            if _locks.pop(self.identity, None) is not None:
                os.close(self._witness)
                os.close(self._file)


def identity_of(stat: os.stat_result) -> Identity:
    """Return a file's identity, which is the same for all paths to the file."""
    return stat.st_dev, stat.st_ino


def _drop_inherited_locks() -> None:
    """Close the descriptors that a forked process inherited; its parent keeps the locks."""
    global _turn
    _turn = threading.Lock()
    for lock in list(_locks.values()):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_inherited_locks)
