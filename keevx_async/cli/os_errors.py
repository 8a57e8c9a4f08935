"""Words what the system refuses."""

from __future__ import annotations

import os

from .input.sources import NO_WORKING_FOLDER


def describe_os_error(error: OSError) -> str:
    """Return what the system refused, with the file, and the variable that named it.

    A working folder that was removed is reported as such: the system says no more than "No such
    file or directory".
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
