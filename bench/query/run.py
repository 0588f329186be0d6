#!/usr/bin/env python3
"""The figures of docs/query.md in one run: ranking, file size, filters, kinds of query, ingest.

  cargo build --release --features cli
  python bench/query/run.py --sets SETS --portolan target/release/portolan --out DIR

SETS has the folders scifact, vaswani and xquad in BEIR form: docs.jsonl, queries.jsonl, qrels.tsv;
the first two with embeddings, docs.minilm384.f16.npy in the order of the documents,
queries.minilm384.f16.npy in that of queries.minilm384.ids.txt; xquad with docs.CODE.jsonl and
queries.CODE.jsonl of its other languages. With --passages P.jsonl --passage-vectors V.npy, which
have the fields that bench/peers/ingest.py tells of, it ingests those beside LanceDB and Qdrant Edge
(bench/peers/requirements-databases.txt). With --rerank-url and --rerank-model hybrid search is
reranked as well. DIR, which must not be there, keeps the files and what each command printed.
Python's standard library is enough for all but the ingest beside others, which is left out unless
asked for. Of the rounds of a bench the medians are printed. Nothing else should run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = {"ar": "ar", "de": "de", "el": "el", "es": "es", "hi": "hi", "ro": "ro", "ru": "ru",
             "th": "none", "tr": "tr", "vi": "none", "zh": "none"}


def run(args: argparse.Namespace, name: str, command: list[str], kept: str = "",
        **settings: str) -> str:
    """Runs a command; what it printed is kept under its name, or the one given."""
    begin = time.perf_counter()
    cwd = ROOT / "bench/lexical" if name == "lexical" else ROOT
    done = subprocess.run(command, cwd=cwd, env=os.environ | settings, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    (args.out / f"{kept or name}.txt").write_text(done.stdout)
    if done.returncode != 0:
        sys.exit(f"{name} failed:\n{done.stdout[-2000:]}")
    print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return done.stdout


def told(args: argparse.Namespace, name: str, command: list[str]) -> dict[str, Any]:
    """What the command line answers as JSON."""
    output = run(args, name, [args.portolan, *command, "--json"])
    return json.loads(output.strip().splitlines()[-1])


def filled(args: argparse.Namespace, name: str, docs: Path, source: list[str]) -> str:
    db = args.out / f"{name}.portolan"
    told(args, f"{name}.ingest", ["ingest", str(db), str(docs), *source])
    return str(db)


def evaluated(args: argparse.Namespace, name: str, db: str, folder: Path, queries: Path,
              options: list[str]) -> dict[str, float]:
    """nDCG@10 of each mode."""
    judged = ["--queries", str(queries), "--qrels", str(folder / "qrels.tsv")]
    report = told(args, name, ["eval", db, *judged, *options])
    return {mode["mode"]: mode["ndcg@10"] for mode in report["modes"]}


def ranking(args: argparse.Namespace) -> None:
    print("| set | words | vectors | hybrid, k = 60 | k = 20 | minmax | reranked |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in ["scifact", "vaswani"]:
        folder = args.sets / name
        vectors = ["--vectors", str(folder / "docs.minilm384.f16.npy")]
        db = filled(args, name, folder / "docs.jsonl", vectors)
        asked = ["--query-vectors", str(folder / "queries.minilm384.f16.npy"),
                 "--query-ids", str(folder / "queries.minilm384.ids.txt")]
        figures = {}
        for fusion in ["rrf", "rrf:20", "minmax"]:
            modes = ["--modes", "lexical,dense,hybrid", "--fusion", fusion]
            found = evaluated(args, f"{name}.{fusion.replace(':', '')}", db, folder,
                              folder / "queries.jsonl", [*asked, *modes])
            figures |= {"lexical": found["lexical"], "dense": found["dense"],
                        fusion: found["hybrid"]}
        if args.rerank_url:
            rerank = ["--rerank-url", args.rerank_url, "--rerank-model", args.rerank_model]
            found = evaluated(args, f"{name}.reranked", db, folder, folder / "queries.jsonl",
                              [*asked, *rerank, "--candidates", "50", "--modes", "reranked"])
            figures["reranked"] = found["reranked"]
        row = [figures.get(way) for way in
               ["lexical", "dense", "rrf", "rrf:20", "minmax", "reranked"]]
        row = ["" if figure is None else f"{figure:.4f}" for figure in row]
        print(f"| {name} | {' | '.join(row)} |")
    folder, row = args.sets / "xquad", []
    for code, language in ({"": "en"} | LANGUAGES).items():
        of = f".{code}" if code else ""
        db = filled(args, f"xquad{of}", folder / f"docs{of}.jsonl",
                    ["--no-vectors", "--language", language])
        found = evaluated(args, f"xquad{of}.eval", db, folder, folder / f"queries{of}.jsonl",
                          ["--modes", "lexical"])
        row.append(f"{code or 'en'} {found['lexical']:.3f}")
    print(f"\nXQuAD, words: {', '.join(row)}")


def size(args: argparse.Namespace) -> None:
    """Bytes beside those of the texts, int8 codes and f16 vectors."""
    db = str(args.out / "scifact.portolan")
    small = args.out / "scifact.compact.portolan"
    small.unlink(missing_ok=True)
    told(args, "compact", ["compact", db, "--to", str(small)])
    lines = (args.sets / "scifact/docs.jsonl").read_text().splitlines()
    docs = [json.loads(line) for line in lines]
    text = sum(len(doc[of].encode()) for doc in docs for of in ["_id", "title", "text"])
    wanted = text + len(docs) * 384 * 3
    for name, path in [("as ingested", db), ("compacted", str(small))]:
        info = told(args, f"info.{name.replace(' ', '-')}", ["info", path])
        share = info["file_bytes"] / wanted
        free = info["free_bytes"] / 2**20
        print(f"file of SciFact {name}: {info['file_bytes'] / 2**20:.1f} MiB, {share:.2f}x texts, "
              f"codes and vectors; {free:.1f} MiB of it free")
        space = info["collections"][0]["space"].items()
        print("  " + ", ".join(f"{of} {size / 2**20:.1f}" for of, size in space if size))


def told_in(line: str) -> tuple[str, float, str] | None:
    """What a line of a bench is about, its figure, and of what: us or queries/s."""
    columns = line.lstrip("\u2502\u251c\u2570\u2500 ").split("\u2502")
    # divan's: the fastest, the slowest, the median, the mean.
    place = columns[2] if len(columns) > 4 else line
    figure = re.search(r"(?<![\w.])(\d+(?:\.\d+)?) (queries/s|us|\u00b5s|ms|ns)\b", place)
    if not figure:
        return None
    what = re.split(r" {2,}", columns[0].strip())[0]
    if figure[2] == "queries/s":
        return what, float(figure[1]), "queries/s"
    return what, float(figure[1]) * {"ns": 1e-3, "ms": 1e3}.get(figure[2], 1), "us"


def medians(outputs: list[str]) -> str:
    """The lines that have figures in every run, with the median and all."""
    lines = []
    for rows in zip(*[[row for line in text.splitlines() if (row := told_in(line))]
                      for text in outputs]):
        what, _, unit = rows[0]
        values = [value for _, value, _ in rows]
        told = ", ".join(f"{value:,.1f}" for value in values)
        lines.append(f"{what:<60} {statistics.median(values):>10,.1f} {unit} ({told})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--portolan", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--passages", type=Path)
    parser.add_argument("--passage-vectors", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rerank-url")
    parser.add_argument("--rerank-model", default="reranker")
    args = parser.parse_args()
    args.sets, args.out = args.sets.resolve(), args.out.resolve()
    args.portolan = str(Path(args.portolan).resolve())
    args.out.mkdir(parents=True)
    if args.passages:
        # Found out now and not in an hour.
        import lancedb, numpy, qdrant_edge  # noqa: E401, F401
    bench = ["cargo", "bench", "--bench"]
    # Compiled first, so that nothing is measured beside a compiler.
    run(args, "build", [*bench, "find", "--bench", "filter", "--no-run"])
    run(args, "lexical", ["cargo", "build", "--release"], "build.lexical")
    ranking(args)
    size(args)
    scifact = args.sets / "scifact"
    words = [str(scifact / "docs.jsonl"), str(scifact / "queries.jsonl"), "100000"]
    benches = {
        "Words beside tantivy": ("lexical", ["cargo", "run", "--quiet", "--release", "--", *words]),
        "Kinds of query, 100,000 records": ("find", [*bench, "find"]),
        "Filters over a million records": ("filter", [*bench, "filter"]),
    }
    outputs: dict[str, list[str]] = {title: [] for title in benches}
    for turn in range(args.rounds):
        for title, (name, command) in benches.items():
            outputs[title].append(run(args, name, command, f"{name}.{turn + 1}",
                                      PORTOLAN_BENCH_ROWS="100000"))
    for title, runs in outputs.items():
        print(f"\n## {title}, medians of {args.rounds} runs (all)\n")
        print(medians(runs))
    if args.passages:
        print("\n## Ingest\n")
        print(run(args, "ingest", [sys.executable, "bench/peers/ingest.py", "--docs",
                                   str(args.passages), "--vectors", str(args.passage_vectors),
                                   "--portolan", args.portolan, "--rounds", str(args.rounds)]))


if __name__ == "__main__":
    main()
