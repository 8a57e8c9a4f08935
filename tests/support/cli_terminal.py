"""Commands on a terminal of their own."""

from __future__ import annotations

# Makes it the terminal that Ctrl-C on it signals, and becomes the command.
ITS_OWN = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "keevx_async.cli", *sys.argv[1:]])
"""
