"""What a run reads: columns in any spelling, options for what a row leaves out, combinations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from keevx_async.cli.fields import FieldOptions
from keevx_async.cli.input.columns import Columns
from keevx_async.cli.input.inputs import open_prompts
from keevx_async.cli.input.prompts import Job, find_problems, jobs
from keevx_async.cli.options import InputOptions
from keevx_async.errors import ConfigurationError
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request
from tests.support.cli import GOOD, PNG

URL = "https://example.com/a.jpg"
SETTINGS: dict[str, Any] = {
    "model": "V",
    "aspect_ratio": "16:9",
    "aspect_resolution": "1080p",
    "duration": 6,
}


def options(**values: Any) -> FieldOptions:
    return evolve(FieldOptions(), **values)


def read(
    file: Path | None, fields: FieldOptions | None = None, **how: Any
) -> tuple[list[Job], list[str]]:
    """The jobs of an input, and its problems."""
    fields = options(**SETTINGS, image_url=URL) if fields is None else fields
    with open_prompts(file, InputOptions(**how), fields) as source:
        _, problems = find_problems(source)
        found = [] if problems else [job for job in jobs(source) if isinstance(job, Job)]
        return found, list(map(str, problems))


def prompts(found: list[Job]) -> list[Any]:
    return [getattr(job.request, "prompt", None) for job in found]


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding, newline="")
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def images(folder: Path) -> Path:
    (folder / "images").mkdir()
    for name in ("b.PNG", "a.png", ".hidden.png", "notes.txt", "Thumbs.db"):
        (folder / "images" / name).write_bytes(PNG)
    return folder / "images"


def test_text_is_a_prompt_a_line(folder: Path) -> None:
    text = "# mine\r\n\r\n  A dog, running \r\n\\# one\r\n[wide] {x} a cat\r\n# A bird\r\n\\o/"
    found, problems = read(written(folder / "p.txt", text))
    assert not problems
    assert [(job.line, prompt) for job, prompt in zip(found, prompts(found), strict=True)] == [
        (3, "A dog, running"),
        (4, "# one"),
        (5, "[wide] {x} a cat"),
        (7, "\\o/"),
    ]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("prompt\tduration\r\nA dog\t4\r\n", "utf-16"),  # Excel's "Unicode Text"
        ("prompt,duration\nA dog,4\n", "utf-8-sig"),
        ('{"prompt": "A dog", "duration": 4}\n', "utf-8"),
        ('[{"prompt": "A dog", "duration": 4}]', "utf-8"),
        ('# a comment\n{\n"prompt": "A dog", "duration": 4\n}', "utf-8"),
    ],
)
def test_a_text_file_may_hold_a_table_or_json(folder: Path, text: str, encoding: str) -> None:
    if text.startswith("# a comment\n{\n"):
        text = text.replace("\n", " ").replace("# a comment ", "# a comment\n")
    found, problems = read(written(folder / "p.txt", text, encoding))
    assert (prompts(found), problems) == (["A dog"], [])
    assert found[0].request.to_dict()["duration"] == 4


def test_a_list_of_prompts_is_not_assumed(folder: Path) -> None:
    # Each prompt is paid for, and the header of a table may only be misspelt.
    file = written(folder / "p", "A dog\nA cat\n")
    found, problems = read(file)
    assert not found
    assert "--format txt" in problems[0]
    found, _ = read(file, format="txt")
    assert prompts(found) == ["A dog", "A cat"]


def test_an_option_is_the_default_for_what_a_row_leaves_out(folder: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "A dog"},
        {"prompt": "A cat", "duration": 4, "image_url": None},
        {"prompt": "A bird", "model": "S", "aspect_resolution": "720p", "duration": 8},
    ]
    file = written(folder / "p.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    found, _ = read(file)
    assert [job.request.to_dict() for job in found] == [
        {**SETTINGS, "image_url": URL, **{name: v for name, v in row.items() if v is not None}}
        for row in rows
    ]


def test_paths_of_options_are_relative_to_the_working_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "start.png").write_bytes(PNG)
    (folder / "sub" / "own.png").write_bytes(PNG)
    file = written(folder / "sub" / "p.csv", "prompt,image\nA dog,\nA cat,own.png\n")
    found, problems = read(file, options(**SETTINGS, image_url="start.png"))
    assert not problems
    assert [job.request.local_files() for job in found] == [
        (folder / "start.png",),
        (folder / "sub" / "own.png",),
    ]


def test_what_an_option_has_wrong_is_named_as_the_option(folder: Path) -> None:
    file = written(folder / "p.txt", "A dog\nA cat\nA bird\n")
    _, problems = read(file, options(**{**SETTINGS, "duration": 5}, image_url=URL))
    (problem,) = problems
    assert problem.startswith(f"{file}:1: --duration: must be one of 4, 6, 8 seconds for model V")
    assert problem.endswith(" (also on 2 more lines: 2, 3)")
    _, problems = read(file, options(model="V"))
    assert any("aspect_ratio: is required; pass --aspect-ratio" in each for each in problems)
    _, problems = read(file, options(**SETTINGS, image_url=URL, module="pro"))
    assert problems == [f"{file}: --module: is not a field of any row's kind"]


def test_kinds_take_what_is_theirs_from_the_options(folder: Path) -> None:
    file = written(folder / "p.csv", "prompt,kind,ratio\nA dog,,1:1\nA cat,image_to_video,9:16\n")
    found, problems = read(
        file, options(**SETTINGS, image_url=URL, module="pro"), kind="image-generate"
    )
    assert not problems
    assert [job.request.to_dict() for job in found] == [
        {"prompt": "A dog", "module": "pro", "image_ratio": "1:1"},
        {**SETTINGS, "prompt": "A cat", "aspect_ratio": "9:16", "image_url": URL},
    ]
    with pytest.raises(ConfigurationError, match="--kind: must be one of image_to_video"):
        read(file, kind="film")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("image", "image"),
        (" Image URL ", "image_url"),
        ("IMAGE-URL", "image_url"),
        ("imageUrl", "image_url"),
        ("Ratio", "ratio"),
        ("Aspect Resolution", "aspect_resolution"),
        ("Seconds", "seconds"),
        ("Key", "key"),
        ("_model", "_model"),
        ("'model'", "'model'"),
        ("promt", "promt"),
    ],
)
def test_a_column_is_known_in_any_spelling(header: str, name: str) -> None:
    assert Columns().name(header.strip()) == name


def test_aliases_are_the_fields_of_the_kind_and_the_model(folder: Path) -> None:
    (folder / "a.png").write_bytes(PNG)
    table = (
        "\ufeffModel;Prompt;Ratio;Resolution;Seconds;Image\r\n"
        "V;A dog;16:9;1080p;6,0;a.png\r\n"
        "KL;A cat;9:16;720p;5;a.png\r\n"
    )
    found, problems = read(written(folder / "p.csv", table), options())
    assert not problems
    first, second = (job.request.to_dict() for job in found)
    assert (first["duration"], first["image_url"]) == (6, f"file:{folder / 'a.png'}")
    assert second["reference_images"] == [f"file:{folder / 'a.png'}"]
    assert "image_url" not in second


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("p.csv", "prompt,seconds,duration\nA dog,4,6\n", "seconds: is another name for duration"),
        (
            "p.jsonl",
            '{"prompt": "x", "Prompt": "y"}',
            "prompt: must appear once (got two spellings",
        ),
        ("p.csv", "prompt,secnds\nA dog,4\n", "unknown field 'secnds': did you mean 'seconds'?"),
        ("p.csv", "prompt,animal\nA dog,4\n", "or use it in --prompt as {animal}"),
    ],
)
def test_a_column_that_is_wrong_is_named(folder: Path, name: str, text: str, problem: str) -> None:
    _, problems = read(written(folder / name, text))
    assert any(problem in each for each in problems), problems


IMAGE = {"kind": "image_generate", "prompt": "A lighthouse"}
DUB: dict[str, Any] = {
    "kind": "video_translate",
    "target_languages": ["English"],
    "video_url": "https://example.com/a.mp4",
}
KINDS = f"kind: must be one of {', '.join(REQUESTS)}"
FORGOTTEN = "kind: is required with these fields; add"
HEADER = b"model,prompt,aspect_ratio,aspect_resolution,duration,image_url,key\n"
ROW = b"V,A dog,16:9,1080p,6,https://example.com/a.jpg,"


def objects(*rows: dict[str, Any]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER + ROW + b"a\n" + ROW + b"a", ":3: key: must be unique (line 2 also has 'a')"),
        (HEADER + ROW + b"a\n" + ROW.replace(b"dog", b"d\xf6g"), ":3: is not UTF-8"),
        (HEADER + ROW + b"a,b", ":2: has more cells"),
        (HEADER + ROW.replace(b",6,", b",six,"), ":2: duration: must be one of"),
        (HEADER.replace(b"key", b"key,prompt") + ROW, ":1: prompt: must be one column (got 2)"),
        (
            objects(*[{**GOOD, "key": "mine"}] * 2),
            ":2: key: must be unique (line 1 also has 'mine'",
        ),
        (objects(GOOD) + b'\n{"prompt": "d\xf6g"}', ":2: is not UTF-8"),
        (objects(GOOD) + b'\n{"prompt": }', ":2: invalid JSON at column 12"),
        (objects(GOOD) + b'\n{"model": ', ":2: invalid JSON"),
        (objects(GOOD) + b"\n[1]", ":2: must be a JSON object"),
        (objects({**GOOD, "model": "Z"}), ":1: model: must be one of V, KL, S (got 'Z')"),
        (objects({**GOOD, "promt": "x"}), ":1: unknown field 'promt': did you mean 'prompt'?"),
        (objects({**GOOD, "image_url": "gone.png"}), "gone.png is neither a URL nor a file"),
        (
            objects({**GOOD, "image_url": "p"}),
            "p is not a JPEG, PNG or WebP file (judging by its first bytes)",
        ),
        (
            objects({**GOOD, "image_url": "data:image/png;base64," + "A" * 5000}),
            ":1: image_url: data: URIs are not supported",
        ),
        (objects({**GOOD, "image_url": "A" * 5000}), ":1: image_url: "),
        (
            objects({**GOOD, "image_url": None, "reference_images": ["no.png"], "duration": 8}),
            ":1: reference_images: ",
        ),
        (objects({**GOOD, "key": 7}), ":1: key: must be a string (got 7)"),
        (objects({**GOOD, "key": "a~2"}), ":1: key: must not end in ~ and a number (got 'a~2')"),
        (b" \n", ": contains no prompts"),
        (objects({**IMAGE, "kind": "image-generate"}), f"1: {KINDS} (got 'image-generate')"),
        (objects({**IMAGE, "kind": 7}), f"1: {KINDS} (got '7')"),
        (objects({**GOOD, "kind": []}), f"1: {KINDS} (got '[]')"),
        (objects({**IMAGE, "model": "V"}), ":1: unknown field 'model': the fields are prompt"),
        (objects({**GOOD, "films": 1}), ":1: unknown field 'films'"),
        (objects({**DUB, "kind": None}), f'1: {FORGOTTEN} "kind": "video_translate"'),
        (
            objects({"prompt": "A lighthouse", "module": "pro"}),
            f'1: {FORGOTTEN} "kind": "image_generate"',
        ),
        (
            objects({**DUB, "target_languages": "English"}),
            ":1: target_languages: must be a list (got the string 'English'): write ['English']",
        ),
        (
            objects({**DUB, "target_languages": ["English", "Chinese"]}),
            "makes a request for each",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_of_a_file_is_named_with_its_line_and_field(
    folder: Path, content: bytes, said: str
) -> None:
    (folder / "p").write_bytes(content)
    _, problems = read(Path("p"), options())
    assert any(said in problem for problem in problems), problems


def test_a_template_is_filled_from_the_other_columns(folder: Path) -> None:
    table = "Animal;Big Place;duration\ndog;garden {x};4\ncat;house;\n"
    template = "A {animal} in the {Big place} for {duration} s {{sic}}"
    found, problems = read(
        written(folder / "p.csv", table), options(**SETTINGS, image_url=URL, prompt=template)
    )
    assert not problems
    assert prompts(found) == [
        "A dog in the garden {x} for 4 s {sic}",
        "A cat in the house for 6 s {sic}",
    ]


def test_a_template_with_the_prompt_goes_around_each(folder: Path) -> None:
    file = written(folder / "p.txt", "A dog\nA cat\n")
    fields = options(**SETTINGS, image_url=URL, prompt="{prompt}, cinematic")
    assert prompts(read(file, fields)[0]) == ["A dog, cinematic", "A cat, cinematic"]
    # Without, it is a default like any other.
    fields = options(**SETTINGS, image_url=URL, prompt="Anything")
    assert prompts(read(file, fields)[0]) == ["A dog", "A cat"]


@pytest.mark.parametrize("template", ["A {dog", "A dog}", "A {}", "A {dog!r}", "A {dog:>3}"])
def test_a_template_that_is_malformed_is_refused(folder: Path, template: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--prompt: .*\{\{ and \}\}"):
        read(written(folder / "p.txt", "A dog"), options(prompt=template))


def test_a_row_without_a_value_for_the_template_is_named(folder: Path) -> None:
    fields = options(**SETTINGS, image_url=URL, prompt="A {animal}")
    _, problems = read(written(folder / "p.csv", "animal,duration\n,4\n"), fields)
    assert problems == [f"{folder / 'p.csv'}:2: --prompt: the row has no value for {{animal}}"]


def test_a_matrix_combines_every_row_with_every_other(folder: Path, images: Path) -> None:
    file = written(folder / "p.txt", "A dog\nA cat\n")
    with open_prompts(
        file, InputOptions(matrix=(images,), repeat=2), options(**SETTINGS)
    ) as source:
        total, problems = find_problems(source)
        assert not problems
        assert source.count(total) == f"2 {file} × {2} {images} × 2 = 8 requests"  # noqa: RUF001
        made = [job for job in jobs(source) if isinstance(job, Job)]
    assert [(job.line, image(job.request)) for job in made] == [
        (line, name) for line in (1, 2) for name in ("a.png", "a.png", "b.PNG", "b.PNG")
    ]


def image(request: Request) -> str:
    return request.local_files()[0].name


def test_a_matrix_needs_no_first_file_and_a_folder_is_one(folder: Path, images: Path) -> None:
    file = written(folder / "p.txt", "A dog\nA cat\n")
    found, _ = read(None, options(**SETTINGS), matrix=(images, file))
    assert [
        (image(job.request), prompt) for job, prompt in zip(found, prompts(found), strict=True)
    ] == [(name, prompt) for name in ("a.png", "b.PNG") for prompt in ("A dog", "A cat")]
    fields = options(
        model="KL", aspect_ratio="16:9", aspect_resolution="720p", duration=5, prompt="x"
    )
    found, problems = read(images, fields)
    assert not problems
    assert [job.request.to_dict()["reference_images"] for job in found] == [
        [f"file:{images / name}"] for name in ("a.png", "b.PNG")
    ]


def test_keys_of_combinations_stay_when_rows_are_added(folder: Path, images: Path) -> None:
    file = written(folder / "p.csv", "key,prompt\ndog,A dog\n,A cat\n")
    found, problems = read(file, options(**SETTINGS), matrix=(images,), repeat=2)
    assert not problems
    assert [job.key for job in found[:4]] == ["dog-a", "dog-a-2", "dog-b", "dog-b-2"]
    assert [job.key for job in found[4:]] == [None] * 4


def test_what_a_matrix_has_wrong_is_named_with_its_file(folder: Path, images: Path) -> None:
    file = written(folder / "p.txt", "A dog\nA cat\n")
    settings = written(folder / "s.csv", "duration,nonesuch\n4,x\n")
    _, problems = read(file, matrix=(settings,))
    assert problems[0].startswith(f"{settings}:1: unknown field 'nonesuch'")
    _, problems = read(file, matrix=(written(folder / "q.txt", "A bird\n"),))
    assert problems == [f"{file}:1: prompt: {folder / 'q.txt'} also has it (also on line 2)"]
    (folder / "none").mkdir()
    for wrong, message in (
        (folder / "gone.txt", "gone.txt cannot be read: No such file"),
        (written(folder / "e.txt", "\n# x\n"), "e.txt contains no rows"),
        (folder / "none", "none contains no images"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            read(file, matrix=(wrong,))
    with pytest.raises(ConfigurationError, match="keevx init"):
        read(None)


def test_a_repeated_row_is_read_as_often(folder: Path) -> None:
    file = written(folder / "p.csv", "prompt,key\nA dog,dog\nA cat,\n")
    found, _ = read(file, repeat=3)
    assert [job.key for job in found] == ["dog", "dog-2", "dog-3", None, None, None]
    file.write_text("prompt,key\nA dog,dog\nA cat,dog-2\n")
    _, problems = read(file, repeat=2)
    assert problems == [f"{file}:3: key: must be unique (line 2 also has 'dog-2')"]


def test_comments_above_a_header_and_in_json_lines_are_skipped(folder: Path) -> None:
    table = '# hello,,\r\n"# a, b",,\r\n\r\nprompt,duration,key\r\n#1 dog,4,\r\n'
    found, problems = read(written(folder / "p.csv", table))
    assert (prompts(found), problems, found[0].line) == (["#1 dog"], [], 5)
    _, problems = read(written(folder / "q.csv", "#,prompt\n1,A dog\n"))
    assert "unknown field '#'" in problems[0]
    found, _ = read(written(folder / "p.jsonl", '# hello\n{"prompt": "A dog"}\n  # more\n'))
    assert [(job.line, prompt) for job, prompt in zip(found, prompts(found), strict=True)] == [
        (2, "A dog")
    ]
