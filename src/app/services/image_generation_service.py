"""Pictures that models draw: asked for, kept, shown again, drawn anew and deleted."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.errors import InvalidField, NotFound, QuotaExceeded
from app.core.ids import new_id
from app.db.database import Database, database
from app.db.models import GeneratedImage, IdempotencyKey
from app.db.repositories.generated_images import ImageFilter, StoredImage
from app.db.unit_of_work import UnitOfWork
from app.domain.attachment_limits import ATTACHMENT_LIMITS
from app.domain.features import Feature
from app.domain.image_requests import ImageWish
from app.services.blob_keeper import BlobKeeper, Download, blob_keeper
from app.services.chat_turn import RequestKey
from app.services.generation_hub import GenerationHub, generation_hub
from app.services.image_job import ImageCall, ImageFailure, ImageJob, ImageSource, KeptReply
from app.services.image_planner import ImageModel, ImagePlan, ImagePlanner, image_planner
from app.services.image_runner import ImageRunner, image_runner
from app.services.openrouter_service import OpenRouterService, openrouter_service
from app.services.plan_gates import PlanGates, plan_gates
from app.services.quota_service import QuotaService, quota_service
from app.services.repeated_requests import RepeatedRequestFailed, RepeatedRequests, claim, repeated_requests

MOST_IMAGES = 10
"""Pictures of one request."""
URL_SECONDS = 3_600
"""How long a signed address is good."""

OutputFormat = Literal["url", "base64"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """How pictures are to be made, beside the prompt. ``None`` leaves it to the model, or to the picture edited."""

    aspect_ratio: str | None = None
    model: str | None = None
    fallback_models: Sequence[str] | None = None
    output_format: OutputFormat = "url"
    n: int = 1
    size: str | None = None
    quality: str | None = None
    background: str | None = None
    image_format: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownImage:
    """A picture, where it and its small copy can be had, and its bytes in base64 where they are wanted.

    ``url_expires_at`` is ``None`` for an address that stays good, to the owner alone.
    """

    image: GeneratedImage
    url: str
    thumbnail_url: str
    url_expires_at: datetime | None
    b64_json: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBatch:
    """What came of a request; ``error`` tells why some of the pictures are missing."""

    request_id: UUID
    requested: int
    images: Sequence[ShownImage]
    notes: Sequence[str]
    error: ImageFailure | None


@dataclass(frozen=True, slots=True)
class ImagePage:
    """Some pictures, newest first, and where the next ones begin (``None``: there are no more)."""

    items: Sequence[ShownImage]
    next_cursor: str | None


class ImageGenerationService:
    """Use cases of ``/images``. What is not the caller's own is not found."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        openrouter: OpenRouterService,
        quotas: QuotaService,
        gates: PlanGates,
        planner: ImagePlanner,
        runner: ImageRunner,
        repeated: RepeatedRequests,
        blobs: BlobKeeper,
        hub: GenerationHub,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._gates = gates
        self._planner = planner
        self._runner = runner
        self._repeated = repeated
        self._blobs = blobs
        self._hub = hub
        self._clock = clock
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._draining: asyncio.Task[None] | None = None

    async def models(self) -> list[ImageModel]:
        """The models that may be named, the default first, with what each takes."""
        await self._openrouter.refresh_catalog()
        return self._planner.offered()

    async def generate(
        self,
        user_id: UUID,
        prompt: str,
        options: ImageOptions | None = None,
        *,
        request_key: RequestKey | None = None,
        when_done: Callable[[], None] | None = None,
    ) -> ImageBatch:
        """Have pictures made. Who leaves meanwhile finds them among their own later.

        Raises ``InvalidField``, what the plan's gates raise, ``QuotaExceeded``, and ``ModelCallFailed`` where not a
        single picture came. ``when_done`` is called when the pictures are there, or when nothing has begun.
        """
        options = options or ImageOptions()
        return await self._make(user_id, "generate", prompt, options, None, request_key, when_done)

    async def edit(
        self,
        user_id: UUID,
        image_id: UUID,
        prompt: str,
        options: ImageOptions | None = None,
        *,
        request_key: RequestKey | None = None,
        when_done: Callable[[], None] | None = None,
    ) -> ImageBatch:
        """The same, by the looks of a picture there is; raises ``NotFound``."""
        options = options or ImageOptions()
        return await self._make(user_id, "edit", prompt, options, image_id, request_key, when_done)

    async def regenerate(
        self,
        user_id: UUID,
        image_id: UUID,
        options: ImageOptions | None = None,
        *,
        request_key: RequestKey | None = None,
        when_done: Callable[[], None] | None = None,
    ) -> ImageBatch:
        """The same as a picture there is once more: its prompt, and what it was drawn by; raises ``NotFound``."""
        options = options or ImageOptions()
        return await self._make(user_id, "regenerate", None, options, image_id, request_key, when_done)

    async def history(
        self,
        user_id: UUID,
        *,
        limit: int = 20,
        cursor: str | None = None,
        model: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        text: str | None = None,
    ) -> ImagePage:
        """One page of the account's pictures, newest first. No bytes are read for it.

        ``model`` is the one asked for or the one that drew; ``since`` is inclusive, ``before`` is not; ``text`` is a
        part of the prompt.
        """
        wanted = ImageFilter(model=model, since=since, before=before, text=text)
        after = _read_cursor(cursor) if cursor else None
        async with self._database.read_only() as uow:
            found = await uow.images.list_page(user_id, wanted, after=after, limit=limit + 1)
        items = [self._shown(each) for each in found[:limit]]
        return ImagePage(items, str(items[-1].image.id) if len(found) > limit else None)

    async def get(self, user_id: UUID, image_id: UUID) -> ShownImage:
        """One of the account's pictures; raises ``NotFound``."""
        async with self._database.read_only() as uow:
            return self._shown(await uow.images.require_stored(user_id, image_id))

    async def open_content(self, user_id: UUID, image_id: UUID, *, thumbnail: bool = False) -> Download:
        """The bytes of one of the account's pictures; raises ``NotFound``."""
        async with self._database.read_only() as uow:
            found = await uow.images.require_stored(user_id, image_id)
        image, blob = found.image, found.thumbnail if thumbnail else found.blob
        media_type = "image/webp" if thumbnail else image.media_type
        return Download(
            name=f"{image.id}.{media_type.rpartition('/')[2]}",
            media_type=media_type,
            sha256=image.thumbnail_sha256 if thumbnail else image.sha256,
            size_bytes=image.thumbnail_size_bytes if thumbnail else image.size_bytes,
            read=lambda start, end: self._blobs.read(blob, start=start, end=end),
        )

    async def delete(self, user_id: UUID, image_id: UUID) -> None:
        """Delete a picture, and its bytes where no other picture or file has the same."""
        now = self._clock()
        async with self._database.unit_of_work() as uow:
            image = await uow.images.require(user_id, image_id, for_update=True)
            named = await uow.images.delete(image)
            await uow.blobs.release(named, now=now)
            await uow.commit()

    async def drain(self, grace_seconds: float) -> None:
        """Give running requests so long, then end them: each closes itself, and what it held is given back."""
        await self.begin_draining(grace_seconds)
        self._draining = None

    def begin_draining(self, grace_seconds: float) -> asyncio.Task[None]:
        """The same from now on; this is what there is to wait for."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(grace_seconds), name="drain images")
        return self._draining

    async def _drain(self, grace_seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while self._running:
                    await asyncio.wait(self._running.values())
        for task in list(self._running.values()):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.values())

    async def aclose(self) -> None:
        """Finish what runs, then close the connections. For scripts: nothing can be asked afterwards."""
        await self.drain(self._settings().shutdown_grace_seconds)
        await self._runner.aclose()
        await self._openrouter.aclose()
        await self._blobs.aclose()
        await self._database.close()

    async def _make(
        self,
        user_id: UUID,
        operation: str,
        prompt: str | None,
        options: ImageOptions,
        image_id: UUID | None,
        request_key: RequestKey | None,
        when_done: Callable[[], None] | None,
    ) -> ImageBatch:
        self._hub.refuse_when_draining()
        try:
            job = await self._open(user_id, operation, prompt, options, image_id, request_key)
        except BaseException:
            _call(when_done)
            raise
        if isinstance(job, IdempotencyKey):
            _call(when_done)
            return await self._repeat(job, options.output_format)
        task = asyncio.create_task(self._runner.run(job), name=f"images {job.request_id}")
        self._running[job.request_id] = task
        task.add_done_callback(lambda _: self._running.pop(job.request_id, None))
        task.add_done_callback(lambda _: _call(when_done))
        await asyncio.wait([task])  # whoever is cancelled here, the task is not
        if not task.cancelled() and (defect := task.exception()):
            raise defect
        if not job.delivered and job.failure is not None:
            raise job.failure
        reply = KeptReply(requested=job.wish.count, notes=job.plan.notes, error=job.error)
        return await self._batch(user_id, job.request_id, reply, options.output_format)

    async def _repeat(self, claimed: IdempotencyKey, output_format: OutputFormat) -> ImageBatch:
        running = self._running.get(claimed.message_id)
        if running is not None:
            await asyncio.wait([running])
        reply = await self._repeated.wait_for_reply(claimed)
        try:
            kept = msgspec.json.decode(reply, type=KeptReply)
        except msgspec.ValidationError:
            raise RepeatedRequestFailed("This key belongs to a request of another kind. Use a new one.") from None
        return await self._batch(claimed.user_id, claimed.message_id, kept, output_format)

    async def _batch(
        self, user_id: UUID, request_id: UUID, reply: KeptReply, output_format: OutputFormat
    ) -> ImageBatch:
        async with self._database.read_only() as uow:
            found = await uow.images.list_of_request(user_id, request_id)
        images = [self._shown(each) for each in found]
        if output_format == "base64":
            images = [replace(each, b64_json=await self._in_base64(each.image)) for each in images]
        return ImageBatch(
            request_id=request_id, requested=reply.requested, images=images, notes=reply.notes, error=reply.error
        )

    async def _in_base64(self, image: GeneratedImage) -> str:
        content = await self._blobs.read_whole(image.user_id, image.blob_id, at_most=image.size_bytes)
        return base64.b64encode(content).decode()

    async def _open(
        self,
        user_id: UUID,
        operation: str,
        prompt: str | None,
        options: ImageOptions,
        image_id: UUID | None,
        request_key: RequestKey | None,
    ) -> ImageJob | IdempotencyKey:
        """Everything that can refuse refuses here, and what the pictures may use is held."""
        now, request_id = self._clock(), new_id()
        async with self._database.unit_of_work() as uow:
            if request_key is not None:
                claimed = await claim(uow, user_id, request_key, made=request_id, now=now)
                if claimed is not None:
                    return claimed
            current = await uow.subscriptions.require_plan(user_id, now=now)
            self._gates.require(Feature.IMAGE_GENERATION, current.limits, what="Making pictures")
            most_kept = ATTACHMENT_LIMITS[current.limits.plan].kept_bytes
            await _require_room(uow, user_id, most_kept)
            image = await uow.images.require(user_id, image_id) if image_id else None
            source = await _source(uow, operation, image) if image else None
            wish, model = _wish(prompt, options, image, source)
            plan = self._planner.plan(user_id, wish, model=model, fallback_models=options.fallback_models)
            calls = []
            for ask, count in zip(plan.asks(), plan.counts, strict=True):
                lease = await self._quotas.reserve(
                    uow, user_id, current, ask, message_id=request_id, model=plan.requests[0].model, now=now
                )
                calls.append(ImageCall(lease, count))
            await uow.commit()
        return _job(request_id, user_id, operation, source, plan, calls, request_key, now)

    def _shown(self, stored: StoredImage) -> ShownImage:
        signed = self._blobs.sign(stored.blob, seconds=URL_SECONDS)
        small = self._blobs.sign(stored.thumbnail, seconds=URL_SECONDS)
        own = f"/api/v1/images/{stored.image.id}"
        return ShownImage(
            image=stored.image,
            url=signed or f"{own}/content",
            thumbnail_url=small or f"{own}/thumbnail",
            url_expires_at=self._clock() + timedelta(seconds=URL_SECONDS) if signed else None,
        )


def _job(
    request_id: UUID,
    user_id: UUID,
    operation: str,
    source: ImageSource | None,
    plan: ImagePlan,
    calls: Sequence[ImageCall],
    request_key: RequestKey | None,
    now: datetime,
) -> ImageJob:
    return ImageJob(
        request_id=request_id,
        user_id=user_id,
        operation=operation,
        source=source,
        plan=plan,
        calls=tuple(calls),
        request_key=request_key,
        created_at=now,
        open_calls=len(calls),
    )


def _wish(
    prompt: str | None, options: ImageOptions, image: GeneratedImage | None, source: ImageSource | None
) -> tuple[ImageWish, str | None]:
    """What is wanted of which model. Who names no other model gets what the picture there is was made with."""
    wish = ImageWish(
        prompt=prompt if prompt is not None else image.prompt if image else "",
        count=options.n,
        aspect_ratio=options.aspect_ratio,
        size=options.size,
        quality=options.quality,
        background=options.background,
        image_format=options.image_format,
        seed=options.seed,
        references=1 if source and source.blob_id else 0,
    )
    if image is None or options.model is not None:
        return wish, options.model
    return (
        replace(
            wish,
            aspect_ratio=wish.aspect_ratio or (image.aspect_ratio if wish.size is None else None),
            size=wish.size or (image.size if wish.aspect_ratio is None else None),
            quality=wish.quality or image.quality,
            background=wish.background or image.background,
            image_format=wish.image_format or image.image_format,
        ),
        image.model,
    )


async def _source(uow: UnitOfWork, operation: str, image: GeneratedImage) -> ImageSource:
    if operation == "edit":
        return ImageSource(image.id, image.id, image.blob_id, image.media_type)
    if image.reference_id is None:
        return ImageSource(image.id)
    try:
        drawn_by = await uow.images.require(image.user_id, image.reference_id)
    except NotFound:
        raise NotFound("The picture that this one was drawn by was deleted: it cannot be drawn again.") from None
    return ImageSource(image.id, drawn_by.id, drawn_by.blob_id, drawn_by.media_type)


async def _require_room(uow: UnitOfWork, user_id: UUID, most: int) -> None:
    kept = await uow.blobs.sum_stored(user_id)
    if kept >= most:
        raise QuotaExceeded(
            f"Storage limit reached ({most:,} bytes). Delete files or pictures.",
            meter="storage",
            limit=most,
            used=kept,
        )


def _read_cursor(cursor: str) -> UUID:
    try:
        return UUID(cursor)
    except ValueError:
        raise InvalidField("cursor", "use the next_cursor of the page before.") from None


def _call(when_done: Callable[[], None] | None) -> None:
    if when_done is not None:
        when_done()


image_generation_service = ImageGenerationService(
    settings=get_settings,
    database=database,
    openrouter=openrouter_service,
    quotas=quota_service,
    gates=plan_gates,
    planner=image_planner,
    runner=image_runner,
    repeated=repeated_requests,
    blobs=blob_keeper,
    hub=generation_hub,
)
