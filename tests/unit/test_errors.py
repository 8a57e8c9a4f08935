"""The error tree: its shape, its copies, its words, and what it must not hold."""

import copy
import pickle
import re
from typing import Any

import pytest

import keevx_async
from keevx_async import errors
from keevx_async.errors import (
    APIError,
    AuthenticationError,
    BudgetExceeded,
    CallbackRejected,
    ConfigurationError,
    ConnectionFailed,
    DownloadError,
    InsufficientFunds,
    InvalidRequest,
    JournalError,
    KeevxError,
    NotFoundError,
    NotStarted,
    RateLimitError,
    ResponseError,
    ServerError,
    SubmissionPending,
    SubmissionUncertain,
    TaskFailed,
    UploadError,
    Violation,
    WaitTimeout,
)
from keevx_async.models.outcomes import Outcome
from keevx_async.models.tasks import Task
from keevx_async.settings import Budget
from tests.support.client import a_request

REQUEST = a_request()
FAILED = Task(task_id="i2v-1", status="FAILED", error_message="blurred")
ENDED = Task(task_id="i2v-2", status="SUCCEEDED", video_url="https://example.com/v.mp4")

# Every error, an example of it, its bases, and words of what a person does next.
TREE: dict[type[KeevxError], tuple[KeevxError, tuple[type, ...], str]] = {
    InvalidRequest: (
        InvalidRequest([Violation("prompt", "", "required", "is blank; describe it")]),
        (KeevxError, ValueError),
        "prompt: is blank",
    ),
    ConfigurationError: (ConfigurationError("no API key: set it"), (KeevxError,), "set it"),
    APIError: (APIError(400, 100001, "prompt", "{}"), (KeevxError,), "request"),
    AuthenticationError: (AuthenticationError(401, 100002, "no"), (APIError,), "KEEVX_API_KEY"),
    InsufficientFunds: (InsufficientFunds(402, 402, "no"), (APIError,), "Add funds"),
    NotFoundError: (NotFoundError(404, 100003, "no"), (APIError,), "Check the task id"),
    RateLimitError: (RateLimitError(429, None, "", "slow"), (APIError,), "concurrency"),
    ServerError: (ServerError(500, 530003, "oh"), (APIError,), "again later"),
    ConnectionFailed: (ConnectionFailed("api.keevx.com", "refused"), (KeevxError,), "proxy"),
    ResponseError: (ResponseError(200, "no envelope", "<p>"), (KeevxError,), "KEEVX_BASE_URL"),
    SubmissionUncertain: (
        SubmissionUncertain(REQUEST, "key-1", "timed out"),
        (KeevxError,),
        "ook for it",
    ),
    SubmissionPending: (
        SubmissionPending(REQUEST, "key-1", "no response within 5 s"),
        (SubmissionUncertain,),
        "same key",
    ),
    NotStarted: (NotStarted("no funds"), (KeevxError,), "run it again"),
    BudgetExceeded: (
        BudgetExceeded(Budget(videos=10), {"videos": 9}, {"videos": 2}),
        (NotStarted,),
        "Raise the budget",
    ),
    TaskFailed: (TaskFailed(FAILED, [FAILED, ENDED]), (KeevxError,), "submit"),
    WaitTimeout: (WaitTimeout(["i2v-1"], [ENDED]), (KeevxError, TimeoutError), "wait for the same"),
    UploadError: (UploadError("too large; make it smaller"), (KeevxError,), "make it smaller"),
    DownloadError: (DownloadError("exists; pass overwrite"), (KeevxError,), "overwrite"),
    JournalError: (JournalError("full", ["i2v-8"]), (KeevxError,), "Keep these task ids"),
    CallbackRejected: (CallbackRejected("expired; renew it"), (KeevxError,), "renew it"),
}
EXAMPLES = [example for example, _, _ in TREE.values()]


def ids(example: KeevxError) -> str:
    return type(example).__name__


def below(kind: type[KeevxError]) -> set[type[KeevxError]]:
    return {one for child in kind.__subclasses__() for one in (child, *below(child))}


def test_every_public_error_is_in_the_test() -> None:
    public = [getattr(keevx_async, name) for name in keevx_async.__all__]
    kinds = {one for one in public if isinstance(one, type) and issubclass(one, KeevxError)}
    assert kinds == {*TREE, KeevxError}
    assert {one for one in below(KeevxError) if one.__module__ == errors.__name__} == {*TREE}


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_the_tree_stands_as_drawn(kind: type[KeevxError]) -> None:
    assert kind.__bases__ == TREE[kind][1]


def test_the_docstring_draws_the_tree() -> None:
    drawn = re.findall(r"^(.*)[├└]── (\w+)", errors.__doc__ or "", re.MULTILINE)
    parents, above = dict[str, type[KeevxError]](), KeevxError
    for indent, name in drawn:
        parents[name] = above if indent else KeevxError
        above = above if indent else getattr(errors, name)
    assert parents == {kind.__name__: bases[0] for kind, (_, bases, _) in TREE.items()}


