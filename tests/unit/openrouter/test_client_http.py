"""The client over real HTTP, against a server that misbehaves as told."""

import asyncio
import gc
import gzip
import json
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest
from scripted_server import Exchange, Script, ScriptedServer, serving
from wire_samples import COMMENT, DONE, GENERATION_ID, STREAM, body, chunk, event, text, usage_chunk

from app.openrouter import errors
from app.openrouter.client import OpenRouterClient
from app.openrouter.timeouts import Timeouts
from app.openrouter.types import ChatRequest, CompletionFinished, ContentDelta, GenerationStarted, StreamEvent
from app.serving import allow_open_files

pytestmark = pytest.mark.anyio

KEY = "sk-or-v1-very-secret"
REQUEST = ChatRequest(messages=[{"role": "user", "content": "Peace?"}], model="openai/gpt-4o", max_tokens=100)
FINISHED = event(chunk(finish="stop"))


@asynccontextmanager
async def talking(script: Script, **timeouts: float) -> AsyncIterator[tuple[OpenRouterClient, ScriptedServer]]:
    async with serving(script) as server:
        client = OpenRouterClient(
            base_url=server.url,
            api_key=KEY,
            app_name="WisQu",
            app_url="https://w.example",
            timeouts=Timeouts(**timeouts),
        )
        try:
            yield client, server
        finally:
            await client.aclose()


async def stream_all(client: OpenRouterClient, **options: Any) -> list[StreamEvent]:
    async with aclosing(client.stream(REQUEST, **options)) as events:
        return [each async for each in events]


async def test_no_call_waits_for_another_one_to_end() -> None:
    count, came, all_came = 1_100, 0, asyncio.Event()

    async def answer_when_all_are_there(exchange: Exchange) -> None:
        nonlocal came
        came += 1
        if came == count:
            all_came.set()
        await all_came.wait()
        await exchange.answer(200, body({"content": "Ok."}))

    allow_open_files()
    async with talking(answer_when_all_are_there, total=20.0) as (client, _):
        answers = await asyncio.gather(*(client.complete(REQUEST) for _ in range(count)))
    assert {each.content for each in answers} == {"Ok."}


class TestStream:
    async def test_the_whole_answer_arrives(self) -> None:
        async with talking(lambda exchange: exchange.stream(STREAM)) as (client, _):
            events = await stream_all(client)
        last = events[-1]
        assert isinstance(events[0], GenerationStarted)
        assert isinstance(last, CompletionFinished)
        assert last.completion.content == "".join(each.text for each in events if isinstance(each, ContentDelta))
        assert last.completion.first_token_seconds is not None
        assert last.completion.total_seconds is not None
        assert 0 < last.completion.first_token_seconds <= last.completion.total_seconds

    async def test_content_leaves_while_the_rest_is_on_its_way(self) -> None:
        go_on = asyncio.Event()

        async def script(exchange: Exchange) -> None:
            await exchange.stream(event(text("first")), end=False)
            await go_on.wait()
            await exchange.send_chunk(FINISHED + DONE)
            await exchange.send(b"0\r\n\r\n")

        async with talking(script) as (client, _), aclosing(client.stream(REQUEST)) as events:
            assert isinstance(await anext(events), GenerationStarted)
            assert await anext(events) == ContentDelta("first")
            go_on.set()
            assert isinstance(await anext(events), CompletionFinished)

    async def test_one_connection_serves_one_stream_after_the_other(self) -> None:
        async with talking(lambda exchange: exchange.stream(STREAM)) as (client, server):
            for _ in range(3):
                await stream_all(client)
            assert server.connections == 1

    async def test_a_missing_done_does_no_harm(self) -> None:
        async with talking(lambda exchange: exchange.stream(event(text("x")), FINISHED)) as (client, _):
            assert isinstance((await stream_all(client))[-1], CompletionFinished)

    async def test_a_plain_body_is_read_as_one(self) -> None:
        async with talking(lambda exchange: exchange.answer(200, body({"content": "Peace."}))) as (client, _):
            events = await stream_all(client)
        assert events[1] == ContentDelta("Peace.")
        assert isinstance(events[-1], CompletionFinished)


async def _is_left(exchange: Exchange, *, seconds: float = 10) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(exchange.left.wait(), seconds)
    return exchange.left.is_set()


