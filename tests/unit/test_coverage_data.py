"""A child that is killed while it writes its coverage spoils nobody else's."""

from pathlib import Path

import coverage

from tests.support.coverage_data import remove_unfinished


def measured(path: Path) -> bytes:
    """Write a process's data file; return its bytes."""
    data = coverage.CoverageData(str(path))
    data.add_arcs({"a.py": [(number, number + 1) for number in range(2_000)]})
    data.close(force=True)
    return path.read_bytes()


def test_files_cut_short_are_removed_and_whole_ones_are_combined(tmp_path: Path) -> None:
    whole = tmp_path / ".coverage.vm.1"
    content = measured(whole)
    cuts = [0, 1, 100, 4096, len(content) // 2, len(content) - 4096]
    cut = {tmp_path / f".coverage.vm.cut{number}": number for number in cuts}
    for path, size in cut.items():
        path.write_bytes(content[:size])
    garbled = tmp_path / ".coverage.vm.garbled"
    garbled.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert set(remove_unfinished(tmp_path)) == {*cut, garbled}
    assert list(tmp_path.iterdir()) == [whole]
    combined = coverage.CoverageData(str(tmp_path / "all"))
    combined.update(coverage.CoverageData(str(whole)))
    assert combined.arcs("a.py")
