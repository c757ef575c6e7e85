"""Error objects become errors by meaning."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.openrouter import errors
from app.openrouter.error_reading import dig_message, read_error

NOW = datetime(2026, 11, 23, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ["code", "message", "metadata", "availability", "error_type", "http_status", "raw", "headers", "retry_after"]


def error(code: Any = None, message: str = "No.", **metadata: Any) -> dict[str, Any]:
    return {"code": code, "message": message, "metadata": metadata or None}


class TestMeaning:
    @pytest.mark.parametrize(
        ("status", "kind", "retryable"),
        [
            (400, errors.BadRequest, False),
            (401, errors.AuthenticationFailed, False),
            (402, errors.PaymentRequired, False),
            (403, errors.Forbidden, False),
            (404, errors.ModelNotFound, False),
            (408, errors.UpstreamTimeout, True),
            (409, errors.BadRequest, False),
            (413, errors.BadRequest, False),
            (422, errors.BadRequest, False),
            (429, errors.RateLimited, True),
            (499, errors.BadRequest, False),
            (500, errors.UpstreamUnavailable, True),
            (502, errors.UpstreamUnavailable, True),
            (503, errors.UpstreamUnavailable, True),
            (504, errors.UpstreamTimeout, True),
            (524, errors.UpstreamTimeout, True),
            (529, errors.UpstreamUnavailable, True),
        ],
    )
    def test_each_status_has_its_meaning(self, status: int, kind: type, retryable: bool) -> None:
        for found in (read_error(error(status)), read_error(error(str(status))), read_error(error(), status=status)):
            assert (type(found), found.retryable, found.status) == (kind, retryable, status)

    @pytest.mark.parametrize(
        ("message", "status", "kind"),
        [
            ("x/y is not a valid model ID", 400, errors.ModelNotFound),
            ("This endpoint's maximum context length is 8192 tokens.", 400, errors.ContextLengthExceeded),
            ("Key limit exceeded (total limit).", 403, errors.PaymentRequired),
            ("Workspace monthly budget of $500.00 exceeded.", 403, errors.PaymentRequired),
            ("Request blocked: prompt injection patterns detected", 403, errors.Forbidden),
            ("Your input was flagged", 403, errors.Moderated),
        ],
    )
    def test_some_meanings_stand_only_in_the_text(self, message: str, status: int, kind: type) -> None:
        assert type(read_error(error(status, message))) is kind

    def test_reasons_of_moderation(self) -> None:
        assert isinstance(read_error(error(403, reasons=["violence"], flagged_input="…")), errors.Moderated)

    def test_the_typed_reason_beats_the_status(self) -> None:
        assert type(read_error(error(400, error_type="context_length_exceeded"))) is errors.ContextLengthExceeded
        assert type(read_error({"code": "server_error", "message": "x"})) is errors.UpstreamUnavailable

    def test_a_refusal_of_the_host_inside_a_502_is_not_worth_a_retry(self) -> None:
        wrapped = error(502, 'Upstream said {"code":400,"message":"bad schema"}')
        assert (type(read_error(wrapped)), read_error(wrapped).retryable) == (errors.BadRequest, False)
        typed = error(502, 'Upstream said {"code":400}', error_type="provider_unavailable")
        assert type(read_error(typed)) is errors.BadRequest
        raw = error(502, "Provider returned error", raw='{"error":{"code":429,"message":"slow"}}')
        assert type(read_error(raw)) is errors.RateLimited

    def test_a_host_that_refuses_a_key_says_nothing_of_ours(self) -> None:
        refused = read_error(error(401, "Provider returned error", provider_name="Groq"))
        assert (type(refused), refused.worth_another_model) == (errors.Forbidden, True)

    def test_the_older_shape_of_availability_errors(self) -> None:
        found = read_error({"http_status": 404, "error_type": "not_found", "message": "gone"})
        assert (type(found), found.status) == (errors.ModelNotFound, 404)

    def test_a_validation_error_without_code_takes_the_status(self) -> None:
        assert type(read_error({"name": "ZodError", "message": "[…]"}, status=400)) is errors.BadRequest


class TestRetryable:
    def test_the_flag_of_availability_overrides(self) -> None:
        refused = {"code": 404, "message": "x", "availability": {"code": "no_endpoints", "retryable": True}}
        busy = {"code": 503, "message": "x", "availability": {"code": "temporarily_unavailable", "retryable": False}}
        assert read_error(refused).retryable
        assert not read_error(busy).retryable

    def test_a_402_is_never_retried(self) -> None:
        assert not read_error({"code": 402, "message": "x", "availability": {"retryable": True}}).retryable

    def test_a_403_is_no_failure_of_the_key_by_itself(self) -> None:
        gate = error(403, "Gate", failed_routing_step="Gate Free Endpoints by Agentic Harness")
        found = read_error(gate)
        assert not isinstance(found, errors.AuthenticationFailed)
        assert found.worth_another_model


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"Retry-After": "7"}, 7.0),
            ({"retry-after": "Mon, 23 Nov 2026 00:00:30 GMT"}, 30.0),
            ({"X-RateLimit-Reset": str(int(NOW.timestamp() * 1000) + 4500)}, 4.5),
            ({"X-RateLimit-Reset": str(int(NOW.timestamp() * 1000) - 4500)}, 0.0),
            ({"Retry-After": "soon"}, None),
            ({}, None),
        ],
    )
    def test_headers_tell(self, headers: dict[str, str], seconds: float | None) -> None:
        assert read_error(error(429), headers=headers, now=NOW).retry_after == seconds
        assert read_error(error(429, headers=headers), now=NOW).retry_after == seconds

    def test_availability_tells_first(self) -> None:
        body = {"code": 429, "message": "x", "availability": {"retry_after": 12}}
        assert read_error(body, headers={"Retry-After": "7"}, now=NOW).retry_after == 12.0


class TestDetails:
    @pytest.mark.parametrize(
        "raw",
        [
            '{"error":{"message":"too hot"}}',
            '{"type":"error","error":{"type":"x","message":"too hot"}}',
            '{"code":1,"error":"too hot"}',
            '{"errors":[{"message":"too hot"}]}',
            "too hot",
            {"message": "too hot"},
            '"too hot"',
        ],
    )
    def test_the_words_of_the_host_are_dug_out(self, raw: Any) -> None:
        found = read_error(error(502, "Provider returned error", raw=raw, provider_name="Groq"))
        assert (found.upstream_message, found.provider) == ("too hot", "Groq")
        assert str(found) == "Provider returned error (Groq: too hot)"

    @pytest.mark.parametrize("raw", [None, {"retryable": True}, "", 5, [], {}])
    def test_no_words_are_none(self, raw: Any) -> None:
        assert dig_message(raw) is None

    def test_what_was_tried_before_is_kept(self) -> None:
        tried = [{"provider": "Cerebras", "code": "rate_limited", "status": 429}]
        assert read_error(error(502, previous_errors=tried)).previous_errors == tuple(tried)

    def test_proposed_models_and_parsed_files_are_kept(self) -> None:
        body = error(404, file_annotations=[{"type": "file"}]) | {"availability": {"fallback_models": ["a/b"]}}
        found = read_error(body)
        assert (found.fallback_models, found.file_annotations) == (("a/b",), ({"type": "file"},))

    @given(st.dictionaries(st.sampled_from(MEMBERS), JSON) | JSON)
    def test_anything_can_be_read(self, body: Any) -> None:
        nested = {"metadata": body, "availability": body} if isinstance(body, dict) else body
        for each in (body, nested, json.loads(json.dumps(nested))):
            found = read_error(each, status=500, now=NOW)
            assert found.code
            assert str(found)
