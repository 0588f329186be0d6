"""Which systems there are: what --peers may name, and the entries that each name stands for."""

from __future__ import annotations

from collections.abc import Callable

from databases import Hannoy, Lancedb, Qdrant
from peers import Faiss, Hnswlib, Job, Peer, Svs, Symqg, Usearch

FAMILIES: dict[str, dict[str, Callable[[Job], Peer]]] = {
    "symqg": {"symqg": Symqg},
    "svs": {"svs": Svs},
    "hnswlib": {"hnswlib": Hnswlib},
    "usearch": {
        "usearch": lambda job: Usearch(job, "f32"),
        "usearch-i8": lambda job: Usearch(job, "i8"),
    },
    "faiss": {"faiss": Faiss},
    "hannoy": {"hannoy": Hannoy},
    "lancedb": {
        "lancedb": lambda job: Lancedb(job, 0),
        "lancedb-refine": lambda job: Lancedb(job, 2),
    },
    "qdrant": {
        "qdrant": lambda job: Qdrant(job, "f32"),
        "qdrant-i8": lambda job: Qdrant(job, "i8"),
        "qdrant-binary": lambda job: Qdrant(job, "binary"),
    },
}
ENTRIES: dict[str, Callable[[Job], Peer]] = {
    name: entry for family in FAMILIES.values() for name, entry in family.items()
}
