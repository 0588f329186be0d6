#!/usr/bin/env python3
"""Texts as the vectors that `run.py` measures with, by any server that has `/v1/embeddings`.

  python bench/peers/embed.py TEXTS.jsonl... --url http://127.0.0.1:8080 --model M --out B.npy

A line is {"_id", "title", "text"}: its title, a space and its text are embedded. With --sentences
the sentences of that are texts of their own, and all texts of fewer than 40 characters are left
out. Texts are shuffled with a fixed seed, so that the first of them (--limit) are of all files, and
rows have unit length. Servers in the form of NVIDIA's NIM need --input-type and cut what is too
long; others are not told of either. No key is sent.

--distinct leaves out rows that equal an earlier one to 4 decimals: texts that come twice would have
two rows that are equally near, and the truth, which goes by row number, would name one of them.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 50
SEED = 7
CHARACTERS_MIN = 40
DECIMALS = 10_000
TIMEOUT_S = 600


def texts_of(file: Path, sentences: bool) -> Iterator[str]:
    """The text of each line and, if asked for, its sentences; none is empty or too short."""
    least = CHARACTERS_MIN if sentences else 1
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            whole = f"{record.get('title') or ''} {record['text']}".strip()
            parts = [whole, *re.split(r"(?<=[.!?])\s+", whole)] if sentences else [whole]
            yield from (part for part in parts if len(part) >= least)


def embedded(args: argparse.Namespace, texts: list[str]) -> np.ndarray:
    """Rows of unit length in the order of the texts."""
    body: dict[str, Any] = {"model": args.model, "input": texts, "encoding_format": "float"}
    if args.input_type:
        body |= {"input_type": args.input_type, "truncate": "END"}
    url = args.url.rstrip("/").removesuffix("/v1") + "/v1/embeddings"
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            items = json.load(reply)["data"]
    except urllib.error.HTTPError as error:
        reason = error.read().decode(errors="replace")[:500]
        raise SystemExit(f"{url}: {error}: {reason}") from error
    of = {item["index"]: item["embedding"] for item in items}
    if sorted(of) != list(range(len(texts))):
        raise SystemExit(f"{len(texts)} texts were sent, {len(items)} embeddings came")
    rows = np.array([of[at] for at in range(len(texts))], np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise SystemExit("an embedding has no length")
    return rows / lengths


def distinct(rows: np.ndarray) -> np.ndarray:
    """Rows that no earlier one equals to 4 decimals, in their order."""
    rounded = np.rint(rows * DECIMALS).astype(np.int16)
    _, first = np.unique(rounded, axis=0, return_index=True)
    return rows[np.sort(first)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXTS.jsonl")
    parser.add_argument("--url", required=True, help="the server, without or with /v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--input-type", choices=["passage", "query"], help="for NIMs")
    parser.add_argument("--sentences", action="store_true", help="sentences as texts, too")
    parser.add_argument("--limit", type=int, help="texts to embed; default: all")
    parser.add_argument("--distinct", action="store_true", help="no row twice")
    parser.add_argument("--out", required=True, type=Path, help="f32 .npy")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    texts = [text for file in args.texts for text in texts_of(file, args.sentences)]
    random.Random(SEED).shuffle(texts)
    texts = texts[: args.limit]
    # Opened first: that it cannot be written is told before there is work to lose.
    with args.out.open("wb") as out:
        batches = []
        for begin in range(0, len(texts), BATCH):
            batches.append(embedded(args, texts[begin : begin + BATCH]))
            if len(batches) % 100 == 0:
                print(f"{begin + BATCH} of {len(texts)}", file=sys.stderr, flush=True)
        rows = np.concatenate(batches)
        kept = distinct(rows) if args.distinct else rows
        np.save(out, kept)
    print(f"{len(texts)} texts, {len(kept)} rows of {kept.shape[1]} dimensions")


if __name__ == "__main__":
    main()
