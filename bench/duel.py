#!/usr/bin/env python3
"""Two builds of portolan on one core at once: how many times as fast the new one searches.

  python bench/duel.py --base B.npy --query Q.npy OLD NEW

OLD and NEW are `portolan` commands; NEW must read what OLD writes. OLD builds a file. Then, pass
after pass, both search it at the same time (`bench-ann --reuse --resident --batch`), kept to one
core, which needs Linux. Each gets half of the same seconds, so a machine whose speed drifts slows
both alike: a few percent show that runs one after the other would not tell. They share the caches
of the core, too: how fast each is alone is another question.

A pass has several windows of half a second. Only those count that lie within the time in which both
measured; in others one may have the core for itself. The ratio of a pass is that of the medians of
its windows; the table has the median and the quartiles over the passes. The same command given
twice tells what the figures are good to on a machine. Nothing else should run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

K = 10
# What bench-ann measures for a line, at least.
WINDOW_S = 0.5
WINDOWS_MIN = 4


class Window(NamedTuple):
    """One line of bench-ann: when it was measured, in seconds of one clock, and what it tells."""

    begin: float
    end: float
    qps: float


def command(
    args: argparse.Namespace, binary: str, truth: str | None, efs: list[int], *flags: str
) -> list[str]:
    """The command line that searches all queries on one thread, once for each ef."""
    line = [binary, "bench-ann", "--base", args.base, "--query", args.query, "--db", args.db]
    line += ["-k", str(K), "--ef", ",".join(map(str, efs)), "--threads", "1"]
    line += ["--resident", "--batch", "--json", *flags]
    return line + (["--truth", truth] if truth else [])


def told(line: list[str]) -> list[dict[str, Any]]:
    """What a command that runs alone prints: a line of the file, then one of each ef."""
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{line[0]} ended with status {done.returncode}")
    return [json.loads(text) for text in done.stdout.splitlines()]


def placeholder(folder: Path, queries: int) -> str:
    """A truth file for the passes, whose recall nobody reads.

    Without one each process would begin with an exact search: on one core longer than what is
    measured, and not over at the same time in both.
    """
    file = folder / "placeholder.ivecs"
    file.write_bytes(struct.pack(f"<{K + 1}i", K, *range(K)) * queries)
    return str(file)


def started(line: list[str], core: int) -> subprocess.Popen[str]:
    """The command on one core, all its threads: a child inherits where this thread may run."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    finally:
        os.sched_setaffinity(0, own)


def windows(process: subprocess.Popen[str]) -> list[Window]:
    """All windows but the first, in which the process warms up.

    A window ends when its line comes, which bench-ann writes at once, and begins with the line
    before. What it measured lies within.
    """
    found = []
    begin = time.monotonic()
    with process:
        assert process.stdout is not None
        for text in process.stdout:
            end = time.monotonic()
            line = json.loads(text)
            if "ef" in line:
                found.append(Window(begin, end, line["qps"]))
            begin = end
    return found[1:]


def duel(lines: list[list[str]], core: int, first: int) -> list[float]:
    """Queries per second of both commands, each measured while the other was."""
    processes = {side: started(lines[side], core) for side in (first, 1 - first)}
    with ThreadPoolExecutor(2) as readers:
        both = list(readers.map(windows, (processes[0], processes[1])))
    for side, process in processes.items():
        if process.returncode != 0:
            sys.exit(f"{lines[side][0]} ended with status {process.returncode}")
    begin = max(of[0].begin for of in both)
    end = min(of[-1].end for of in both)
    counted = [[at.qps for at in of if begin <= at.begin and at.end <= end] for of in both]
    if not all(counted):
        sys.exit("the windows of both do not overlap: give more --seconds")
    return [statistics.median(speeds) for speeds in counted]


def passes(args: argparse.Namespace, truth: str, ef: int) -> list[list[float]]:
    """The speeds of both in each pass; every other pass begins with the other command."""
    efs = [ef] * max(WINDOWS_MIN, math.ceil(args.seconds / WINDOW_S))
    lines = [command(args, binary, truth, efs, "--reuse") for binary in (args.old, args.new)]
    core = max(os.sched_getaffinity(0))
    speeds = []
    for number in range(args.passes):
        speeds.append(duel(lines, core, number % 2))
        old, new = speeds[-1]
        done = f"ef {ef}, pass {number + 1} of {args.passes}"
        print(f"{done}: {old:,.0f} and {new:,.0f}, {new / old:.3f}x", file=sys.stderr, flush=True)
    return speeds


def row(ef: int, recalls: list[float], speeds: list[list[float]]) -> str:
    """One line of the table."""
    ratios = [new / old for old, new in speeds]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    old, new = (statistics.median(of) for of in zip(*speeds))
    cells = [str(ef), f"{middle:.3f}x", f"{low:.3f} to {high:.3f}"]
    cells += [" and ".join(f"{recall:.4f}" for recall in recalls), f"{old:,.0f} and {new:,.0f}"]
    return "| " + " | ".join(cells) + " |"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", required=True, help="vectors to search in")
    parser.add_argument("--query", required=True, help="vectors to search for")
    parser.add_argument("--truth", help="true neighbors, .ivecs; default: an exact search by each")
    parser.add_argument("--ef", default="20", help="one or more: 20,64; default: %(default)s")
    parser.add_argument("--passes", type=int, default=10, help="2 at least; default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=5, help="least seconds of a pass; default: %(default)s"
    )
    parser.add_argument("old", metavar="OLD", help="the command that builds the file")
    parser.add_argument("new", metavar="NEW", help="the command that is compared with it")
    args = parser.parse_args()
    if args.passes < 2:
        parser.error("quartiles need two passes")
    if not hasattr(os, "sched_setaffinity"):
        parser.error("only Linux keeps a process to one core")
    return args


def main() -> None:
    args = arguments()
    efs = [int(ef) for ef in args.ef.split(",")]
    with tempfile.TemporaryDirectory(prefix="duel-") as name:
        args.db = str(Path(name) / "bench.portolan")
        about, *of_old = told(command(args, args.old, args.truth, efs))
        _, *of_new = told(command(args, args.new, args.truth, efs, "--reuse"))
        print(f"{about['rows']:,} x {about['dim']}, {about['queries']:,} queries, recall@{K}")
        print("| ef | NEW is | quartiles | recall, OLD and NEW | QPS on half a core, OLD and NEW |")
        print("|--:|--:|---|---|---|")
        truth = args.truth or placeholder(Path(name), about["queries"])
        for ef, old, new in zip(efs, of_old, of_new):
            speeds = passes(args, truth, ef)
            print(row(ef, [old["recall"], new["recall"]], speeds), flush=True)


if __name__ == "__main__":
    main()
