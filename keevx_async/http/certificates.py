"""Which certificates TLS trusts. A module of its own because it alone may import truststore."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping

from ..errors import ConfigurationError

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


def tls_context(environment: Mapping[str, str]) -> ssl.SSLContext | bool:
    """Return what aiohttp takes as ``ssl=``.

    1. SSL_CERT_FILE and SSL_CERT_DIR, where set, replace the system's store; they may be
       combined.
    2. REQUESTS_CA_BUNDLE, a file or a folder, does so where neither of them is set.
    3. Else the system's store is used: on Windows and macOS through truststore where it is
       installed, else as Python finds it, which is True. On Linux that is the same store, and
       truststore would read it anew for each connection, which takes 30 ms.

    Args:
        environment: the environment's variables.

    Raises:
        ConfigurationError: a variable names no certificates.
    """
    file, folder, bundle = (environment.get(name) or None for name in VARIABLES)
    if file or folder:
        return _context("SSL_CERT_FILE" if file else "SSL_CERT_DIR", file, folder)
    if bundle:
        is_folder = os.path.isdir(bundle)
        return _context(
            "REQUESTS_CA_BUNDLE", None if is_folder else bundle, bundle if is_folder else None
        )
    return _system_store() if sys.platform in ("win32", "darwin") else True


def _context(variable: str, file: str | None, folder: str | None) -> ssl.SSLContext:
    try:
        if folder and not any(map(os.path.isdir, folder.split(os.pathsep))):
            raise NotADirectoryError(f"{folder} is not a folder")
        return ssl.create_default_context(cafile=file, capath=folder)
    except (OSError, ValueError) as error:
        named = file if file and variable != "SSL_CERT_DIR" else folder
        raise ConfigurationError(
            f"{variable} names {named!r}, which holds no certificates that can be read "
            f"({getattr(error, 'strerror', None) or error}); "
            "it must be a PEM file (SSL_CERT_DIR: a folder of them), or not be set"
        ) from error


def _system_store() -> ssl.SSLContext | bool:
    try:
        import truststore
    except ImportError:
        return True
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
