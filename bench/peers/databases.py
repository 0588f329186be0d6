"""The compared embedded databases. Their stores lie in the job's folder from the first write on:
the reported size is that of the store, records included.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import memory
import numpy as np
from peers import Job, Peer, Setting, row_batches


class Database(Peer):
    """A peer that keeps its index in `self.store`."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.store = job.folder / "store"
        self.store.mkdir()

    def stored(self, folder: Path) -> Path:
        return self.store


class Hannoy(Database):
    """hannoy: HNSW on float32 in LMDB, by the command in the folder `hannoy`, which cargo makes.

    One process builds; another one, begun once this process keeps to its core, searches.
    """

    label = "hannoy"
    crate = Path(__file__).resolve().parent / "hannoy"
    links = 16
    ef = 200

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        cargo = shutil.which("cargo")
        if cargo is None:
            raise ModuleNotFoundError("no cargo", name="cargo")
        folder = self.crate / "target"
        manifest = str(self.crate / "Cargo.toml")
        make = [cargo, "build", "--release", "--locked", "--manifest-path", manifest]
        subprocess.run([*make, "--target-dir", str(folder)], check=True)
        self.command = str(folder / "release" / "peer-hannoy")
        self.searching: subprocess.Popen[str] | None = None
        self.peak_mib = 0.0

    def version(self) -> str:
        """The one that the lock file holds."""
        locked = (self.crate / "Cargo.lock").read_text()
        found = re.search(r'name = "hannoy"\nversion = "([^"]+)"', locked)
        return found.group(1) if found else "unknown"

    def build(self, base: np.ndarray) -> None:
        # The command reads a file; writing it belongs to the build.
        rows = self.job.folder / "rows.f32"
        base.tofile(rows)
        sizes = [str(size) for size in (self.links, self.ef, self.job.threads)]
        command = [self.command, "build", str(rows), str(self.job.dim), self.job.metric]
        process = subprocess.Popen([*command, *sizes, str(self.store)])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        rows.unlink()
        if process.returncode != 0:
            raise RuntimeError(f"hannoy ended with status {process.returncode}")
        self.peak_mib = memory.rusage_mib(usage)

    def build_peak_mib(self) -> float:
        """Of the command alone, which holds no more than a row of the vectors at a time."""
        return self.peak_mib

    def ask(self, queries: np.ndarray, request: str) -> str:
        """The reply to one line; the first request begins the process."""
        if self.searching is None:
            file = self.job.folder / "queries.f32"
            queries.tofile(file)
            command = [self.command, "search", str(file), str(self.job.dim), self.job.metric]
            self.searching = subprocess.Popen(
                [*command, str(self.job.k), str(self.store)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self.searching.stdin is not None and self.searching.stdout is not None
        self.searching.stdin.write(request + "\n")
        self.searching.stdin.flush()
        reply = self.searching.stdout.readline()
        if not reply:
            raise RuntimeError("hannoy ended")
        return reply

    def prepare(self, queries: np.ndarray, setting: Setting) -> Callable[[], Any]:
        def search() -> np.ndarray:
            self.ask(queries, str(setting["ef"]))
            return queries

        return search

    def ids(self, raw: Any) -> np.ndarray:
        found = np.array(self.ask(raw, "ids").split(), dtype=np.int64)
        return found.reshape(len(raw), self.job.k)


class Lancedb(Database):
    """IVF_HNSW_SQ with one partition, queried one at a time; `refine` ranks exact vectors."""

    package = "lancedb"

    def __init__(self, job: Job, refine: int) -> None:
        super().__init__(job)
        import lancedb

        self.label = f"lancedb HNSW-SQ, refine {refine}" if refine else "lancedb HNSW-SQ"
        self.refine = refine
        self.db = lancedb.connect(str(self.store))

    def build(self, base: np.ndarray) -> None:
        import pyarrow as pa
        from lancedb.index import HnswSq

        vector = pa.list_(pa.float32(), self.job.dim)
        schema = pa.schema([("id", pa.int64()), ("vector", vector)])

        def batches() -> Iterator[Any]:
            for ids, rows in row_batches(base):
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), self.job.dim)
                yield pa.record_batch([pa.array(ids, pa.int64()), vectors], schema=schema)

        reader = pa.RecordBatchReader.from_batches(schema, batches())
        self.table = self.db.create_table("bench", reader, schema=schema)
        config = HnswSq(distance_type=self.job.metric, num_partitions=1)
        self.table.create_index("vector", config=config)

    def settings(self, efs: list[int]) -> list[Setting]:
        """The index wants an ef of at least the rows that are ranked anew."""
        return [{"ef": ef} for ef in efs if ef >= self.job.k * max(self.refine, 1)]

    def prepare(self, queries: np.ndarray, setting: Setting) -> Callable[[], Any]:
        def one(query: np.ndarray) -> Any:
            search = self.table.search(query).distance_type(self.job.metric)
            search = search.limit(self.job.k).ef(setting["ef"]).select(["id", "_distance"])
            if self.refine:
                search = search.refine_factor(self.refine)
            return search.to_arrow()

        return lambda: [one(query) for query in queries]

    def ids(self, raw: Any) -> np.ndarray:
        return padded([found["id"].to_numpy() for found in raw], self.job.k)


