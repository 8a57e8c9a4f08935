"""Chooses the certificates that TLS trusts. Only this file imports truststore."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping

from ..errors import ConfigurationError

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


def tls_context(environment: Mapping[str, str]) -> ssl.SSLContext | bool:
    """Return the value of aiohttp's ``ssl=``: a context, or True for Python's default.

    The first case that applies decides:

    1. SSL_CERT_FILE, SSL_CERT_DIR or both are set: they replace the system's store.
    2. REQUESTS_CA_BUNDLE is set: its file or folder replaces the system's store.
    3. Windows and macOS, with truststore installed: use the system's store, through truststore.
    4. Otherwise: use the store that Python finds. On Linux that is the system's store, which
       truststore would read again for each connection, taking 30 ms.

    Args:
        environment: the environment variables.

    Raises:
        ConfigurationError: a variable names a file or folder without readable certificates.
    """
    file, folder, bundle = (environment.get(name) or None for name in VARIABLES)
    if file or folder:
        return _context("SSL_CERT_FILE" if file else "SSL_CERT_DIR", file, folder)
    if bundle:
        is_folder = os.path.isdir(bundle)
        return _context(
            "REQUESTS_CA_BUNDLE", None if is_folder else bundle, bundle if is_folder else None
        )
    if sys.platform in ("win32", "darwin"):
        try:
            import truststore
        except ImportError:
            return True
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return True


def _context(variable: str, file: str | None, folder: str | None) -> ssl.SSLContext:
    try:
        if folder and not any(map(os.path.isdir, folder.split(os.pathsep))):
            raise NotADirectoryError(f"{folder} is not a folder")
        return ssl.create_default_context(cafile=file, capath=folder)
    except (OSError, ValueError) as error:
        named = file if file and variable != "SSL_CERT_DIR" else folder
        raise ConfigurationError(
            f"{variable} names {named!r}, which has no readable certificates "
            f"({getattr(error, 'strerror', None) or error}); "
            "it must name a PEM file (for SSL_CERT_DIR, a folder of them) or be unset"
        ) from error
