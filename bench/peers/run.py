"""Measures portolan and other vector indexes on the same vectors, the same cores, in turns.

Every system runs in a process of its own that stays alive. All are built first, one after the
other, on all cores; then each round lets every system search all queries with every setting, on
one thread on one core. The result is a JSON file, a plot and a table.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import plot
import portolan
from entries import FAMILIES
from memory import usable_cores
from points import merged, qps_at

HERE = Path(__file__).resolve().parent
K = 10
EFS = "10,12,16,20,24,32,40,48,64,80,96,128,160,200,256,320,400,512"
BLOCK_ROWS = 16_384


class Worker:
    """The process of one entry and what it has told so far."""

    def __init__(self, entry: str, work: Path) -> None:
        self.entry = entry
        self.folder = work / entry
        self.folder.mkdir()
        self.log = open(self.folder / "log", "w+")
        self.rounds: list[list[dict[str, Any]]] = []
        label = portolan.LABELS.get(entry, entry)
        self.system: dict[str, Any] = {"entry": entry, "label": label, "status": "ok"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    @property
    def is_ok(self) -> bool:
        return self.system["status"] == "ok"

    def ask(self, request: dict[str, Any]) -> Any:
        """The reply, or None after the reason was kept as the status."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            reply = json.loads(self.process.stdout.readline() or "{}")
        except BrokenPipeError:
            reply = {}
        if "ok" in reply:
            return reply["ok"]
        if "missing" in reply:
            self.system["status"] = "not installed"
        else:
            self.system["status"] = "failed: " + reply.get("error", "the process ended")
            self.log.seek(0)
            print("".join(self.log.readlines()[-15:]), file=sys.stderr)
        self.stop()
        return None

    def stop(self) -> None:
        """Ends the process; the folder goes with the folder of the run."""
        assert self.process.stdin is not None
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()

    def result(self) -> dict[str, Any]:
        """The row of this entry."""
        points = merged(self.rounds) if self.is_ok else []
        speeds = {f"qps_at_{at}": qps_at(points, at) for at in (0.95, 0.99)} if points else {}
        return self.system | speeds | {"points": points}


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def exact_truth(base: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """Row numbers of the true neighbors, best first, by blocks of the base."""
    scores = np.empty((len(queries), 0), np.float32)
    ids = np.empty((len(queries), 0), np.int64)
    for begin in range(0, len(base), BLOCK_ROWS):
        block = np.asarray(base[begin : begin + BLOCK_ROWS], dtype=np.float32)
        squares = np.einsum("ij,ij->i", block, block)
        score = queries @ block.T
        if metric == "l2":
            score -= squares / 2
        elif np.abs(squares - 1).max() > 0.01:
            raise SystemExit(f"{metric} is compared on unit vectors, but these are not")
        numbers = np.broadcast_to(np.arange(begin, begin + len(block)), score.shape)
        scores = np.concatenate([scores, score], axis=1)
        ids = np.concatenate([ids, numbers], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        scores = np.take_along_axis(scores, best, axis=1)
        ids = np.take_along_axis(ids, best, axis=1)
    return ids


def build_all(workers: list[Worker], request: dict[str, Any]) -> None:
    """One after the other, so that each has all cores."""
    for worker in workers:
        own = {"op": "build", "entry": worker.entry, "folder": str(worker.folder)}
        built = worker.ask(request | own)
        if built is None:
            note(f"{worker.entry}: {worker.system['status']}")
            continue
        worker.system |= built
        note(f"{worker.system['label']}: built in {built['build_s']:.1f} s")


def measure_all(workers: list[Worker], rounds: int, core: int | None) -> None:
    """Rounds of all systems; each round begins with another one."""
    for number in range(rounds):
        first = number % len(workers)
        for worker in workers[first:] + workers[:first]:
            if not worker.is_ok:
                continue
            points = worker.ask({"op": "measure", "core": core})
            if points is None:
                note(f"{worker.entry}: {worker.system['status']}")
            else:
                worker.rounds.append(points)
        note(f"round {number + 1} of {rounds}")


def entries_of(args: argparse.Namespace) -> list[str]:
    """portolan's entries, if its command is given, then those of the named peers."""
    names = [name for name in args.peers.split(",") if name]
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise SystemExit(f"no such peer: {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    own = list(portolan.NAMES) if args.portolan else []
    return own + [entry for name in names for entry in FAMILIES[name]]


def cpu_name() -> str:
    """The processor, as the system calls it."""
    file = Path("/proc/cpuinfo")
    text = file.read_text() if file.exists() else ""
    named = re.search(r"model name\s*:\s*(.+)", text)
    return named.group(1) if named else platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of this repository, marked when files differ from it."""
    words = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    return told.stdout.strip() or None


def measured(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """The whole run: truth, builds, rounds."""
    load = os.getloadavg()
    base = np.load(args.base, mmap_mode="r")
    queries = np.load(args.query).astype(np.float32)
    efs = [int(ef) for ef in args.ef.split(",")]
    about = {
        "name": args.name or f"{len(base)} x {base.shape[1]}",
        "date": datetime.date.today().isoformat(),
        "rows": len(base),
        "dim": base.shape[1],
        "dtype": str(base.dtype),
        "queries": len(queries),
        "metric": args.metric,
        "k": K,
        "rounds": args.rounds,
        "min_s": args.min_s,
        "cores": usable_cores(),
        "cpu": cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": list(load),
        "commit": commit(),
    }
    note(f"{about['name']}, {args.metric}; load before: {load[0]:.2f} {load[1]:.2f} {load[2]:.2f}")
    truth = work / "truth.npy"
    np.save(truth, exact_truth(base, queries, args.metric).astype(np.float32))
    request = {
        "base": str(Path(args.base).resolve()),
        "query": str(Path(args.query).resolve()),
        "truth": str(truth),
        "metric": args.metric,
        "k": K,
        "efs": efs,
        "threads": usable_cores(),
        "min_s": args.min_s,
        "shared": str(work),
        "portolan": str(Path(args.portolan).resolve()) if args.portolan else None,
    }
    core = max(os.sched_getaffinity(0)) if args.pin and hasattr(os, "sched_getaffinity") else None
    workers = [Worker(entry, work) for entry in entries_of(args)]
    try:
        build_all(workers, request)
        measure_all(workers, args.rounds, core)
    finally:
        for worker in workers:
            worker.stop()
    return about | {"pinned": core is not None, "systems": [of.result() for of in workers]}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", required=True, help="vectors to search in, f32 or f16 .npy")
    parser.add_argument("--query", required=True, help="vectors to search for, f32 or f16 .npy")
    parser.add_argument("--portolan", help="the portolan command; without it only peers run")
    parser.add_argument("--peers", default=",".join(FAMILIES), help="default: %(default)s")
    parser.add_argument("--metric", default="cosine", choices=["cosine", "dot", "l2"])
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--ef", default=EFS, help="search settings; default: %(default)s")
    parser.add_argument(
        "--min-s", type=float, default=0.5, help="least seconds a setting in a round (%(default)s)"
    )
    parser.add_argument(
        "--pin", action=argparse.BooleanOptionalAction, default=True, help="search on one core"
    )
    parser.add_argument("--out", default="docs/peers", help="folder; default: %(default)s")
    parser.add_argument("--name", help="title and file name; default: rows x dimensions")
    parser.add_argument("--work", help="folder for indexes; default: a temporary one")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="peers-", dir=args.work) as work:
        result = measured(args, Path(work))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{plot.file_name(result['name'])}.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    print(plot.write(file))


if __name__ == "__main__":
    main()
