"""Files that lie elsewhere: handed on by their addresses, never fetched here."""

from typing import Any

import pytest

from app.domain.plans import PlanTier
from tests.conftest import Join
from tests.emulator.process import EmulatorProcess
from tests.support.accounts import Person
from tests.support.ledger import ledger_lines, require_sound_books
from tests.support.served import ServedApp

pytestmark = pytest.mark.anyio

PICTURE = {"kind": "image", "url": "https://pictures.example.org/minaret.png"}
BOOK = {"kind": "pdf", "url": "https://books.example.org/patience.pdf"}
TEXT_ONLY = "qwen/qwen-plus"


def sent(openrouter: EmulatorProcess, conversation_id: str) -> list[dict[str, Any]]:
    """The bodies OpenRouter received for a conversation, oldest first."""
    return [each["body"] for each in openrouter.requests(session_id=conversation_id)]


def parts_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]]


@pytest.fixture
async def premium(app: ServedApp, join_app: Join) -> Person:
    return await join_app(app, plan=PlanTier.PREMIUM)


async def test_a_picture_goes_along_behind_the_text(
    app: ServedApp, person: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await person.begin()
    answer = await person.chat(conversation_id, "What is this?", attachment_urls=[PICTURE])

    assert answer.status_code == 200, answer.text
    (body,) = sent(openrouter, conversation_id)
    text, picture = body["messages"][-1]["content"]
    assert (text["type"], text["text"]) == ("text", "What is this?")
    assert picture == {"type": "image_url", "image_url": {"url": PICTURE["url"]}}
    assert "plugins" not in body
    stored = (await person.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"]
    assert [each["attachment_urls"] for each in stored] == [[PICTURE], []]
    await require_sound_books(app, openrouter, person)


async def test_https_may_be_written_in_capitals(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    capitals = {**PICTURE, "url": PICTURE["url"].replace("https", "HTTPS")}
    answer = await person.chat(conversation_id, "What is this?", attachment_urls=[capitals])

    assert answer.status_code == 200, answer.text
    (body,) = sent(openrouter, conversation_id)
    assert body["messages"][-1]["content"][1] == {"type": "image_url", "image_url": {"url": PICTURE["url"]}}


async def test_it_goes_along_with_later_questions_in_the_same_place(
    premium: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await premium.begin()
    await premium.chat(conversation_id, "What is this?", attachment_urls=[PICTURE])
    await premium.chat(conversation_id, "And who built it?")

    first, second = (without_marks(body["messages"]) for body in sent(openrouter, conversation_id))
    assert second[: len(first)] == first
    assert second[-1] == ("user", "And who built it?")


async def test_a_named_model_that_cannot_see_is_refused_before_the_call(
    premium: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await premium.begin()
    answer = await premium.chat(conversation_id, attachment_urls=[PICTURE], model=TEXT_ONLY)

    body = answer.json()
    assert (answer.status_code, body["error"]) == (422, "model_lacks_input")
    assert body["fields"][0]["field"] == "model"
    assert 0 < len(body["models"]) <= 5
    assert body["models"][0] == "anthropic/claude-sonnet-5.5"
    assert "cannot read images" in body["detail"]
    assert sent(openrouter, conversation_id) == []
    for model in body["models"]:
        able = await premium.chat(conversation_id, attachment_urls=[PICTURE], model=model)
        assert able.json()["model"] == model


async def test_free_is_told_of_models_that_free_may_use(person: Person) -> None:
    refused = await person.chat(await person.begin(), attachment_urls=[PICTURE], model="deepseek/deepseek-v3.2")

    assert refused.json()["error"] == "model_lacks_input"
    for model in refused.json()["models"]:
        answer = await person.chat(await person.begin(), attachment_urls=[PICTURE], model=model)
        assert answer.status_code == 200, answer.text


async def test_fallbacks_that_cannot_see_are_left_out_with_a_note(premium: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await premium.begin()
    answer = await premium.chat(
        conversation_id, attachment_urls=[PICTURE], model="openai/gpt-4o", fallback_models=[TEXT_ONLY, "openai/gpt-5"]
    )

    assert sent(openrouter, conversation_id)[0]["models"] == ["openai/gpt-4o", "openai/gpt-5"]
    assert f"'{TEXT_ONLY}' cannot read images and was left out." in answer.json()["notes"]


async def test_where_nobody_named_a_model_one_that_can_steps_in(
    serve_app: Any, join_app: Join, openrouter: EmulatorProcess
) -> None:
    app = await serve_app(llm_model=TEXT_ONLY, default_fallback_models="deepseek/deepseek-v3.2,openai/gpt-4o")
    premium = await join_app(app, plan=PlanTier.PREMIUM)
    answer = (await premium.chat(await premium.begin(), attachment_urls=[PICTURE])).json()

    assert answer["model"] == "openai/gpt-4o"
    assert f"'openai/gpt-4o' answers: '{TEXT_ONLY}' cannot read images." in answer["notes"]


async def test_old_pictures_are_told_in_words_to_a_model_that_cannot_see(
    premium: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await premium.begin()
    await premium.chat(conversation_id, "What is this?", attachment_urls=[PICTURE])
    answer = await premium.chat(conversation_id, "And who built it?", model=TEXT_ONLY, fallback_models=[])

    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == TEXT_ONLY
    question = sent(openrouter, conversation_id)[-1]["messages"][1]
    told = question["content"] if isinstance(question["content"], str) else question["content"][0]["text"]
    assert told == 'What is this?\n\n[Picture "minaret.png", shown earlier; this model cannot see pictures]'
    assert answer.json()["notes"] == ["1 earlier file went along in words only: this model cannot see pictures."]
    stored = (await premium.http.get(f"/api/v1/conversations/{conversation_id}")).json()["messages"]
    assert stored[-1]["notes"] == answer.json()["notes"]


async def test_a_document_is_read_by_the_model_or_for_nothing(
    app: ServedApp, premium: Person, openrouter: EmulatorProcess
) -> None:
    for model, engine in (("openai/gpt-4o", "native"), (TEXT_ONLY, "cloudflare-ai")):
        conversation_id = await premium.begin()
        answer = await premium.chat(conversation_id, attachment_urls=[BOOK], model=model)

        assert answer.status_code == 200, answer.text
        (body,) = sent(openrouter, conversation_id)
        assert body["plugins"] == [{"id": "file-parser", "pdf": {"engine": engine}}]
        (part,) = (part for part in parts_of(body) if part["type"] == "file")
        assert part["file"] == {"filename": "patience.pdf", "file_data": BOOK["url"]}
        assert answer.json()["pdf_ocr_cost_usd"] is None
    await require_sound_books(app, openrouter, premium)


async def test_recognition_is_shown_and_has_a_line_of_its_own(
    app: ServedApp, premium: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await premium.begin()
    answer = (await premium.chat(conversation_id, attachment_urls=[BOOK], model=TEXT_ONLY, pdf_engine="ocr")).json()

    assert answer["pdf_ocr_cost_usd"] == 0.002
    assert 'The pages of "patience.pdf" are read by OCR at $0.002 a page.' in answer["notes"]
    lines = await ledger_lines(app, premium)
    assert [(line.kind, line.messages) for line in lines] == [("chat", 1), ("pdf_ocr", 0)]
    assert [str(line.cost_usd.normalize()) for line in lines if line.kind == "pdf_ocr"] == ["0.002"]
    await require_sound_books(app, openrouter, premium)


async def test_what_was_read_of_it_goes_back_with_its_answer(
    app: ServedApp, premium: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await premium.begin()
    await premium.chat(conversation_id, attachment_urls=[BOOK], model=TEXT_ONLY, pdf_engine="ocr")
    answer = (await premium.chat(conversation_id, "And then?", model=TEXT_ONLY)).json()

    first, second = sent(openrouter, conversation_id)
    assert without_marks(second["messages"])[: len(first["messages"])] == without_marks(first["messages"])
    assert second["messages"][2]["annotations"][0]["file"]["name"] == "patience.pdf"
    assert second["plugins"][0]["pdf"]["engine"] == "cloudflare-ai"
    assert answer["pdf_ocr_cost_usd"] is None
    assert openrouter.parses()["parsed"] == 1
    await require_sound_books(app, openrouter, premium)


async def test_what_was_read_of_an_address_is_kept_on_each_branch_that_read_it(
    premium: Person, openrouter: EmulatorProcess
) -> None:
    for _ in range(2):
        conversation_id = await premium.begin()
        asked = await premium.chat(conversation_id, attachment_urls=[BOOK], model=TEXT_ONLY, pdf_engine="ocr")
        await premium.chat(conversation_id, "And then?", model=TEXT_ONLY, pdf_engine="ocr")
    assert openrouter.parses()["parsed"] == 2  # once in each conversation

    again = f"/api/v1/chat/messages/{asked.json()['message_id']}/regenerate"
    regenerated = await premium.http.post(again, json={"model": TEXT_ONLY, "pdf_engine": "ocr"})
    assert regenerated.status_code == 200, regenerated.text
    for _ in range(2):
        await premium.chat(conversation_id, "And then?", model=TEXT_ONLY, pdf_engine="ocr")
    assert openrouter.parses()["parsed"] == 3  # and once for the other answer


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "https://127.0.0.1/a.png",
        "https://user@example.org/a.png",
        "https://localhost/a.png",
    ],
)
async def test_addresses_that_are_not_public_are_refused(person: Person, openrouter: EmulatorProcess, url: str) -> None:
    conversation_id = await person.begin()
    answer = await person.chat(conversation_id, attachment_urls=[PICTURE, {"kind": "image", "url": url}])

    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == "attachment_urls.1.url"
    assert openrouter.requests(session_id=conversation_id) == []


async def test_documents_are_not_part_of_free(person: Person, openrouter: EmulatorProcess) -> None:
    conversation_id = await person.begin()
    answer = await person.chat(conversation_id, attachment_urls=[BOOK])

    assert (answer.status_code, answer.json().get("error")) == (403, "feature_not_available")
    assert answer.json()["available_in"] == "premium"
    assert openrouter.requests(session_id=conversation_id) == []


async def test_documents_can_be_switched_off(serve_app: Any, join_app: Join) -> None:
    app = await serve_app(pdf_processing_enabled=False)
    premium = await join_app(app, plan=PlanTier.PREMIUM)
    answer = await premium.chat(await premium.begin(), attachment_urls=[BOOK])

    assert (answer.status_code, answer.json().get("error")) == (503, "feature_disabled")


async def test_parsing_can_be_left_to_models(serve_app: Any, join_app: Join, openrouter: EmulatorProcess) -> None:
    app = await serve_app(pdf_skip_parsing=True)
    premium = await join_app(app, plan=PlanTier.PREMIUM)
    conversation_id = await premium.begin()

    refused = await premium.chat(conversation_id, attachment_urls=[BOOK], model=TEXT_ONLY)
    assert (refused.status_code, refused.json().get("error")) == (422, "model_lacks_input")
    asked = await premium.chat(conversation_id, attachment_urls=[BOOK], pdf_engine="ocr")
    assert (asked.status_code, asked.json()["fields"][0]["field"]) == (422, "pdf_engine")
    await premium.chat(conversation_id, attachment_urls=[BOOK])
    (body,) = sent(openrouter, conversation_id)
    assert body["plugins"][0]["pdf"]["engine"] == "native"


async def test_an_edited_question_keeps_its_files_unless_told_otherwise(
    premium: Person, openrouter: EmulatorProcess
) -> None:
    conversation_id = await premium.begin()
    asked = (await premium.chat(conversation_id, attachment_urls=[PICTURE])).json()
    edit = f"/api/v1/chat/messages/{asked['user_message_id']}/edit"
    await premium.http.post(edit, json={"message": "In other words?"})
    await premium.http.post(edit, json={"message": "Without it?", "attachment_urls": []})
    again = f"/api/v1/chat/messages/{asked['message_id']}/regenerate"
    await premium.http.post(again, json={})

    pictures = [
        sum(part["type"] == "image_url" for part in parts_of(body)) for body in sent(openrouter, conversation_id)
    ]
    assert pictures == [1, 1, 0, 1]


def without_marks(messages: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Roles and contents, text parts as plain text where they stand alone."""
    out: list[tuple[str, Any]] = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            content = [{key: part[key] for key in part if key != "cache_control"} for part in content]
            if len(content) == 1 and content[0]["type"] == "text":
                content = content[0]["text"]
        out.append((message["role"], content))
    return out
