"""Chunks and bodies fold into one completion, whatever the host did to them."""

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_samples import COST, GENERATION_ID, MODEL, STREAM, body, chunk, cuttings, text, usage_chunk

from app.openrouter import errors
from app.openrouter.sse import SSEReader
from app.openrouter.streaming import CompletionFold, joined
from app.openrouter.types import (
    AnnotationDelta,
    Completion,
    ContentDelta,
    GenerationStarted,
    ImageDelta,
    ReasoningDelta,
    ToolCall,
    Usage,
)

STOP = chunk(finish="stop")


def fold(*payloads: dict[str, Any] | bytes) -> Completion:
    folding = CompletionFold()
    for payload in payloads:
        folding.feed(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    return folding.finish()


def fold_stream(pieces: list[bytes]) -> tuple[list[Any], Completion]:
    reader, folding = SSEReader(), CompletionFold()
    payloads = [event for piece in pieces for event in reader.feed(piece)] + reader.close()
    events = [event for payload in payloads if payload != b"[DONE]" for event in folding.feed(payload)]
    return events, folding.finish()


def call(id_: str | None, name: str | None, arguments: str | None, **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


class TestWholeStream:
    @given(cuttings(STREAM))
    def test_any_cutting_folds_the_same(self, pieces: list[bytes]) -> None:
        assert fold_stream(pieces) == fold_stream([STREAM])

    def test_everything_in_it_arrives(self) -> None:
        events, completion = fold_stream([STREAM])
        assert completion == Completion(
            generation_id=GENERATION_ID,
            model=MODEL,
            provider="Anthropic",
            content="بسم الله الرحمن — done 🌙",
            reasoning="Consider the verse.",
            reasoning_details=(
                {
                    "type": "reasoning.text",
                    "text": "Consider the verse.",
                    "index": 0,
                    "format": "anthropic-claude-v1",
                },
            ),
            annotations=({"type": "url_citation", "url_citation": {"url": "https://a"}},),
            finish_reason="stop",
            native_finish_reason="stop",
            usage=Usage(
                prompt_tokens=5200,
                completion_tokens=40,
                total_tokens=5240,
                cached_tokens=5000,
                cache_write_tokens=0,
                reasoning_tokens=12,
                audio_tokens=0,
                image_tokens=0,
                cost=Decimal(COST),
                is_byok=False,
            ),
        )
        assert [type(event) for event in events] == [
            GenerationStarted,
            ReasoningDelta,
            ReasoningDelta,
            ContentDelta,
            ContentDelta,
            AnnotationDelta,
            ContentDelta,
        ]

    def test_a_body_folds_like_a_stream(self) -> None:
        completion = fold(body({"content": "Peace.", "reasoning": "Hm."}, usage={"prompt_tokens": 3}))
        assert (completion.content, completion.reasoning, completion.finish_reason) == ("Peace.", "Hm.", "stop")
        assert completion.usage == Usage(prompt_tokens=3)

    def test_a_body_may_begin_with_white_space(self) -> None:
        assert fold(b"\n         \n" * 200 + body({"content": "Peace."})).content == "Peace."


class TestFinish:
    def test_without_a_finish_reason_it_is_cut(self) -> None:
        with pytest.raises(errors.TruncatedStream) as caught:
            fold(text("Half an ans"))
        assert caught.value.partial is not None
        assert caught.value.partial.content == "Half an ans"
        assert caught.value.generation_id == GENERATION_ID

    def test_an_empty_answer_is_none(self) -> None:
        with pytest.raises(errors.EmptyAnswer) as caught:
            fold(text(""), STOP, usage_chunk())
        assert caught.value.partial is not None
        assert caught.value.partial.usage is not None
        assert caught.value.partial.usage.cost == Decimal(COST)

    def test_reasoning_alone_is_an_empty_answer(self) -> None:
        with pytest.raises(errors.EmptyAnswer):
            fold(chunk({"reasoning": "Thinking only</think>"}, finish="stop"))

    def test_all_tokens_spent_on_reasoning_is_a_whole_answer_of_length(self) -> None:
        completion = fold(chunk({"reasoning": "Long"}, finish="length"))
        assert (completion.content, completion.finish_reason) == ("", "length")

    def test_the_last_finish_reason_counts(self) -> None:
        completion = fold(chunk({"tool_calls": [call("a", "f", "{}")]}, finish="tool_calls"), STOP, STOP)
        assert completion.finish_reason == "stop"
        assert completion.tool_calls

    def test_a_native_finish_reason_is_enough(self) -> None:
        payload = text("Done.")
        payload["choices"][0]["native_finish_reason"] = "end_turn"
        assert fold(payload).is_whole

    def test_a_refusal_is_an_answer(self) -> None:
        assert fold(chunk({"content": None, "refusal": "I cannot."}, finish="stop")).refusal == "I cannot."


class TestErrors:
    def test_an_error_chunk_keeps_what_came(self) -> None:
        error = {"code": 502, "message": "Provider disconnected", "metadata": {"error_type": "provider_unavailable"}}
        with pytest.raises(errors.UpstreamUnavailable) as caught:
            fold(text("Half"), chunk({"content": ""}, finish="error", error=error))
        assert caught.value.partial is not None
        assert caught.value.partial.content == "Half"
        assert (caught.value.status, caught.value.provider) == (502, "Anthropic")

    def test_an_error_chunk_may_have_no_choices(self) -> None:
        with pytest.raises(errors.RateLimited):
            fold({"error": {"code": "429", "message": "slow down"}, "user_id": "user_1"})

    def test_an_error_inside_the_choice_is_an_error(self) -> None:
        payload = chunk({"content": "part"}, finish="stop")
        payload["choices"][0]["error"] = {"code": 502, "message": "gone"}
        with pytest.raises(errors.UpstreamUnavailable) as caught:
            fold(payload)
        assert caught.value.partial is not None
        assert caught.value.partial.content == "part"

    def test_the_finish_reason_error_is_an_error_by_itself(self) -> None:
        with pytest.raises(errors.UpstreamUnavailable):
            fold(text("part"), chunk(finish="error"))

    def test_what_is_not_json_is_unreadable(self) -> None:
        with pytest.raises(errors.UnreadableAnswer) as caught:
            fold(text("part"), b'{"choices": [')
        assert caught.value.partial is not None
        assert caught.value.partial.content == "part"


class TestToolCalls:
    def test_pieces_join_by_index(self) -> None:
        completion = fold(
            chunk({"tool_calls": [call("a", "find", "", index=0)]}),
            chunk({"tool_calls": [call(None, None, '{"q":', index=0)]}),
            chunk({"tool_calls": [call("b", "list", None, index=1)]}),
            chunk({"tool_calls": [call("", None, ' "x"}', index=0), call(None, None, "{}", index=1)]}, finish="stop"),
        )
        assert completion.tool_calls == (
            ToolCall(id="a", name="find", arguments='{"q": "x"}'),
            ToolCall(id="b", name="list", arguments="{}"),
        )

    def test_fifteen_calls_under_index_0_stay_apart(self) -> None:
        pieces = [chunk({"tool_calls": [call(f"call_{n}", "f", f'{{"n": {n}}}', index=0)]}) for n in range(15)]
        completion = fold(*pieces, STOP)
        assert [each.arguments for each in completion.tool_calls] == [f'{{"n": {n}}}' for n in range(15)]

    def test_id_and_name_may_be_repeated(self) -> None:
        completion = fold(
            chunk({"tool_calls": [call("a", "f", '{"x"', index=0)]}),
            chunk({"tool_calls": [call("a", "f", ": 1}", index=0)]}, finish="tool_calls"),
        )
        assert completion.tool_calls == (ToolCall(id="a", name="f", arguments='{"x": 1}'),)

    def test_a_whole_call_said_twice_counts_once(self) -> None:
        said = chunk({"tool_calls": [call("a", "f", '{"x": 1}', index=0)]})
        assert fold(said, said, STOP).tool_calls == (ToolCall(id="a", name="f", arguments='{"x": 1}'),)

    def test_calls_of_a_body_need_no_index(self) -> None:
        message = {"content": None, "tool_calls": [call("a", "f", "{}"), call("b", "g", "{}")]}
        assert [each.name for each in fold(body(message, finish="tool_calls")).tool_calls] == ["f", "g"]

    def test_calls_without_ids_begin_with_their_names(self) -> None:
        message = {"content": None, "tool_calls": [call(None, "f", "{}"), call(None, "g", "{}")]}
        assert [each.name for each in fold(body(message)).tool_calls] == ["f", "g"]


class TestReasoningDetails:
    def test_a_signature_joins_its_text(self) -> None:
        completion = fold(
            chunk({"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]}),
            chunk({"reasoning": None, "reasoning_details": []}),
            chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]}),
            text("x", finish="stop"),
        )
        assert completion.reasoning_details == ({"type": "reasoning.text", "text": "a", "index": 0, "signature": "s"},)

    def test_another_index_is_another_block(self) -> None:
        details = [{"type": "reasoning.text", "text": "a", "index": n} for n in (0, 1)]
        assert fold(chunk({"reasoning_details": details, "content": "x"}, finish="stop")).reasoning_details == (
            *details,
        )

    def test_encrypted_blocks_stay_as_they_are(self) -> None:
        summary = [{"type": "reasoning.summary", "summary": part, "index": 0} for part in ("He ", "asks.")]
        encrypted = {"type": "reasoning.encrypted", "data": "abc", "id": "rs_1", "format": None, "index": 0}
        completion = fold(*(chunk({"reasoning_details": [each]}) for each in (*summary, encrypted)), text("x"), STOP)
        assert completion.reasoning_details == (
            {"type": "reasoning.summary", "summary": "He asks.", "index": 0},
            encrypted,
        )
        assert completion.reasoning == "He asks."


class TestOddValues:
    @given(st.sampled_from([None, "", 0, [], {}, "x", [None], [1], {"a": 1}, True]))
    def test_odd_members_do_no_harm(self, odd: Any) -> None:
        names = ["role", "content", "reasoning", "reasoning_details", "tool_calls", "images", "annotations", "refusal"]
        delta = dict.fromkeys(names, odd)
        completion = fold(chunk(delta, citations=odd, usage=odd, logprobs=odd), text("fine", finish="stop"))
        assert completion.content.endswith("fine")

    def test_choices_may_be_null_or_hold_nulls(self) -> None:
        empty = {"id": GENERATION_ID, "choices": None}
        assert fold(empty, {"choices": [None]}, {"choices": []}, text("x", finish="stop")).content == "x"

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            (rb"moon \ud83c\udf19", "moon 🌙"),
            (rb"half \ud83c", "half \ufffd"),
            (rb"\uDF19 half", "\ufffd half"),
            (b"byte \xff", "byte \ufffd"),
        ],
    )
    def test_a_broken_character_does_not_break_the_answer(self, written: bytes, read: str) -> None:
        payload = json.dumps(text("HERE", finish="stop")).encode().replace(b"HERE", written)
        assert fold(payload).content == read

    def test_images_come_with_and_without_an_index(self) -> None:
        images = [{"type": "image_url", "index": 0, "image_url": {"url": "data:a"}}, {"image_url": {"url": "data:b"}}]
        folding = CompletionFold()
        events = folding.feed(json.dumps(chunk({"content": None, "images": images}, finish="stop")).encode())
        assert events[1:] == [ImageDelta("data:a"), ImageDelta("data:b")]
        assert folding.finish().images == ("data:a", "data:b")

    def test_old_citations_become_annotations_once(self) -> None:
        completion = fold(text("a", citations=["https://a"]), text("b", citations=["https://a", "https://b"]), STOP)
        assert [each["url_citation"]["url"] for each in completion.annotations] == ["https://a", "https://b"]

    def test_what_is_properly_cited_is_not_listed_again(self) -> None:
        cited = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}
        assert fold(chunk({"annotations": [cited], "content": "x"}), text("", citations=["https://a"]), STOP) == fold(
            chunk({"annotations": [cited], "content": "x"}), STOP
        )


