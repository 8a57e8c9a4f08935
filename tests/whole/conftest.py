"""The object store of the tests that use one."""

from tests.support.object_store import bucket, server

__all__ = ["bucket", "server"]  # fixtures
