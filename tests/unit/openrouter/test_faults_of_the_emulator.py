"""Every fault the emulator knows, streamed and not: a whole answer or a typed error, never a silent cut.

The emulator is another process, built from OpenRouter's contract alone; what it does wrong is done on purpose.
"""

from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.emulator.process import EmulatorProcess

from app.openrouter import errors
from app.openrouter.client import OpenRouterClient
from app.openrouter.errors import OpenRouterError
from app.openrouter.timeouts import Timeouts
from app.openrouter.types import ChatRequest, Completion, CompletionFinished, ContentDelta

pytestmark = pytest.mark.anyio

PATIENT = Timeouts(first_token=20, silence=20, total=30, after_finish=5)
QUICK = Timeouts(first_token=0.6, silence=0.6, total=1.2, after_finish=0.3)
SONNET = ChatRequest(
    messages=[{"role": "user", "content": "What is patience?"}], model="anthropic/claude-sonnet-5.5", max_tokens=2000
)
PARAMETERS = {"type": "object", "properties": {"verse": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": PARAMETERS}}]
CALLING = replace(SONNET, tools=TOOLS, tool_choice="required")
DRAWING = replace(SONNET, model="google/gemini-2.5-flash-image", modalities=("image", "text"))

Cut, Empty, Unreadable = errors.TruncatedStream, errors.EmptyAnswer, errors.UnreadableAnswer
Down, Late, Busy, Refused = errors.UpstreamUnavailable, errors.UpstreamTimeout, errors.RateLimited, errors.BadRequest

WHOLE = """
    after_done annotations_first bare_comments bare_usage byok coalesce codeless_error comment_storm cost_as crlf
    dated_model
    empty_annotations empty_data empty_reasoning_details error_metadata error_raw event_fields
    excess_reasoning_tokens extra_usage_fields fingerprint finish_reason finish_twice generation_404 gzip huge_line
    images_created_zero json_shape legacy_citations length_in_reasoning logprobs long_answer lost_reasoning_details
    nameless_file_annotation native_finish_reason no_cache_write_tokens no_done no_generation_id no_is_byok
    no_media_type no_provider no_usage no_user_id null_content null_usage_details odd_citations old_layout
    reasoning_format reasoning_style refusal refusal_field search_usage served_model service_tier split_events
    status_inside_message
    stray_think_end string_error_code think_tags unknown_fields upstream_cost usage_placement whitespace_padding
    zero_prompt_tokens zod_error
"""
"""Oddities that do the answer no harm; of an error's form nothing is seen while there is no error."""

FAILING: dict[str, type[OpenRouterError]] = {
    "charged_empty": Cut,
    "empty_answer": Cut,
    "no_finish_reason": Cut,
    "break_after_tokens": Cut,
    "reasoning_only": Empty,
    "stop_without_content": Empty,
    "html_200": Unreadable,
    "error_200": Down,
    "error_in_choice": Down,
    "reset_connection": errors.ConnectionFailed,
    "heartbeat_forever": Late,
    "slow_headers": Late,
    "stall_after_tokens": Late,
    "stall_before_first": Late,
    "storm_429": Busy,
    "http_400": Refused,
    "http_401": errors.AuthenticationFailed,
    "http_402": errors.PaymentRequired,
    "http_403": errors.PaymentRequired,
    "http_404": errors.ModelNotFound,
    "http_408": Late,
    "http_409": Refused,
    "http_410": Refused,
    "http_412": Refused,
    "http_413": Refused,
    "http_422": Refused,
    "http_429": Busy,
    "http_499": Refused,
    "http_500": Down,
    "http_502": Down,
    "http_503": Down,
    "http_504": Late,
    "http_524": Late,
    "http_529": Down,
    "upstream_400": Refused,
    "upstream_400_inside_502": Refused,
    "upstream_401": errors.Forbidden,
    "upstream_403": errors.Forbidden,
    "upstream_404": errors.ModelNotFound,
    "upstream_408": Late,
    "upstream_413": Refused,
    "upstream_429": Busy,
    "upstream_500": Down,
    "upstream_502": Down,
    "upstream_503": Down,
    "upstream_504": Late,
    "upstream_524": Down,
    "upstream_529": Down,
}
"""The same for a stream and for a plain answer."""

STREAMED_AND_PLAIN: dict[str, tuple[type[OpenRouterError] | None, type[OpenRouterError] | None]] = {
    "cut_after_tokens": (Cut, None),
    "cut_inside_event": (Cut, None),
    "no_finish_chunk": (Cut, None),
    "empty_body": (Cut, Unreadable),
    "broken_json": (None, Unreadable),
    "malformed_chunk": (Unreadable, None),
    "error_chunk": (Down, None),
    "json_instead_of_stream": (Down, None),
    "slow": (Late, None),
    "content_type": (None, None),
}
CALLS = ["broken_arguments", "cut_arguments", "many_tool_calls", "odd_tool_ids", "odd_tool_pieces", "same_tool_index"]
CALLS += ["tool_calls_then_stop", "tool_calls_without_call"]
PICTURES = ["broken_image", "fewer_images", "image_index", "no_image", "other_ratio"]


async def ask(
    emulator: EmulatorProcess, request: ChatRequest, *, stream: bool, timeouts: Timeouts = PATIENT
) -> Completion:
    """The answer; streamed, it is checked that nothing of it came only at the end."""
    client = OpenRouterClient(base_url=emulator.base_url, api_key="sk-or-test", timeouts=timeouts)
    try:
        if not stream:
            return await client.complete(request)
        async with aclosing(client.stream(request)) as events:
            received = [event async for event in events]
    finally:
        await client.aclose()
    last = received[-1]
    assert isinstance(last, CompletionFinished)
    assert "".join(each.text for each in received if isinstance(each, ContentDelta)) == last.completion.content
    return last.completion


async def expect(
    emulator: EmulatorProcess, fault: str, kind: type[OpenRouterError] | None, *, stream: bool, **params: Any
) -> Completion | OpenRouterError:
    request = CALLING if fault in CALLS else DRAWING if fault in PICTURES else SONNET
    emulator.fault(fault, params=params)
    if kind is None:
        completion = await ask(emulator, request, stream=stream)
        assert completion.is_whole
        return completion
    with pytest.raises(OpenRouterError) as caught:
        await ask(emulator, request, stream=stream, timeouts=QUICK if kind is Late else PATIENT)
    assert type(caught.value) is kind
    return caught.value


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
class TestMatrix:
    @pytest.mark.parametrize("fault", sorted({*WHOLE.split()}))
    async def test_oddities_leave_the_answer_whole(self, openrouter: EmulatorProcess, fault: str, stream: bool) -> None:
        completion = await expect(openrouter, fault, None, stream=stream)
        assert isinstance(completion, Completion)
        assert completion.finish_reason == "length" or not completion.is_empty

    async def test_bytes_may_come_in_crumbs(self, openrouter: EmulatorProcess, stream: bool) -> None:
        await expect(openrouter, "byte_at_a_time", None, stream=stream, size=5)

    @pytest.mark.parametrize(("fault", "kind"), FAILING.items(), ids=FAILING)
    async def test_failures_are_told_by_meaning(
        self, openrouter: EmulatorProcess, fault: str, kind: type[OpenRouterError], stream: bool
    ) -> None:
        await expect(openrouter, fault, kind, stream=stream)

    @pytest.mark.parametrize(("fault", "kinds"), STREAMED_AND_PLAIN.items(), ids=STREAMED_AND_PLAIN)
    async def test_some_faults_differ_by_form(
        self, openrouter: EmulatorProcess, fault: str, kinds: tuple[Any, Any], stream: bool
    ) -> None:
        await expect(openrouter, fault, kinds[0] if stream else kinds[1], stream=stream)

    @pytest.mark.parametrize("fault", CALLS)
    async def test_calls_survive(self, openrouter: EmulatorProcess, fault: str, stream: bool) -> None:
        completion = await expect(openrouter, fault, None, stream=stream)
        assert isinstance(completion, Completion)
        wanted = {"many_tool_calls": 15, "tool_calls_without_call": 0}.get(fault, 1)
        assert len(completion.tool_calls) == wanted
        assert all(call.name == "find" and call.id for call in completion.tool_calls)

    @pytest.mark.parametrize("fault", PICTURES)
    async def test_pictures_arrive(self, openrouter: EmulatorProcess, fault: str, stream: bool) -> None:
        completion = await expect(openrouter, fault, None, stream=stream)
        assert isinstance(completion, Completion)
        assert len(completion.images) == (0 if fault == "no_image" else 1)


class TestDetails:
    async def test_every_fault_is_in_the_matrix(self, openrouter: EmulatorProcess) -> None:
        known = {each["name"] for each in openrouter.control.get("/faults/catalogue").json()["faults"]}
        ours = {*WHOLE.split(), *FAILING, *STREAMED_AND_PLAIN, *CALLS, *PICTURES, "byte_at_a_time"}
        assert known == ours

    @pytest.mark.parametrize("layout", ["choice", "empty_choices", "between", "bare"])
    async def test_an_error_chunk_in_any_layout_keeps_what_came(self, openrouter: EmulatorProcess, layout: str) -> None:
        error = await expect(openrouter, "error_chunk", Down, stream=True, layout=layout, string_code=True, after=90)
        assert isinstance(error, OpenRouterError)
        assert error.partial is not None
        assert len(error.partial.content) > 10
        assert error.generation_id

    @pytest.mark.parametrize(
        ("variant", "kind"),
        [
            ("key_limit", errors.PaymentRequired),
            ("budget", errors.PaymentRequired),
            ("moderation", errors.Moderated),
            ("guardrail", errors.Forbidden),
            ("gate", errors.Forbidden),
            ("region", errors.Forbidden),
        ],
    )
    async def test_a_403_means_many_things(
        self, openrouter: EmulatorProcess, variant: str, kind: type[OpenRouterError]
    ) -> None:
        await expect(openrouter, "http_403", kind, stream=True, variant=variant)

    @pytest.mark.parametrize(
        ("variant", "kind"),
        [
            ("context_length", errors.ContextLengthExceeded),
            ("model", errors.ModelNotFound),
            ("models", Refused),
            ("content_policy", errors.Moderated),
            ("image", Refused),
            ("reasoning", Refused),
        ],
    )
    async def test_a_400_means_many_things(
        self, openrouter: EmulatorProcess, variant: str, kind: type[OpenRouterError]
    ) -> None:
        await expect(openrouter, "http_400", kind, stream=False, variant=variant)

    @pytest.mark.parametrize("inside_200", [True, False])
    async def test_a_status_may_hide_inside_a_200(self, openrouter: EmulatorProcess, inside_200: bool) -> None:
        error = await expect(openrouter, "http_503", Down, stream=True, inside_200=inside_200, retry_after=7)
        assert isinstance(error, OpenRouterError)
        assert (error.status, error.retryable, error.retry_after) == (503, True, 7.0)

    @pytest.mark.parametrize(("form", "known"), [("exponent", True), ("noise", True), ("string", True)])
    @pytest.mark.parametrize("stream", [True, False])
    async def test_the_cost_is_the_one_on_the_bill(
        self, openrouter: EmulatorProcess, form: str, known: bool, stream: bool
    ) -> None:
        completion = await expect(openrouter, "cost_as", None, stream=stream, form=form)
        assert isinstance(completion, Completion)
        assert completion.usage is not None
        assert completion.generation_id is not None
        billed = Decimal(str(openrouter.bill(completion.generation_id)["total"]))
        assert completion.usage.cost is not None
        assert abs(completion.usage.cost - billed) < Decimal("1e-9")

    @pytest.mark.parametrize("form", ["null", "absent"])
    async def test_an_untold_cost_is_unknown_and_not_zero(self, openrouter: EmulatorProcess, form: str) -> None:
        completion = await expect(openrouter, "cost_as", None, stream=True, form=form)
        assert isinstance(completion, Completion)
        assert completion.usage is not None
        assert completion.usage.cost is None

    @pytest.mark.parametrize("form", ["null_finish", "repeated_finish", "with_finish", "twice"])
    async def test_usage_is_found_wherever_it_stands(self, openrouter: EmulatorProcess, form: str) -> None:
        completion = await expect(openrouter, "usage_placement", None, stream=True, form=form)
        plain = await ask(openrouter, SONNET, stream=False)
        assert isinstance(completion, Completion)
        assert completion.usage == plain.usage

    async def test_a_cut_answer_is_settled_by_its_record(self, openrouter: EmulatorProcess) -> None:
        openrouter.configure(generation_delay=0.5)
        error = await expect(openrouter, "cut_after_tokens", Cut, stream=True, tokens=90)
        assert isinstance(error, OpenRouterError)
        assert error.generation_id is not None
        client = OpenRouterClient(base_url=openrouter.base_url, api_key="sk-or-test")
        record = await client.get_generation(error.generation_id)
        await client.aclose()
        assert record.usage.cost is not None
        assert record.usage.cost == Decimal(str(openrouter.bill(error.generation_id)["total"]))
