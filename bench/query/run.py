#!/usr/bin/env python3
"""All figures of docs/query.md in one run: ranking, file size, filters, kinds of query, ingest.

  cargo build --release --features cli
  python bench/query/run.py --sets SETS --portolan target/release/portolan --out DIR

SETS has the folders scifact, vaswani and xquad in BEIR form: docs.jsonl, queries.jsonl, qrels.tsv;
the first two with embeddings, docs.minilm384.f16.npy in the order of the documents,
queries.minilm384.f16.npy in that of queries.minilm384.ids.txt; xquad with docs.CODE.jsonl and
queries.CODE.jsonl of its other languages. With --passages P.jsonl --passage-vectors V.npy, which
have the fields that bench/peers/ingest.py tells of, it ingests those beside LanceDB and Qdrant Edge
(bench/peers/requirements-databases.txt). With --rerank-url and --rerank-model hybrid search is
reranked as well. DIR keeps the files and what each command printed. Python's standard library is
enough for all but the ingest beside others. Nothing else should run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = {"ar": "ar", "de": "de", "el": "el", "es": "es", "hi": "hi", "ro": "ro", "ru": "ru",
             "th": "none", "tr": "tr", "vi": "none", "zh": "none"}


def run(args: argparse.Namespace, name: str, command: list[str], **settings: str) -> str:
    """Runs a command; what it printed is kept under its name."""
    begin = time.perf_counter()
    cwd = ROOT / "bench/lexical" if name == "lexical" else ROOT
    done = subprocess.run(command, cwd=cwd, env=os.environ | settings, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    (args.out / f"{name}.txt").write_text(done.stdout)
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
    if not db.exists():
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
        info = told(args, "info", ["info", path])
        share = info["file_bytes"] / wanted
        free = info["free_bytes"] / 2**20
        print(f"file of SciFact {name}: {info['file_bytes'] / 2**20:.1f} MiB, {share:.2f}x texts, "
              f"codes and vectors; {free:.1f} MiB of it free")


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
    args.out.mkdir(parents=True, exist_ok=True)
    bench = ["cargo", "bench", "--bench"]
    # Compiled first, so that nothing is measured beside a compiler.
    run(args, "build", [*bench, "find", "--bench", "filter", "--no-run"])
    run(args, "lexical", ["cargo", "build", "--release"])
    ranking(args)
    size(args)
    scifact = args.sets / "scifact"
    words = [str(scifact / "docs.jsonl"), str(scifact / "queries.jsonl"), "100000"]
    for turn in range(args.rounds):
        print(f"\n## Words beside tantivy, run {turn + 1}\n")
        print(run(args, "lexical", ["cargo", "run", "--quiet", "--release", "--", *words]))
        print(f"\n## Kinds of query, 100,000 records, run {turn + 1}\n")
        print(run(args, "find", [*bench, "find"], PORTOLAN_BENCH_ROWS="100000"))
        print(f"\n## Filters over a million records, run {turn + 1}\n")
        print(run(args, "filter", [*bench, "filter"]))
    if args.passages:
        print("\n## Ingest\n")
        print(run(args, "ingest", [sys.executable, "bench/peers/ingest.py", "--docs",
                                   str(args.passages), "--vectors", str(args.passage_vectors),
                                   "--portolan", args.portolan, "--rounds", str(args.rounds)]))


if __name__ == "__main__":
    main()
