"""Why a file cannot be used."""


class Refused(Exception):
    """``damaged``, ``encrypted`` or ``too_large``, and then how large it is where that is known."""

    def __init__(self, why: str, measured: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.measured = measured
