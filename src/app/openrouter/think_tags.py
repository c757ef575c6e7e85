"""Thinking in the wrong place: in the text between tags, or with the answer behind a stray closing tag."""

OPENING, CLOSING = "<think>", "</think>"


class ThinkTags:
    """Parts thinking from text while it streams, when the text begins with the opening tag.

    Held back is only what may still become a tag; `close` gives it out.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state = "begin"
        self.found = False
        """Whether anything was thinking: then the text is not what came, and no place in that is one in the text."""

    def feed(self, content: str) -> tuple[str, str]:
        """The thinking and the text in `content`, in this order."""
        if self._state == "text":
            return "", content
        self._held += content
        if self._state == "begin":
            self._begin()
        if self._state == "thinking":
            return self._part()
        return "", self._text()

    def close(self) -> tuple[str, str]:
        """The text ended; what was held back was no tag."""
        held, self._held = self._held, ""
        return (held, "") if self._state == "thinking" else ("", held)

    def _begin(self) -> None:
        start = self._held.lstrip()
        if start.startswith(OPENING):
            self._state, self._held = "thinking", start.removeprefix(OPENING)
            self.found = True
        elif not OPENING.startswith(start):
            self._state = "text"

    def _part(self) -> tuple[str, str]:
        thinking, tag, text = self._held.partition(CLOSING)
        if tag:
            self._state, self._held = "after", text
            return thinking, self._text()
        safe = len(thinking) - _length_of_beginning(thinking)
        self._held = thinking[safe:]
        return thinking[:safe], ""

    def _text(self) -> str:
        """What is surely text: nothing at the begin, and nothing of the blanks that follow the closing tag."""
        if self._state == "after":
            self._held = self._held.lstrip()
            self._state = "text" if self._held else "after"
        if self._state != "text":
            return ""
        text, self._held = self._held, ""
        return text


def answer_in_thinking(reasoning: str) -> tuple[str, str]:
    """The thinking and the answer, where the answer stands behind a stray closing tag; else no answer."""
    thinking, tag, text = reasoning.partition(CLOSING)
    return (thinking, text.strip()) if tag and text.strip() else (reasoning, "")


def _length_of_beginning(text: str) -> int:
    """How many characters at the end of `text` may begin a closing tag."""
    return next((size for size in range(len(CLOSING) - 1, 0, -1) if text.endswith(CLOSING[:size])), 0)
