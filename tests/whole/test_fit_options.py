"""One request's images may be made to fit in another way than the client's others."""

import io
from pathlib import Path

import pytest

from keevx_async import ConfigurationError
from keevx_async.testing import Emulator
from tests.support.client import a_request, keevx_of

Image = pytest.importorskip("PIL.Image")


async def test_with_options_says_how_the_images_of_one_request_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (1600, 1200), "teal").save(path)
    sizes: dict[str, tuple[int, int]] = {}
    async with (
        Emulator() as emulator,
        keevx_of(emulator, fit="crop", journal=tmp_path / "run.db") as client,
    ):
        for fit in ("crop", "pad", "none"):
            other = client if fit == "crop" else client.with_options(fit=fit)
            (task_id,) = (await other.submit(a_request(fit, image_url=path))).task_ids
            content = emulator.content(emulator.tasks[task_id].body["image_url"])
            assert content is not None
            sizes[fit] = Image.open(io.BytesIO(content)).size
    assert sizes == {"crop": (1600, 900), "pad": (2133, 1200), "none": (1600, 1200)}


async def test_it_makes_no_other_request(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (1600, 1200), "teal").save(path)
    async with Emulator() as emulator, keevx_of(emulator, journal=tmp_path / "run.db") as client:
        first = await client.submit(a_request(image_url=path), key="k")
        again = await client.with_options(fit="crop").submit(a_request(image_url=path), key="k")
        assert again.task_ids == first.task_ids
        assert again.reused
        assert emulator.creates.total() == 1


async def test_an_unknown_mode_is_refused() -> None:
    async with Emulator() as emulator, keevx_of(emulator) as client:
        with pytest.raises(ConfigurationError, match="fit must be one of none, crop, pad"):
            client.with_options(fit="stretch")  # type: ignore[arg-type]
