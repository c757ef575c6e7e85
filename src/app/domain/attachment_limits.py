"""How large the files may be that people send, by plan."""

from dataclasses import dataclass
from enum import StrEnum

from app.domain.plans import PlanTier

MEGABYTE = 1_000_000
MAX_ATTACHMENTS = 20
"""Files beside one question."""


class Kind(StrEnum):
    """What a file is to people."""

    IMAGE = "image"
    PDF = "pdf"
    AUDIO = "audio"


class Measure(StrEnum):
    """What is measured of a file."""

    BYTES = "bytes"
    PIXELS = "pixels"
    PAGES = "pages"
    SECONDS = "seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentLimits:
    """The largest files of a plan, and how many bytes an account may keep in all."""

    image_bytes: int
    image_pixels: int
    pdf_bytes: int
    pdf_pages: int
    audio_bytes: int
    audio_seconds: int
    kept_bytes: int

    def most_bytes(self, kind: Kind) -> int:
        """How long a file of this kind may be."""
        return {Kind.IMAGE: self.image_bytes, Kind.PDF: self.pdf_bytes, Kind.AUDIO: self.audio_bytes}[kind]

    def most(self, kind: Kind) -> tuple[Measure, int]:
        """What besides its length limits a file of this kind."""
        return {
            Kind.IMAGE: (Measure.PIXELS, self.image_pixels),
            Kind.PDF: (Measure.PAGES, self.pdf_pages),
            Kind.AUDIO: (Measure.SECONDS, self.audio_seconds),
        }[kind]


ATTACHMENT_LIMITS = {
    PlanTier.FREE: AttachmentLimits(
        image_bytes=5 * MEGABYTE,
        image_pixels=25_000_000,
        pdf_bytes=10 * MEGABYTE,
        pdf_pages=50,
        audio_bytes=10 * MEGABYTE,
        audio_seconds=10 * 60,
        kept_bytes=200 * MEGABYTE,
    ),
    PlanTier.PREMIUM: AttachmentLimits(
        image_bytes=20 * MEGABYTE,
        image_pixels=50_000_000,
        pdf_bytes=30 * MEGABYTE,
        pdf_pages=300,
        audio_bytes=25 * MEGABYTE,
        audio_seconds=60 * 60,
        kept_bytes=5_000 * MEGABYTE,
    ),
    PlanTier.UNLIMITED: AttachmentLimits(
        image_bytes=20 * MEGABYTE,
        image_pixels=50_000_000,
        pdf_bytes=60 * MEGABYTE,
        pdf_pages=1_000,
        audio_bytes=60 * MEGABYTE,
        audio_seconds=2 * 60 * 60,
        kept_bytes=50_000 * MEGABYTE,
    ),
    PlanTier.ENTERPRISE: AttachmentLimits(
        image_bytes=20 * MEGABYTE,
        image_pixels=50_000_000,
        pdf_bytes=100 * MEGABYTE,
        pdf_pages=2_000,
        audio_bytes=100 * MEGABYTE,
        audio_seconds=4 * 60 * 60,
        kept_bytes=500_000 * MEGABYTE,
    ),
}
"""What Free says of PDFs and audio counts for those it was agreed with: by itself it has neither."""
LARGEST_UPLOAD = max(max(map(each.most_bytes, Kind)) for each in ATTACHMENT_LIMITS.values())


def most_bytes(kind: Kind, plan: PlanTier, *, largest_image: int) -> int:
    """How long a file may be on a plan; ``largest_image`` is what the server allows for pictures."""
    allowed = ATTACHMENT_LIMITS[plan].most_bytes(kind)
    return min(allowed, largest_image) if kind is Kind.IMAGE else allowed
