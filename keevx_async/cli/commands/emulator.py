"""``keevx emulator``: a Keevx on this machine, to try the other commands against."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from keevx_async.errors import ConfigurationError
from keevx_async.testing import Emulator

from ..options import Json, check_seconds
from ..output.console import print_error
from ..output.printer import Printer

API_KEY = "emulator"
"""Any key would do."""


async def emulator(
    *,
    seconds: Annotated[
        float,
        Parameter(help="Median number of seconds until a task ends.", validator=check_seconds),
    ] = 2.0,
    spread: Annotated[
        float,
        Parameter(
            help="How much durations vary: sigma of their lognormal distribution.",
            validator=check_seconds,
        ),
    ] = 0.3,
    fail: Annotated[
        float,
        Parameter(help="Share of prompts that end FAILED, 0 to 1.", validator=Number(gte=0, lte=1)),
    ] = 0.0,
    port: Annotated[
        int,
        Parameter(
            help="Port to listen on; 0 picks a free one.", validator=Number(gte=0, lte=65535)
        ),
    ] = 0,
    json: Json = False,
) -> None:
    """Serve an emulated Keevx on this machine until Ctrl-C. Needs no key and no network.

    Prints the variables that lead other commands to it, as a shell or a JSON object takes them.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    server = Emulator(seconds, spread=spread, fail_prompts=fail, port=port)
    try:
        await server.start()
    except OSError as error:
        message = f"cannot listen on port {port}: {error.strerror or error}; choose another --port"
        raise ConfigurationError(message) from None
    try:
        variables = {"KEEVX_BASE_URL": server.url, "KEEVX_API_KEY": API_KEY}
        exports = (f"export {name}={value}" for name, value in variables.items())
        Printer(json).print(variables, *exports)
        print_error("the emulator runs until Ctrl-C; paste the lines above into another terminal")
        await asyncio.Event().wait()
    finally:
        await server.stop()
