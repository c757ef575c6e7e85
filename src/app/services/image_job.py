"""A request for pictures as rows: what is held while it runs, what is written when a call of it ends."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from app.core.errors import AppError
from app.core.ids import new_id
from app.db.models import GeneratedImage
from app.domain.image_requests import ImageWish
from app.domain.ledger import IMAGE, LOST_ATTEMPT
from app.openrouter.attempts import Attempt
from app.openrouter.errors import ContextLengthExceeded, Moderated, OpenRouterError
from app.openrouter.images import Drawing
from app.openrouter.types import Usage
from app.services.chat_turn import RequestKey
from app.services.drawn_pictures import SettledPicture
from app.services.image_planner import ImagePlan
from app.services.model_call import ContentModerated, ContextTooLong, ModelCallFailed, sane_usage
from app.services.quota_service import BilledCall, Lease


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The picture that another is made from, and the one that goes along to be drawn by, where one does."""

    image_id: UUID
    reference_id: UUID | None = None
    blob_id: UUID | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class ImageCall:
    """One call upstream: what it holds, and how many pictures it draws."""

    lease: Lease
    count: int


@dataclass(frozen=True, slots=True)
class ImageFailure:
    """Why pictures are missing, as an error's code and sentence."""

    error: str
    detail: str


@dataclass(frozen=True, slots=True)
class KeptReply:
    """What a finished request is told again beside its pictures."""

    requested: int
    notes: tuple[str, ...]
    error: ImageFailure | None


@dataclass(slots=True, kw_only=True)
class ImageJob:
    """An open request: it has been let in, and runs on its own."""

    request_id: UUID
    user_id: UUID
    operation: str
    source: ImageSource | None
    plan: ImagePlan
    calls: tuple[ImageCall, ...]
    request_key: RequestKey | None
    created_at: datetime
    open_calls: int
    delivered: int = 0
    failure: AppError | None = None
    closing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def wish(self) -> ImageWish:
        """What is wanted."""
        return self.plan.wish

    def reply(self) -> str:
        """What is kept for whoever repeats the request; its pictures are found by its id."""
        kept = KeptReply(requested=self.wish.count, notes=self.plan.notes, error=self.error)
        return msgspec.json.encode(kept).decode()

    @property
    def error(self) -> ImageFailure | None:
        """Why pictures are missing."""
        return ImageFailure(self.failure.code, self.failure.detail) if self.failure else None


@dataclass(frozen=True, slots=True)
class Bills:
    """What the calls behind some pictures are charged as: one line to the person, the rest to the house."""

    charged: BilledCall | None
    lost: tuple[BilledCall, ...]
    cost_each: Decimal | None = None


def bills_of(attempts: Sequence[Attempt], *, asked: int, delivered: int) -> Bills:
    """The person pays for the share that was delivered of what the last call drew; failures are the house's."""
    lost = tuple(_bill(each, LOST_ATTEMPT) for each in attempts if each.error is not None and _is_billed(each))
    if not attempts or attempts[-1].error is not None:
        return Bills(None, lost)
    whole = _bill(attempts[-1], IMAGE)
    if not delivered:
        return Bills(None, (*lost, _bill(attempts[-1], LOST_ATTEMPT)) if _is_billed(attempts[-1]) else lost)
    made = max(asked, delivered)
    if made == delivered or whole.cost_usd is None:
        each = None if whole.cost_usd is None else whole.cost_usd / delivered
        return Bills(replace(whole, images=delivered), lost, each)
    charged, rest = _split(whole, delivered, made)
    return Bills(charged, (*lost, rest), whole.cost_usd / made)


def image_rows(
    job: ImageJob, drawing: Drawing, pictures: Sequence[SettledPicture], *, cost_each: Decimal | None, now: datetime
) -> list[GeneratedImage]:
    """The rows of the pictures of one call."""
    return [_row(job, drawing, each, cost_each, now) for each in pictures]


def told_as_ours(error: OpenRouterError, attempts: Sequence[Attempt]) -> ModelCallFailed:
    """The wire's failure as a refusal of the product."""
    kind, detail = ModelCallFailed, "No picture could be made. Nothing was charged; try again."
    if isinstance(error, Moderated):
        kind, detail = ContentModerated, "The model's provider refused to draw this. Put it in other words."
    elif isinstance(error, ContextLengthExceeded):
        kind, detail = ContextTooLong, "The prompt is too long for this model. Shorten it."
    return kind(detail, reason=error.code, attempts=attempts, retry_after=error.retry_after)


def not_a_picture(attempts: Sequence[Attempt]) -> ModelCallFailed:
    """What came could not be decoded."""
    detail = "What the model sent is no picture. Nothing was charged; try again."
    return ModelCallFailed(detail, reason="unreadable_picture", attempts=attempts, retry_after=None)


def _row(
    job: ImageJob, drawing: Drawing, settled: SettledPicture, cost_usd: Decimal | None, now: datetime
) -> GeneratedImage:
    wish, picture = job.wish, settled.picture
    return GeneratedImage(
        user_id=job.user_id,
        id=new_id(),
        request_id=job.request_id,
        parent_id=job.source.image_id if job.source else None,
        reference_id=job.source.reference_id if job.source else None,
        operation=job.operation,
        prompt=wish.prompt,
        model=job.plan.model,
        served_model=drawing.model,
        provider=drawing.provider,
        aspect_ratio=wish.aspect_ratio,
        size=wish.size,
        quality=wish.quality,
        background=wish.background,
        image_format=wish.image_format,
        seed=wish.seed,
        width=picture.width,
        height=picture.height,
        media_type=picture.media_type,
        size_bytes=settled.blob.size_bytes,
        sha256=settled.blob.sha256,
        blob_id=settled.blob.id,
        thumbnail_blob_id=settled.thumbnail.id,
        thumbnail_size_bytes=settled.thumbnail.size_bytes,
        thumbnail_sha256=settled.thumbnail.sha256,
        generation_id=drawing.generation_id,
        cost_usd=cost_usd,
        created_at=now,
    )


def _is_billed(attempt: Attempt) -> bool:
    cost = sane_usage(attempt.usage).cost if attempt.usage else None
    return bool(cost) or (cost is None and attempt.generation_id is not None)


def _bill(attempt: Attempt, kind: str) -> BilledCall:
    usage = sane_usage(attempt.usage or Usage())
    return BilledCall(
        attempt_id=new_id(),
        kind=kind,
        message_id=None,
        model=attempt.model,
        provider=attempt.provider,
        generation_id=attempt.generation_id,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens_read=usage.cached_tokens or 0,
        cached_tokens_write=usage.cache_write_tokens or 0,
        cost_usd=usage.cost,
        cache_discount_usd=None,
    )


def _split(whole: BilledCall, delivered: int, made: int) -> tuple[BilledCall, BilledCall]:
    """Together they are what was billed, to the last token."""
    drawn = whole.completion_tokens * delivered // made
    cost = (whole.cost_usd or Decimal(0)) * delivered / made
    charged = replace(whole, images=delivered, completion_tokens=drawn, cost_usd=cost)
    rest = replace(
        whole,
        kind=LOST_ATTEMPT,
        prompt_tokens=0,
        cached_tokens_read=0,
        cached_tokens_write=0,
        completion_tokens=whole.completion_tokens - drawn,
        cost_usd=(whole.cost_usd or Decimal(0)) - cost,
    )
    return charged, rest
