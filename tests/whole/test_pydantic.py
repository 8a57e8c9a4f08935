"""A request as a field of pydantic's, and as the body of a FastAPI route."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import pytest
from fastapi import Body, FastAPI
from pydantic import BaseModel, ConfigDict, ValidationError

from keevx_async import ImageToVideo, VideoTranslate
from tests.support.callbacks import loopback, under_uvicorn
from tests.support.client import a_request


class Order(BaseModel):
    """Somebody's order."""

    model_config = ConfigDict(extra="forbid")
    customer: str
    video: ImageToVideo
    dubbed: VideoTranslate | None = None


def test_a_field_is_validated_by_our_rules_all_at_once() -> None:
    good = a_request().to_dict()
    order = Order.model_validate({"customer": "a", "video": good})
    assert order.video == a_request()
    assert Order.model_validate_json(order.model_dump_json()) == order
    with pytest.raises(ValidationError) as caught:
        Order.model_validate({"customer": "a", "video": {**good, "promt": "b", "duration": 7}})
    (error,) = caught.value.errors()
    assert error["loc"] == ("video",)
    assert error["type"] == "invalid_request"
    assert {each["field"] for each in error["ctx"]["violations"]} == {"promt", "duration"}
    assert "did you mean 'prompt'?" in error["msg"]


@pytest.mark.parametrize("value", [3, None, "a", [1]])
def test_a_value_that_is_not_an_object_is_a_pydantic_error(value: Any) -> None:
    with pytest.raises(ValidationError, match="must be a mapping"):
        Order.model_validate({"customer": "a", "video": value})


def test_data_from_elsewhere_names_no_file_of_this_machine() -> None:
    body = {**a_request().to_dict(), "image_url": "file:/etc/passwd"}
    with pytest.raises(ValidationError, match="refers to a file on this machine"):
        Order.model_validate({"customer": "a", "video": body})
    mine = a_request(image_url=Path("start.png"))
    assert Order(customer="a", video=mine).video is mine


app = FastAPI()


@app.post("/videos")
async def videos(order: Annotated[ImageToVideo, Body()]) -> dict[str, Any]:
    return order.to_dict()


@app.post("/orders")
async def orders(order: Order) -> Order:
    return order


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    bound, origin = loopback()
    async with under_uvicorn(app, bound), aiohttp.ClientSession() as session:
        yield session, origin


async def test_fastapi_takes_it_as_a_body_and_names_what_is_wrong() -> None:
    good = a_request().to_dict()
    async with serving() as (session, origin):
        async with session.post(f"{origin}/videos", json=good) as answer:
            assert (answer.status, await answer.json()) == (200, good)
        async with session.post(f"{origin}/videos", json={**good, "duration": 7}) as answer:
            assert answer.status == 422
            (detail,) = (await answer.json())["detail"]
        assert detail["ctx"]["violations"][0]["field"] == "duration"
        body = {"customer": "a", "video": good}
        async with session.post(f"{origin}/orders", json=body) as answer:
            assert (await answer.json())["video"] == good


def test_fastapis_page_shows_our_schema() -> None:
    page = app.openapi()
    body = page["paths"]["/videos"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    expected = {key: value for key, value in ImageToVideo.json_schema().items() if key != "$schema"}
    schemas = page["components"]["schemas"]
    shown = schemas[body["$ref"].rpartition("/")[2]] if "$ref" in body else body
    assert shown["properties"] == expected["properties"]
    assert shown["allOf"] == expected["allOf"]
    assert "video" in schemas["Order-Input" if "Order-Input" in schemas else "Order"]["properties"]
