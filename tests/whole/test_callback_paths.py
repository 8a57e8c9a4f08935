"""A slash at the end of a callback's URL changes nothing, by whichever way it is served."""

import pytest

from tests.support.callbacks import SERVED, Served, Told, a_receiver, posted, token_of


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_slash_at_the_end_of_what_is_posted_to(served: Served, slash: str) -> None:
    async with served() as receiver:
        receiver.attach(told := Told())
        url = receiver.url_for("a key") + slash
        assert await posted(url, json={"data": {"task_id": "i2v-1"}}) == 204
        assert told.all == [("a key", "i2v-1")]


async def test_a_slash_after_the_token_in_any_other_framework() -> None:
    receiver = a_receiver("https://you.example/keevx")
    receiver.attach(told := Told())
    await receiver.receive(token_of(receiver) + "/", b'{"data": {"task_id": "i2v-1"}}')
    assert told.all == [("key", "i2v-1")]


@pytest.mark.parametrize("url", ["https://you.example", "https://you.example/keevx"])
def test_a_slash_at_the_end_of_the_public_url(url: str) -> None:
    plain, slashed = a_receiver(url), a_receiver(url + "/")
    assert slashed.public_url == plain.public_url
    assert slashed.url_for("k").rpartition("/")[0] == url
    paths = [route.path for route in plain.routes()]
    assert [route.path for route in slashed.routes()] == paths