class Qdrant(Database):
    """Qdrant Edge: HNSW on float32, on int8 or on binary codes; codes are ranked anew."""

    package = "qdrant-edge-py"

    def __init__(self, job: Job, codes: str) -> None:
        super().__init__(job)
        import qdrant_edge

        self.edge = qdrant_edge
        self.codes = codes
        self.label = f"qdrant edge {codes}"

    def config(self) -> Any:
        edge = self.edge
        distances = {
            "cosine": edge.Distance.Cosine,
            "dot": edge.Distance.Dot,
            "l2": edge.Distance.Euclid,
        }
        codes = {
            "f32": lambda: None,
            "i8": lambda: edge.ScalarQuantizationConfig(
                edge.ScalarType.Int8, memory=edge.Memory.Pinned
            ),
            "binary": lambda: edge.BinaryQuantizationConfig(memory=edge.Memory.Pinned),
        }
        hnsw = edge.HnswIndexConfig(
            m=16, ef_construct=200, full_scan_threshold=1, max_indexing_threads=self.job.threads
        )
        # All rows in one segment with a graph, however few or many they are.
        optimizers = edge.EdgeOptimizersConfig(
            default_segment_number=1, max_segment_size=1 << 40, indexing_threshold=1
        )
        return edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(self.job.dim, distances[self.job.metric]),
            hnsw_config=hnsw,
            quantization_config=codes[self.codes](),
            optimizers=optimizers,
            max_search_threads=1,
        )

    def build(self, base: np.ndarray) -> None:
        self.shard = self.edge.EdgeShard.create(str(self.store), self.config())
        for ids, rows in row_batches(base):
            points = [self.edge.Point(id, row.tolist()) for id, row in zip(ids, rows)]
            self.shard.update(self.edge.UpdateOperation.upsert_points(points))
        self.shard.optimize()
        self.shard.flush()

    def search_params(self, ef: int) -> Any:
        """Binary codes rank all ef candidates anew, int8 codes 2k of them."""
        rescored = {"i8": 2.0, "binary": ef / self.job.k}.get(self.codes)
        again = None
        if rescored:
            again = self.edge.QuantizationSearchParams(rescore=True, oversampling=rescored)
        return self.edge.SearchParams(hnsw_ef=ef, quantization=again)

    def prepare(self, queries: np.ndarray, setting: Setting) -> Callable[[], Any]:
        params = self.search_params(setting["ef"])
        nearest = (self.edge.Query.Nearest(query.tolist()) for query in queries)
        requests = [
            self.edge.QueryRequest(limit=self.job.k, query=query, params=params)
            for query in nearest
        ]
        batch = self.edge.QueryBatchRequest(requests)
        return lambda: self.shard.query_batch(batch)

    def ids(self, raw: Any) -> np.ndarray:
        return padded([[hit.id for hit in hits] for hits in raw], self.job.k)


def padded(found: list[Any], k: int) -> np.ndarray:
    """Row numbers as one array; -1 where a query has less than k hits."""
    rows = np.full((len(found), k), -1, np.int64)
    for row, ids in zip(rows, found):
        row[: len(ids)] = ids[:k]
    return rows
