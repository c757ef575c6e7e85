"""What of the files beside messages goes along, what is told in words, and how documents are read."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from app.core.errors import InvalidField
from app.domain.prompting import Said
from app.openrouter.catalog import shipped_catalog
from app.openrouter.media import Media
from app.openrouter.parsed_files import EngineChoice, PdfOption, ReadBefore, choose_engine
from app.services.message_media import MOST_REQUEST_BYTES, Beside, MediaHandling, TurnFiles, handle_media

Q1, A1, Q2, A2 = (UUID(int=number) for number in range(1, 5))
PICTURE = Media(kind="image", name="a.png", source="1" * 64, width=640, height=480, size_bytes=1_000)
BOOK = Media(kind="pdf", name="b.pdf", source="2" * 64, pages=3)
OTHER = Media(kind="pdf", name="c.pdf", source="3" * 64, pages=1)
VOICE = Media(kind="audio", name="d.wav", source="4" * 64, seconds=3)
NOTHING = EngineChoice("cloudflare-ai", {})


def read(media: Media, engine: Any, *, by: UUID = A1, text: str = "Of hope") -> ReadBefore:
    parts = [{"type": "text", "text": text}] if text else []
    return ReadBefore(engine, str(by), {"type": "file", "file": {"name": media.name, "content": parts}})


def said(answer: str = "Yes.") -> list[Said]:
    return [
        Said(Q1, None, "user", "What is this?", True),
        Said(A1, Q1, "assistant", answer, True, 1),
        Said(Q2, A1, "user", "And then?", True, 2),
        Said(A2, Q2, "assistant", "No.", True, 3),
    ]


def handling(engine: EngineChoice = NOTHING, **refused: str) -> MediaHandling:
    return MediaHandling(refused=refused, engine=engine)


def names(content: Any) -> list[str]:
    """The text and the names of what goes along, in order."""
    if isinstance(content, str):
        return [content]
    return [part["text"] if "text" in part else part["media"].name for part in content]


class TestEngines:
    @pytest.mark.parametrize(
        ("option", "reads", "before", "engine", "known"),
        [
            ("auto", True, [], "native", False),
            ("auto", True, [read(BOOK, "cloudflare-ai")], "native", False),
            ("auto", True, [read(BOOK, "mistral-ocr")], "cloudflare-ai", True),
            ("auto", False, [], "cloudflare-ai", False),
            ("auto", False, [read(BOOK, "cloudflare-ai")], "cloudflare-ai", True),
            ("auto", False, [read(BOOK, "cloudflare-ai", text="")], "mistral-ocr", False),
            ("auto", False, [read(BOOK, "cloudflare-ai", text=""), read(BOOK, "mistral-ocr")], "cloudflare-ai", True),
            ("native", True, [read(BOOK, "mistral-ocr")], "native", False),
            ("text", True, [], "cloudflare-ai", False),
            ("text", True, [read(BOOK, "cloudflare-ai", text="")], "cloudflare-ai", True),
            ("ocr", True, [], "mistral-ocr", False),
            ("ocr", True, [read(BOOK, "cloudflare-ai")], "mistral-ocr", False),
            ("ocr", True, [read(BOOK, "mistral-ocr")], "cloudflare-ai", True),
        ],
    )
    def test_recognition_is_never_chosen_unasked_nor_paid_for_twice(
        self, option: PdfOption, reads: bool, before: Sequence[ReadBefore], engine: str, known: bool
    ) -> None:
        choice = choose_engine(option, model_reads_files=reads, files=[BOOK], before={BOOK.source: before})
        reading = choice.reading([BOOK])
        assert (reading.engine, BOOK.source in choice.known) == (engine, known)
        assert reading.fresh == (() if known else (BOOK,))

    def test_a_document_known_to_hold_no_text_is_recognised_at_once(self) -> None:
        scan = Media(kind="pdf", name="s.pdf", source="5" * 64, pages=4, has_text=False)
        reading = choose_engine("auto", model_reads_files=False, files=[scan], before={}).reading([scan])
        assert (reading.engine, str(reading.most_usd), reading.pages) == ("mistral-ocr", "0.008", 4)


class TestQuestions:
    def test_the_text_comes_first_and_nothing_is_added_to_it_alone(self) -> None:
        assert handling().question("What is this?", []) == ({"role": "user", "content": "What is this?"},)
        (message,) = handling().question("What is this?", [Beside(PICTURE), Beside(BOOK)])
        assert names(message["content"]) == ["What is this?", "a.png", "b.pdf"]

    def test_what_was_read_before_is_introduced_and_the_rest_stays_with_the_question(self) -> None:
        engine = EngineChoice("cloudflare-ai", {BOOK.source: read(BOOK, "cloudflare-ai")})
        files, answer, question = handling(engine).question("Compare", [Beside(PICTURE), Beside(BOOK), Beside(OTHER)])
        assert names(files["content"]) == ["b.pdf"]
        assert (answer["role"], len(answer["annotations"])) == ("assistant", 1)
        assert names(question["content"]) == ["Compare", "a.png", "c.pdf"]


class TestEarlierMessages:
    def test_what_an_answer_brought_goes_back_with_that_answer(self) -> None:
        engine = EngineChoice("cloudflare-ai", {BOOK.source: read(BOOK, "cloudflare-ai", by=A1)})
        first, answer, *rest = handling(engine).said(said(), {Q1: [Beside(BOOK)]})
        assert [names(message["content"]) for message in first.as_sent] == [["What is this?", "b.pdf"]]
        assert answer.as_sent[0]["annotations"] == [engine.known[BOOK.source].annotation]
        assert [each.wire for each in rest] == [(), ()]

    def test_what_another_conversation_brought_is_introduced_and_stays_so(self) -> None:
        engine = EngineChoice("cloudflare-ai", {BOOK.source: read(BOOK, "cloudflare-ai", by=UUID(int=99))})
        asked = handling(engine).question("What is this?", [Beside(BOOK)])
        first, answer, *_ = handling(engine).said(said(), {Q1: [Beside(BOOK)]})
        assert first.as_sent == asked
        assert "annotations" not in answer.as_sent[0]

    def test_what_the_model_cannot_take_and_what_is_gone_is_told_in_words(self) -> None:
        beside = {Q1: [Beside(PICTURE), Beside(VOICE, is_gone=True)], Q2: [Beside(BOOK)]}
        first, _, second, _ = handling(image="this model cannot see pictures").said(said(), beside)
        assert first.as_sent[0]["content"] == (
            "What is this?\n\n"
            '[Picture "a.png", 640x480, shown earlier; this model cannot see pictures]\n'
            '[Recording "d.wav", 3 s, shown earlier; it was deleted]'
        )
        assert names(second.as_sent[0]["content"]) == ["And then?", "b.pdf"]
        assert first.in_words == ("this model cannot see pictures", "it was deleted")


class TestHandling:
    def handle(self, model: str, *, closed: Sequence[str] = (), **files: Any) -> MediaHandling:
        profile = shipped_catalog().get(model)
        return handle_media(profile=profile, closed=closed, option="auto", files=TurnFiles(**files))

    def test_it_goes_by_the_model_and_the_plan(self) -> None:
        assert set(self.handle("qwen/qwen-plus").refused) == {"image", "audio"}
        assert set(self.handle("openai/gpt-4o").refused) == {"audio"}
        assert set(self.handle("google/gemini-2.5-flash", closed=["pdf"]).refused) == {"pdf"}

    def test_too_much_for_one_question_is_refused(self) -> None:
        large = Media(kind="image", name="", source="9" * 64, size_bytes=MOST_REQUEST_BYTES // 2 + 1)
        with pytest.raises(InvalidField):
            self.handle("openai/gpt-4o", asked=[Beside(large), Beside(large)])

    def test_too_much_in_all_leaves_out_the_oldest_in_big_steps(self) -> None:
        quarter = Media(kind="image", name="", source="9" * 64, size_bytes=MOST_REQUEST_BYTES // 4)
        ids = [UUID(int=100 + number) for number in range(9)]
        left_out = [
            len(self.handle("openai/gpt-4o", beside={each: [Beside(quarter)] for each in ids[:count]}).too_much)
            for count in range(1, 10)
        ]
        assert left_out == [0, 0, 0, 0, 2, 2, 4, 4, 6]
