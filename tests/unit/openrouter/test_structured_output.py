"""Schemas, healing, partial data and verdicts, without a wire."""

import json
import time
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.openrouter.answer_schema import AnswerSchema
from app.openrouter.errors import AnswerMisfit
from app.openrouter.json_healing import NotJson, read_json
from app.openrouter.schema_walk import SchemaGraph, SchemaProblem
from app.openrouter.structured_output import MOST_ECHO_CHARS, PartialAnswer, read_answer
from app.openrouter.types import Completion

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab{}[],"\\', max_size=4), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text('ab{}[],"\\ ', max_size=4), JSON, min_size=1, max_size=4)
TREE = {"$defs": {"t": {"properties": {"l": {"allOf": [{"$ref": "#/$defs/t"}] * 2}}}}, "$ref": "#/$defs/t"}


class TestReading:
    @given(JSON)
    def test_json_is_read_as_it_is(self, value: Any) -> None:
        assert read_json(json.dumps(value)) == (value, False)

    @given(OBJECTS)
    def test_what_stands_around_it_is_left_out(self, value: Any) -> None:
        text = json.dumps(value)
        if "```" not in text:
            assert read_json(f"Here it is:\n\n```json\n{text}\n```\nAnything else?") == (value, True)
        assert read_json(f"Here it is: {text} Anything else?") == (value, True)

    @given(OBJECTS)
    def test_brackets_missing_at_the_end_are_added(self, value: Any) -> None:
        text = json.dumps({"first": value, "last": ["whole"]})
        for missing in (1, 2):
            assert read_json(text[:-missing]) == ({"first": value, "last": ["whole"]}, True)

    @given(OBJECTS, st.data())
    def test_an_answer_cut_anywhere_is_whole_or_refused_but_never_shortened_within_a_value(
        self, value: dict[str, Any], data: st.DataObject
    ) -> None:
        text = json.dumps(value)
        cut = text[: data.draw(st.integers(1, len(text) - 1))]
        try:
            read, _ = read_json(cut)
        except NotJson:
            return
        assert _is_part(read, value)

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ('{"a": [1, 2, ], }', {"a": [1, 2]}),
            ('{"a": ",]"}!', {"a": ",]"}),
            ('{"a": true', {"a": True}),
            ('["\\"]"', ['"]']),
        ],
    )
    def test_healed(self, text: str, value: Any) -> None:
        assert read_json(text) == (value, True)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "In a word: no.",
            '{"a": "cut in the mid',
            '{"a": 12',
            '{"a": tru',
            '{"a":',
            '{"a"',
            '{"a": 1}{"b": 2}',
            "Well, {maybe}.",
            '{"a": NaN}',
            '{"a": 1e999}',
            "{a: 1}",
            "{'a': 1}",
            "[}",
            "[" * 100_000,
        ],
        ids=lambda text: text[:20],
    )
    def test_nothing_is_guessed(self, text: str) -> None:
        with pytest.raises(NotJson):
            read_json(text)

    @pytest.mark.parametrize(
        "text", ['{"a":"' + '\\"' * 200_000, "```" * 100_000, '{"a":[' + "1," * 200_000, '"' * 200_001, "x {" * 100_000]
    )
    def test_long_nonsense_takes_no_time(self, text: str) -> None:
        began = time.process_time()
        with pytest.raises(NotJson):
            read_json(text)
        assert time.process_time() - began < 1


def _is_part(read: Any, whole: Any) -> bool:
    if isinstance(read, dict) and isinstance(whole, dict):
        return all(name in whole and _is_part(each, whole[name]) for name, each in read.items())
    if isinstance(read, list) and isinstance(whole, list):
        return len(read) <= len(whole) and all(map(_is_part, read, whole))
    return read == whole


class TestLooks:
    @pytest.mark.parametrize(
        ("schema", "looks"),
        [
            ({}, [1, 0]),
            ({"properties": {"a": {}, "b": {}}}, [1, 1, 0]),
            ({"properties": {"a": {}}, "patternProperties": {"a": {}}}, [1, 2, 0]),
            ({"allOf": [{}, {"anyOf": [{}, {}]}]}, [5, 0]),
            ({"items": {"$ref": "#"}}, [1, 2, 2, 2]),
            (TREE, [2, 5, 10, 20]),
        ],
    )
    def test_are_counted_by_level(self, schema: dict[str, Any], looks: list[int]) -> None:
        graph = SchemaGraph(schema)

        assert [graph.looks(depth) for depth in range(len(looks))] == looks

    @pytest.mark.parametrize("schema", [{"$ref": "#"}, {"allOf": [{"not": {"$ref": "#"}}]}])
    def test_without_end(self, schema: dict[str, Any]) -> None:
        with pytest.raises(SchemaProblem, match="without end"):
            SchemaGraph(schema)

    @pytest.mark.parametrize(
        "schema", [{"const": {"$ref": "http://a"}}, {"properties": {"$ref": {"type": "string"}}}, {"title": "$ref"}]
    )
    def test_data_and_names_are_no_references(self, schema: dict[str, Any]) -> None:
        AnswerSchema(schema)


