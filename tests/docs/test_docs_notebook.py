"""The example notebook runs from top to bottom, and shows what it says it shows."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("notebook")]  # its run takes long

NOTEBOOK = Path(__file__).parent.parent.parent / "docs" / "notebook.ipynb"

PANDAS_CELLS = {"many-from-frame", "frame-of-records"}
WITH_PANDAS = find_spec("pandas") is not None


def read() -> NotebookNode:
    notebook: NotebookNode = nbformat.read(NOTEBOOK, as_version=4)
    return notebook


def cells(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (cell for cell in notebook.cells if cell.cell_type == "code")


def test_it_is_stored_without_outputs_and_without_traces_of_a_machine() -> None:
    notebook = read()
    nbformat.validate(notebook)
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    for cell in cells(notebook):
        assert (cell.outputs, cell.execution_count, cell.metadata) == ([], None, {})
    assert str(Path.home()) not in NOTEBOOK.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """The notebook after a run in a kernel of this Python, in an empty folder."""
    notebook, folder = read(), tmp_path_factory.mktemp("notebook")
    if not WITH_PANDAS:  # as the notebook says, they may be left out
        notebook.cells = [cell for cell in notebook.cells if cell.id not in PANDAS_CELLS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder / ".ipython"))  # no profile of the developer's own
        where = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=300, startup_timeout=300, resources=where).execute(
            env=dict(os.environ)
        )
    assert len(list((folder / "videos").glob("*.mp4"))) == 6 + 2 * WITH_PANDAS
    return notebook


def shown(notebook: NotebookNode, last_line: str) -> Any:
    """What the cell that ends with last_line shows, by media type."""
    (cell,) = (one for one in cells(notebook) if one.source.splitlines()[-1] == last_line)
    return {
        kind: text for output in cell.outputs for kind, text in output.get("data", {}).items()
    } | {output.name: output.text for output in cell.outputs if output.output_type == "stream"}


def test_no_cell_fails_or_warns(executed: NotebookNode) -> None:
    for cell in cells(executed):
        assert cell.execution_count
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output


@pytest.mark.parametrize(
    ("last_line", "words"),
    [
        ("submission", ["SUBMITTED", "model V", "A golden retriever", "i2v-"]),
        ("task", ["SUCCEEDED", "1920x1080", "6 s", "<img ", "/thumbs/i2v-", 'href="http://127.']),
        ("await progress(fan)", ["<table", "5 ok", "1 failed", "of 6", "<video controls"]),
        ("outcome.tasks[0]", ["FAILED", "generation failed"]),
    ],
)
def test_values_are_shown_as_html_and_as_text(
    executed: NotebookNode, last_line: str, words: list[str]
) -> None:
    seen = shown(executed, last_line)
    for word in words:
        assert word in seen["text/html"]
    assert seen["text/plain"].startswith("<")


def test_a_request_that_cannot_be_says_all_that_is_wrong(executed: NotebookNode) -> None:
    said = shown(executed, "        print(violation)")["stdout"]
    for name in ("aspect_resolution: ", "duration: ", "image_url: "):
        assert name in said


def test_progress_is_a_widget_that_has_counted_to_the_end(executed: NotebookNode) -> None:
    widgets = executed.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    told = [str(one["state"].get("value")).replace("\u2007", " ") for one in widgets.values()]
    assert [one for one in told if "6/6" in one and "5 ok, 1 failed" in one]
    assert [one for one in told if "30/30" in one and "30 ok" in one]


def test_the_end_is_said_in_text_where_widgets_are_not_kept(executed: NotebookNode) -> None:
    assert shown(executed, "await progress(fan)")["stdout"] == (
        "keevx: 6 of 6 ended: 5 ok, 1 failed\n"
    )


@pytest.mark.skipif(not WITH_PANDAS, reason="pandas is not installed")
def test_requests_come_from_a_frame_and_outcomes_go_to_one(executed: NotebookNode) -> None:
    (frame,) = (
        output.data["text/html"]
        for cell in cells(executed)
        if cell.id == "frame-of-records"
        for output in cell.outputs
    )
    for word in ("A paper boat in the rain", "A tin robot that dances", "<td>ok</td>", "videos/"):
        assert word in frame
