"""Connects through a SOCKS proxy. Only this file imports aiohttp-socks, an optional extra."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import aiohttp

from ..errors import ConfigurationError

DEFAULT_PORT = 1080


def require_socks() -> None:
    """Check that SOCKS proxies can be used, without importing anything.

    Raises:
        ConfigurationError: the ``socks`` extra is not installed.
    """
    if find_spec("aiohttp_socks") is None:
        raise ConfigurationError(
            "a SOCKS proxy is set (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY), which needs the socks "
            'extra: pip install "keevx_async[socks]", or exclude the host with NO_PROXY'
        )


def socks_connector(proxy: str, **options: Any) -> aiohttp.TCPConnector:
    """Return a connector that reaches every host through a SOCKS proxy.

    With ``socks5`` (or ``socks``), ``socks5h`` and ``socks4a``, the proxy resolves names.
    ``socks4`` cannot, so names are resolved locally. If the proxy fails, the connector raises
    ``aiohttp.ClientProxyConnectionError``, which means that nothing was sent.

    Args:
        proxy: the proxy's URL; credentials in it are percent-encoded.
        options: further arguments for ``aiohttp.TCPConnector``.
    """
    import aiohttp_socks

    class Connector(aiohttp_socks.ProxyConnector):
        async def _wrap_create_connection(self, *args: Any, req: Any, **kwargs: Any) -> Any:
            try:
                connect = cast(Any, super())._wrap_create_connection
                return await connect(*args, req=req, **kwargs)
            except Exception as error:
                reason = OSError(None, f"SOCKS proxy: {error}")
                raise aiohttp.ClientProxyConnectionError(req.connection_key, reason) from error

    parts = urlsplit(proxy)
    is_version_4 = parts.scheme in ("socks4", "socks4a")
    return Connector(
        host=parts.hostname or "",
        port=parts.port or DEFAULT_PORT,
        proxy_type=aiohttp_socks.ProxyType.SOCKS4
        if is_version_4
        else aiohttp_socks.ProxyType.SOCKS5,
        username=unquote(parts.username or "") or None,
        password=unquote(parts.password or "") or None,
        rdns=parts.scheme != "socks4",
        **options,
    )