class TestUsage:
    @pytest.mark.parametrize("cost", ["0", "0.5", "3.4e-7", "6E-7", "0.0076509169000000005", "1"])
    def test_cost_is_exact(self, cost: str) -> None:
        usage = fold(text("x", finish="stop"), usage_chunk(cost)).usage
        assert usage is not None
        assert usage.cost == Decimal(cost)

    @pytest.mark.parametrize("cost", ["null", '"much"', "true", "-1", "{}"])
    def test_a_cost_that_is_none_is_unknown(self, cost: str) -> None:
        usage = fold(text("x", finish="stop"), usage_chunk(cost)).usage
        assert usage is not None
        assert usage.cost is None

    def test_details_may_be_null(self) -> None:
        bare = {"prompt_tokens": 1, "prompt_tokens_details": None, "completion_tokens_details": None, "cost": 0}
        assert fold(text("x", finish="stop", usage=bare)).usage == Usage(prompt_tokens=1, cost=Decimal(0))

    def test_upstream_cost_of_byok_is_kept_apart(self) -> None:
        details = {"upstream_inference_cost": 0.25}
        usage = fold(text("x", finish="stop"), usage_chunk("0", cost_details=details, is_byok=True)).usage
        assert usage is not None
        assert (usage.cost, usage.upstream_inference_cost, usage.is_byok) == (Decimal(0), Decimal("0.25"), True)

    def test_no_usage_is_none(self) -> None:
        assert fold(text("x", finish="stop", usage=None)).usage is None

    def test_usage_may_come_on_any_chunk_and_the_last_wins(self) -> None:
        first = text("x", usage={"prompt_tokens": 1})
        last = {"choices": [], "usage": {"prompt_tokens": 2}}
        assert fold(first, last, STOP).usage == Usage(prompt_tokens=2)


class TestJoined:
    def test_text_that_came_in_one_piece_is_one_event(self) -> None:
        events = [ReasoningDelta("a"), ReasoningDelta("b"), ContentDelta("c"), ImageDelta("u"), ContentDelta("d")]

        assert joined(events) == [ReasoningDelta("ab"), ContentDelta("c"), ImageDelta("u"), ContentDelta("d")]

    @given(st.lists(st.builds(ContentDelta, st.text(max_size=3)) | st.builds(ReasoningDelta, st.text(max_size=3))))
    def test_nothing_is_lost_and_nothing_changes_places(self, events: list[ContentDelta | ReasoningDelta]) -> None:
        told = joined(events)

        for kind in (ContentDelta, ReasoningDelta):
            text = "".join(each.text for each in events if isinstance(each, kind))
            assert "".join(each.text for each in told if isinstance(each, kind)) == text
        assert not any(type(one) is type(other) for one, other in pairwise(told))
