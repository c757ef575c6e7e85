"""Server-Sent Events, read piece by piece: right however the bytes are cut."""

from app.openrouter.errors import UnreadableAnswer

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 64 * 1024 * 1024
"""Far above the largest picture seen in one line; a stream without line ends must not eat the memory."""


class SSEReader:
    """Takes bytes as they arrive and gives the data of each event that is complete.

    Lines end with LF, CR or CRLF. Comments, `event:`, `id:` and `retry:` lines are passed over, and an event without
    data is none. Bytes after the last line end wait for `close()`.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._tail: list[bytes] = []  # pieces of a line whose end has not come: joined once, however many
        self._tail_size = 0
        self._data: list[bytes] = []
        self._data_size = 0
        self._started = False
        self._after_cr = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Take `piece`; return the data of the events that it completes."""
        if self._is_one_event(piece):
            return [piece[6:-2]]
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        if b"\n" not in piece and b"\r" not in piece:
            self._keep(piece)
            return []
        self._after_cr = piece.endswith(b"\r")
        text = self._joined(piece) if self._tail else piece
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._keep(rest)
        return self._read(lines)

    def close(self) -> list[bytes]:
        """The stream ended; return the data of an event that was missing only its end."""
        last = self._joined(b"")
        return self._read([last, b""])

    def _is_one_event(self, piece: bytes) -> bool:
        """Whether a piece is exactly one event of one line, as most are: then there is nothing to put together."""
        return (
            self._started
            and piece.startswith(b"data: ")
            and piece.find(b"\n") == len(piece) - 2
            and piece.endswith(b"\n\n")
            and b"\r" not in piece
            and len(piece) > 8
            and not (self._tail or self._data or self._after_cr)
        )

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._tail.append(piece)
            self._tail_size += len(piece)
            self._refuse_too_large()

    def _joined(self, piece: bytes) -> bytes:
        text = b"".join((*self._tail, piece))
        self._tail.clear()
        self._tail_size = 0
        return text

    def _read(self, lines: list[bytes]) -> list[bytes]:
        events = []
        for line in lines:
            if not self._started:
                self._started = True
                line = line.removeprefix(BYTE_ORDER_MARK)
            if line.startswith(b"data:"):
                self._add(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
                self._data_size = 0
        return [event for event in events if event]

    def _add(self, data: bytes) -> None:
        self._data.append(data)
        self._data_size += len(data)
        self._refuse_too_large()

    def _refuse_too_large(self) -> None:
        if self._tail_size + self._data_size > self._max_event_bytes:
            raise UnreadableAnswer(f"An event of the stream has more than {self._max_event_bytes} bytes.")
