"""One system in a process of its own, asked over standard input, one JSON object a line.

Requests are {"op": "build", ...}, then any number of {"op": "measure"}. Each is answered by one
line: {"ok": ...}, {"missing": package} or {"error": text}. What a library prints goes to standard
error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import memory
import numpy as np
import portolan
from entries import ENTRIES
from peers import Job, Peer


class PeerSession:
    """A system that is called from this process."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.queries = load_f32(request["query"])
        self.truth = np.load(request["truth"]).astype(np.int64)
        self.peer: Peer | None = None

    def build(self) -> dict[str, Any]:
        """Builds, saves and sizes the index; the vectors are loaded before and dropped after."""
        request = self.request
        base = load_f32(request["base"])
        folder = Path(request["folder"])
        job = Job(*base.shape, request["metric"], request["k"], request["threads"], folder)
        self.peer = peer = ENTRIES[request["entry"]](job)
        memory.reset_peak()
        before_mib = memory.resident_mib()
        begin = time.perf_counter()
        peer.build(base)
        build_s = time.perf_counter() - begin
        built = {
            "label": peer.label,
            "version": peer.version(),
            "build_s": build_s,
            "build_peak_mib": peer.build_peak_mib(),
            "before_mib": before_mib,
        }
        saved = folder / "saved"
        saved.mkdir()
        built["bytes_per_vector"] = memory.disk_bytes(peer.stored(saved)) / len(base)
        shutil.rmtree(saved)
        return built

    def measure(self) -> list[dict[str, Any]]:
        """One round: every setting in turn, after a pass that warms up."""
        assert self.peer is not None
        settings = self.peer.settings(self.request["efs"])
        self.peer.prepare(self.queries, settings[0])()
        return [self.point(self.peer, setting) for setting in settings]

    def point(self, peer: Peer, setting: dict[str, int]) -> dict[str, Any]:
        """Recall and queries per second; passes repeat until enough time was measured."""
        search = peer.prepare(self.queries, setting)
        begin = time.perf_counter()
        raw = search()
        took, passes = time.perf_counter() - begin, 1
        found = recall(peer.ids(raw), self.truth)
        while took < self.request["min_s"]:
            begin = time.perf_counter()
            search()
            took += time.perf_counter() - begin
            passes += 1
        text = ", ".join(f"{name} {value}" for name, value in setting.items())
        return {"setting": text, "recall": found, "qps": passes * len(self.queries) / took}


def load_f32(path: str) -> np.ndarray:
    """The rows of a .npy file as float32."""
    return np.ascontiguousarray(np.load(path), dtype=np.float32)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true neighbors that were found, over all queries."""
    hits = (found[:, :, None].astype(np.int64) == truth[:, None, :]).any(axis=1)
    return float(hits.mean())


def answer(request: dict[str, Any], session: Any) -> tuple[Any, Any]:
    """The reply to one request and the session that later requests go to."""
    if request["op"] == "build":
        is_own = request["entry"] in portolan.NAMES
        session = portolan.PortolanSession(request) if is_own else PeerSession(request)
        return session.build(), session
    if request["core"] is not None:
        memory.pin(request["core"])
    return session.measure(), session


def guarded(reply: Callable[[], Any]) -> dict[str, Any]:
    """The reply, or the reason why there is none."""
    try:
        return {"ok": reply()}
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    except Exception as error:
        traceback.print_exc()
        return {"error": (str(error) or type(error).__name__).splitlines()[0]}


def serve(replies: TextIO) -> None:
    """Answers until standard input ends."""
    session: Any = None
    for line in sys.stdin:
        request = json.loads(line)

        def reply() -> Any:
            nonlocal session
            ok, session = answer(request, session)
            return ok

        print(json.dumps(guarded(reply)), file=replies, flush=True)


if __name__ == "__main__":
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(own)