@pytest.mark.parametrize("example", EXAMPLES, ids=ids)
@pytest.mark.parametrize(
    "copied",
    [
        lambda error: pickle.loads(pickle.dumps(error)),  # noqa: S301 - our own bytes
        lambda error: pickle.loads(pickle.dumps(error, protocol=0)),  # noqa: S301 - likewise
        copy.deepcopy,
        copy.copy,
    ],
    ids=["pickle", "pickle 0", "deepcopy", "copy"],
)
def test_a_copy_has_equal_fields(example: KeevxError, copied: Any) -> None:
    twin = copied(example)
    assert type(twin) is type(example)
    assert twin is not example
    assert vars(twin) == vars(example)
    assert twin.args == example.args
    assert str(twin) == str(example)


def test_the_fields_are_those_of_the_contract() -> None:
    def fields(kind: type[KeevxError]) -> dict[str, Any]:
        return vars(TREE[kind][0])

    violation = Violation("prompt", "", "required", "is blank; describe it")
    assert fields(InvalidRequest) == {"violations": (violation,)}
    assert fields(APIError) == {
        "status": 400,
        "code": 100001,
        "msg": "prompt",
        "body": "{}",
        "headers": {},
        "method": "",
        "path": "",
        "attempts": 1,
    }
    assert fields(ConnectionFailed) == {"host": "api.keevx.com", "reason": "refused"}
    assert fields(ResponseError) == {"status": 200, "reason": "no envelope", "body": "<p>"}
    assert fields(SubmissionUncertain) == {
        "request": REQUEST,
        "key": "key-1",
        "reason": "timed out",
        "task_ids": (),
    }
    assert fields(JournalError).keys() == {"hint", "task_ids"}  # a hint about the ids
    assert (TREE[JournalError][0].message, fields(JournalError)["task_ids"]) == ("full", ("i2v-8",))
    assert fields(TaskFailed) == {"task": FAILED, "tasks": (FAILED, ENDED)}
    assert fields(WaitTimeout) == {"pending": ("i2v-1",), "done": (ENDED,), "statuses": {}}


def test_a_task_that_failed_alone_is_all_of_its_tasks() -> None:
    assert TaskFailed(FAILED).tasks == (FAILED,)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_the_message_teaches_what_to_do_next(kind: type[KeevxError]) -> None:
    example, _, words = TREE[kind]
    assert words in str(example)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (APIError(400, 100001, "prompt cannot be empty"), ["400", "100001", "cannot be empty"]),
        (APIError(502, None, "", "<html>Bad Gateway"), ["502", "<html>Bad Gateway"]),
        (APIError(400), ["400", "no message"]),
        (ConnectionFailed("api.keevx.com", "DNS"), ["api.keevx.com", "DNS"]),
        (SubmissionUncertain(REQUEST, "key-1", "HTTP 500"), ["key-1", "HTTP 500", "charged"]),
        (JournalError("in use; close it"), ["in use; close it"]),
        (JournalError("full", ["i2v-8", "i2v-9"]), ["full", "i2v-8, i2v-9"]),
        (TaskFailed(FAILED), ["i2v-1", "blurred"]),
        (TaskFailed(Task(task_id="i2v-3", status="FAILED")), ["i2v-3", "no reason"]),
        (WaitTimeout(["i2v-1", "i2v-2"]), ["2 task(s)", "i2v-1, i2v-2"]),
    ],
)
def test_the_message_says_what_went_wrong_and_where(error: KeevxError, words: list[str]) -> None:
    assert [word for word in words if word not in str(error)] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=ids)
def test_every_error_has_a_message_and_a_hint(example: KeevxError) -> None:
    assert example.message
    assert example.hint
    assert str(example) in (example.message, f"{example.message}. {example.hint}")
    assert type(example).__str__ is KeevxError.__str__, "printed alike everywhere"


def test_a_hint_for_the_very_case_replaces_that_of_the_class() -> None:
    error = ConfigurationError("rate must be above 0 (got 0)", hint="Leave rate= out for no limit")
    assert str(error) == "rate must be above 0 (got 0). Leave rate= out for no limit"
    assert ConfigurationError.hint != error.hint
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes


@pytest.mark.parametrize("example", EXAMPLES, ids=ids)
def test_every_error_is_matched_by_position(example: KeevxError) -> None:
    values = [getattr(example, name) for name in type(example).__match_args__]
    assert values
    match example:
        case InvalidRequest(violations):
            assert [violations] == values
        case APIError(status, code, msg, body):
            assert [status, code, msg, body] == values
        case SubmissionUncertain(request, key, reason, task_ids):
            assert [request, key, reason, task_ids] == values
        case KeevxError():
            assert len(values) <= 3


def test_long_messages_stay_readable() -> None:
    many = WaitTimeout([f"i2v-{number}" for number in range(10_000)])
    assert len(many.pending) == 10_000
    assert len(str(many)) < 300
    assert len(str(APIError(500, None, "", "<p>" * 10_000))) < 500


@pytest.mark.parametrize("example", EXAMPLES, ids=ids)
def test_an_outcome_that_holds_an_error_can_be_pickled(example: KeevxError) -> None:
    outcome = Outcome(3, REQUEST, "key-1", ("i2v-1",), (FAILED,), (), example)
    twin = pickle.loads(pickle.dumps(outcome))  # noqa: S301 - our own bytes
    assert not twin.ok
    assert (twin.index, twin.request, twin.task_ids) == (3, REQUEST, ("i2v-1",))
    assert vars(twin.error) == vars(example)
