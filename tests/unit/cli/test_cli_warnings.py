"""Local images are looked at in threads, each once, a bounded number of lines ahead."""

import threading
from pathlib import Path

import pytest

from keevx_async.cli.input import warnings as module
from keevx_async.cli.input.inputs import Input
from keevx_async.cli.input.prompts import Job
from keevx_async.cli.input.sources import Source
from keevx_async.cli.input.warnings import MAX_AHEAD, THREADS, Warnings
from keevx_async.models.pictures import Picture
from tests.support.client import a_request


class Looks:
    """Stands for ``look_at``, and keeps which images were looked at, and how many at a time."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.now = self.most = 0
        self.held: threading.Event | None = None
        self._lock = threading.Lock()

    def __call__(self, path: Path) -> Picture:
        with self._lock:
            self.paths.append(path)
            self.now += 1
            self.most = max(self.most, self.now)
        if self.held is not None:
            assert self.held.wait(30)
        with self._lock:
            self.now -= 1
        return Picture(400, 300)  # too small, and of another ratio


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    made = Looks()
    monkeypatch.setattr(module, "look_at", made)
    return made


@pytest.fixture
def source(tmp_path: Path) -> Input:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    return Input(first=Source.from_path(path))


def a_job(line: int, image: str | Path) -> Job:
    return Job(line, a_request(image_url=image), None)


def test_each_distinct_image_is_looked_at_once_and_lines_keep_their_order(
    looks: Looks, source: Input
) -> None:
    with Warnings(source) as warnings:
        for line in range(1, 301):
            warnings.add(a_job(line, Path(f"{line % 5}.png")))
    assert sorted(looks.paths) == [Path(f"{n}.png") for n in range(5)]
    for problem in warnings:
        assert (problem.line, problem.more_lines) == (1, list(range(2, 301)))
    assert {"ratio", "small"} <= {rule for _, rule in warnings._first}


def test_few_are_decoded_at_a_time_while_the_reading_goes_on(looks: Looks, source: Input) -> None:
    looks.held = threading.Event()
    with Warnings(source) as warnings:
        for line in range(MAX_AHEAD):
            warnings.add(a_job(line, Path(f"{line}.png")))  # waits for none of them
        looks.held.set()
    assert len(looks.paths) == MAX_AHEAD
    assert looks.most <= THREADS


def test_no_more_lines_than_a_few_wait_for_their_images(looks: Looks, source: Input) -> None:
    looks.held = threading.Event()
    added = 0

    def read() -> None:
        nonlocal added
        with Warnings(source) as warnings:
            for line in range(10 * MAX_AHEAD):
                warnings.add(a_job(line, Path(f"{line}.png")))
                added = line

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(0.5)
    assert added < MAX_AHEAD
    looks.held.set()
    thread.join(30)
    assert added == 10 * MAX_AHEAD - 1


def test_an_interrupt_does_not_wait_for_what_was_not_begun(looks: Looks, source: Input) -> None:
    looks.held = held = threading.Event()

    def interrupted() -> None:
        with Warnings(source) as warnings:
            for line in range(MAX_AHEAD):
                warnings.add(a_job(line, Path(f"{line}.png")))
            threading.Timer(1.0, held.set).start()  # those that were begun end later
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(looks.paths) <= THREADS


def test_lines_without_local_images_start_no_thread(looks: Looks, source: Input) -> None:
    before = set(threading.enumerate())
    with Warnings(source) as warnings:
        for line in range(100):
            warnings.add(a_job(line, "https://example.com/kite.jpg"))
        assert set(threading.enumerate()) <= before
    assert looks.paths == []
    assert not warnings
