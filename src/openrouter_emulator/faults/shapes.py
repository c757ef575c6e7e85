"""JSON objects with fields missing, moved, renamed or in an old form; the whole answer and each chunk alike."""

from collections.abc import Callable, Iterator
from typing import Any

from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.faults.fault import Parameters, Stage, also, fault
from openrouter_emulator.http.events import Data, Event

Payload = dict[str, Any]
OLD_ORDER = ("id", "provider", "model", "object", "created", "choices", "usage")
ABSENT = object()


@fault(
    "old_layout", Stage.PAYLOAD, "the keys in their order before March 2026, without the newer ones", quirks=(10, 14)
)
def old_layout(payload: Payload, _parameters: Parameters) -> Payload:
    return {name: payload[name] for name in OLD_ORDER if name in payload}


@fault("no_provider", Stage.PAYLOAD, "the provider is not named")
def no_provider(payload: Payload, _parameters: Parameters) -> Payload:
    return _set(payload, "provider", ABSENT)


@fault("fingerprint", Stage.PAYLOAD, "`system_fingerprint`: absent, empty, or any text", quirks=(14,), form="empty")
def fingerprint(payload: Payload, parameters: Parameters) -> Payload:
    form = parameters.text("form")
    return _set(payload, "system_fingerprint", {"absent": ABSENT, "empty": ""}.get(form, form))


@fault("service_tier", Stage.PAYLOAD, "`service_tier`: absent, null, or any text", quirks=(14,), form="absent")
def service_tier(payload: Payload, parameters: Parameters) -> Payload:
    form = parameters.text("form")
    return _set(payload, "service_tier", {"absent": ABSENT, "null": None}.get(form, form))


@fault(
    "logprobs", Stage.PAYLOAD, "`logprobs`: absent, openai, or legacy (an object of nulls)", quirks=(13,), form="legacy"
)
def logprobs(payload: Payload, parameters: Parameters) -> Payload:
    forms: dict[str, Any] = {
        "absent": ABSENT,
        "openai": {"content": [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}], "refusal": None},
        "legacy": {"tokens": None, "token_logprobs": None, "top_logprobs": None, "text_offset": None},
    }
    return _in_choice(payload, lambda choice: _set(choice, "logprobs", forms.get(parameters.text("form"))))


@fault("refusal_field", Stage.PAYLOAD, "the empty `refusal`: absent or an empty string", quirks=(15,), form="absent")
def refusal_field(payload: Payload, parameters: Parameters) -> Payload:
    value = ABSENT if parameters.text("form") == "absent" else ""
    return _in_message(payload, lambda message: _set(message, "refusal", value) if "refusal" in message else message)


@fault("null_content", Stage.PAYLOAD, "empty content is null, and the role stands on every chunk", quirks=(12, 43))
def null_content(payload: Payload, _parameters: Parameters) -> Payload:
    return _in_message(
        payload, lambda message: {"role": "assistant"} | message | {"content": message.get("content") or None}
    )


@fault(
    "empty_reasoning_details", Stage.PAYLOAD, "`reasoning_details: []` on everything after the thinking", quirks=(27,)
)
def empty_reasoning_details(payload: Payload, _parameters: Parameters) -> Payload:
    return _in_message(payload, lambda message: {"reasoning_details": []} | message)


@fault("lost_reasoning_details", Stage.PAYLOAD, "`reasoning_details: []` even while `reasoning` has text", quirks=(27,))
def lost_reasoning_details(payload: Payload, _parameters: Parameters) -> Payload:
    return _in_message(payload, lambda message: message | {"reasoning_details": []})


@fault(
    "reasoning_format",
    Stage.PAYLOAD,
    "the `format` of all reasoning details: null, or any text such as unknown",
    quirks=(25,),
    form="null",
)
def reasoning_format(payload: Payload, parameters: Parameters) -> Payload:
    form = None if parameters.text("form") == "null" else parameters.text("form")

    def rename(message: Payload) -> Payload:
        details = [detail | {"format": form} for detail in message.get("reasoning_details") or ()]
        return message | {"reasoning_details": details} if details else message

    return _in_message(payload, rename)


