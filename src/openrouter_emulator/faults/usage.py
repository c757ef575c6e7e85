"""Usage objects in all the forms they have had."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec

from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.faults.fault import Parameters, Stage, also, fault
from openrouter_emulator.http.events import Data, Event

Usage = dict[str, Any]


@fault("no_usage", Stage.BODY, "no usage anywhere")
def no_usage_in_body(body: Usage, _parameters: Parameters, _generation: Generation) -> Usage:
    return {key: value for key, value in body.items() if key != "usage"}


@also("no_usage", Stage.EVENTS)
def no_usage_in_stream(events: Iterator[Event], _parameters: Parameters, _generation: object) -> Iterator[Event]:
    for event in events:
        if not (isinstance(event, Data) and "usage" in event.payload):
            yield event
        elif event.payload.get("choices"):
            yield Data({key: value for key, value in event.payload.items() if key != "usage"}, event.tokens)


@fault("bare_usage", Stage.USAGE, "only the three counts, no cost", quirks=(32,))
def bare_usage(usage: Usage, _parameters: Parameters, _generation: Generation) -> Usage:
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


@fault("null_usage_details", Stage.USAGE, "both details are null", quirks=(32,))
def null_details(usage: Usage, _parameters: Parameters, _generation: Generation) -> Usage:
    return usage | {"prompt_tokens_details": None, "completion_tokens_details": None}


@fault("no_is_byok", Stage.USAGE, "`is_byok` is missing", quirks=(32,))
def no_is_byok(usage: Usage, _parameters: Parameters, _generation: Generation) -> Usage:
    return {name: value for name, value in usage.items() if name != "is_byok"}


@fault("no_cache_write_tokens", Stage.USAGE, "`cache_write_tokens` is missing, as in older bodies", quirks=(33,))
def no_cache_write(usage: Usage, _parameters: Parameters, _generation: Generation) -> Usage:
    details = dict(usage.get("prompt_tokens_details") or {})
    details.pop("cache_write_tokens", None)
    return usage | {"prompt_tokens_details": details}


@fault("zero_prompt_tokens", Stage.USAGE, "`prompt_tokens` is 0 although something was sent", quirks=(33,))
def zero_prompt_tokens(usage: Usage, _parameters: Parameters, _generation: Generation) -> Usage:
    return usage | {"prompt_tokens": 0, "total_tokens": usage["completion_tokens"]}


@fault("excess_reasoning_tokens", Stage.USAGE, "more reasoning tokens than completion tokens", quirks=(28,), excess=7)
def excess_reasoning(usage: Usage, parameters: Parameters, _generation: Generation) -> Usage:
    tokens = usage["completion_tokens"] + parameters.count("excess")
    details = (usage.get("completion_tokens_details") or {}) | {"reasoning_tokens": tokens}
    return usage | {"completion_tokens_details": details}


@fault(
    "cost_as",
    Stage.USAGE,
    "how the cost is written: exponent, noise, string, null, absent",
    quirks=(29, 32),
    form="exponent",
)
def cost_as(usage: Usage, parameters: Parameters, _generation: Generation) -> Usage:
    form = parameters.text("form")
    if form == "absent":
        return {name: value for name, value in usage.items() if name != "cost"}
    cost = Decimal(usage.get("cost") or 0)
    forms: dict[str, Callable[[], Any]] = {
        "exponent": lambda: msgspec.Raw(f"{cost:e}".replace("E", "e").encode()),
        "noise": lambda: msgspec.Raw(f"{cost:.15f}0000005".encode()),
        "string": lambda: format(cost, "f"),
        "null": lambda: None,
    }
    return usage | {"cost": forms.get(form, forms["exponent"])()}


@fault(
    "upstream_cost",
    Stage.USAGE,
    "the upstream cost beside `cost`: null, lower (a fee was added), higher (a discount was given)",
    quirks=(31,),
    form="null",
)
def upstream_cost(usage: Usage, parameters: Parameters, _generation: Generation) -> Usage:
    cost = Decimal(usage.get("cost") or 0)
    forms = {"null": None, "lower": cost * Decimal("0.8"), "higher": cost * Decimal("1.25")}
    details = (usage.get("cost_details") or {}) | {"upstream_inference_cost": forms.get(parameters.text("form"))}
    return usage | {"cost_details": details}


@fault("extra_usage_fields", Stage.USAGE, "server tool details, and a null among the cost details", quirks=(32,))
def extra_fields(usage: Usage, _parameters: Parameters, _generation: Generation) -> Usage:
    details = (usage.get("cost_details") or {}) | {"input_audio_cache_read_tokens": None}
    tools = {"web_search_requests": 0, "tool_calls_requested": 1, "tool_calls_executed": 1}
    return usage | {"cost_details": details, "server_tool_use_details": tools}


@fault(
    "search_usage",
    Stage.USAGE,
    "what is told of a search: no_cost (its price is not), uncounted (nothing is), other_name (under the older name)",
    quirks=(32,),
    form="no_cost",
)
def search_usage(usage: Usage, parameters: Parameters, _generation: Generation) -> Usage:
    form, counted = parameters.text("form"), usage.get("server_tool_use_details")
    details = dict(usage.get("cost_details") or {})
    if form != "other_name":
        details.pop("server_tool_cost", None)
    told = usage | {"cost_details": details}
    if form == "no_cost" or counted is None:
        return told
    del told["server_tool_use_details"]
    return told | {"server_tool_use": counted} if form == "other_name" else told


@fault(
    "usage_placement",
    Stage.EVENTS,
    "where a stream's usage stands: null_finish (one choice, finish null), repeated_finish (the finish reason comes "
    "twice), with_finish (on the finish chunk), twice (two usage chunks, the last one right)",
    quirks=(11,),
    form="repeated_finish",
    streams_only=True,
)
def usage_placement(events: Iterator[Event], parameters: Parameters, generation: Generation | None) -> Iterator[Event]:
    form, held = parameters.text("form"), None
    for event in events:
        if form == "with_finish" and _finish_of(event) and isinstance(event, Data):
            held = event
        elif isinstance(event, Data) and "usage" in event.payload and not event.payload["choices"]:
            yield from _placed(event, form, held, generation)
        else:
            yield event


def _placed(event: Data, form: str, held: Data | None, generation: Generation | None) -> Iterator[Event]:
    finish = generation.answer.finish_reason if generation and form == "repeated_finish" else None
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": finish, "logprobs": None}
    if held is not None:
        yield Data(held.payload | {"usage": event.payload["usage"]})
    elif form == "twice":
        yield Data(event.payload | {"usage": event.payload["usage"] | {"completion_tokens": 1, "cost": 0}})
        yield event
    else:
        yield Data(event.payload | {"choices": [choice]})


def _finish_of(event: Event) -> str | None:
    choices = event.payload.get("choices") if isinstance(event, Data) else None
    return choices[0].get("finish_reason") if choices else None
