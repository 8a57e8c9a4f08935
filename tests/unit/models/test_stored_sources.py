"""Sources in object storage: addresses that a request takes wherever it takes a URL."""

import json
import pickle

import pytest

from keevx_async import ImageToVideo, InvalidRequest, VideoTranslate
from keevx_async.cli.input.csv_types import references
from keevx_async.models.object_path import ObjectPath
from tests.support.client import a_request

START = "s3://films/frames/start.png"


def test_to_dict_and_from_dict_are_exact_inverses() -> None:
    request = a_request(image_url=START, reference_images=[START, "https://example.com/a.png"])
    fields = request.to_dict()
    assert fields["image_url"] == START
    assert fields["reference_images"] == [START, "https://example.com/a.png"]
    assert ImageToVideo.from_dict(json.loads(json.dumps(fields))) == request
    assert request.local_files() == ()
    assert len(request.files()) == 2


@pytest.mark.parametrize("address", ["s3://films", "s3://films/", "s3:///a.png", "ftp://a/b.png"])
def test_an_address_without_an_object_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest, match="image_url: must "):
        a_request(image_url=address)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_each_storage_may_hold_a_source(scheme: str) -> None:
    address = f"{scheme}://films/a.mp4"
    request = VideoTranslate(target_languages=["English"], video_url=address)
    assert str(request.video_url) == address
    assert pickle.loads(pickle.dumps(request)) == request  # noqa: S301 - our own
    assert request.with_urls({ObjectPath(address): "https://cdn.example/a.mp4"}).files() == []


@pytest.mark.parametrize("between", [",", ";", " ", "; ", ",\n"])
def test_a_cell_lists_several(between: str) -> None:
    addresses = ["s3://films/a", "gs://films/b.png", "https://example.com/c", "az://films/d"]
    assert references(between.join(addresses)) == addresses
