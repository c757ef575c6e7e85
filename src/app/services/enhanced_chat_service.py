"""Asking in a conversation: opens the turn, where everything that can refuse refuses, and lets it run."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError

from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.core.errors import AccountGone, InvalidField, NotFound
from app.core.ids import new_id
from app.core.text import is_storable
from app.db.database import Database, database
from app.db.models import IdempotencyKey
from app.db.repositories.branches import Reach
from app.db.repositories.openings import Means, Opening
from app.db.unit_of_work import UnitOfWork
from app.domain.context_window import FittedHistory, Room, tokens_through
from app.domain.features import Feature
from app.domain.links import Link, read_link
from app.domain.plans import PlanLimits
from app.domain.presets import PresetContent
from app.domain.quotas import TurnAsk
from app.domain.web_search import WebSearchOptions
from app.openrouter.answer_schema import AnswerSchema
from app.openrouter.media import media_in
from app.openrouter.parsed_files import PdfOption
from app.openrouter.structured_output import repair_tokens
from app.openrouter.tokens import estimate_prompt_tokens
from app.services.answer_log import AnswerLog
from app.services.answer_readers import AnswerReaders, answer_readers
from app.services.chat_events import ChatEvent, ChatReply
from app.services.chat_turn import MessageIds, Question, RequestKey, TrimmedContext, Turn, cached_calls, opening_rows
from app.services.follow_ups import FollowUps, follow_ups
from app.services.generation_hub import GenerationHub, generation_hub
from app.services.message_media import TurnFiles, handle_media, needs_of
from app.services.model_call import PlannedCompletion
from app.services.openrouter_service import OpenRouterService, openrouter_service
from app.services.plan_gates import PlanGates, plan_gates
from app.services.preset_choice import preset_named, require_preset, settle_preset, values_for
from app.services.prompt_window import ANSWER_SHARE, Prompt, assemble_prompt, tokens_of
from app.services.question_attachments import find_attachments, no_attachment
from app.services.quota_service import QuotaService, quota_service
from app.services.repeated_requests import RepeatedRequests, claim, repeated_requests
from app.services.turn_files import TurnFileReader, turn_file_reader
from app.services.turn_place import (
    AnswerStillRunning,
    Continuation,
    Edit,
    Place,
    Regeneration,
    Spot,
    find_spot,
)
from app.services.turn_runner import TurnRunner, turn_runner

log = structlog.get_logger(__name__)

STOP_WAIT_SECONDS = 10.0
"""How long the one who stops an answer waits for its end to be written down."""


class EnhancedChatService:
    """The use cases behind ``POST /chat``, and behind asking again or in other words."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        database: Database,
        openrouter: OpenRouterService,
        quotas: QuotaService,
        gates: PlanGates,
        runner: TurnRunner,
        files: TurnFileReader,
        repeated: RepeatedRequests,
        follow_ups: FollowUps,
        readers: AnswerReaders,
        hub: GenerationHub,
        clock: Clock = utc_now,
    ) -> None:
        self._settings = settings
        self._database = database
        self._openrouter = openrouter
        self._quotas = quotas
        self._gates = gates
        self._runner = runner
        self._files = files
        self._repeated = repeated
        self._follow_ups = follow_ups
        self._readers = readers
        self._hub = hub
        self._clock = clock

    async def chat(
        self,
        *,
        user_id: UUID,
        conversation_id: UUID,
        message_content: str,
        enable_streaming: bool = False,
        **options: Any,
    ) -> ChatReply | AsyncIterator[ChatEvent]:
        """Ask in a conversation: the reply, or with ``enable_streaming`` an iterator of its events.

        ``options`` are the fields of :class:`Question`. Whatever can refuse has refused before this returns.
        """
        question = Question(content=message_content, **options)
        answer = await self.ask(user_id, conversation_id, question)
        return _events_of(answer) if enable_streaming else await answer.wait_for_reply()

    async def ask(
        self,
        user_id: UUID,
        conversation_id: UUID,
        question: Question,
        *,
        parent_id: UUID | None = None,
        request_key: RequestKey | None = None,
    ) -> AnswerLog:
        """Ask behind the answer ``parent_id``, without one at the end of the active branch.

        The turn opens and runs on its own; the log tells how it goes, piece by piece. The same
        ``request_key`` again joins the running answer or repeats the finished one; nothing is charged twice.
        """
        place = Continuation(conversation_id, parent_id)
        return await self._ask(user_id, place, question, request_key=request_key)

    async def ask_by_schema(
        self,
        user_id: UUID,
        conversation_id: UUID,
        question: Question,
        response_schema: Mapping[str, Any],
        *,
        parent_id: UUID | None = None,
        request_key: RequestKey | None = None,
    ) -> AnswerLog:
        """Ask for data that fits a JSON Schema: the same turn as :meth:`ask`, whose answer is checked before it counts.

        Raises :class:`FeatureDisabled`, and ``InvalidField`` naming the place in a schema that cannot be used.
        """
        self._gates.require_structured_outputs()
        schema = self._openrouter.require_schema(response_schema, name="response_schema")
        question = replace(question, schema=schema)
        return await self.ask(user_id, conversation_id, question, parent_id=parent_id, request_key=request_key)

    async def regenerate(
        self, user_id: UUID, message_id: UUID, options: Question, *, request_key: RequestKey | None
    ) -> AnswerLog:
        """Answer a question once more, beside the answer there is; either of the two may be named.

        ``options`` say how to ask; their text does not count, and without a preset that of the answer holds.
        """
        place = Regeneration(message_id)
        return await self._ask(user_id, place, options, request_key=request_key)

    async def edit(
        self, user_id: UUID, message_id: UUID, question: Question, *, request_key: RequestKey | None
    ) -> AnswerLog:
        """Ask in place of the question ``message_id``: a branch beside it, from the same point."""
        place = Edit(message_id)
        return await self._ask(user_id, place, question, request_key=request_key)

    async def _ask(
        self, user_id: UUID, place: Place, question: Question, *, request_key: RequestKey | None
    ) -> AnswerLog:
        self._hub.refuse_when_draining()
        longest = self._settings().max_message_chars
        if len(question.content) > longest:
            raise InvalidField("message", f"has {len(question.content)} characters; at most {longest} are allowed.")
        ids = MessageIds(asked=new_id(), answer=new_id())
        answer = self._hub.prepare(user_id, ids.answer)
        try:
            turn = await self._open_turn(ids, user_id, place, question, request_key)
        except BaseException:
            self._hub.discard(answer)
            raise
        if isinstance(turn, IdempotencyKey):
            self._hub.discard(answer)
            return await self._repeated.answer(turn)
        self._hub.start(answer, lambda answer: self._run(turn, answer))
        return answer

    async def _run(self, turn: Turn, answer: AnswerLog) -> None:
        await self._runner.run(turn, answer)
        self._follow_ups.after(turn)

    async def follow(self, user_id: UUID, message_id: UUID, *, after: int = 0) -> AnswerLog | None:
        """The log of an answer for a reader who has everything up to event ``after``; ``None``: nothing is behind it.

        Raises :class:`NotFound` for what is not an answer of this account.
        """
        return await self._readers.find(user_id, message_id, after=after)

    async def stop(self, user_id: UUID, message_id: UUID) -> ChatEvent:
        """End a running answer, in whichever process it runs; its last event, also if it had ended before.

        Raises :class:`NotFound` for what is not an answer of this account, :class:`AnswerOutOfReach` when the process
        that makes it does not react.
        """
        await self._hub.stop_anywhere(user_id, message_id)
        return await self._readers.wait_for_end(user_id, message_id, seconds=STOP_WAIT_SECONDS)

    async def knows_request(self, user_id: UUID, key: str) -> bool:
        """Whether a request came before under this idempotency key."""
        if not is_storable(key):
            return False
        async with self._database.read_only() as uow:
            return await uow.idempotency.get(user_id, key) is not None

    async def aclose(self) -> None:
        """Finish what runs, then close the connections. For scripts: nothing can be asked afterwards."""
        await self._hub.drain(self._settings().shutdown_grace_seconds)
        await self._follow_ups.drain()
        await self._runner.aclose()
        await self._openrouter.aclose()
        await self._database.close()

    # open

    async def _open_turn(
        self,
        ids: MessageIds,
        user_id: UUID,
        place: Place,
        question: Question,
        request_key: RequestKey | None,
    ) -> Turn | IdempotencyKey:
        now = self._clock()
        # Without a key to claim, each of the few statements may stand by itself: the last one writes all or nothing.
        work = self._database.unit_of_work() if request_key else self._database.statement_by_statement()
        async with work as uow:
            if request_key is not None:
                claimed = await claim(uow, user_id, request_key, made=ids.answer, now=now)
                if claimed is not None:
                    await uow.principals.require(user_id)
                    return claimed
            turn = None
            while turn is None:
                turn = await self._try_to_open(uow, ids, user_id, place, question, request_key, now)
            await uow.commit()
        return turn

    async def _try_to_open(
        self,
        uow: UnitOfWork,
        ids: MessageIds,
        user_id: UUID,
        place: Place,
        question: Question,
        request_key: RequestKey | None,
        now: datetime,
    ) -> Turn | None:
        """The turn, written; ``None`` if something of the account's was reserved or charged since it was read."""
        means = await uow.openings.get_means(user_id, now=now)
        if means is None:
            raise AccountGone
        limits = means.plan.limits
        name, question = preset_named(question)
        used = await require_preset(uow, user_id, name) if name else None
        reach = self._reach(place, question, limits, used.content if used else None)
        spot = await find_spot(uow, user_id, place, reach=reach)
        used, notes = await settle_preset(uow, user_id, name, used, spot)
        preset = used.content if used else None
        attached = await find_attachments(uow, user_id, spot, question)
        question = replace(
            question,
            content=spot.asked.content if spot.asked else question.content,
            links=_links_of(spot, question),
            attachment_ids=[each.id for each in attached],
            preset_id=used.id if used else None,
            schema=question.schema or self._schema_of(preset),
            web_search=_search_of(question, preset),
        )
        files = await self._files.read(uow, user_id, spot, question, attached)
        self._gates.require_kinds((each.media.kind for each in files.asked), limits)
        values = values_for(preset, spot.preset_values) if preset else ""
        prompt = assemble_prompt(mode=spot.mode, preset=preset, question=question, past=spot.past, values=values)
        planned, prompt, room = self._plan(user_id, spot, question, limits, preset, prompt, files)
        prompt_tokens = estimate_prompt_tokens(planned.request.messages)
        hears = any(each.kind == "audio" for each in media_in(planned.request.messages))
        ask = TurnAsk(
            prompt_tokens + _schema_tokens(planned) + _found_tokens(planned),
            planned.request.max_tokens,
            self._openrouter.dearest_prices(planned.route, prompt_tokens=prompt_tokens, hears=hears),
            fees_usd=(planned.reading.most_usd if planned.reading else Decimal(0))
            + self._openrouter.dearest_search(planned),
        )
        lease = self._quotas.grant(user_id, means, ask, message_id=ids.answer)
        turn = Turn(
            user_id=user_id,
            conversation_id=spot.conversation_id,
            parent_id=spot.parent_id,
            user_message_id=spot.asked.id if spot.asked else ids.asked,
            message_id=ids.answer,
            is_asked_anew=spot.asked is not None,
            depth=spot.past[-1].depth + 1 if spot.past else 0,
            tokens_before=tokens_through(prompt.past, tokens_of),
            question_tokens=sum(map(tokens_of, prompt.asked)),
            created_at=now,
            lease=lease,
            planned=planned.limited_to(lease.grant.max_tokens).noting(*notes),
            preset_id=question.preset_id,
            preset_version=used.version if used else None,
            request_key=request_key,
            trimmed=_told_of(prompt.history, prompt_tokens) if prompt.history.is_trimmed else None,
            room=room,
            is_untitled=spot.title is None,
        )
        begins = spot.preset_id is None and name is not None  # not what an answer made anew had of old
        return turn if await self._write_opening(uow, turn, means, question, begins=begins) else None

    async def _write_opening(
        self, uow: UnitOfWork, turn: Turn, means: Means, question: Question, *, begins: bool
    ) -> bool:
        conversation: dict[str, Any] = {"updated_at": turn.created_at, "active_message_id": turn.message_id}
        if begins and turn.preset_id is not None:  # from here on it keeps to this version
            conversation |= {"preset_id": turn.preset_id, "preset_version": turn.preset_version}
        try:
            opening = await uow.openings.write(
                means,
                lease=self._quotas.lease_row(turn.lease, model=turn.planned.request.model, now=turn.created_at),
                conversation_id=turn.conversation_id,
                conversation=conversation,
                messages=opening_rows(turn, question),
                attachment_ids=() if turn.is_asked_anew else question.attachment_ids or (),
            )
        except IntegrityError as error:
            if not turn.is_asked_anew and question.attachment_ids:
                raise no_attachment(question.attachment_ids[0]) from error  # deleted since it was read
            if not turn.is_asked_anew:
                raise
            raise AnswerStillRunning("An answer to this question is being written already.") from error
        if opening is Opening.CONVERSATION_GONE:
            raise NotFound(f"No conversation {str(turn.conversation_id)!r}.")
        return opening is Opening.WRITTEN

    def _schema_of(self, preset: PresetContent | None) -> AnswerSchema | None:
        """What a preset's answers have to fit, where it says so."""
        if preset is None or preset.response_schema is None:
            return None
        self._gates.require_structured_outputs()
        return self._openrouter.require_schema(preset.response_schema, name="preset_id")

    def _reach(self, place: Place, question: Question, limits: PlanLimits, preset: PresetContent | None) -> Reach:
        """How much of a branch a turn can need: read no more than may be sent."""
        settings = self._settings()
        model = question.model or (preset.model if preset else None) or settings.llm_model
        # Whose preset is inherited is asked with a model that is not known yet.
        window = limits.max_context_tokens if isinstance(place, Regeneration) else self._window(limits, model)
        answer = min(self._max_tokens(question, preset), window // ANSWER_SHARE)
        whole = window - answer - tokens_of({"role": "user", "content": question.content})
        return Reach(messages=settings.llm_history_messages + 1, tokens=window, whole=whole)

    def _window(self, limits: PlanLimits, model: str) -> int:
        profile = self._openrouter.catalog.get(model)
        return min(limits.max_context_tokens, (profile and profile.context_length) or limits.max_context_tokens)

    def _long_enough(
        self, fallback_models: Sequence[str] | None, tokens: int
    ) -> tuple[Sequence[str] | None, tuple[str, ...]]:
        """The fallbacks that can take so long a prompt: the others would only refuse it."""
        catalog, settings = self._openrouter.catalog, self._settings()
        if fallback_models is None and not settings.model_routing_enabled:
            return None, ()
        named = settings.default_fallback_models if fallback_models is None else fallback_models
        short = {each for each in named if (found := catalog.get(each)) and 0 < (found.context_length or 0) < tokens}
        if not short:
            return fallback_models, ()
        told = ", ".join(map(repr, sorted(short)))
        return [each for each in named if each not in short], (
            f"Too short for this conversation to fall back on: {told}.",
        )

    def _max_tokens(self, question: Question, preset: PresetContent | None) -> int:
        return question.max_tokens or (preset.max_tokens if preset else None) or self._settings().llm_max_tokens

    def _plan(
        self,
        user_id: UUID,
        spot: Spot,
        question: Question,
        limits: PlanLimits,
        preset: PresetContent | None,
        prompt: Prompt,
        files: TurnFiles,
    ) -> tuple[PlannedCompletion, Prompt, Room]:
        option = self._pdf_option(question)
        choice = self._gates.choose_models(
            limits,
            model=question.model or (preset.model if preset else None),
            fallback_models=_first_fallbacks(question, preset),
            needs=needs_of((each.media.kind for each in files.asked), native=option == "native"),
        )
        if question.web_search:
            self._gates.require(Feature.WEB_SEARCH, limits, what="Searching the web")
        model = choice.model or self._settings().llm_model
        handling = handle_media(
            profile=self._openrouter.catalog.get(model),
            closed=self._gates.closed_kinds(limits),
            option=option,
            files=files,
        )
        prompt = prompt.with_files(handling, files)
        caches, cache_notes = self._gates.allows_caching(limits, asked=question.enable_caching)
        settings = self._settings()
        max_tokens, history_messages = self._max_tokens(question, preset), settings.llm_history_messages
        window = self._window(limits, choice.model or settings.llm_model)
        if question.schema is not None:
            window -= question.schema.tokens
        prompt = prompt.fitted(window, max_tokens, history_messages)
        max_tokens = min(max_tokens, window - prompt.tokens)
        fallback_models, fallback_notes = self._long_enough(choice.fallback_models, prompt.tokens + max_tokens)
        planned = self._openrouter.plan(
            messages=prompt.messages,
            kinds=prompt.kinds,
            model=choice.model,
            fallback_models=fallback_models,
            user_id=user_id,
            conversation_id=spot.conversation_id,
            enable_caching=caches,
            cached_calls=cached_calls((*spot.past, spot.beside) if spot.beside else spot.past),
            temperature=_first_given(question.temperature, preset.temperature if preset else None),
            top_p=preset.top_p if preset else None,
            reasoning=preset.reasoning if preset else None,
            max_tokens=max_tokens,
            schema=question.schema,
            engine=handling.engine,
            web_search=question.web_search or None,
        )
        noted = planned.noting(*choice.notes, *cache_notes, *prompt.notes, *fallback_notes)
        return noted, prompt, prompt.room(window, history_messages)

    def _pdf_option(self, question: Question) -> PdfOption:
        """How documents are to be read, where the server reads any but by models that do it themselves."""
        if not self._settings().pdf_skip_parsing:
            return question.pdf_engine
        if question.pdf_engine in ("text", "ocr"):
            raise InvalidField("pdf_engine", "is switched off on this server: only models themselves read documents.")
        return "native"


async def _events_of(answer: AnswerLog) -> AsyncIterator[ChatEvent]:
    async for logged in answer.read():
        yield logged.event


def _told_of(history: FittedHistory, tokens: int) -> TrimmedContext:
    return TrimmedContext(
        kept_messages=len(history.messages),
        summarised_messages=history.summarised,
        left_out_messages=history.left_out,
        tokens=tokens,
    )


def _links_of(spot: Spot, question: Question) -> Sequence[Link]:
    """The files elsewhere that go with a question: a stored question has its own, an edited one those it had before."""
    stored = spot.asked or (spot.beside if question.links is None else None)
    if stored is not None and stored.role == "user":
        return [read_link(each) for each in stored.attachment_urls]
    return question.links or ()


def _schema_tokens(planned: PlannedCompletion) -> int:
    """What a schema adds to the dearest call of a turn: itself, and the answer that is sent back to be mended."""
    if planned.schema is None:
        return 0
    return planned.schema.tokens + repair_tokens(planned.request.max_tokens)


def _search_of(question: Question, preset: PresetContent | None) -> WebSearchOptions | None:
    if question.web_search is None and preset is not None and preset.web_search:
        return WebSearchOptions()
    return question.web_search or None


def _first_fallbacks(question: Question, preset: PresetContent | None) -> Sequence[str] | None:
    if question.fallback_models is not None or preset is None:
        return question.fallback_models
    return preset.fallback_models


def _found_tokens(planned: PlannedCompletion) -> int:
    """What searching may add to the prompt: the tool, and all that is found."""
    return planned.search.tokens + planned.search.found_tokens if planned.search else 0


def _first_given(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


enhanced_chat_service = EnhancedChatService(
    settings=get_settings,
    database=database,
    openrouter=openrouter_service,
    quotas=quota_service,
    gates=plan_gates,
    runner=turn_runner,
    files=turn_file_reader,
    repeated=repeated_requests,
    follow_ups=follow_ups,
    readers=answer_readers,
    hub=generation_hub,
)
