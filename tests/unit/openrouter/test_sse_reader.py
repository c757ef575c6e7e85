"""Server-Sent Events come out the same however they are cut."""

import pytest
from hypothesis import given
from wire_samples import STREAM, cuttings

from app.openrouter.errors import UnreadableAnswer
from app.openrouter.sse import SSEReader


def read(*pieces: bytes) -> list[bytes]:
    reader = SSEReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.close()


@given(cuttings(STREAM))
def test_any_cutting_gives_the_same_events(pieces: list[bytes]) -> None:
    assert read(*pieces) == read(STREAM)


@given(cuttings(STREAM.replace(b"\n", b"\r\n")))
def test_any_cutting_of_crlf_lines_gives_the_same_events(pieces: list[bytes]) -> None:
    assert read(*pieces) == read(STREAM)


def test_byte_at_a_time() -> None:
    assert read(*(bytes([byte]) for byte in STREAM)) == read(STREAM)


def test_carriage_returns_end_lines() -> None:
    assert read(b"data: 1\r\rdata: 2\r\r") == [b"1", b"2"]


def test_crlf_cut_between_its_two_bytes_is_one_line_end() -> None:
    assert read(b"data: 1\r", b"\ndata: 2\r", b"\n\r\n") == [b"1\n2"]


def test_byte_order_mark_is_passed_over() -> None:
    assert read(b"\xef\xbb", b"\xbfdata: 1\n\n") == [b"1"]


def test_comments_and_other_fields_make_no_event() -> None:
    assert read(b": OPENROUTER PROCESSING\n\n:\n\nevent: x\nid: 1\nretry: 5\n\ndata:\n\ndata: 1\n\n") == [b"1"]


def test_a_piece_that_looks_whole_may_continue_another() -> None:
    assert read(b"data: 0\n\n", b"data: 1\n", b"data: 2\n\n") == [b"0", b"1\n2"]
    assert read(b"data: 0\n\n", b"data: 1", b"data: 2\n\n") == [b"0", b"1data: 2"]


def test_padding_before_the_first_event_is_passed_over() -> None:
    assert read(b"\n   \n\n         \ndata: 1\n\n") == [b"1"]


def test_a_space_after_the_colon_is_optional() -> None:
    assert read(b'data:{"a": 1}\n\n') == [b'{"a": 1}']


def test_the_last_event_may_lack_its_end() -> None:
    assert read(b"data: 1\n\ndata: 2") == [b"1", b"2"]


def test_a_line_of_two_megabytes_in_small_pieces() -> None:
    line = b"data: " + b"x" * 2_000_000 + b"\n\n"
    assert read(*(line[at : at + 1400] for at in range(0, len(line), 1400))) == [b"x" * 2_000_000]


def test_a_line_without_end_is_refused() -> None:
    reader = SSEReader(max_event_bytes=1000)
    reader.feed(b"x" * 1000)
    with pytest.raises(UnreadableAnswer):
        reader.feed(b"x")
