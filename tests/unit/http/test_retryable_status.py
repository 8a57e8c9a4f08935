"""Which statuses of a GET pass: one list, obeyed by single queries and by waits."""

import pytest

from keevx_async.errors import NotFoundError
from keevx_async.http.verdict import api_error
from keevx_async.settings import is_retryable_status
from tests.support.simulated import simulated
from tests.support.waiting import Server, end_of, watcher

RETRYABLE = (408, 425, 429, 499, 500, 502, 503, 504, 520, 524, 599)
FINAL = (200, 204, 206, 301, 302, 400, 401, 402, 403, 404, 405, 409, 410, 413, 416, 422, 451)


@pytest.mark.parametrize("status", RETRYABLE)
def test_a_status_that_passes(status: int) -> None:
    assert is_retryable_status(status)


@pytest.mark.parametrize("status", FINAL)
def test_a_status_that_stays(status: int) -> None:
    assert not is_retryable_status(status)


@simulated
@pytest.mark.parametrize("status", RETRYABLE)
async def test_a_wait_outlasts_a_status_that_passes(status: int) -> None:
    server = Server()
    server.script["a"] = [api_error(status, None, "")] * 5
    assert (await end_of(watcher(server), "a", None)).succeeded
    assert len(server.asked) == 6


@simulated
@pytest.mark.parametrize("code", [100003, 110002])
async def test_a_refusal_of_keevx_under_a_server_error_still_ends_a_wait(code: int) -> None:
    """The envelope's own word counts for more than the status it came under."""
    server = Server()
    server.fault = lambda _: api_error(500, code, "task not found", codes={110002: 100003})
    with pytest.raises(NotFoundError):
        await end_of(watcher(server), "a", 10_000.0)
