"""Text that every store can hold."""


def is_storable(text: str) -> bool:
    """Whether the text is valid Unicode without NUL: PostgreSQL holds no NUL, and no encoder a lone surrogate."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable(text: str) -> str:
    """The text without the characters that no store can hold."""
    return text.replace("\0", "").encode(errors="ignore").decode()
