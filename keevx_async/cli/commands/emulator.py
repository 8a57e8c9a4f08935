"""``keevx emulator``: a Keevx of one's own, to try the other commands against."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from keevx_async.errors import ConfigurationError
from keevx_async.testing import Emulator

from ..output.printer import Json, Printer, print_error, seconds

KEY = "emulator"  # it takes any
SHARE = Number(gte=0, lte=1)
PORT = Number(gte=0, lte=65535)


async def emulator(
    *,
    seconds: Annotated[
        float, Parameter(help="Seconds until a task ends, the median.", validator=seconds)
    ] = 2.0,
    spread: Annotated[
        float, Parameter(help="How far tasks differ: the sigma of a lognormal.", validator=seconds)
    ] = 0.3,
    fail: Annotated[
        float, Parameter(help="Share of prompts that end FAILED, 0 to 1.", validator=SHARE)
    ] = 0.0,
    port: Annotated[
        int,
        Parameter(help="Port to serve at; 0 takes a free one.", validator=PORT),
    ] = 0,
    json: Json = False,
) -> None:
    """Serve an emulated Keevx on this machine until Ctrl-C: no key, no cost, no network."""
    served = Emulator(seconds, spread=spread, fail_prompts=fail, port=port)
    try:
        await served.start()
    except OSError as error:
        message = f"cannot serve at port {port}: {error.strerror or error}; name another by --port"
        raise ConfigurationError(message) from None
    try:
        variables = {"KEEVX_BASE_URL": served.url, "KEEVX_API_KEY": KEY}
        Printer(json).print(variables, *(f"export {name}={is_}" for name, is_ in variables.items()))
        print_error("the emulator serves until Ctrl-C; copy the lines above into another terminal")
        await asyncio.Event().wait()
    finally:
        await served.stop()
