"""`GET /models/{author}/{slug}/endpoints`, `/endpoints/zdr` and `/providers`: who serves, and in what condition."""

from typing import Any

from openrouter_emulator.call import Call
from openrouter_emulator.catalogue.endpoints import require_model
from openrouter_emulator.catalogue.hosts import Host
from openrouter_emulator.http.playback import Playback
from openrouter_emulator.routing.route import HostHealth

PERCENTILES = {"p50": 1.0, "p75": 0.85, "p90": 0.7, "p99": 0.45}

TOOL_CHOICES = (
    "none",
    "auto",
    "required",
    "function",
    "literal_none",
    "literal_auto",
    "literal_required",
    "type_function",
)
"""The documented names, and those the official SDK reads."""


async def list_endpoints(call: Call) -> Playback:
    model = require_model(call)
    rows = [endpoint_row(host, call.emulator.health) for host in call.emulator.hosts.of(model)]
    shown = ("id", "name", "created", "description", "architecture")
    return call.answer_json({"data": {name: model.row[name] for name in shown} | {"endpoints": rows}})


async def list_zero_retention(call: Call) -> Playback:
    emulator = call.emulator
    hosts = (host for model in emulator.catalogue for host in emulator.hosts.of(model) if host.provider.zero_retention)
    return call.answer_json({"data": [endpoint_row(host, emulator.health) for host in hosts]})


async def list_providers(call: Call) -> Playback:
    rows = [
        {
            "name": provider.name,
            "slug": provider.slug,
            "privacy_policy_url": f"https://example.org/{provider.slug}/privacy",
            "terms_of_service_url": f"https://example.org/{provider.slug}/terms",
            "status_page_url": None,
            "headquarters": None,
            "datacenters": None,
        }
        for provider in call.emulator.hosts.providers.values()
    ]
    return call.answer_json({"data": rows})


def endpoint_row(host: Host, health: HostHealth) -> dict[str, Any]:
    """`status` is 0 for a healthy host and negative for one that fails; latencies are milliseconds."""
    provider, model = host.provider, host.model
    is_down = provider.name in health.statuses
    can_choose = "tool_choice" in host.supported_parameters
    return {
        "name": f"{provider.name} | {model.canonical_slug}",
        "model_id": model.id,
        "model_name": model.name,
        "provider_name": provider.name,
        "tag": provider.slug,
        "quantization": provider.quantization,
        "context_length": model.context_length,
        "max_completion_tokens": model.row["top_provider"]["max_completion_tokens"],
        "max_prompt_tokens": None,
        "pricing": {"discount": 0, **host.pricing},
        "supported_parameters": sorted(host.supported_parameters),
        "supports_implicit_caching": host.caches and model.author not in ("anthropic", "qwen", "google"),
        "supports_tool_choice": dict.fromkeys(TOOL_CHOICES, can_choose),
        "supports_diarization": False,
        "service_tier": None,
        "native_tools": {},
        "status": -5 if is_down else 0,
        "uptime_last_5m": 0.0 if is_down else 99.9,
        "uptime_last_30m": 99.8,
        "uptime_last_1d": 99.7,
        "latency_last_30m": {name: provider.latency * 1000 / share for name, share in PERCENTILES.items()},
        "throughput_last_30m": {name: provider.tokens_per_second * share for name, share in PERCENTILES.items()},
    }
