"""``keevx ping``: checks the key and the host."""

from __future__ import annotations

from keevx_async.client.keevx import Keevx
from keevx_async.errors import KeevxError

from ..options import Json
from ..output.console import OK, USAGE, print_error
from ..output.printer import Printer


async def ping(*, json: Json = False) -> int:
    """Check the key and the host, free of charge.

    If Keevx accepts the key, print one line and exit with 0; otherwise print the reason and exit
    with 2.
    """
    try:
        async with Keevx() as keevx:
            where, seconds = keevx.base_url, await keevx.ping()
    except KeevxError as error:
        print_error(str(error))
        return USAGE
    Printer(json).print(
        {"base_url": where, "ms": round(1000 * seconds)},
        f"{where} accepts the key ({1000 * seconds:.0f} ms)",
    )
    return OK
