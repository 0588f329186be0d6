"""The plot and the table of one result: `python bench/peers/plot.py RESULT.json`."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

from points import front

OWN = "portolan"
OWN_LINES = {OWN: "-", "portolan-one-by-one": "--", "portolan-mapped": "-."}
RECALL_MIN = 0.85
# A recall of 1 lies at this place of the axis.
RECALL_MAX = 0.9999
TICKS = (0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
MARKS = "osD^v<>pXPh*8dH"


def file_name(name: str) -> str:
    """A title as a file name: lower case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def place(recall: float) -> float:
    """The place of a recall on the axis: nines at even distances."""
    return -math.log10(1 - min(recall, RECALL_MAX))


def draw_line(axes: Any, system: dict[str, Any], number: int) -> None:
    """The front of one system; portolan's lines are black, that of its first entry bold."""
    points = [at for at in front(system["points"]) if at["recall"] >= RECALL_MIN]
    style: dict[str, Any] = {"linewidth": 1.2, "markersize": 3.5}
    if system["entry"] in OWN_LINES:
        style |= {"color": "black", "linestyle": OWN_LINES[system["entry"]]}
    else:
        style |= {"color": f"C{number % 10}", "linestyle": "-" if number < 10 else ":"}
    if system["entry"] == OWN:
        style |= {"linewidth": 3, "markersize": 5, "zorder": 5}
    axes.plot(
        [place(at["recall"]) for at in points],
        [at["qps"] for at in points],
        marker=MARKS[number % len(MARKS)],
        label=system["label"],
        **style,
    )


def draw(result: dict[str, Any], file: Path) -> None:
    """Recall against queries per second, one line a system."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "portolan", "svg.fonttype": "none"}
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    measured = [system for system in result["systems"] if system["points"]]
    for number, system in enumerate(measured):
        draw_line(axes, system, number)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda qps, _: f"{qps:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(place(RECALL_MIN), place(RECALL_MAX) + 0.05)
    axes.set_xticks(
        [place(tick) for tick in (*TICKS, RECALL_MAX)], [*(f"{tick:g}" for tick in TICKS), "1"]
    )
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.set_xlabel(f"recall@{result['k']}")
    axes.set_ylabel("queries per second, one thread")
    axes.set_title(f"{result['name']}, {result['metric']}")
    for text in figure.legend(loc="outside right upper", frameon=False).get_texts():
        if text.get_text() == OWN:
            text.set_fontweight("bold")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    lines = file.read_text().splitlines()
    file.write_text("".join(line.rstrip() + "\n" for line in lines))


def number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio(own: float | None, other: float | None) -> str:
    """How many times as fast as the other one portolan is, as 1.25x."""
    return f"{own / other:.2f}x" if own and other else "-"


def row(system: dict[str, Any], own: dict[str, Any]) -> str:
    """One line of the table; a system without a measurement tells why."""
    name = f"{system['label']} {system.get('version', '')}".strip()
    if system["status"] != "ok":
        return f"| {name} | {system['status']} |  |  |  |  |  |  |"
    cells = [name]
    for key in ("qps_at_0.95", "qps_at_0.99"):
        speed = system[key]
        cells += ["not reached" if speed is None else number(speed)]
        cells += [ratio(own.get(key), speed)]
    cells += [number(system["build_s"], 1), number(system["build_peak_mib"])]
    cells += [number(system["bytes_per_vector"])]
    return "| " + " | ".join(cells) + " |"


def made_of(result: dict[str, Any], own: dict[str, Any]) -> str:
    """The commit that was measured and the instruction set of its kernels, as far as known."""
    commit, isa = result.get("commit"), own.get("isa")
    words = f"; commit {commit}" if commit else ""
    return words + (f", kernels of {isa}" if isa else "")


def table(result: dict[str, Any], picture: str) -> str:
    """The whole text file."""
    own = next((of for of in result["systems"] if of["entry"] == OWN), {})
    load = " ".join(f"{value:.2f}" for value in result["load_before"])
    head = ["system"]
    for recall in ("0.95", "0.99"):
        head += [f"QPS at {recall}", "portolan is"]
    head += ["build s", "build peak MiB", "bytes per vector"]
    lines = [
        f"# {result['name']}, {result['metric']}",
        "",
        f"{result['rows']:,} vectors of {result['dim']} dimensions ({result['dtype']}), "
        f"{result['queries']:,} queries, recall@{result['k']}, one search thread"
        f"{' on one core' if result['pinned'] else ''},",
        f"median of {result['rounds']} interleaved rounds; {result['date']}, "
        f"{result['cores']} cores of {result['cpu']}, {result['system']};",
        f"load before the run: {load}{made_of(result, own)}.",
        "",
        f"![recall against queries per second]({picture})",
        "",
        "| " + " | ".join(head) + " |",
        "|---" + "|---:" * (len(head) - 1) + "|",
        *(row(system, own) for system in result["systems"]),
    ]
    return "\n".join(lines) + "\n"


def write(file: Path) -> str:
    """Writes the plot and the table beside a result; returns the table."""
    result = json.loads(file.read_text())
    picture = file.with_name(f"{file_name(result['name'])}.svg")
    draw(result, picture)
    text = table(result, picture.name)
    picture.with_suffix(".md").write_text(text)
    return text


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
