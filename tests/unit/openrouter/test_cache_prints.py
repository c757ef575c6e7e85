"""What is kept of a prompt is small, and tells where another one departs from it."""

import msgspec
import pytest

from app.openrouter.cache_blocks import BlockReader, PromptBlocks
from app.openrouter.cache_marks import Breakpoint
from app.openrouter.cache_prints import CachedCall, Common, common_part, decode, encode, print_of


def read(*texts: str) -> PromptBlocks:
    return BlockReader().read([{"role": "user", "content": text} for text in texts])


def test_a_continued_prompt_shares_all_of_the_earlier_one() -> None:
    printed = print_of(read("a", "b"), [])
    assert common_part(printed, read("a", "b", "c")) == Common(2, 2)
    assert common_part(printed, read("a", "b")) == Common(2, None)


def test_the_first_block_that_differs_is_named() -> None:
    printed = print_of(read("a", "b", "c"), [])
    assert common_part(printed, read("a", "x", "c", "d")) == Common(1, 1)
    assert common_part(printed, read("x", "b", "c")) == Common(0, 0)


def test_a_prompt_that_became_shorter_differs_nowhere() -> None:
    assert common_part(print_of(read("a", "b", "c"), []), read("a", "b")) == Common(2, None)


def test_it_survives_the_column() -> None:
    printed = print_of(read("a", "b"), [Breakpoint(0, "1h")], end_is_kept=True)
    call = CachedCall("x/y", None, 1_000.5, None, printed)
    assert decode(encode(call)) == call
    assert [(mark.block, mark.ttl) for mark in printed.marks] == [(0, "1h"), (1, "")]


def test_one_written_before_searches_were_told_apart_can_be_read() -> None:
    call = CachedCall("x/y", None, 1_000.5, None, print_of(read("a"), []), was_ordered=True)
    older = msgspec.msgpack.encode(msgspec.msgpack.decode(encode(call))[:6])
    assert decode(older) == call


@pytest.mark.parametrize("stored", [None, b"", b"\xc1", b"\x01"])
def test_what_cannot_be_read_is_nothing(stored: bytes | None) -> None:
    assert decode(stored) is None


@pytest.mark.parametrize("length", [1, 199, 200, 201, 5_000, 10_000])
def test_a_long_prompt_stays_below_a_kilobyte_and_differs_near_the_place(length: int) -> None:
    texts = [str(number) for number in range(length)]
    blocks = read(*texts)
    printed = print_of(blocks, [Breakpoint(length - 1, "5m")])
    assert len(encode(CachedCall("x/y", "Host", 1_000.5, 10, printed))) < 1_024
    assert common_part(printed, blocks).blocks == length

    changed = length * 2 // 3
    common = common_part(printed, read(*texts[:changed], "x", *texts[changed + 1 :]))
    assert changed - printed.stride <= common.blocks <= changed
