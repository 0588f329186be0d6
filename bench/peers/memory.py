"""Resident memory of this process, size of a folder on disk, and one core for all its threads.

Linux tells all of it under /proc; elsewhere the peak is the one since the process began and
nothing is pinned.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

MIB = 1024 * 1024
STATUS = Path("/proc/self/status")
TASKS = Path("/proc/self/task")


def status_mib(field: str) -> float:
    """A memory field of the process status; 0 where there is none."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def resident_mib() -> float:
    """What is resident now, huge pages included."""
    if not STATUS.exists():
        return rusage_mib(resource.getrusage(resource.RUSAGE_SELF))
    return status_mib("VmRSS") + status_mib("HugetlbPages")


def peak_mib() -> float:
    """The most that was resident since `reset_peak`, and the huge pages held now."""
    if not STATUS.exists():
        return rusage_mib(resource.getrusage(resource.RUSAGE_SELF))
    return status_mib("VmHWM") + status_mib("HugetlbPages")


def rusage_mib(usage: resource.struct_rusage) -> float:
    """`ru_maxrss` counts bytes on macOS and KiB elsewhere."""
    return usage.ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def reset_peak() -> None:
    """Lets the peak begin anew, so that loading the vectors is not part of it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def disk_bytes(path: Path) -> int:
    """Bytes allocated for a file or for all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pin(core: int) -> None:
    """Keeps all threads of this process, and those that they start, on one core."""
    if not TASKS.exists():
        return
    for task in TASKS.iterdir():
        try:
            os.sched_setaffinity(int(task.name), {core})
        except ProcessLookupError:
            continue
