"""The billing record that OpenRouter keeps of a generation: what a cut or cancelled answer cost after all."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.openrouter.reading import (
    MOST_REASON,
    as_charge,
    as_count,
    as_decimal,
    as_flag,
    as_id,
    as_map,
    as_name,
    as_text,
)
from app.openrouter.types import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRecord:
    """One generation as it was billed. Tokens are the model's own, which are those that cost."""

    id: str
    model: str | None
    provider: str | None
    usage: Usage
    """The record does not count what was written to a cache; `cache_discount` has it in it."""
    cache_discount: Decimal | None = None
    """USD saved by caching; below zero when writing cost more than reading saved."""
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    cancelled: bool | None = None
    search_engine: str | None = None
    """Who searched the web, where anybody did."""
    search_results: int | None = None
    latency_seconds: float | None = None
    """To the first token."""
    generation_seconds: float | None = None


def read_generation(data: Any) -> GenerationRecord | None:
    """The `data` of the answer, read with exact decimals; None when it is no record."""
    record = as_map(data)
    id_ = as_id(record.get("id"))
    if id_ is None:
        return None
    return GenerationRecord(
        id=id_,
        model=as_name(record.get("model")),
        provider=as_name(record.get("provider_name")),
        usage=_read_usage(record),
        cache_discount=as_decimal(record.get("cache_discount")),
        finish_reason=as_name(record.get("finish_reason"), MOST_REASON),
        native_finish_reason=as_name(record.get("native_finish_reason"), MOST_REASON),
        cancelled=as_flag(record.get("cancelled")),
        search_engine=as_text(record.get("web_search_engine")),
        search_results=as_count(record.get("num_search_results")),
        latency_seconds=_seconds(record.get("latency")),
        generation_seconds=_seconds(record.get("generation_time")),
    )


def _read_usage(record: Mapping[str, Any]) -> Usage:
    def count(native: str, normalised: str | None = None) -> int | None:
        number = as_count(record.get(native))
        return as_count(record.get(normalised)) if number is None and normalised else number

    prompt = count("native_tokens_prompt", "tokens_prompt")
    completion = count("native_tokens_completion", "tokens_completion")
    cost = as_charge(record.get("total_cost"))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion if prompt is not None and completion is not None else None,
        cached_tokens=count("native_tokens_cached"),
        reasoning_tokens=count("native_tokens_reasoning"),
        image_tokens=count("native_tokens_completion_images"),
        cost=as_charge(record.get("usage")) if cost is None else cost,
        upstream_inference_cost=as_charge(record.get("upstream_inference_cost")),
        is_byok=as_flag(record.get("is_byok")),
    )


def _seconds(milliseconds: Any) -> float | None:
    number = as_decimal(milliseconds)
    return float(number) / 1000 if number is not None else None
