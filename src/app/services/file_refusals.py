"""Why a file that somebody sends is not taken. Nothing of it is kept, and nothing is charged."""

from app.core.errors import AppError
from app.domain.attachment_limits import ATTACHMENT_LIMITS, Kind, Measure, most_bytes
from app.domain.plans import PlanTier
from app.media.types import TAKEN, FileType

TITLES = {Kind.IMAGE: "picture", Kind.PDF: "PDF", Kind.AUDIO: "recording"}


class UnsupportedFile(AppError):
    """Its content is of no type that is taken, whatever its name says."""

    status_code = 415
    code = "unsupported_file_type"

    def __init__(self) -> None:
        super().__init__(f"This is no file of a type that is taken: {TAKEN}.")


class FileNotAsNamed(AppError):
    """Its name claims another kind of file than it is."""

    status_code = 415
    code = "file_type_mismatch"

    def __init__(self, claimed: FileType, told: FileType) -> None:
        super().__init__(f"It is named like a {claimed.title}, but its content is a {told.title}.")


class FileTooLarge(AppError):
    """More bytes, pixels, pages or seconds than the plan allows; ``available_in`` is the cheapest that would."""

    status_code = 413
    code = "file_too_large"

    def __init__(
        self, kind: Kind, measure: Measure, limit: int, *, plan: PlanTier, measured: float | None, largest_image: int
    ) -> None:
        larger = _plan_that_allows(kind, measure, measured, limit, largest_image)
        where = f" The {larger.value.title()} plan allows more." if larger else ""
        super().__init__(
            f"A {TITLES[kind]} may have at most {limit:,} {measure.value} on the {plan.value.title()} plan.{where}",
            measure=measure.value,
            limit=limit,
            plan=plan.value,
            available_in=larger.value if larger else None,
        )


class EmptyFile(AppError):
    """It has no bytes."""

    status_code = 422
    code = "file_empty"

    def __init__(self) -> None:
        super().__init__("The file is empty.")


class DamagedFile(AppError):
    """It is cut off or broken: it cannot be read to its end."""

    status_code = 422
    code = "file_damaged"

    def __init__(self, told: FileType) -> None:
        super().__init__(f"This {told.title} is damaged or incomplete. Export or save it anew and send that.")


class EncryptedFile(AppError):
    """It wants a password."""

    status_code = 422
    code = "file_encrypted"

    def __init__(self) -> None:
        super().__init__("This PDF is encrypted. Remove its password and send it again.")


class AmbiguousFile(AppError):
    """It is two things at once, such as a picture and an archive."""

    status_code = 422
    code = "file_ambiguous"

    def __init__(self, told: FileType) -> None:
        super().__init__(f"This {told.title} is another kind of file at the same time. Export or save it anew.")


class FileTooComplex(AppError):
    """Reading it took more time or memory than any honest file needs."""

    status_code = 422
    code = "file_too_complex"

    def __init__(self, told: FileType) -> None:
        super().__init__(
            f"Reading this {told.title} takes too much time or memory. Export or save it in a simpler form."
        )


def _plan_that_allows(
    kind: Kind, measure: Measure, measured: float | None, limit: int, largest_image: int
) -> PlanTier | None:
    needed = limit + 1 if measured is None else measured
    for plan in PlanTier:  # the cheapest first
        most = (
            most_bytes(kind, plan, largest_image=largest_image)
            if measure is Measure.BYTES
            else ATTACHMENT_LIMITS[plan].most(kind)[1]
        )
        if most > limit and most >= needed:
            return plan
    return None
