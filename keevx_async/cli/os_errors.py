"""Describes operating system errors."""

from __future__ import annotations

import os

from .input.sources import NO_WORKING_FOLDER


def describe_os_error(error: OSError) -> str:
    """Return a message with the file, the reason, and any environment variable with that path.

    If the working folder was removed, the message says so; the system only reports "No such file
    or directory".
    """
    try:
        os.getcwd()
    except OSError:
        return NO_WORKING_FOLDER
    reason = error.strerror or str(error)
    if error.filename is None:
        return reason
    variables = [name for name, value in os.environ.items() if value == str(error.filename)]
    hint = f" (set by the environment variable {variables[0]})" if variables else ""
    return f"{error.filename}: {reason}{hint}"
