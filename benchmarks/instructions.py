"""Count the instructions per create with callgrind, which is reproducible on a noisy machine.

    python -m benchmarks.instructions [plain.creates ours.creates …] [--top 0]

Each program runs twice under valgrind, with 500 and with 1,500 creates after the same warm-up, and
the difference is the cost of 1,000 creates. Kernel instructions are not counted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .harness import ROOT, Server

FEW, MANY = 500, 1500
DEFAULT = ["plain.creates", "plain.tuned", "ours.creates", "plain.polls", "ours.polls"]


def instructions(program: str, url: str, count: int) -> int:
    """Return the number of instructions that one run of a program executes."""
    name, job = program.split(".")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"),
                *(sys.executable, "-m", f"benchmarks.clients.{name}", job),
                *("--url", url, "--count", str(count)),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
        totals = re.search(r"^(?:totals|summary): (\d+)", Path(folder, "out").read_text(), re.M)
    assert totals, done.stderr
    return int(totals[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="*", default=DEFAULT)
    args = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed")
    with Server() as server:
        for program in args.programs:
            few, many = (instructions(program, server.url, count) for count in (FEW, MANY))
            print(f"{program:16} {(many - few) / (MANY - FEW):10,.0f} instructions", flush=True)


if __name__ == "__main__":
    main()
