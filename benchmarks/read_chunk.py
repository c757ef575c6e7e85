"""What reading a stream costs: CPU time per chunk to parse, fold and relay, and memory per megabyte streamed.

    python benchmarks/read_chunk.py

Relaying bytes alone is the yardstick: the pieces handed on as they are.
"""

import gc
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator

import msgspec

from app.openrouter.sse import SSEReader
from app.openrouter.streaming import CompletionFold
from app.openrouter.types import ContentDelta

CHUNKS = 20_000
ROUNDS = 5
WORDS = ("بسم ", "الله ", "the ", "answer ", "stands ", "here, ")


def chunk(content: str) -> bytes:
    """A chunk as hosts send it today, with all its members."""
    choice = {
        "index": 0,
        "delta": {"role": "assistant", "content": content},
        "finish_reason": None,
        "native_finish_reason": None,
        "logprobs": None,
    }
    head = {"id": "gen-1790000000-AbCdEfGhIjKlMnOpQrSt", "object": "chat.completion.chunk", "created": 1790000000}
    served = {"model": "anthropic/claude-sonnet-5.5", "provider": "Anthropic", "system_fingerprint": None}
    return b"data: " + json.dumps({**head, **served, "choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


def pieces(count: int) -> Iterator[bytes]:
    """One chunk at a time, as a slow model sends them."""
    lines = [chunk(word) for word in WORDS]
    return (lines[number % len(lines)] for number in range(count))


def relay_bytes(stream: Iterator[bytes]) -> int:
    sent = bytearray()
    for piece in stream:
        sent[:] = piece
    return len(sent)


def fold_and_relay(stream: Iterator[bytes]) -> int:
    sent = bytearray()
    reader, fold, encoder = SSEReader(), CompletionFold(), msgspec.json.Encoder()
    for piece in stream:
        for payload in reader.feed(piece):
            for event in fold.feed(payload):
                if isinstance(event, ContentDelta):
                    sent[:] = b"event: content.delta\ndata: " + encoder.encode({"text": event.text}) + b"\n\n"
    return len(fold.partial().content)


def microseconds_per_chunk(work: Callable[[Iterator[bytes]], int]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        began = time.process_time()
        work(pieces(CHUNKS))
        best = min(best, time.process_time() - began)
    return best / CHUNKS * 1e6


def memory_while_streaming(megabytes: int) -> tuple[int, int]:
    """Bytes held for a stream of so many megabytes: all of it, and what is not the text of the answer itself."""
    size = sum(len(chunk(word)) for word in WORDS) / len(WORDS)
    tracemalloc.start()
    reader, fold = SSEReader(), CompletionFold()
    for piece in pieces(int(megabytes * 1_000_000 / size)):
        for payload in reader.feed(piece):
            fold.feed(payload)
    held = tracemalloc.get_traced_memory()[0]
    text = len(fold.partial().content.encode())
    tracemalloc.stop()
    return held, held - text


def memory_for_a_large_line(megabytes: int) -> int:
    """Bytes held after a picture of so many megabytes came in one line and went out again, cut into small pieces."""
    line = b'data: {"id": "g", "choices": [], "debug": "' + b"x" * (megabytes * 1_000_000) + b'"}\n\n'
    tracemalloc.start()
    reader, fold = SSEReader(), CompletionFold()
    for start in range(0, len(line), 16_384):
        for payload in reader.feed(line[start : start + 16_384]):
            fold.feed(payload)
            del payload
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held


def main() -> None:
    plain, folded = microseconds_per_chunk(relay_bytes), microseconds_per_chunk(fold_and_relay)
    print(f"relay bytes           {plain:8.2f} µs per chunk")
    print(f"parse, fold and relay {folded:8.2f} µs per chunk, {folded - plain:.2f} over relaying bytes (goal < 10)")
    for megabytes in (1, 4, 16):
        held, beside = memory_while_streaming(megabytes)
        print(f"{megabytes:3d} MB streamed: {held / 1000:8.0f} kB held, {beside / 1000:7.0f} kB beside the text")
    print(f"  4 MB in one line: {memory_for_a_large_line(4) / 1000:7.0f} kB held afterwards")


if __name__ == "__main__":
    main()
