"""What is read off the measured points: the Pareto front and the throughput at a recall."""

from __future__ import annotations

import math
from statistics import mean, median
from typing import Any

Point = dict[str, Any]


def merged(rounds: list[list[Point]]) -> list[Point]:
    """One point a setting: the median throughput of the rounds, all of them kept."""
    points = []
    for same in zip(*rounds):
        speeds = [at["qps"] for at in same]
        points.append(
            {
                "setting": same[0]["setting"],
                "recall": mean(at["recall"] for at in same),
                "qps": median(speeds),
                "qps_rounds": speeds,
            }
        )
    return points


def front(points: list[Point]) -> list[Point]:
    """The points that no other one beats in both recall and speed, by growing recall."""
    kept: list[Point] = []
    for at in sorted(points, key=lambda at: (-at["recall"], -at["qps"])):
        if not kept or at["qps"] > kept[-1]["qps"]:
            kept.append(at)
    return kept[::-1]


def qps_at(points: list[Point], recall: float) -> float | None:
    """Queries per second at a recall, None if it was not reached.

    Between two neighbors of the front the logarithm of the speed is a line over the recall. A front
    that begins above the recall gives its first point: no speed beyond a measured one is told.
    """
    below = None
    for at in front(points):
        if at["recall"] >= recall:
            if below is None or at["recall"] == recall:
                return at["qps"]
            share = (recall - below["recall"]) / (at["recall"] - below["recall"])
            low, high = math.log(below["qps"]), math.log(at["qps"])
            return math.exp(low + share * (high - low))
        below = at
    return None