@fault("image_index", Stage.PAYLOAD, "pictures carry an `index`, as in late 2025", quirks=(43,))
def image_index(payload: Payload, _parameters: Parameters) -> Payload:
    def number(message: Payload) -> Payload:
        images = [image | {"index": index} for index, image in enumerate(message.get("images") or ())]
        return message | {"images": images} if images else message

    return _in_message(payload, number)


@fault("dated_model", Stage.GENERATION, "the served model is named by its dated slug", quirks=(34,))
def dated_model(generation: Generation, _parameters: Parameters) -> None:
    generation.served_model = generation.model.canonical_slug


@fault("served_model", Stage.GENERATION, "any other model is named as the one that served", quirks=(34,), model="x/y")
def served_model(generation: Generation, parameters: Parameters) -> None:
    generation.served_model = parameters.text("model")


@fault("unknown_fields", Stage.PAYLOAD, "fields nobody has heard of, on every level")
def unknown_fields(payload: Payload, _parameters: Parameters) -> Payload:
    added = {"x_future": {"list": [1, None]}}
    return _in_message(_in_choice(payload, lambda choice: choice | added), lambda message: message | added) | added


@fault("legacy_citations", Stage.PAYLOAD, "a top-level `citations` list of addresses", quirks=(44,))
def legacy_citations(payload: Payload, _parameters: Parameters) -> Payload:
    return payload | {"citations": ["https://example.org/simulated/1"]}


@fault(
    "error_in_choice",
    Stage.BODY,
    "HTTP 200, partial text, and the error inside the choice",
    quirks=(36,),
    code=502,
    message="Upstream error while generating",
)
def error_in_choice(body: Payload, parameters: Parameters, generation: Generation) -> Payload:
    error = {
        "code": parameters.count("code"),
        "message": parameters.text("message"),
        "metadata": {"provider_name": generation.host.name},
    }
    return _in_choice(body, lambda choice: choice | {"finish_reason": "error", "error": error})


@also("error_in_choice", Stage.EVENTS)
def error_in_last_choice(
    events: Iterator[Event], parameters: Parameters, _generation: Generation | None
) -> Iterator[Event]:
    """A stream ends with it, in the chunk that has the finish reason."""
    error = {"code": parameters.count("code"), "message": parameters.text("message")}
    for event in events:
        choices = event.payload.get("choices") if isinstance(event, Data) else None
        if isinstance(event, Data) and choices and choices[0].get("finish_reason"):
            yield Data(event.payload | {"choices": [choices[0] | {"finish_reason": "error", "error": error}]})
            return
        yield event


@also("error_in_choice", Stage.GENERATION)
def fail(generation: Generation, _parameters: Parameters) -> None:
    generation.failed = True


@fault("images_created_zero", Stage.BODY, "`/images` answers with `created: 0`", quirks=(43,), paths=("/images",))
def created_zero(body: Payload, _parameters: Parameters, _generation: Generation) -> Payload:
    return body | {"created": 0}


@fault("no_media_type", Stage.BODY, "`/images` does not say what its pictures are", quirks=(43,), paths=("/images",))
def no_media_type(body: Payload, _parameters: Parameters, _generation: Generation) -> Payload:
    return body | {"data": [{"b64_json": row["b64_json"]} for row in body.get("data", ())]}


def _set(record: Payload, name: str, value: Any) -> Payload:
    if value is ABSENT:
        return {key: kept for key, kept in record.items() if key != name}
    return record | {name: value}


def _in_choice(payload: Payload, change: Callable[[Payload], Payload]) -> Payload:
    if not payload.get("choices"):
        return payload
    return payload | {"choices": [change(choice) for choice in payload["choices"]]}


def _in_message(payload: Payload, change: Callable[[Payload], Payload]) -> Payload:
    def within(choice: Payload) -> Payload:
        return choice | {name: change(choice[name]) for name in ("delta", "message") if name in choice}

    return _in_choice(payload, within)
