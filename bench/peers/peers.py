"""The compared systems: one small class each, with its build, its search call, its settings.

A class imports its package when it is constructed, so a missing package is one row of the result
and not the end of the run. `prepare` returns the call that is timed; what it builds before (request
objects, search parameters) and `ids` after it are not timed.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import memory
import numpy as np

Setting = dict[str, int]
BATCH_ROWS = 1000


@dataclass(frozen=True)
class Job:
    """What every system is given: shape, metric (cosine, dot, l2), k, build threads, a folder."""

    rows: int
    dim: int
    metric: str
    k: int
    threads: int
    folder: Path

    @property
    def is_l2(self) -> bool:
        """Rows are unit vectors unless the metric is l2; cosine is their inner product."""
        return self.metric == "l2"


class Peer:
    """One system. `package` names the distribution whose version is reported."""

    package: str
    label: str

    def __init__(self, job: Job) -> None:
        self.job = job

    def version(self) -> str:
        """The version of the system."""
        return importlib.metadata.version(self.package)

    def build(self, base: np.ndarray) -> None:
        """Builds the index of all rows on `job.threads` threads."""
        raise NotImplementedError

    def build_peak_mib(self) -> float:
        """The most that was resident while building."""
        return memory.peak_mib()

    def save(self, folder: Path) -> None:
        """Writes the index into a folder."""
        raise NotImplementedError

    def stored(self, folder: Path) -> Path:
        """Where the index lies on disk; its size there is the reported one."""
        self.save(folder)
        return folder

    def settings(self, efs: list[int]) -> list[Setting]:
        """The search settings to measure; an ef below k is no setting."""
        return [{"ef": ef} for ef in efs if ef >= self.job.k]

    def prepare(self, queries: np.ndarray, setting: Setting) -> Callable[[], Any]:
        """The call that searches all queries on one thread."""
        raise NotImplementedError

    def ids(self, raw: Any) -> np.ndarray:
        """Row numbers, queries x k, from what the call returned."""
        return np.asarray(raw)


class Symqg(Peer):
    """SymphonyQG: a graph whose nodes hold the RaBitQ codes of their neighbors."""

    package = "rabitqlib"
    label = "rabitqlib SymQG"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        import rabitqlib

        # The order by L2 is the order by inner product for unit vectors.
        self.index = rabitqlib.SymqgIndex(job.dim, 32, "l2")

    def build(self, base: np.ndarray) -> None:
        self.index.build(base, 200, self.job.threads)

    def save(self, folder: Path) -> None:
        self.index.save(str(folder / "symqg.index"))

    def prepare(self, queries: np.ndarray, setting: Setting) -> Callable[[], Any]:
        return lambda: self.index.search_batch(queries, self.job.k, setting["ef"], 1)[0]


class Svs(Peer):
    """Scalable Vector Search: Vamana graph over LVQ codes of 4 bits and residuals of 8 bits."""

    package = "scalable-vs"
    label = "SVS Vamana LVQ4x8"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        import svs

        self.svs = svs

    def build(self, base: np.ndarray) -> None:
        # The loader that compresses reads a file only; writing it belongs to the build.
        file = self.job.folder / "base.fvecs"
        self.svs.write_vecs(base, str(file))
        loader = self.svs.VectorDataLoader(str(file), self.svs.DataType.float32, self.job.dim)
        parameters = self.svs.VamanaBuildParameters(
            alpha=1.2 if self.job.is_l2 else 0.95, graph_max_degree=64, window_size=128
        )
        distance = self.svs.DistanceType.L2 if self.job.is_l2 else self.svs.DistanceType.MIP
        self.index = self.svs.Vamana.build(
            parameters,
            self.svs.LVQLoader(loader, primary=4, residual=8),
            distance,
            num_threads=self.job.threads,
        )
        self.index.num_threads = 1
        file.unlink()

    def save(self, folder: Path) -> None:
        parts = [folder / part for part in ("config", "graph", "data")]
        self.index.save(*map(str, parts))

    def settings(self, efs: list[int]) -> list[Setting]:
        """A buffer wider than the search window gives the residuals more to rank anew."""
        windows = [ef for ef in efs if ef >= self.job.k]
        return [{"ef": ef, "buffer": ef * by // 2} for ef in windows for by in (2, 3, 4)]

    def prepare(self, queries: np.ndarray, setting: Setting) -> Callable[[], Any]:
        parameters = self.index.search_parameters
        parameters.buffer_config = self.svs.SearchBufferConfig(setting["ef"], setting["buffer"])
        self.index.search_parameters = parameters
        return lambda: self.index.search(queries, self.job.k)[0]


class Hnswlib(Peer):
    """HNSW on float32."""

    package = "hnswlib"
    label = "hnswlib"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        import hnswlib

        self.index = hnswlib.Index(space="l2" if job.is_l2 else "ip", dim=job.dim)

    def build(self, base: np.ndarray) -> None:
        self.index.init_index(max_elements=self.job.rows, M=16, ef_construction=200)
        self.index.add_items(base, num_threads=self.job.threads)

    def save(self, folder: Path) -> None:
        self.index.save_index(str(folder / "hnswlib.index"))

    def prepare(self, queries: np.ndarray, setting: Setting) -> Callable[[], Any]:
        self.index.set_ef(setting["ef"])
        return lambda: self.index.knn_query(queries, k=self.job.k, num_threads=1)[0]


class Usearch(Peer):
    """HNSW on float32, or on 8-bit integers without a second ranking; the package's defaults."""

    package = "usearch"

    def __init__(self, job: Job, dtype: str) -> None:
        super().__init__(job)
        from usearch.index import Index

        self.label = f"usearch {dtype}"
        metrics = {"cosine": "cos" if dtype == "i8" else "ip", "dot": "ip", "l2": "l2sq"}
        metric = metrics[job.metric]
        self.index = Index(ndim=job.dim, metric=metric, dtype=dtype, connectivity=16)

    def build(self, base: np.ndarray) -> None:
        self.index.add(np.arange(self.job.rows), base, threads=self.job.threads)

    def save(self, folder: Path) -> None:
        self.index.save(str(folder / "usearch.index"))

    def prepare(self, queries: np.ndarray, setting: Setting) -> Callable[[], Any]:
        self.index.expansion_search = setting["ef"]
        return lambda: self.index.search(queries, self.job.k, threads=1)

    def ids(self, raw: Any) -> np.ndarray:
        return np.asarray(raw.keys)


class Faiss(Peer):
    """HNSW on float32 with twice the links of the default layer."""

    package = "faiss-cpu"
    label = "faiss HNSW32"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        import faiss

        self.faiss = faiss
        metric = faiss.METRIC_L2 if job.is_l2 else faiss.METRIC_INNER_PRODUCT
        self.index = faiss.IndexHNSWFlat(job.dim, 32, metric)
        self.index.hnsw.efConstruction = 200

    def build(self, base: np.ndarray) -> None:
        self.faiss.omp_set_num_threads(self.job.threads)
        self.index.add(base)
        self.faiss.omp_set_num_threads(1)

    def save(self, folder: Path) -> None:
        self.faiss.write_index(self.index, str(folder / "faiss.index"))

    def prepare(self, queries: np.ndarray, setting: Setting) -> Callable[[], Any]:
        self.index.hnsw.efSearch = setting["ef"]
        return lambda: self.index.search(queries, self.job.k)[1]


def row_batches(base: np.ndarray) -> Iterator[tuple[range, np.ndarray]]:
    """Row numbers and rows, a batch at a time."""
    for begin in range(0, len(base), BATCH_ROWS):
        rows = base[begin : begin + BATCH_ROWS]
        yield range(begin, begin + len(rows)), rows
