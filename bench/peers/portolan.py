"""portolan through its command line: `portolan bench-ann` builds once, then measures the file.

The command prints one JSON line about the file and then one line for each ef.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from memory import rusage_mib

# The flags that each entry searches with. Resident is as the other libraries search, from memory of
# its own; mapped is in place from the file, as an application does unless it asks for more.
NAMES = {
    "portolan": ["--resident", "--batch"],
    "portolan-one-by-one": ["--resident"],
    "portolan-mapped": ["--batch"],
}
LABELS = {
    "portolan": "portolan",
    "portolan-one-by-one": "portolan, one by one",
    "portolan-mapped": "portolan, mapped",
}


class CommandFailed(Exception):
    """The command ended with a status other than 0; its own words are in the log."""


def run_command(command: list[str]) -> tuple[list[dict[str, Any]], float]:
    """The JSON lines that a command printed and its peak resident MiB; its notes pass through."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [json.loads(line) for line in process.stdout if line.startswith("{")]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise CommandFailed(f"portolan ended with status {process.returncode}")
    return lines, rusage_mib(usage)


class PortolanSession:
    """Answers the same requests as a session of a peer does.

    All entries measure the file that the first of them built.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        folder = Path(request["shared"])
        self.db = folder / "bench.portolan"
        self.built_file = folder / "portolan.json"

    def command(self, efs: list[int], *flags: str) -> list[str]:
        """The command line that searches all queries on one thread."""
        request = self.request
        of = {
            "--base": request["base"],
            "--query": request["query"],
            "--truth": request["truth"],
            "--metric": request["metric"],
            "-k": str(request["k"]),
            "--ef": ",".join(map(str, efs)),
            "--threads": "1",
            "--db": str(self.db),
        }
        pairs = [text for pair in of.items() for text in pair]
        return [request["portolan"], "bench-ann", *pairs, "--json", *flags]

    def build(self) -> dict[str, Any]:
        """Builds the file unless another entry did; the time is the one that the command tells."""
        if not self.built_file.exists():
            lines, peak_mib = run_command(self.command(self.request["efs"][:1]))
            head = next(line for line in lines if "ef" not in line)
            built = {
                "version": version(self.request["portolan"]),
                "isa": head.get("isa"),
                "build_s": head["build_s"],
                "build_peak_mib": head.get("build_peak_mib") or peak_mib,
                "bytes_per_vector": head["bytes_per_vector"],
                "resident_bytes_per_vector": head["resident_bytes_per_vector"],
            }
            self.built_file.write_text(json.dumps(built))
        return json.loads(self.built_file.read_text())

    def measure(self) -> list[dict[str, Any]]:
        """One round: every ef on the file as it is."""
        flags = NAMES[self.request["entry"]]
        lines, _ = run_command(self.command(self.request["efs"], "--reuse", *flags))
        points = [line for line in lines if "ef" in line]
        return [
            {"setting": f"ef {at['ef']}", "recall": at["recall"], "qps": at["qps"]}
            for at in points
        ]


def version(binary: str) -> str:
    """What `portolan --version` says, without the name."""
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    words = told.stdout.split()
    if not words:
        print("portolan tells no version", file=sys.stderr)
    return words[-1] if words else "unknown"
