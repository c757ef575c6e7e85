"""Files beside questions, through the API to the emulator: the part on the wire, tokens, cost, gates, later turns."""

import asyncio
import base64
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import func, select

from app.db.models import ParsedFile
from app.domain.plans import PlanTier
from app.domain.principal import Role
from app.services import turn_files
from tests.conftest import Join, Serve
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.files import picture
from tests.support.ledger import ledger_lines, require_sound_books
from tests.support.operators import set_plan
from tests.support.samples import pdf, scan, wav
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

TEXT_ONLY, SEEING, HEARING = "qwen/qwen-plus", "openai/gpt-4o", "google/gemini-2.5-flash"
BOOK, BLANK = pdf("Of patience", "Of hope"), pdf("", "", "")


@pytest.fixture
async def premium(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


async def send(person: Person, name: str, content: bytes) -> str:
    """The id of a file that was uploaded."""
    answer = await person.http.post("/api/v1/attachments", files={"file": (name, content)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def ask(person: Person, conversation_id: str, *ids: str, **body: Any) -> dict[str, Any]:
    answer = await person.chat(conversation_id, "What is this?", attachment_ids=list(ids), **body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def sent(openrouter: EmulatorProcess, conversation_id: str) -> list[dict[str, Any]]:
    return [each["body"] for each in openrouter.requests(session_id=conversation_id)]


def parts_of(body: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    contents = [message["content"] for message in body["messages"] if isinstance(message["content"], list)]
    return [part for content in contents for part in content if part["type"] == kind]


def decoded(url: str) -> tuple[str, bytes]:
    head, _, data = url.partition(";base64,")
    return head, base64.b64decode(data, validate=True)


async def count_parsed(app: ServedApp, person: Person) -> int:
    async with app.services.database.read_only() as uow:
        query = select(func.count()).where(ParsedFile.user_id == person.user_id)
        return (await uow._session.execute(query)).scalar_one()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class TestPictures:
    async def test_the_part_the_tokens_and_the_cost(
        self, app: ServedApp, person: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await person.begin()
        bare = await ask(person, await person.begin())
        answer = await ask(person, conversation_id, await send(person, "a.png", picture(size=(640, 480))))

        (body,) = sent(openrouter, conversation_id)
        text, part = body["messages"][-1]["content"]
        assert text["text"] == "What is this?"
        kind, content = decoded(part["image_url"]["url"])
        assert (part["type"], kind) == ("image_url", "data:image/jpeg")
        assert Image.open(io.BytesIO(content)).size == (640, 480)
        assert answer["usage"]["prompt_tokens"] == bare["usage"]["prompt_tokens"] + 640 * 480 // 750
        line = (await ledger_lines(app, person))[-1]
        assert (line.kind, line.prompt_tokens) == ("chat", answer["usage"]["prompt_tokens"])
        await require_sound_books(app, openrouter, person)

    async def test_what_was_deleted_is_told_in_words(self, premium: Person, openrouter: EmulatorProcess) -> None:
        conversation_id = await premium.begin()
        one, two = await send(premium, "a.png", picture()), await send(premium, "b.png", picture(size=(90, 90)))
        await ask(premium, conversation_id, one, two)
        assert (await premium.http.delete(f"/api/v1/attachments/{one}")).status_code == 204
        answer = (await premium.chat(conversation_id, "And then?")).json()

        body = sent(openrouter, conversation_id)[-1]
        assert len(parts_of(body, "image_url")) == 1
        assert '[Picture "a.png", 64x48, shown earlier; it was deleted]' in str(body["messages"])
        assert "1 earlier file went along in words only: it was deleted." in answer["notes"]

    async def test_a_conversation_goes_on_with_a_model_that_cannot_see(
        self, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await premium.begin()
        await ask(premium, conversation_id, await send(premium, "a.png", picture()))
        answer = await premium.chat(conversation_id, "And then?", model=TEXT_ONLY)
        again = await premium.chat(conversation_id, "And now?", model=SEEING)

        assert answer.json()["model"] == TEXT_ONLY
        assert [len(parts_of(body, "image_url")) for body in sent(openrouter, conversation_id)] == [1, 0, 1]
        assert again.status_code == 200

    async def test_what_comes_first_stays_the_same_to_the_letter(
        self, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await premium.begin()
        await ask(premium, conversation_id, await send(premium, "a.png", picture()))
        for _ in range(2):
            await premium.chat(conversation_id, "And then?")

        urls = [parts_of(body, "image_url")[0]["image_url"]["url"] for body in sent(openrouter, conversation_id)]
        assert len(urls) == 3
        assert len(set(urls)) == 1


class TestDocuments:
    async def test_the_text_they_hold_is_read_for_nothing(
        self, app: ServedApp, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await premium.begin()
        answer = await ask(premium, conversation_id, await send(premium, "b.pdf", BOOK), model=TEXT_ONLY)

        (body,) = sent(openrouter, conversation_id)
        (part,) = parts_of(body, "file")
        assert part["file"]["filename"] == "b.pdf"
        assert decoded(part["file"]["file_data"]) == ("data:application/pdf", BOOK)
        assert body["plugins"] == [{"id": "file-parser", "pdf": {"engine": "cloudflare-ai"}}]
        assert answer["usage"]["prompt_tokens"] > 2 * 1500
        assert [line.kind for line in await ledger_lines(app, premium)] == ["chat"]
        await require_sound_books(app, openrouter, premium)

    async def test_recognition_is_paid_for_once_in_all_conversations(
        self, app: ServedApp, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        file, again = await send(premium, "b.pdf", BOOK), await send(premium, "another name.pdf", BOOK)
        first, second, third = [await premium.begin() for _ in range(3)]
        answer = await ask(premium, first, file, model=TEXT_ONLY, pdf_engine="ocr")
        assert answer["pdf_ocr_cost_usd"] == 0.004
        assert 'The pages of "b.pdf" are read by OCR at $0.002 a page, about $0.004 in all.' in answer["notes"]

        for conversation_id, attached in ((first, []), (second, [file]), (third, [again])):
            later = await ask(premium, conversation_id, *attached, model=TEXT_ONLY, pdf_engine="ocr")
            assert later["pdf_ocr_cost_usd"] is None
            assert not any("OCR" in note for note in later["notes"])
        later = await ask(premium, second, model=TEXT_ONLY)

        told = openrouter.parses(digest(BOOK))
        assert (told["parsed"], told["fee"], len(told["files"])) == (1, "0.004", 5)
        lines = await ledger_lines(app, premium)
        assert [line.kind for line in lines].count("pdf_ocr") == 1
        await require_sound_books(app, openrouter, premium)
        opened, followed = (without_marks(body["messages"]) for body in sent(openrouter, second))
        assert followed[: len(opened)] == opened
        assert [role for role, _ in opened] == ["system", "user", "assistant", "user"]

    async def test_what_was_read_of_a_file_goes_with_the_last_that_is_the_same(
        self, app: ServedApp, premium: Person
    ) -> None:
        one, same = await send(premium, "b.pdf", BOOK), await send(premium, "c.pdf", BOOK)
        await ask(premium, await premium.begin(), one, model=TEXT_ONLY, pdf_engine="text")

        await premium.http.delete(f"/api/v1/attachments/{one}")
        assert await count_parsed(app, premium) == 1
        await premium.http.delete(f"/api/v1/attachments/{same}")
        assert await count_parsed(app, premium) == 0

    async def test_what_was_read_goes_with_the_conversation(self, app: ServedApp, premium: Person) -> None:
        file, conversation_id = await send(premium, "b.pdf", BOOK), await premium.begin()
        link = {"kind": "pdf", "url": "https://books.example.org/patience.pdf"}
        await ask(premium, conversation_id, file, attachment_urls=[link], model=TEXT_ONLY, pdf_engine="text")
        assert await count_parsed(app, premium) == 2

        await premium.http.delete(f"/api/v1/conversations/{conversation_id}")
        assert await count_parsed(app, premium) == 0

    async def test_somebody_else_pays_for_themselves(
        self, app: ServedApp, premium: Person, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        other = await join_app(app, plan=PlanTier.PREMIUM)
        for person in (premium, other):
            file = await send(person, "b.pdf", BOOK)
            assert (await ask(person, await person.begin(), file, model=TEXT_ONLY, pdf_engine="ocr"))[
                "pdf_ocr_cost_usd"
            ]

        assert openrouter.parses(digest(BOOK))["parsed"] == 2

    async def test_where_the_free_engine_found_nothing_the_next_question_has_it_recognised(
        self, app: ServedApp, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await premium.begin()
        answer = await ask(premium, conversation_id, await send(premium, "blank.pdf", BLANK), model=TEXT_ONLY)
        assert answer["pdf_ocr_cost_usd"] is None
        (note,) = [note for note in answer["notes"] if "blank.pdf" in note]
        assert note.startswith('No text was found in "blank.pdf".')

        answer = await ask(premium, conversation_id, model=TEXT_ONLY)
        assert answer["pdf_ocr_cost_usd"] == 0.006
        await ask(premium, conversation_id, model=TEXT_ONLY)
        told = openrouter.parses(digest(BLANK))
        assert [(row["engine"], row["parsed"]) for row in told["files"]] == [
            ("cloudflare-ai", True),
            ("mistral-ocr", True),
            ("cloudflare-ai", False),
        ]
        await require_sound_books(app, openrouter, premium)

    async def test_a_document_without_any_font_is_recognised_at_once(
        self, app: ServedApp, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        file = await send(premium, "scan.pdf", scan(3))
        answer = await ask(premium, await premium.begin(), file, model=TEXT_ONLY)
        by_itself = await ask(premium, await premium.begin(), file, model=TEXT_ONLY, pdf_engine="text")

        assert answer["pdf_ocr_cost_usd"] == 0.006
        assert any("scan.pdf" in note and "$0.006" in note for note in answer["notes"])
        assert by_itself["pdf_ocr_cost_usd"] is None
        await require_sound_books(app, openrouter, premium)

    async def test_what_was_read_in_vain_is_not_read_again(
        self, app: ServedApp, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        openrouter.fault("upstream_400", times=1)
        conversation_id, file = await premium.begin(), await send(premium, "b.pdf", BOOK)
        failed = await premium.chat(
            conversation_id, attachment_ids=[file], model=TEXT_ONLY, fallback_models=[], pdf_engine="ocr"
        )
        assert failed.status_code == 502
        answer = await ask(premium, conversation_id, file, model=TEXT_ONLY, pdf_engine="ocr")

        assert answer["pdf_ocr_cost_usd"] is None
        assert openrouter.parses(digest(BOOK))["parsed"] == 1


class TestRecordings:
    async def test_the_part_the_tokens_and_the_cost(
        self, app: ServedApp, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id, content = await premium.begin(), wav(5)
        answer = await ask(premium, conversation_id, await send(premium, "c.wav", content), model=HEARING)

        (body,) = sent(openrouter, conversation_id)
        (part,) = parts_of(body, "input_audio")
        assert part["input_audio"] == {"data": base64.b64encode(content).decode(), "format": "wav"}
        assert answer["audio_tokens"] == 160
        stored = (await premium.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"]
        assert stored[-1]["audio_tokens"] == 160
        (line,) = await ledger_lines(app, premium)
        assert line.prompt_tokens == answer["usage"]["prompt_tokens"] > 160
        await require_sound_books(app, openrouter, premium)

    async def test_where_nobody_named_a_model_one_that_hears_answers(self, premium: Person) -> None:
        answer = await ask(premium, await premium.begin(), await send(premium, "c.wav", wav()))

        (note,) = [note for note in answer["notes"] if "cannot hear audio" in note and "answers" in note]
        assert note.startswith(f"'{answer['model']}' answers: ")

    async def test_a_named_model_that_cannot_hear_is_refused(
        self, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await premium.begin()
        file = await send(premium, "c.wav", wav())
        answer = await premium.chat(conversation_id, attachment_ids=[file], model=SEEING)

        assert (answer.status_code, answer.json().get("error")) == (422, "model_lacks_input")
        assert answer.json()["models"]
        assert sent(openrouter, conversation_id) == []

    async def test_it_can_be_switched_off(self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess) -> None:
        app = await serve_app()
        premium = await join_app(app, plan=PlanTier.PREMIUM)
        conversation_id = await premium.begin()
        file = await send(premium, "c.wav", wav())
        await ask(premium, conversation_id, file, model=HEARING)
        without = await serve_app(audio_processing_enabled=False)
        again = without.client(headers=dict(premium.http.headers))
        body = {"conversation_id": conversation_id, "message": "And?", "model": HEARING}
        refused = await again.post("/api/v1/chat", json=body | {"attachment_ids": [file]})
        answer = await again.post("/api/v1/chat", json=body)

        assert (refused.status_code, refused.json().get("error")) == (503, "feature_disabled")
        assert "1 earlier file went along in words only: it is not read on this plan." in answer.json()["notes"]
        assert parts_of(sent(openrouter, conversation_id)[-1], "input_audio") == []
        await again.aclose()


class TestPlans:
    async def test_what_premium_sent_is_told_in_words_on_free(
        self, app: ServedApp, premium: Person, join_app: Join, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await premium.begin()
        file = await send(premium, "b.pdf", BOOK)
        await ask(premium, conversation_id, file)
        operator = await join_app(app, role=Role.ADMIN)
        assert (await set_plan(operator, premium, "free")).status_code == 200
        refused = await premium.chat(conversation_id, attachment_ids=[file])
        answer = await premium.chat(conversation_id, "And then?")

        assert (refused.status_code, refused.json().get("error")) == (403, "feature_not_available")
        assert answer.status_code == 200, answer.text
        assert parts_of(sent(openrouter, conversation_id)[-1], "file") == []


class TestOtherWaysToAsk:
    async def test_an_answer_by_a_schema_takes_files_as_well(
        self, app: ServedApp, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await premium.begin()
        files = [await send(premium, "a.png", picture()), await send(premium, "b.pdf", BOOK)]
        schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
        body = {"conversation_id": conversation_id, "message": "What is this?", "response_schema": schema}
        answer = await premium.http.post(
            "/api/v1/chat/structured", json=body | {"attachment_ids": files, "model": "openai/gpt-4o"}
        )

        assert answer.status_code == 200, answer.text
        assert answer.json()["schema_validation_passed"] is True
        (asked,) = sent(openrouter, conversation_id)
        assert (len(parts_of(asked, "image_url")), len(parts_of(asked, "file"))) == (1, 1)
        assert asked["plugins"][0]["pdf"]["engine"] == "native"
        await require_sound_books(app, openrouter, premium)

    async def test_answered_once_more_the_files_go_along_again(
        self, premium: Person, openrouter: EmulatorProcess
    ) -> None:
        conversation_id = await premium.begin()
        first = await ask(premium, conversation_id, await send(premium, "b.pdf", BOOK), model=TEXT_ONLY)
        again = await premium.http.post(
            f"/api/v1/chat/messages/{first['message_id']}/regenerate", json={"model": TEXT_ONLY}
        )

        assert again.status_code == 200, again.text
        assert [len(parts_of(body, "file")) for body in sent(openrouter, conversation_id)] == [1, 1]
        assert openrouter.parses(digest(BOOK))["parsed"] == 1


class TestStores:
    @pytest.mark.parametrize("storage", ["database", "local"])
    async def test_bytes_come_from_wherever_they_lie(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess, storage: str
    ) -> None:
        app = await serve_app(image_storage_type=storage)
        premium = await join_app(app, plan=PlanTier.PREMIUM)
        conversation_id = await premium.begin()
        await ask(premium, conversation_id, await send(premium, "b.pdf", BOOK))

        (part,) = parts_of(sent(openrouter, conversation_id)[0], "file")
        assert decoded(part["file"]["file_data"])[1] == BOOK

    async def test_a_process_holds_only_so_many_bytes_at_a_time(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turn_files, "MOST_HELD_BYTES", len(BOOK) + 10)
        app = await serve_app()
        premium = await join_app(app, plan=PlanTier.PREMIUM)
        file = await send(premium, "b.pdf", BOOK)
        openrouter.fault("slow_headers", params={"seconds": 0.2})
        conversations = [await premium.begin() for _ in range(3)]
        await asyncio.gather(*(ask(premium, each, file) for each in conversations[:2]), ask(premium, conversations[2]))

        first, second = sorted(
            (openrouter.requests(session_id=each)[0] for each in conversations[:2]), key=lambda each: each["number"]
        )
        assert second["started_at"] >= first["finished_at"]
        (without_files,) = openrouter.requests(session_id=conversations[2])
        assert without_files["started_at"] < first["finished_at"]

    async def test_a_file_that_cannot_be_read_ends_the_turn_in_words_and_costs_nothing(
        self, serve_app: Serve, join_app: Join, openrouter: EmulatorProcess, tmp_path: Any
    ) -> None:
        folder = tmp_path / "files"
        app = await serve_app(image_storage_type="local", image_storage_path=folder)
        premium = await join_app(app, plan=PlanTier.PREMIUM)
        conversation_id, file = await premium.begin(), await send(premium, "b.pdf", BOOK)
        for each in folder.rglob("*"):
            if each.is_file():
                each.unlink()
        answer = await premium.chat(conversation_id, attachment_ids=[file])

        assert (answer.status_code, answer.json().get("error")) == (503, "files_unavailable")
        assert sent(openrouter, conversation_id) == []
        assert (await premium.usage())["messages"]["used"] == 0
        assert (await premium.usage())["total_cost_usd"] == 0


def without_marks(messages: Sequence[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Roles and contents; a text alone is the same written plainly."""
    out: list[tuple[str, Any]] = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            content = [{key: part[key] for key in part if key != "cache_control"} for part in content]
            if len(content) == 1 and content[0]["type"] == "text":
                content = content[0]["text"]
        out.append((message["role"], content))
    return out
