"""Print every dependency, those of extras and tests included, at its lower bound, for pip -c."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))
FLOOR = re.compile(r"(?P<name>[\w.-]+)(\[[^]]*\])?>=(?P<version>[^,; ]+)(,[^;]*)?(?P<marker>;.*)?")


def floors(requirements: list[Any]) -> Iterator[str]:
    """Yield a constraint for each requirement, those of included groups too."""
    for one in requirements:
        if isinstance(one, dict):
            yield from floors(PROJECT["dependency-groups"][one["include-group"]])
        elif found := FLOOR.fullmatch(one):
            yield f"{found['name']}=={found['version']}{found['marker'] or ''}"
        else:
            raise SystemExit(f"pyproject.toml: {one!r} has no lower bound")


if __name__ == "__main__":
    extras = PROJECT["project"]["optional-dependencies"].values()
    lists = [PROJECT["project"]["dependencies"], *extras, PROJECT["dependency-groups"]["test"]]
    print("\n".join(sorted({floor for one in lists for floor in floors(one)})))