class TestLeaving:
    async def test_closing_the_iterator_ends_the_call_upstream(self) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.stream(event(text("first")), end=False)
            await asyncio.sleep(30)

        async with talking(script) as (client, server):
            async with aclosing(client.stream(REQUEST)) as events:
                async for each in events:
                    if isinstance(each, ContentDelta):
                        break
            assert await _is_left(server.exchanges[0]), "the call goes on upstream, and is billed"

    async def test_cancelling_ends_the_call_upstream(self) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.stream(event(text("first")), end=False)
            await asyncio.sleep(30)

        async with talking(script) as (client, server):
            begun = asyncio.Event()

            async def read() -> None:
                async for each in client.stream(REQUEST):
                    if isinstance(each, ContentDelta):
                        begun.set()

            reading = asyncio.create_task(read())
            await asyncio.wait_for(begun.wait(), 10)
            reading.cancel()
            await asyncio.wait((reading,))
            assert await _is_left(server.exchanges[0]), "the call goes on upstream, and is billed"


class TestCutStreams:
    async def test_the_end_without_a_finish_reason_is_a_cut(self) -> None:
        async with talking(lambda exchange: exchange.stream(event(text("Half")), DONE)) as (client, _):
            with pytest.raises(errors.TruncatedStream) as caught:
                await stream_all(client)
        assert caught.value.partial is not None
        assert caught.value.partial.content == "Half"
        assert caught.value.generation_id == GENERATION_ID

    @pytest.mark.parametrize("tail", [b"", b'data: {"choices": [{"del'])
    async def test_a_broken_connection_is_a_cut(self, tail: bytes) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.stream(event(text("Half")) + tail, end=False)
            exchange.writer.close()

        async with talking(script) as (client, _):
            with pytest.raises(errors.TruncatedStream) as caught:
                await stream_all(client)
        assert caught.value.partial is not None
        assert caught.value.partial.content == "Half"

    async def test_an_end_inside_an_event_is_a_cut(self) -> None:
        async with talking(lambda exchange: exchange.stream(event(text("Half")), b'data: {"cho')) as (client, _):
            with pytest.raises(errors.TruncatedStream):
                await stream_all(client)

    async def test_a_cut_after_the_finish_reason_is_whole(self) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.stream(event(text("Whole", finish="stop")), end=False)
            exchange.writer.close()

        async with talking(script) as (client, _):
            last = (await stream_all(client))[-1]
        assert isinstance(last, CompletionFinished)
        assert (last.completion.content, last.completion.usage) == ("Whole", None)

    async def test_what_came_before_an_error_is_given_first(self) -> None:
        failing = event({"error": {"code": 502, "message": "gone"}, "choices": []})
        async with talking(lambda exchange: exchange.stream(event(text("Half")) + failing)) as (client, _):
            events = client.stream(REQUEST)
            await anext(events)
            assert await anext(events) == ContentDelta("Half")
            with pytest.raises(errors.UpstreamUnavailable) as caught:
                await anext(events)
        assert caught.value.model is not None


class TestClocks:
    async def test_comments_do_not_stop_the_clock_of_the_first_token(self) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.stream(end=False)
            while True:
                await exchange.send_chunk(COMMENT + event(text("")))
                await asyncio.sleep(0.02)

        async with talking(script, first_token=0.2) as (client, _):
            with pytest.raises(errors.UpstreamTimeout) as caught:
                await stream_all(client)
        assert (caught.value.phase, caught.value.retryable) == ("first_token", True)

    async def test_comments_do_not_stop_the_clock_of_silence(self) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.stream(event(text("Half")), end=False)
            while True:
                await exchange.send_chunk(COMMENT)
                await asyncio.sleep(0.02)

        async with talking(script, silence=0.2) as (client, _):
            with pytest.raises(errors.UpstreamTimeout) as caught:
                await stream_all(client)
        assert caught.value.phase == "stalled"
        assert caught.value.partial is not None
        assert caught.value.partial.content == "Half"

    async def test_content_winds_the_clock_of_silence(self) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.stream(end=False)
            for _ in range(6):
                await exchange.send_chunk(event(text("x")))
                await asyncio.sleep(0.1)
            await exchange.send_chunk(FINISHED + DONE)
            await exchange.send(b"0\r\n\r\n")

        async with talking(script, silence=0.3) as (client, _):
            last = (await stream_all(client))[-1]
        assert isinstance(last, CompletionFinished)

    async def test_the_total_is_never_passed(self) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.stream(end=False)
            while True:
                await exchange.send_chunk(event(text("x")))
                await asyncio.sleep(0.02)

        async with talking(script, total=0.3) as (client, _):
            with pytest.raises(errors.UpstreamTimeout) as caught:
                await stream_all(client)
        assert (caught.value.phase, caught.value.retryable) == ("total", False)

    async def test_after_the_finish_reason_a_stall_is_no_failure(self) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.stream(event(text("Whole", finish="stop")), end=False)
            while True:
                await exchange.send_chunk(COMMENT)
                await asyncio.sleep(0.02)

        async with talking(script, after_finish=0.2) as (client, _):
            last = (await stream_all(client))[-1]
        assert isinstance(last, CompletionFinished)
        assert last.completion.content == "Whole"

    async def test_a_plain_answer_has_the_total_as_its_clock(self) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n")
            while True:
                await exchange.send(b"\n         \n")
                await asyncio.sleep(0.02)

        async with talking(script, total=0.3, first_token=0.1) as (client, _):
            with pytest.raises(errors.UpstreamTimeout) as caught:
                await client.complete(REQUEST)
        assert caught.value.phase == "total"

    async def test_a_consumer_may_take_its_time(self) -> None:
        woke = asyncio.Event()

        async def script(exchange: Exchange) -> None:
            await exchange.stream(event(text("x")), end=False)
            for late in ("y", "z"):
                await asyncio.sleep(0.1)
                await exchange.send_chunk(event(text(late)))
            await woke.wait()
            await exchange.send_chunk(FINISHED + DONE)
            await exchange.send(b"0\r\n\r\n")

        async with talking(script, silence=0.5) as (client, _), aclosing(client.stream(REQUEST)) as events:
            async for each in events:
                if each == ContentDelta("y"):
                    await asyncio.sleep(0.8)
                    woke.set()
            assert isinstance(each, CompletionFinished)


