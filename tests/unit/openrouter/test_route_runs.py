"""A turn on its route over real HTTP: retries and fallbacks before the first delta, and a record of every call."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from scripted_server import Exchange, ScriptedServer, serving
from wire_samples import DONE, GENERATION_ID, STREAM, body, chunk, event, text

from app.openrouter import errors
from app.openrouter.attempts import AttemptBudget
from app.openrouter.breaker import BreakerPolicy, CircuitBreaker
from app.openrouter.client import OpenRouterClient
from app.openrouter.retries import RetryPolicy
from app.openrouter.route_run import AttemptFailed, RouteEvent, RouteRun
from app.openrouter.routing import RoutePlan
from app.openrouter.timeouts import Timeouts
from app.openrouter.types import ChatRequest, CompletionFinished, ContentDelta

pytestmark = pytest.mark.anyio

ONE, TWO = "anthropic/claude-sonnet-5.5", "openai/gpt-4o"
REQUEST = ChatRequest(messages=[{"role": "user", "content": "Peace?"}], model="x", max_tokens=100)
ANSWER = body({"content": "Peace."})
BUSY = b'{"error": {"code": 503, "message": "busy", "metadata": {"provider_name": "Groq"}}}'
REFUSED = b'{"error": {"code": 400, "message": "bad field"}}'

TOOL_CALL = {"index": 0, "id": "call_1", "function": {"name": "find_verse", "arguments": "{}"}}
STALL = b""
"""As a piece of a stream: nothing more comes, and no end either."""
BREAKS: dict[str, tuple[bytes, ...]] = {
    "end without a finish": (DONE,),
    "cut": (),
    "not JSON": (b'data: {"id":"gen-1","choices":[{"del\n\n', STREAM),
    "error chunk": (event(chunk(finish="error", error={"code": 502, "message": "gone"})),),
    "silence": (STALL,),
}

Reply = tuple[int, bytes] | tuple[bytes, ...]
"""A status and its body, or the pieces of a stream."""


def make_plan(*layers: tuple[str, ...]) -> RoutePlan:
    return RoutePlan(requested=layers[0][0], strategy="auto", layers=layers)


@asynccontextmanager
async def running(
    *replies: Reply, layers: tuple[tuple[str, ...], ...] = ((ONE,),), **options: Any
) -> AsyncIterator[tuple[RouteRun, ScriptedServer]]:
    """A run against a server that gives these replies in turn."""
    left = iter(replies)

    async def script(exchange: Exchange) -> None:
        reply = next(left)
        if isinstance(reply[0], int):
            await exchange.answer(reply[0], reply[1])
        elif reply[-1] == STALL:
            await exchange.stream(*reply[:-1], end=False)
            await exchange.left.wait()
        else:
            await exchange.stream(*reply)

    async with serving(script) as server:
        client = OpenRouterClient(base_url=server.url, api_key="k", timeouts=Timeouts(first_token=0.5, silence=0.5))
        options = {"policy": RetryPolicy(first_wait=0.0), "chance": lambda: 0.0} | options
        try:
            yield RouteRun(client, make_plan(*layers), REQUEST, **options), server
        finally:
            await client.aclose()


async def collect(run: RouteRun) -> list[RouteEvent]:
    async with aclosing(run.stream()) as events:
        return [each async for each in events]


def asked(server: ScriptedServer) -> list[list[str]]:
    bodies = [json.loads(exchange.body) for exchange in server.exchanges]
    return [each.get("models") or [each["model"]] for each in bodies]


class TestAnswers:
    async def test_a_whole_answer_is_one_attempt(self) -> None:
        async with running((STREAM,)) as (run, _):
            events = await collect(run)
        assert isinstance(events[-1], CompletionFinished)
        (attempt,) = run.attempts
        assert (attempt.number, attempt.models_asked, attempt.model) == (1, (ONE,), ONE)
        assert (attempt.provider, attempt.generation_id) == ("Anthropic", GENERATION_ID)
        assert (attempt.error, attempt.next_step) == (None, None)
        assert attempt.usage is not None
        assert attempt.first_token_seconds is not None
        assert 0 < attempt.first_token_seconds <= attempt.latency_seconds

    async def test_a_plain_answer_takes_the_same_route(self) -> None:
        async with running((503, BUSY), (200, ANSWER)) as (run, _):
            completion = await run.complete()
        assert completion.content == "Peace."
        assert [each.error for each in run.attempts] == ["upstream_unavailable", None]


class TestRetries:
    async def test_a_retryable_failure_is_tried_again(self) -> None:
        async with running((503, BUSY), (STREAM,)) as (run, _):
            events = await collect(run)
        assert isinstance(events[0], AttemptFailed)
        failed, answered = run.attempts
        assert (failed.error, failed.status, failed.provider, failed.next_step) == (
            "upstream_unavailable",
            503,
            "Groq",
            "retry",
        )
        assert (answered.number, answered.error) == (2, None)

    async def test_an_empty_stream_is_tried_again(self) -> None:
        async with running((event(text("")), DONE), (STREAM,)) as (run, _):
            assert isinstance((await collect(run))[-1], CompletionFinished)
        assert [each.error for each in run.attempts] == ["truncated_stream", None]

    async def test_a_refused_request_is_not(self) -> None:
        async with running((400, REFUSED)) as (run, server):
            with pytest.raises(errors.BadRequest):
                await collect(run)
            assert len(server.exchanges) == 1
        assert [each.error for each in run.attempts] == ["bad_request"]

    async def test_after_a_break_in_mid_answer_the_next_model_begins_anew(self) -> None:
        failing = event(chunk(finish="error", error={"code": 502, "message": "gone"}))
        async with running((event(text("Half")), failing), (STREAM,), layers=((ONE,), (TWO,))) as (run, server):
            events = await collect(run)
            assert asked(server) == [[ONE], [TWO]]
        place = next(n for n, each in enumerate(events) if isinstance(each, AttemptFailed))
        assert ContentDelta("Half") in events[:place]
        failure = events[place]
        assert isinstance(failure, AttemptFailed)
        assert failure.content_came
        assert isinstance(events[-1], CompletionFinished)
        assert "Half" not in events[-1].completion.content
        assert (run.attempts[0].partial_content, run.attempts[0].next_step) == ("Half", "next_models")
        assert run.attempts[0].generation_id == GENERATION_ID

    async def test_a_host_that_broke_off_is_left_out_of_the_next_try(self) -> None:
        async with running((event(text("Half")),), (STREAM,)) as (run, server):
            await collect(run)
            bodies = [json.loads(exchange.body) for exchange in server.exchanges]
        assert "provider" not in bodies[0]
        assert bodies[1]["provider"]["ignore"] == ["Anthropic"]

    async def test_where_it_was_the_only_host_it_is_asked_again_after_all(self) -> None:
        nobody = b'{"error": {"code": 404, "message": "No allowed providers are available"}}'
        async with running((event(text("Half")),), (404, nobody), (STREAM,)) as (run, server):
            await collect(run)
            last = json.loads(server.exchanges[-1].body)
        assert [each.next_step for each in run.attempts] == ["retry", "without_ignored_hosts", None]
        assert "provider" not in last

    @pytest.mark.parametrize("before", [(), ("Half",)], ids=["nothing said", "text said"])
    @pytest.mark.parametrize("called", [False, True], ids=["no call", "tool called"])
    @pytest.mark.parametrize("broken", BREAKS)
    async def test_a_broken_stream_is_begun_anew_unless_a_tool_was_called(
        self, broken: str, called: bool, before: tuple[str, ...]
    ) -> None:
        said = [event(text(each)) for each in before] + ([event(chunk({"tool_calls": [TOOL_CALL]}))] if called else [])
        # A first event names the call: what it cost can be asked for, however it ended.
        reply = (event(text("")), *said, *BREAKS[broken])
        async with running(reply, (STREAM,), layers=((ONE,), (TWO,))) as (run, server):
            if called:
                with pytest.raises(errors.OpenRouterError) as caught:
                    await collect(run)
                assert caught.value.partial is not None
                assert (caught.value.partial.content, len(caught.value.partial.tool_calls)) == ("".join(before), 1)
                assert len(server.exchanges) == 1
            else:
                events = await collect(run)
                assert isinstance(events[-1], CompletionFinished)
                assert events[-1].completion.content.startswith("بسم الله الرحمن")
                (failure,) = [each for each in events if isinstance(each, AttemptFailed)]
                assert failure.content_came == bool(before)
        assert run.attempts[0].error is not None
        assert [each.generation_id for each in run.attempts] == [GENERATION_ID] * len(run.attempts)

    async def test_a_policy_may_forbid_to_begin_anew(self) -> None:
        failing = event(chunk(finish="error", error={"code": 502, "message": "gone"}))
        policy = RetryPolicy(first_wait=0.0, begins_again=False)
        layers = ((ONE,), (TWO,))
        async with running((event(text("Half")), failing), layers=layers, policy=policy) as (run, server):
            with pytest.raises(errors.UpstreamUnavailable) as caught:
                await collect(run)
            assert len(server.exchanges) == 1
        assert caught.value.partial is not None
        assert caught.value.partial.content == "Half"

    async def test_retry_after_is_waited_for(self) -> None:
        busy = b'{"error": {"code": 429, "message": "slow", "availability": {"retryable": true, "retry_after": 0.3}}}'
        async with running((429, busy), (STREAM,)) as (run, _):
            began = asyncio.get_running_loop().time()
            await collect(run)
            assert asyncio.get_running_loop().time() - began >= 0.3

    async def test_the_budget_of_the_turn_is_never_passed(self) -> None:
        budget = AttemptBudget(2)
        async with running((503, BUSY), (503, BUSY), layers=((ONE,), (TWO,)), budget=budget) as (run, server):
            with pytest.raises(errors.UpstreamUnavailable):
                await collect(run)
            assert len(server.exchanges) == 2

    async def test_a_spent_budget_asks_nobody(self) -> None:
        async with running(budget=AttemptBudget(0)) as (run, server):
            with pytest.raises(errors.AttemptsSpent):
                await collect(run)
            assert server.exchanges == []


class TestFallbacks:
    async def test_the_next_models_are_asked_when_the_first_refuse(self) -> None:
        too_long = b'{"error": {"code": 400, "message": "maximum context length is 8192 tokens"}}'
        async with running((400, too_long), (STREAM,), layers=((ONE,), (TWO,))) as (run, server):
            await collect(run)
            assert asked(server) == [[ONE], [TWO]]
        assert run.attempts[0].next_step == "next_models"

    async def test_a_layer_goes_out_as_one_call(self) -> None:
        layers = ((ONE, TWO, "a/b"), ("c/d",))
        async with running((404, b'{"error": {"code": 404, "message": "none"}}'), (STREAM,), layers=layers) as (
            run,
            server,
        ):
            await collect(run)
            assert asked(server) == [[ONE, TWO, "a/b"], ["c/d"]]

    async def test_a_time_out_is_not_waited_for_twice_while_others_stand_ready(self) -> None:
        silent = (event(text("")), b": OPENROUTER PROCESSING\n\n")

        async def script(exchange: Exchange) -> None:
            if ONE.encode() in exchange.body:
                await exchange.stream(*silent, end=False)
                await asyncio.sleep(30)
            await exchange.stream(STREAM)

        async with serving(script) as server:
            client = OpenRouterClient(base_url=server.url, api_key="k", timeouts=Timeouts(first_token=0.2))
            run = RouteRun(client, make_plan((ONE,), (TWO,)), REQUEST)
            await collect(run)
            await client.aclose()
        assert [each.error for each in run.attempts] == ["upstream_timeout", None]

    async def test_one_invalid_model_does_not_cost_the_valid_ones(self) -> None:
        invalid = b'{"error": {"code": 400, "message": "a/gone is not a valid model ID"}}'
        async with running((400, invalid), (STREAM,), layers=((ONE, "a/gone", TWO),)) as (run, server):
            await collect(run)
            assert asked(server) == [[ONE, "a/gone", TWO], [ONE, TWO]]
        assert run.attempts[0].next_step == "without_invalid_model"

    async def test_a_failing_key_stops_the_turn(self) -> None:
        denied = b'{"error": {"code": 402, "message": "Insufficient credits"}}'
        async with running((402, denied), layers=((ONE,), (TWO,))) as (run, server):
            with pytest.raises(errors.PaymentRequired):
                await collect(run)
            assert len(server.exchanges) == 1


class TestLeaving:
    async def test_a_turn_left_early_is_recorded(self) -> None:
        async with running((event(text("Half")), STREAM)) as (run, _), aclosing(run.stream()) as events:
            async for each in events:
                if isinstance(each, ContentDelta):
                    break
        (attempt,) = run.attempts
        assert (attempt.error, attempt.generation_id) == ("cancelled", GENERATION_ID)

    async def test_leaving_after_the_answer_is_no_cancellation(self) -> None:
        async with running((STREAM,)) as (run, _), aclosing(run.stream()) as events:
            async for each in events:
                if isinstance(each, CompletionFinished):
                    break
        assert [each.error for each in run.attempts] == [None]


class TestBreaker:
    def make_open(self, model: str, provider: str | None) -> CircuitBreaker:
        breaker = CircuitBreaker(BreakerPolicy(failures_to_open=1, open_for=1000))
        breaker.end(model, provider, "failed", asyncio.get_running_loop().time())
        return breaker

    async def test_a_failing_host_is_kept_out(self) -> None:
        async with running((STREAM,), breaker=self.make_open(ONE, "Groq")) as (run, server):
            await collect(run)
            assert json.loads(server.exchanges[0].body)["provider"] == {"ignore": ["Groq"]}

    async def test_the_only_host_is_asked_all_the_same(self) -> None:
        none = b'{"error": {"code": 404, "message": "No endpoints found"}}'
        async with running((404, none), (STREAM,), breaker=self.make_open(ONE, "Groq")) as (run, server):
            await collect(run)
            assert "provider" not in json.loads(server.exchanges[1].body)
        assert run.attempts[0].next_step == "without_ignored_hosts"

    async def test_a_failing_model_is_passed_over(self) -> None:
        async with running((STREAM,), layers=((ONE,), (TWO,)), breaker=self.make_open(ONE, None)) as (run, server):
            await collect(run)
            assert asked(server) == [[TWO]]

    async def test_the_only_model_is_asked_all_the_same(self) -> None:
        async with running((STREAM,), breaker=self.make_open(ONE, None)) as (run, server):
            await collect(run)
            assert asked(server) == [[ONE]]

    async def test_cut_streams_open_the_circuit_though_they_began_with_200(self) -> None:
        breaker = CircuitBreaker(BreakerPolicy(failures_to_open=2))
        cut = (event(text("Half")),)
        for _ in range(2):
            policy = RetryPolicy(first_wait=0.0, begins_again=False)
            async with running(cut, breaker=breaker, policy=policy) as (run, _):
                with pytest.raises(errors.TruncatedStream):
                    await collect(run)
        assert breaker.failing_providers(ONE, asyncio.get_running_loop().time()) == ("Anthropic",)
