"""Runs the benchmarks.

    python -m benchmarks.run [--quick] [--rounds 7] [--out benchmarks/results] [scenario …]

A full run takes about fifteen minutes and stores its findings in ``benchmarks/results``. A
``--quick`` run takes two minutes: it only checks that everything works, and stores its findings
only if ``--out`` is given.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from . import endurance, report, scenarios

SCENARIOS = {**scenarios.SCENARIOS, **endurance.SCENARIOS}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=", ".join(SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="small and rough")
    parser.add_argument("--rounds", type=int, help="runs of each program (7; quick: 2)")
    parser.add_argument("--out", type=Path, help="where to keep what is found")
    args = parser.parse_args()
    if unknown := set(args.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    size = scenarios.Size(
        args.rounds or (2 if args.quick else 7), 0.2 if args.quick else 1, args.quick
    )
    findings = {}
    for name in args.scenarios or SCENARIOS:
        start = time.perf_counter()
        finding = report.as_json(SCENARIOS[name](size), args.quick)
        findings[name] = finding
        print(f"\n## {name} ({time.perf_counter() - start:.0f} s)\n")
        print(report.markdown({report.python(): {name: finding}}), flush=True)
        if out := args.out or (None if args.quick else RESULTS):
            report.write(out, {name: finding})


if __name__ == "__main__":
    main()
