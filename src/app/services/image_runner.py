"""Runs an open request for pictures: call (holds no connection), keep, close (pictures and money in one commit)."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.errors import AppError, ServiceUnavailable
from app.db.database import Database, database
from app.db.unit_of_work import UnitOfWork
from app.openrouter.attempts import Attempt
from app.openrouter.errors import OpenRouterError
from app.openrouter.images import Drawing, ImageRequest
from app.services.blob_keeper import BlobKeeper, StorageUnavailable, blob_keeper
from app.services.closing import durably, uninterrupted
from app.services.drawn_pictures import DrawnPictures, KeptPicture, drawn_pictures
from app.services.image_job import ImageCall, ImageJob, bills_of, image_rows, not_a_picture, told_as_ours
from app.services.lease_keeper import LeaseKeeper, lease_keeper
from app.services.openrouter_service import OpenRouterService, openrouter_service
from app.services.quota_service import QuotaService, quota_service

log = structlog.get_logger(__name__)

CALLS_AT_ONCE = 3
"""How many calls of one request run at the same time."""
_KEEP_TRIES = 3


class ImageRunner:
    """Each call of a request is charged, or given back, by itself: one that fails takes nothing from the others."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        openrouter: OpenRouterService,
        quotas: QuotaService,
        leases: LeaseKeeper,
        pictures: DrawnPictures,
        blobs: BlobKeeper,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._leases = leases
        self._pictures = pictures
        self._blobs = blobs
        self._clock = clock

    async def run(self, job: ImageJob) -> None:
        """See the request through; whatever happens, each of its calls is closed. ``job`` tells how it went."""
        structlog.contextvars.bind_contextvars(image_request_id=str(job.request_id))
        turns = asyncio.Semaphore(CALLS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for call in job.calls:
                group.create_task(self._run_call(job, call, turns))

    async def aclose(self) -> None:
        """Stop what runs beside the calls."""
        await self._leases.aclose()

    async def _run_call(self, job: ImageJob, call: ImageCall, turns: asyncio.Semaphore) -> None:
        attempts: list[Attempt] = []
        notes: list[asyncio.Task[None]] = []

        def note(generation_id: str) -> None:
            notes.append(asyncio.create_task(self._note_generation(call, generation_id)))

        try:
            with self._leases.keep(call.lease):
                async with turns:
                    requests = await self._requests(job, call)
                    run = self._openrouter.draw(requests, most_bytes=self._most_bytes, when_started=note)
                    attempts = run.attempts
                    drawing = await run.complete()
                await uninterrupted(self._deliver(job, call, drawing, attempts))
        except OpenRouterError as error:
            log.warning("image.failed", error_code=error.code, status=error.status, provider=error.provider)
            await self._give_back(job, call, attempts, told_as_ours(error, attempts))
        except AppError as refusal:
            await self._give_back(job, call, attempts, refusal)
        except asyncio.CancelledError:
            restarting = ServiceUnavailable("The server is restarting. Nothing was charged; try again in a moment.")
            await self._give_back(job, call, attempts, restarting)
            raise
        except Exception:  # a defect of ours; the lease runs out by itself, and the other calls go on
            log.exception("image.crashed")
            job.failure = job.failure or AppError("Something went wrong on our side. Nothing was charged.")
        finally:
            await asyncio.gather(*notes)

    async def _requests(self, job: ImageJob, call: ImageCall) -> list[ImageRequest]:
        source = job.source
        references: tuple[str, ...] = ()
        if source is not None and source.blob_id is not None:
            content = await self._blobs.read_whole(job.user_id, source.blob_id, at_most=self._most_bytes)
            references = (f"data:{source.media_type};base64,{base64.b64encode(content).decode()}",)
        return [replace(each, count=call.count, references=references) for each in job.plan.requests]

    async def _deliver(self, job: ImageJob, call: ImageCall, drawing: Drawing, attempts: Sequence[Attempt]) -> None:
        """Keep what was drawn and charge it; of more pictures than were asked for, so many as were."""
        for _ in range(_KEEP_TRIES):
            kept = await self._pictures.keep(job.user_id, drawing.pictures[: call.count])
            if not kept:
                raise not_a_picture(attempts)
            try:
                if await durably(partial(self._close_delivered, job, call, drawing, kept, attempts)):
                    return
            finally:
                await self._pictures.discard(kept)  # unless they were written down
        raise StorageUnavailable("The picture could not be stored. Try again in a moment.")

    async def _close_delivered(
        self,
        job: ImageJob,
        call: ImageCall,
        drawing: Drawing,
        kept: Sequence[KeptPicture],
        attempts: Sequence[Attempt],
    ) -> bool:
        """One transaction; false, and nothing written, if some bytes have left since they were kept."""
        now = self._clock()
        bills = bills_of(attempts, asked=call.count, delivered=len(kept))
        async with job.closing:
            async with self._database.unit_of_work() as uow:
                await uow.attachments.lock_owner(job.user_id)
                settled = await self._pictures.settle(uow, kept)
                if settled is None:
                    return False
                if bills.charged is not None and await self._quotas.settle(
                    uow, call.lease, bills.charged, lost=bills.lost, now=now
                ):
                    for row in image_rows(job, drawing, settled, cost_each=bills.cost_each, now=now):
                        uow.images.add(row)
                    await self._end_request(uow, job, delivered=job.delivered + len(kept))
                    await uow.commit()
            job.delivered += len(kept)
            job.open_calls -= 1
        log.info("image.drawn", model=drawing.model, pictures=len(kept), asked=call.count)
        return True

    async def _give_back(self, job: ImageJob, call: ImageCall, attempts: Sequence[Attempt], failure: AppError) -> None:
        job.failure = job.failure or failure
        await uninterrupted(durably(partial(self._close_failed, job, call, attempts)))

    async def _close_failed(self, job: ImageJob, call: ImageCall, attempts: Sequence[Attempt]) -> None:
        lost = bills_of(attempts, asked=call.count, delivered=0).lost
        async with job.closing:
            async with self._database.unit_of_work() as uow:
                await self._quotas.release(uow, call.lease, lost=lost, now=self._clock())
                await self._end_request(uow, job, delivered=job.delivered)
                await uow.commit()
            job.open_calls -= 1

    async def _end_request(self, uow: UnitOfWork, job: ImageJob, *, delivered: int) -> None:
        """With the last call: what is told to who repeats the request; of nothing comes that it may be sent again."""
        if job.request_key is None or job.open_calls > 1:
            return
        if delivered:
            await uow.idempotency.keep_reply(job.user_id, job.request_key.key, job.request_id, job.reply())
        else:
            await uow.idempotency.forget_unanswered(job.user_id, job.request_id)

    async def _note_generation(self, call: ImageCall, generation_id: str) -> None:
        # Beside the call, not before it: should this process die, the bill can still be asked for.
        try:
            async with self._database.statement_by_statement() as uow:
                await uow.openings.note_generation(call.lease.user_id, call.lease.id, generation_id)
                await uow.commit()
        except (SQLAlchemyError, OSError):
            log.warning("image.generation_not_noted", generation_id=generation_id)

    @property
    def _most_bytes(self) -> int:
        return int(self._settings().image_max_size_mb * 1_000_000)


image_runner = ImageRunner(
    settings=get_settings,
    database=database,
    openrouter=openrouter_service,
    quotas=quota_service,
    leases=lease_keeper,
    pictures=drawn_pictures,
    blobs=blob_keeper,
)
