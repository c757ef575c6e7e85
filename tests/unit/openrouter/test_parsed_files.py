"""Documents that OpenRouter reads: by which engine, for how much, and never twice."""

import hashlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from tests.emulator.process import EmulatorProcess
from tests.support.samples import pdf

from app.openrouter.client import OpenRouterClient
from app.openrouter.media import Media, with_media
from app.openrouter.parsed_files import PdfEngine, file_parser, introduced, kept, match_files, text_of
from app.openrouter.retries import RetryPolicy
from app.openrouter.route_run import RouteRun
from app.openrouter.routing import RoutePlan
from app.openrouter.types import ChatRequest, Completion, CompletionFinished

pytestmark = pytest.mark.anyio

BOOK = pdf("Of patience", "Of hope")
DIGEST = hashlib.sha256(BOOK).hexdigest()
MODEL = "qwen/qwen-plus"


def file(name: str = "a.pdf", source: str = DIGEST) -> Media:
    return Media(kind="pdf", name=name, source=source, media_type="application/pdf", pages=2)


def annotation(name: str | None = "a.pdf", *texts: str, pictures: int = 0) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": text} for text in texts]
    parts += [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 900_000}}] * pictures
    return {"type": "file", "file": {"hash": "a hash", "content": parts} | ({"name": name} if name else {})}


@asynccontextmanager
async def load(media: Collection[Media]) -> AsyncIterator[Mapping[str, bytes]]:
    assert {each.source for each in media} == {DIGEST}
    yield {DIGEST: BOOK}


@pytest.fixture
async def client(openrouter: EmulatorProcess) -> AsyncIterator[OpenRouterClient]:
    client = OpenRouterClient(base_url=openrouter.base_url, api_key="sk-or-v1-test-parsed-files-key")
    yield client
    await client.aclose()


def ask(engine: PdfEngine, *, messages: Any = None) -> ChatRequest:
    question = {"role": "user", "content": with_media("What is in it?", [file()])}
    return ChatRequest(
        messages=messages or [question],
        model=MODEL,
        max_tokens=200,
        plugins=[file_parser(engine)],
        wants_metadata=engine == "mistral-ocr",
    )


def run(client: OpenRouterClient, request: ChatRequest) -> RouteRun:
    plan = RoutePlan(requested=MODEL, strategy="auto", layers=((MODEL,),))
    return RouteRun(client, plan, request, policy=RetryPolicy(first_wait=0.0), load=load)


async def streamed(client: OpenRouterClient, request: ChatRequest) -> Completion:
    async with aclosing(run(client, request).stream()) as events:
        async for event in events:
            if isinstance(event, CompletionFinished):
                return event.completion
    raise AssertionError("no end came")


class TestMatching:
    def test_by_name_then_by_order(self) -> None:
        one, two = file("a.pdf", "1"), file("b.pdf", "2")
        named = match_files([one, two], [annotation("b.pdf"), annotation("a.pdf")])
        assert [media.source for media, _ in named] == ["2", "1"]
        nameless = match_files([one, two], [annotation(None, "Of one"), annotation(None, "Of two")])
        assert [media.source for media, _ in nameless] == ["1", "2"]

    def test_two_of_one_name_are_taken_in_order(self) -> None:
        told = [annotation("a.pdf", "Of one"), annotation("a.pdf", "Of two")]
        found = match_files([file("a.pdf", "1"), file("a.pdf", "2")], told)
        assert [media.source for media, _ in found] == ["1", "2"]

    def test_of_two_of_one_name_nothing_is_guessed(self) -> None:
        one, two = file("a.pdf", "1"), file("a.pdf", "2")
        assert match_files([one, two], [annotation("a.pdf")]) == []
        assert match_files([two], [annotation("a.pdf", "Of one"), annotation("a.pdf", "Of two")]) == []
        hashed = {"type": "file", "file": {"hash": "2", "name": "a.pdf", "content": []}}
        assert match_files([one, two], [hashed]) == [(two, hashed)]
        assert match_files([one], [annotation("a.pdf", "Of one"), annotation("a.pdf", "Of one")])[0][0] == one

    def test_what_cannot_be_told_is_left_out(self) -> None:
        citation = {"type": "url_citation", "url_citation": {"url": "https://example.org"}}
        assert match_files([file("a.pdf", "1"), file("b.pdf", "2")], [annotation(None), citation]) == []


class TestWhatWasRead:
    def test_its_text_is_what_stands_between_the_tags(self) -> None:
        assert text_of(annotation("a.pdf", '<file name="a.pdf">\nOf hope\n</file>')) == "Of hope"
        assert text_of(annotation("a.pdf", '<file name="a.pdf">\n\n</file>')) == ""
        assert text_of(annotation("a.pdf")) == ""

    def test_too_many_pictures_are_not_kept(self) -> None:
        assert kept(annotation("a.pdf", "Of hope", pictures=1)) == annotation("a.pdf", "Of hope", pictures=1)
        assert kept(annotation("a.pdf", "Of hope", pictures=6)) == annotation("a.pdf", "Of hope")


class TestOnTheWire:
    @pytest.mark.parametrize("is_streamed", [False, True])
    async def test_recognition_is_asked_for_by_name_and_its_cost_told(
        self, client: OpenRouterClient, is_streamed: bool
    ) -> None:
        request = ask("mistral-ocr")
        completion = await (streamed(client, request) if is_streamed else run(client, request).complete())

        assert completion.parsing_cost == Decimal("0.004")
        assert [text_of(each) for each in completion.annotations] == ["Of patience\nOf hope"]
        assert completion.usage
        assert completion.usage.cost
        assert completion.usage.upstream_inference_cost == completion.usage.cost - completion.parsing_cost

    async def test_what_was_read_before_is_not_read_again(
        self, client: OpenRouterClient, openrouter: EmulatorProcess
    ) -> None:
        first = await run(client, ask("mistral-ocr")).complete()
        question = {"role": "user", "content": with_media("And what of hope?", [file()])}
        again = introduced(question, first.annotations)
        second = await run(client, ask("cloudflare-ai", messages=again)).complete()

        assert [message["role"] for message in again] == ["user", "assistant", "user"]
        assert second.annotations == ()
        told = openrouter.parses(DIGEST)
        assert (told["parsed"], told["fee"], len(told["files"])) == (1, "0.004", 2)

    async def test_what_was_read_before_all_hosts_failed_is_told_to_the_next(
        self, client: OpenRouterClient, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("upstream_503", times=1)
        going = run(client, ask("mistral-ocr"))
        completion = await going.complete()

        failed, answered = going.attempts
        assert [text_of(each) for each in failed.file_annotations] == ["Of patience\nOf hope"]
        assert answered.error is None
        assert completion.parsing_cost is None
        told = openrouter.parses(DIGEST)
        assert (told["parsed"], told["fee"], len(told["files"])) == (1, "0.004", 2)
        assert failed.generation_id
        assert openrouter.bill(failed.generation_id)["total"] == "0.004"
