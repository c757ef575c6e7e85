"""docs/api.md against the code: endpoints with their fields, error codes, events, modes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import app.api.errors
from app.core.errors import AppError
from app.domain.modes import MODES
from app.main import create_app
from app.services import chat_events
from app.services.assembly import Services
from app.services.chat_events import ChatEvent
from tests.docs.pages import ROOT, code_words, page, section, table_rows
from tests.support.served import make_settings

API = "docs/api.md"
RESERVED_FROM_THE_START = {
    "message.started",
    "reasoning.delta",
    "content.delta",
    "citation",
    "image",
    "attempt.failed",
    "content.reset",
    "context.trimmed",
    "structured.delta",
    "message.completed",
    "message.stopped",
    "message.interrupted",
    "message.failed",
}
Operation = dict[str, Any]


def _documented_routes() -> list[str]:
    return re.findall(r"^### `([A-Z]+ /\S*)`$", page(API), re.MULTILINE)


@pytest.fixture
def openapi(tmp_path: Path) -> dict[str, Any]:
    settings = make_settings(database_url="", data_dir=tmp_path, openrouter_url="http://127.0.0.1:9/api/v1")
    return create_app(Services.build(settings)).openapi()


def _routes(openapi: dict[str, Any]) -> dict[str, Operation]:
    return {
        f"{method.upper()} {path}": operation
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    }


def _names_in(schema: Any, openapi: dict[str, Any]) -> Iterator[str]:
    """The field names of a schema and of what it refers to."""
    if isinstance(schema, list):
        for each in schema:
            yield from _names_in(each, openapi)
    elif isinstance(schema, dict):
        if "$ref" in schema:
            yield from _names_in(openapi["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], openapi)
        yield from schema.get("properties", {})
        for key in ("properties", "items", "anyOf", "allOf", "oneOf", "additionalProperties"):
            inner = schema.get(key)
            yield from _names_in(list(inner.values()) if key == "properties" and inner else inner, openapi)


def _body_names(content: dict[str, Any], openapi: dict[str, Any]) -> set[str]:
    return {name for media in content.values() for name in _names_in(media.get("schema"), openapi)}


class TestEndpoints:
    def test_the_page_and_the_app_know_the_same_routes(self, openapi: dict[str, Any]) -> None:
        documented = _documented_routes()

        assert sorted(documented) == sorted(_routes(openapi))

    def test_every_field_and_parameter_a_route_takes_is_explained(self, openapi: dict[str, Any]) -> None:
        missing = [
            f"{route}: {name}"
            for route, operation in _routes(openapi).items()
            for name in sorted(
                _body_names(operation.get("requestBody", {}).get("content", {}), openapi)
                | {parameter["name"] for parameter in operation.get("parameters", [])}
            )
            if name not in code_words(section(API, f"`{route}`")) and f"{{{name}}}" not in route
        ]
        assert missing == []

    def test_every_field_a_route_answers_with_is_named_on_the_page(self, openapi: dict[str, Any]) -> None:
        words = set(code_words(page(API)))
        missing = [
            f"{route}: {name}"
            for route, operation in _routes(openapi).items()
            for status, answer in operation["responses"].items()
            if status.startswith("2")
            for name in sorted(_body_names(answer.get("content", {}), openapi))
            if name not in words
        ]
        assert missing == []

    def test_every_mode_is_explained(self) -> None:
        assert set(MODES) <= set(code_words(section(API, "Conversations")))


def _subclasses(of: type[AppError]) -> Iterator[type[AppError]]:
    yield of
    for each in of.__subclasses__():
        yield from _subclasses(each)


def _codes_of_http_errors() -> set[tuple[str, int]]:
    """What api/errors.py writes by itself: its table of statuses, and the codes it gives by name."""
    tree = ast.parse(Path(app.api.errors.__file__).read_text("utf-8"))
    calls = [[_constant(each) for each in node.args[:2]] for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = {(str(call[1]), call[0]) for call in calls if len(call) == 2 and isinstance(call[0], int) and call[1]}
    assert ("invalid_json", 400) in named, "this test no longer finds the codes in api/errors.py"
    return named | {(code, status) for status, code in app.api.errors._CODES.items()}


def _constant(node: ast.expr) -> object:
    return node.value if isinstance(node, ast.Constant) else None


class TestErrors:
    def test_every_error_code_stands_in_the_table_with_its_status(self) -> None:
        own = {(each.code, each.status_code) for each in _subclasses(AppError) if each.__module__.startswith("app.")}
        rows = table_rows(section(API, "Errors"))
        documented = {(code_words(code)[0], int(status)) for code, status, _, _ in rows}

        assert documented == own | _codes_of_http_errors()

    def test_every_row_says_what_to_do(self) -> None:
        assert [row for row in table_rows(section(API, "Errors")) if not all(row)] == []


def _event_classes() -> dict[str, type[ChatEvent]]:
    found = [each for each in vars(chat_events).values() if isinstance(each, type) and issubclass(each, ChatEvent)]
    return {each.name: each for each in found if each is not ChatEvent}


def _event_rows() -> dict[str, tuple[str, set[str], str]]:
    text = section(API, "Events of a stream").partition("### Reading a stream")[0]
    return {code_words(name)[0]: (today, set(code_words(data)), means) for name, today, data, means in table_rows(text)}


def _is_made_somewhere(event: type[ChatEvent]) -> bool:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "src/app/services").glob("*.py"))
    return re.search(rf"(?<!class )\b{event.__name__}\((?!ChatEvent)", code) is not None


class TestEvents:
    def test_the_table_holds_every_agreed_name_and_every_class(self) -> None:
        assert set(_event_rows()) == RESERVED_FROM_THE_START | set(_event_classes())

    @pytest.mark.parametrize("name", sorted(_event_classes()))
    def test_the_row_lists_the_fields_of_the_class(self, name: str) -> None:
        fields = {field.name for field in msgspec.structs.fields(_event_classes()[name])}

        assert _event_rows()[name][1] == fields

    @pytest.mark.parametrize("name", sorted(RESERVED_FROM_THE_START))
    def test_reserved_is_what_nothing_sends(self, name: str) -> None:
        event = _event_classes().get(name)
        is_sent = event is not None and _is_made_somewhere(event)

        assert _event_rows()[name][0] == ("sent" if is_sent else "reserved")

    def test_the_last_events_are_marked(self) -> None:
        classes = {name for name, each in _event_classes().items() if each.is_last}
        marked = {name for name, (_, _, means) in _event_rows().items() if means.startswith("**Last.**")}

        assert marked == classes | {"message.stopped"}
