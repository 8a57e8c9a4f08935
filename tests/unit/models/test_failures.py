"""Classes of failure, by the words of an error message."""

import pytest

from keevx_async.models.failures import FAILURES, failure_class, failure_classes


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Blocked by our Content  Policy.", "moderation"),
        ("Parameter error: prompt cannot be empty", "input"),
        ("image URL inaccessible", "input"),
        ("task creation failed, retry", "internal"),
        ("", "unknown"),
        ("the weather was bad", "unknown"),
    ],
)
def test_a_message_is_sorted_by_its_words(message: str, expected: str) -> None:
    assert failure_class(message) == expected
    assert expected in failure_classes()


def test_a_user_adds_phrases_and_the_longest_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAILURES, "Content policy service is down", "internal")
    monkeypatch.setitem(FAILURES, "no face", "portrait")
    assert failure_class("content policy service is down") == "internal"
    assert failure_class("content policy") == "moderation"
    assert failure_class("There is NO FACE in it") == "portrait"
    assert failure_classes() == ("moderation", "input", "internal", "portrait", "unknown")
