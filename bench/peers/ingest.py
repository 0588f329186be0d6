#!/usr/bin/env python3
"""Ingest beside two embedded databases: the same records, vectors given, all indexes on.

  python bench/peers/ingest.py --docs DOCS.jsonl --vectors V.npy --portolan target/release/portolan

DOCS.jsonl has one object a line: `_id`, `text`, and the metadata fields `lang` (text), `year`
(integer) and `price` (float). Every system stores id, text, the three fields and the vector, and
ends with a text index (English, stemmed), an index of each field and a graph over the vectors.
Batches of 1,000 records are made durable one by one: portolan commits (fsync), LanceDB adds a
version, Qdrant Edge flushes. Records are made ready for the peers before the clock runs; portolan
reads its JSON lines within its time. Rounds take turns; the table has the medians.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 1_000
FIELDS = ["lang", "year", "price"]


def bytes_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def portolan(args: argparse.Namespace, folder: Path) -> Callable[[], Path]:
    db = folder / "kb.portolan"
    command = [args.portolan, "ingest", str(db), str(args.docs), "--vectors", str(args.vectors)]
    command += ["--batch-size", str(BATCH), "--language", "en", "--json"]

    def run() -> Path:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return db

    return run


def lancedb(args: argparse.Namespace, folder: Path) -> Callable[[], Path]:
    import lancedb as lance
    import pyarrow as pa
    from lancedb.index import FTS, Bitmap, BTree, HnswSq

    dim = args.rows.shape[1]
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("text", pa.string()),
            ("lang", pa.string()),
            ("year", pa.int64()),
            ("price", pa.float64()),
            ("vector", pa.list_(pa.float32(), dim)),
        ]
    )
    batches = []
    for begin in range(0, len(args.records), BATCH):
        part = args.records[begin : begin + BATCH]
        rows = args.rows[begin : begin + len(part)]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), dim)
        columns = [pa.array([record[name] for record in part]) for name in ["_id", "text", *FIELDS]]
        batches.append(pa.record_batch([*columns, vectors], schema=schema))

    def run() -> Path:
        db = lance.connect(str(folder / "store"))
        table = db.create_table("bench", schema=schema)
        for batch in batches:
            table.add(pa.Table.from_batches([batch]))
        table.create_index("vector", config=HnswSq(distance_type="cosine", num_partitions=1))
        table.create_index("text", config=FTS(language="English", stem=True))
        table.create_index("lang", config=Bitmap())
        table.create_index("year", config=BTree())
        table.create_index("price", config=BTree())
        return folder / "store"

    return run


def qdrant(args: argparse.Namespace, folder: Path) -> Callable[[], Path]:
    import qdrant_edge as edge

    dim = args.rows.shape[1]
    graph = edge.HnswIndexConfig(
        m=16, ef_construct=200, full_scan_threshold=1, max_indexing_threads=2
    )
    optimizers = edge.EdgeOptimizersConfig(
        default_segment_number=1, max_segment_size=1 << 40, indexing_threshold=1
    )
    config = edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(dim, edge.Distance.Cosine),
        hnsw_config=graph,
        quantization_config=edge.ScalarQuantizationConfig(
            edge.ScalarType.Int8, memory=edge.Memory.Pinned
        ),
        optimizers=optimizers,
    )
    stemmer = edge.SnowballParams(edge.SnowballLanguage.English)
    text = edge.TextIndexParams(tokenizer=edge.TokenizerType.Word, lowercase=True, stemmer=stemmer)
    indexes = [
        ("text", text),
        ("lang", edge.KeywordIndexParams()),
        ("year", edge.IntegerIndexParams(lookup=True, range=True)),
        ("price", edge.FloatIndexParams()),
    ]
    points = [
        edge.Point(at, row.tolist(), {name: record[name] for name in ["_id", "text", *FIELDS]})
        for at, (record, row) in enumerate(zip(args.records, args.rows))
    ]

    def run() -> Path:
        store = folder / "store"
        store.mkdir()
        shard = edge.EdgeShard.create(str(store), config)
        for name, kind in indexes:
            shard.update(edge.UpdateOperation.create_field_index(name, kind))
        for begin in range(0, len(points), BATCH):
            shard.update(edge.UpdateOperation.upsert_points(points[begin : begin + BATCH]))
            shard.flush()
        shard.optimize()
        shard.flush()
        return store

    return run


SYSTEMS = {"portolan": portolan, "lancedb": lancedb, "qdrant": qdrant}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--portolan", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", default="portolan,lancedb,qdrant")
    parser.add_argument("--out", type=Path, help="where a JSON report goes as well")
    args = parser.parse_args()
    with args.docs.open() as lines:
        args.records = [json.loads(line) for line in lines]
    args.rows = np.load(args.vectors).astype(np.float32)
    if len(args.rows) != len(args.records):
        sys.exit(f"{len(args.records)} documents, {len(args.rows)} vectors")
    names = args.systems.split(",")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    sizes: dict[str, int] = {}
    for turn in range(args.rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            folder = Path(tempfile.mkdtemp(prefix="ingest-"))
            try:
                run = SYSTEMS[name](args, folder)
                begin = time.perf_counter()
                store = run()
                seconds[name].append(time.perf_counter() - begin)
                sizes[name] = bytes_of(store)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            print(f"{name}: {seconds[name][-1]:.1f} s", file=sys.stderr)
    print_table(args, seconds, sizes)


def print_table(
    args: argparse.Namespace, seconds: dict[str, list[float]], sizes: dict[str, int]
) -> None:
    count = len(args.records)
    ours = statistics.median(seconds.get("portolan", [float("nan")]))
    print(f"{count:,} records x {args.rows.shape[1]} dimensions, batches of {BATCH:,}")
    print("| system | median s (all) | records/s | portolan is | store, MB |")
    print("|---|---|--:|--:|--:|")
    report: dict[str, Any] = {"records": count, "systems": {}}
    for name, runs in seconds.items():
        median = statistics.median(runs)
        told = ", ".join(f"{run:.1f}" for run in runs)
        ratio = f"{median / ours:.2f}x"
        size = sizes[name] / 1e6
        print(f"| {name} | {median:.1f} ({told}) | {count / median:,.0f} | {ratio} | {size:.1f} |")
        report["systems"][name] = {"seconds": runs, "bytes": sizes[name]}
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