class TestMisfits:
    def test_an_answer_that_would_take_for_ever_is_not_valid(self) -> None:
        value: dict[str, Any] = {}
        for _ in range(40):
            value = {"l": value}
        began = time.process_time()

        (misfit,) = AnswerSchema(TREE).misfits(value)
        assert "nested too deep to be checked" in misfit.message
        assert time.process_time() - began < 0.5
        assert AnswerSchema(TREE).misfits({"l": {"l": {}}}) == []

    def test_a_pattern_made_to_hang_is_matched_at_once(self) -> None:
        schema = AnswerSchema({"pattern": "^(a+)+$"})
        began = time.process_time()

        assert schema.misfits("a" * 200_000) == []
        (misfit,) = schema.misfits("a" * 200_000 + "!")
        assert time.process_time() - began < 1
        assert len(misfit.message) < 300
        assert misfit.message.endswith('does not match "^(a+)+$"')

    @pytest.mark.parametrize(
        ("schema", "value", "place"),
        [
            ({"properties": {"a/b": {"items": {"type": "integer"}}}}, {"a/b": [1, "2"]}, "/a~1b/1"),
            ({"format": "date"}, "2026-02-30", "/"),
            ({"type": "string"}, "a\0b", "/"),
            ({"type": "object"}, {"a\0": 1}, "/"),
        ],
    )
    def test_are_told_with_their_place(self, schema: dict[str, Any], value: Any, place: str) -> None:
        assert [each.place for each in AnswerSchema(schema).misfits(value)] == [place]

    def test_at_most_ten(self) -> None:
        assert len(AnswerSchema({"items": {"type": "string"}}).misfits(list(range(100)))) == 10

    def test_deep_answers_are_not_looked_at(self) -> None:
        value: list[Any] = []
        for _ in range(64):
            value = [value]

        assert "nested deeper" in AnswerSchema({}).misfits(value)[0].message


class TestStrictness:
    CLOSED: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {"a": {"type": ["string", "null"]}},
        "required": ["a"],
        "additionalProperties": False,
    }

    def test_closed_objects_with_everything_required(self) -> None:
        assert AnswerSchema(self.CLOSED).is_strict

    @pytest.mark.parametrize(
        "change",
        [
            {"required": []},
            {"additionalProperties": True},
            {"type": ["object"]},
            {"properties": {"a": {"type": "number", "minimum": 1}}},
            {"properties": {"a": {"type": "object"}}},
            {"$defs": {"b": {"type": "object"}}},
        ],
        ids=str,
    )
    def test_anything_else_is_not(self, change: dict[str, Any]) -> None:
        assert not AnswerSchema(self.CLOSED | change).is_strict

    @pytest.mark.parametrize(
        ("title", "name"), [("A rating!", "A_rating"), ("آ", "answer"), ("x" * 80, "x" * 64), (None, "answer")]
    )
    def test_the_name_fits_the_wire(self, title: str | None, name: str) -> None:
        schema = AnswerSchema({"title": title} if title else {})

        assert schema.wire()["json_schema"]["name"] == name


class TestVerdicts:
    SCHEMA = AnswerSchema({"type": "object", "required": ["a"]})

    @pytest.mark.parametrize(
        ("completion", "is_mended"),
        [
            (Completion(content="{}", finish_reason="stop"), True),
            (Completion(content='{"a": 1}', finish_reason="length"), False),
            (Completion(refusal="No.", finish_reason="stop"), False),
        ],
    )
    def test_only_what_can_be_mended_is_sent_back(self, completion: Completion, is_mended: bool) -> None:
        with pytest.raises(AnswerMisfit) as caught:
            read_answer(completion, self.SCHEMA)

        assert bool(caught.value.repair) is is_mended

    def test_a_very_long_answer_is_not_sent_back(self) -> None:
        with pytest.raises(AnswerMisfit) as caught:
            read_answer(Completion(content="{" + " " * MOST_ECHO_CHARS, finish_reason="stop"), self.SCHEMA)

        assert [each["role"] for each in caught.value.repair] == ["user"]


class TestPartialAnswers:
    @given(OBJECTS)
    def test_all_that_is_told_stays_within_a_multiple_of_the_answer(self, value: dict[str, Any]) -> None:
        text = json.dumps(value | {"text": "word " * 200})
        partial = PartialAnswer()
        told = [each for each in map(partial.add, text) if each is not None]

        assert all(before != after for before, after in pairwise(told))
        assert sum(len(json.dumps(each)) for each in told) < 25 * len(text)

    def test_nothing_is_told_of_prose_and_of_a_fence_only_what_is_in_it(self) -> None:
        assert PartialAnswer().add("I would rather not.") is None
        assert PartialAnswer().add('Here:\n```json\n{"a": [1, 2') == {"a": [1, 2]}
