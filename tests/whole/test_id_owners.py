"""An id belongs to the create that it was first given to, as long as it is remembered."""

import pytest

from keevx_async import Keevx, SubmissionUncertain
from keevx_async.client import runtime
from tests.support.client import a_request
from tests.support.raw_server import Heard, RawServer, Script, answer, envelope


async def test_an_id_that_comes_again_is_refused_until_its_owner_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "MAX_OWNED", 3)

    def respond(heard: Heard) -> Script:
        return Script([answer(envelope([heard.prompt]))], True)

    async with RawServer(respond) as server, Keevx("key", base_url=server.url) as keevx:
        for task_id in ("i2v-1", "i2v-2", "i2v-3", "i2v-4"):
            await keevx.submit(a_request(task_id))

        with pytest.raises(SubmissionUncertain, match="another create"):
            await keevx.submit(a_request("i2v-4"))

        assert (await keevx.submit(a_request("i2v-1"))).task_ids == ("i2v-1",)
