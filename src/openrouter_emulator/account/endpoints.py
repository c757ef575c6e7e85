"""`GET /key`, `/credits` and `/generation`: what is left, and what one answer cost."""

from datetime import UTC, datetime
from typing import Any

from openrouter_emulator.call import Call
from openrouter_emulator.catalogue.pricing import TokenCounts, rounded
from openrouter_emulator.chat.generation import Generation
from openrouter_emulator.chat.rendering import native_finish_reason
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.http.playback import Playback


async def show_key(call: Call) -> Playback:
    settings, spent = call.emulator.settings, call.emulator.bill.total
    limit = settings.key_limit
    used = call.emulator.free_limits.used_today
    daily = settings.free_requests_per_day
    data = {
        "label": "sk-or-v1-emu...ted",
        "limit": limit,
        "limit_remaining": None if limit is None else limit - spent,
        "limit_reset": None,
        "usage": spent,
        "usage_daily": spent,
        "usage_weekly": spent,
        "usage_monthly": spent,
        "byok_usage": 0,
        "byok_usage_daily": 0,
        "byok_usage_weekly": 0,
        "byok_usage_monthly": 0,
        "include_byok_in_limit": False,
        "is_free_tier": False,
        "is_management_key": False,
        "is_provisioning_key": False,
        "expires_at": None,
        "creator_user_id": None,
        "organization_id": None,
        "workspace_id": "workspace-emulated",
        "allowed_data_regions": ["global"],
        "budgets": [],
        "effective_budget": None,
        "free_model_daily_requests": {"limit": daily, "used": used, "remaining": max(daily - used, 0)},
        "rate_limit": {"requests": -1, "interval": "10s", "note": "This field is deprecated and safe to ignore."},
    }
    return call.answer_json({"data": data})


async def show_credits(call: Call) -> Playback:
    emulator = call.emulator
    return call.answer_json(
        {"data": {"total_credits": emulator.settings.total_credits, "total_usage": emulator.bill.total}}
    )


async def show_generation(call: Call) -> Playback:
    """The billing record; 404 until it is ready, a moment after the answer ended."""
    generation_id = call.request.query_params.get("id", "")
    generation = call.emulator.bill.get(generation_id)
    ready_at = (generation.finished_at or 0) + call.emulator.settings.generation_delay if generation else 0
    if generation is None or call.emulator.clock.now() < ready_at:
        raise ApiError(404, f"Generation {generation_id} not found")
    return call.answer_json({"data": generation_record(generation)})


def generation_record(generation: Generation) -> dict[str, Any]:
    """Latencies are milliseconds; `native_tokens_*` are the billed ones."""
    counts = generation.counts or TokenCounts()
    took = round(((generation.finished_at or generation.created_at) - generation.created_at) * 1000)
    pictures = len(generation.answer.images)
    return {
        "id": generation.id,
        "model": generation.model.canonical_slug,
        "provider_name": generation.host.name,
        "provider_responses": [
            {"provider_name": attempt.host.name, "status": attempt.status, "is_byok": generation.byok}
            for attempt in generation.attempts
        ],
        "created_at": datetime.fromtimestamp(generation.created_at, UTC).isoformat().replace("+00:00", "Z"),
        "streamed": generation.streamed,
        "cancelled": generation.cancelled,
        "finish_reason": None if generation.cancelled else generation.answer.finish_reason,
        "native_finish_reason": None if generation.cancelled else native_finish_reason(generation),
        "tokens_prompt": counts.prompt,
        "tokens_completion": counts.completion,
        "native_tokens_prompt": counts.prompt,
        "native_tokens_completion": counts.completion,
        "native_tokens_reasoning": counts.reasoning,
        "native_tokens_cached": counts.cached,
        "native_tokens_completion_images": counts.image or None,
        "num_media_prompt": generation.media.pictures or None,
        "num_input_audio_prompt": generation.media.sounds or None,
        "num_media_completion": pictures or None,
        "num_search_results": generation.fees.search_results or None,
        "num_fetches": None,
        "web_search_engine": generation.fees.search_engine,
        "total_cost": generation.billed,
        "usage": generation.billed,
        "cache_discount": generation.cache_discount or None,
        "upstream_inference_cost": rounded(generation.cost.prompt + generation.cost.completion),
        "is_byok": generation.byok,
        "latency": took,
        "generation_time": took,
        "moderation_latency": None,
        "origin": generation.referer or "",
        "http_referer": generation.referer,
        "user_agent": generation.user_agent,
        "app_id": None,
        "external_user": generation.user,
        "preset_id": None,
        "router": generation.router,
        "service_tier": None,
        "api_type": "completions",
        "data_region": "global",
        "session_id": generation.session_id,
        "request_id": generation.request_id,
        "upstream_id": f"upstream-{generation.id[-8:]}",
        "workspace_id": None,
        "response_cache_source_id": None,
    }