class TestComplete:
    async def test_the_whole_answer_at_once(self) -> None:
        answer = body({"content": "Peace."}, usage={"prompt_tokens": 3, "cost": 0.5})
        async with talking(lambda exchange: exchange.answer(200, answer)) as (client, _):
            completion = await client.complete(REQUEST)
        assert completion.content == "Peace."
        assert completion.first_token_seconds is None
        assert completion.total_seconds is not None

    async def test_a_stream_in_place_of_a_body_is_read_too(self) -> None:
        async with talking(lambda exchange: exchange.stream(STREAM)) as (client, _):
            assert (await client.complete(REQUEST)).content.startswith("بسم")

    async def test_a_stream_under_a_wrong_name_is_read_too(self) -> None:
        async with talking(lambda exchange: exchange.answer(200, STREAM, content_type="text/plain")) as (client, _):
            last = (await stream_all(client))[-1]
        assert isinstance(last, CompletionFinished)
        assert last.completion.content.startswith("بسم")

    async def test_an_answer_behind_a_stray_tag_is_streamed_too(self) -> None:
        thought = event(chunk({"reasoning": "Hm.</think>Peace."}, finish="stop"))
        async with talking(lambda exchange: exchange.stream(thought, DONE)) as (client, _):
            assert ContentDelta("Peace.") in await stream_all(client)

    async def test_a_compressed_body_with_padding(self) -> None:
        answer = gzip.compress(b"\n         \n" * 50 + body({"content": "Peace."}))
        async with talking(lambda exchange: exchange.answer(200, answer, "Content-Encoding: gzip")) as (client, _):
            assert (await client.complete(REQUEST)).content == "Peace."

    async def test_an_error_inside_a_200_is_an_error(self) -> None:
        failing = b'{"error": {"code": 429, "message": "busy"}, "user_id": "u"}'
        async with talking(lambda exchange: exchange.answer(200, failing)) as (client, _):
            with pytest.raises(errors.RateLimited):
                await client.complete(REQUEST)

    async def test_a_page_of_html_is_unreadable(self) -> None:
        page = b"<!doctype html><title>Oops</title>"
        async with talking(lambda exchange: exchange.answer(200, page, content_type="text/html")) as (client, _):
            with pytest.raises(errors.UnreadableAnswer) as caught:
                await client.complete(REQUEST)
        assert caught.value.retryable

    async def test_a_body_cut_short_is_a_cut(self) -> None:
        async def script(exchange: Exchange) -> None:
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{")
            exchange.writer.close()

        async with talking(script) as (client, _):
            with pytest.raises(errors.TruncatedStream):
                await client.complete(REQUEST)

    async def test_a_large_request_goes_out(self) -> None:
        large = ChatRequest(messages=[{"role": "user", "content": "x" * 3_000_000}], model="m", max_tokens=1)
        async with talking(lambda exchange: exchange.answer(200, body({"content": "Ok."}))) as (client, server):
            await client.complete(large)
        assert json.loads(server.exchanges[0].body)["messages"] == large.messages


class TestFailures:
    async def test_an_error_status_is_read_with_its_headers(self) -> None:
        failing = b' \n {"error": {"code": 429, "message": "Rate limit exceeded"}, "user_id": "u"}'
        async with talking(lambda exchange: exchange.answer(429, failing, "Retry-After: 7")) as (client, _):
            with pytest.raises(errors.RateLimited) as caught:
                await stream_all(client)
        assert (caught.value.status, caught.value.retry_after, caught.value.model) == (429, 7.0, REQUEST.model)

    async def test_an_error_status_with_a_page_of_html_keeps_the_status(self) -> None:
        page = b"<html>502 Bad Gateway</html>"
        async with talking(lambda exchange: exchange.answer(502, page, content_type="text/html")) as (client, _):
            with pytest.raises(errors.UpstreamUnavailable) as caught:
                await client.complete(REQUEST)
        assert caught.value.status == 502

    async def test_a_redirect_is_not_followed(self) -> None:
        async with talking(lambda exchange: exchange.answer(302, b"", "Location: http://elsewhere/")) as (
            client,
            server,
        ):
            with pytest.raises(errors.UnreadableAnswer):
                await client.complete(REQUEST)
            assert len(server.exchanges) == 1

    async def test_nobody_listening_is_a_failed_connection(self) -> None:
        async with serving(lambda exchange: exchange.answer(200, b"")) as server:
            url = server.url
        client = OpenRouterClient(base_url=url, api_key=KEY)
        with pytest.raises(errors.ConnectionFailed) as caught:
            await client.complete(REQUEST)
        await client.aclose()
        assert caught.value.retryable

    async def test_a_hang_up_before_the_headers_is_a_failed_connection(self) -> None:
        async def script(exchange: Exchange) -> None:
            exchange.writer.close()

        async with talking(script) as (client, _):
            with pytest.raises(errors.ConnectionFailed):
                await client.complete(REQUEST)

    async def test_headers_that_never_come_run_into_the_first_clock(self) -> None:
        async with talking(lambda _: asyncio.sleep(30), first_token=0.2) as (client, _):
            began = time.monotonic()
            with pytest.raises(errors.UpstreamTimeout) as caught:
                await stream_all(client)
        assert caught.value.phase == "first_token"
        assert time.monotonic() - began < 15

    async def test_the_key_appears_nowhere(self) -> None:
        failing = json.dumps(
            {"error": {"code": 401, "message": f"{KEY} is disabled", "metadata": {"raw": KEY}}}
        ).encode()
        async with talking(lambda exchange: exchange.answer(401, failing)) as (client, _):
            with pytest.raises(errors.AuthenticationFailed) as caught:
                await client.complete(REQUEST)
            texts = (repr(client), str(caught.value), repr(caught.value), repr(vars(caught.value)), repr(vars(client)))
        assert not any(KEY in each for each in texts)


class TestWhatIsSent:
    async def test_headers_name_the_app_and_the_request(self) -> None:
        async with talking(lambda exchange: exchange.answer(200, body({"content": "Ok."}))) as (client, server):
            await client.complete(REQUEST, request_id="req-1")
        exchange = server.exchanges[0]
        assert exchange.head.startswith("POST /api/v1/chat/completions ")
        assert exchange.headers["authorization"] == f"Bearer {KEY}"
        assert exchange.headers["http-referer"] == "https://w.example"
        assert exchange.headers["x-openrouter-title"] == "WisQu"
        assert exchange.headers["x-request-id"] == "req-1"
        assert exchange.headers["content-type"] == "application/json"

    async def test_the_body_is_the_request(self) -> None:
        async with talking(lambda exchange: exchange.stream(STREAM)) as (client, server):
            await stream_all(client)
        assert json.loads(server.exchanges[0].body) == REQUEST.to_wire(stream=True)


async def test_usage_after_the_finish_reason_still_counts() -> None:
    pieces = [event(text("x", finish="stop")), COMMENT, event(usage_chunk("3.4e-7")), DONE]
    async with talking(lambda exchange: exchange.stream(*pieces)) as (client, _):
        last = (await stream_all(client))[-1]
    assert isinstance(last, CompletionFinished)
    assert last.completion.usage is not None
    assert str(last.completion.usage.cost) == "3.4E-7"


def test_the_client_serves_one_loop_after_another() -> None:
    async def ask(client: OpenRouterClient) -> str:
        async with serving(lambda exchange: exchange.answer(200, body({"content": "Ok."}))) as server:
            client._transport._base_url = server.url
            return (await client.complete(REQUEST)).content

    client = OpenRouterClient(base_url="http://127.0.0.1:1/api/v1", api_key=KEY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # nobody closed the pools, which is the point
        assert [asyncio.run(ask(client)) for _ in range(2)] == ["Ok.", "Ok."]
        del client
        gc.collect()
