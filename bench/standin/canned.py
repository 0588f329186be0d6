"""A service in Python that answers at once, with bodies made before: what the client costs beside
one as far from it as a model's server is, which has another process and another language.

    python bench/standin/canned.py 8090 &
    PORTOLAN_BENCH_URL=http://127.0.0.1:8090 cargo bench --bench nim -- embedding
    PORTOLAN_BENCH_URL=http://127.0.0.1:8090 cargo bench --bench nim -- ranking

Python's standard library alone. Vectors come as base64, 50 to a request, logits 100 to a request:
the batches of the bench. POST /d384/v1/embeddings gives vectors of 384 dimensions.
"""

import asyncio
import base64
import functools
import json
import math
import re
import struct
import sys

BATCH, PASSAGES = 50, 100


def framed(answer):
    body = json.dumps(answer, separators=(",", ":")).encode()
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return (head % len(body)).encode() + body


@functools.cache
def vectors(dimensions):
    def item(at):
        numbers = [math.sin((at * dimensions + i) * 0.37) / 20 for i in range(dimensions)]
        packed = base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode()
        return {"object": "embedding", "index": at, "embedding": packed}

    usage = {"prompt_tokens": 600, "total_tokens": 600}
    return framed({"object": "list", "data": [item(at) for at in range(BATCH)], "usage": usage})


@functools.cache
def rankings():
    items = [{"index": at, "logit": math.sin(at * 0.77) * 9} for at in range(PASSAGES)]
    return framed({"rankings": items, "usage": {"prompt_tokens": 600, "total_tokens": 600}})


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.left = transport, b""

    def data_received(self, data):
        self.left += data
        while True:
            head, blank, rest = self.left.partition(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1]) if blank else 0
            if not blank or len(rest) < length:
                return
            self.left = rest[length:]
            path = head.split(b" ", 2)[1]
            of = re.match(rb"/d(\d+)/", path)
            self.transport.write(rankings() if b"ranking" in path else vectors(int(of[1])))


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
