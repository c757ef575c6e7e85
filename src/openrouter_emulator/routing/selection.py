"""Which hosts may serve a request, and in which order they are tried. Pure: chance and health come in as arguments."""

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from openrouter_emulator.catalogue.hosts import Host
from openrouter_emulator.chat.request import ProviderPreferences
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.routing.requirements import Requirements

PER_MILLION = Decimal(1_000_000)
ROUTING_DOCS = "https://openrouter.ai/docs/guides/routing/provider-selection"


@dataclass(frozen=True, slots=True)
class Step:
    """One narrowing of the list of hosts, and what is said when nobody is left."""

    name: str
    keeps: Callable[[Host], bool]
    message: str
    excluded_by: str | None = None


def eligible_hosts(hosts: Sequence[Host], needs: Requirements, wishes: ProviderPreferences) -> list[Host]:
    """The hosts that can and may serve; 404 with the routing funnel when there is none."""
    left, funnel = list(hosts), [{"step": "Initial Endpoints", "endpoint_count": len(hosts)}]
    if not left:
        raise _nobody("No endpoints found for this model.", "no_endpoints", funnel, None)
    for step in (*_capabilities(hosts, needs), *_permissions(wishes), *_demands(needs, wishes)):
        left = [host for host in left if step.keeps(host)]
        funnel.append({"step": step.name, "endpoint_count": len(left)})
        if not left:
            code = "privacy_restricted" if (step.excluded_by or "").startswith("data_policy") else "constraint_filtered"
            raise _nobody(step.message, code, funnel, step)
    _refuse_overlong(left, needs)
    fitting = [
        host for host in left if not needs.output_limit or host.model.max_completion_tokens >= needs.output_limit
    ]
    return fitting or left


def ordered_hosts(
    hosts: Sequence[Host],
    wishes: ProviderPreferences,
    *,
    sort: str | None,
    pinned: str | None,
    outages: Collection[str],
    chance: random.Random | None,
) -> list[Host]:
    """First choice first: `order`, else `sort`, else the pinned host and then a draw by inverse square of price."""
    if wishes.order:
        rest = _sorted(hosts, sort) if sort else list(hosts)
        named = [host for slug in wishes.order for host in hosts if host.answers_to(slug)]
        listed = list(dict.fromkeys(named))
        return listed if wishes.allow_fallbacks is False else listed + [host for host in rest if host not in listed]
    chosen = _sorted(hosts, sort) if sort else _drawn(hosts, outages, chance)
    chosen.sort(key=lambda host: host.name != pinned)
    return chosen[:1] if wishes.allow_fallbacks is False else chosen


def _sorted(hosts: Sequence[Host], sort: str) -> list[Host]:
    keys: dict[str, Callable[[Host], Any]] = {
        "price": lambda host: host.prices.prices["prompt"] + host.prices.prices["completion"],
        "latency": lambda host: host.provider.latency,
    }
    return sorted(hosts, key=keys.get(sort, lambda host: -host.provider.tokens_per_second))


def _drawn(hosts: Sequence[Host], outages: Collection[str], chance: random.Random | None) -> list[Host]:
    """Without replacement; hosts with a recent outage come last."""

    def key(host: Host) -> tuple[bool, float]:
        if chance is None:
            return host.name in outages, 0.0
        price = float(host.prices.prices["prompt"] + host.prices.prices["completion"])
        return host.name in outages, -math.log(1 - chance.random()) * price * price

    return sorted(hosts, key=key)


def _capabilities(hosts: Sequence[Host], needs: Requirements) -> list[Step]:
    outputs = ", ".join(needs.output_modalities)
    tool = needs.tool_names[0] if needs.tool_names else ""
    return [
        Step(
            "Filter by Model Output Modalities",
            lambda host: set(needs.output_modalities) <= host.model.output_modalities,
            f"No endpoints found that support the requested output modalities: {outputs}",
        ),
        Step(
            "Filter by Input Modalities",
            lambda host: needs.input_modalities <= host.model.input_modalities,
            f"No endpoints found that support {_missing_kind(hosts, needs)} input",
        ),
        Step(
            "Filter by Tool Support",
            lambda host: not needs.tool_names or "tools" in host.supported_parameters,
            f'No endpoints found that support tool use. Try disabling "{tool}". '
            f"To learn more about provider routing, visit: {ROUTING_DOCS}",
        ),
    ]


def _missing_kind(hosts: Sequence[Host], needs: Requirements) -> str:
    """What some host lacks: the others are none of its troubles."""
    shared = frozenset.intersection(*(host.model.input_modalities for host in hosts))
    return "/".join(sorted(needs.input_modalities - shared)) or "this"


def _permissions(wishes: ProviderPreferences) -> list[Step]:
    policy = "No endpoints available matching your guardrail restrictions and data policy. "
    settings = "Configure: https://openrouter.ai/settings/privacy"
    return [
        Step(
            "Filter by Allowed Providers",
            lambda host: (not wishes.only or _named(host, wishes.only)) and not _named(host, wishes.ignore or ()),
            "No allowed providers are available for the selected model.",
            "allowed_providers",
        ),
        Step(
            "Filter by Zero Data Retention",
            lambda host: not wishes.zdr or host.provider.zero_retention,
            policy + settings,
            "data_policy:zdr",
        ),
        Step(
            "Filter by Data Policy",
            lambda host: wishes.data_collection != "deny" or not host.provider.trains,
            policy + settings,
            "data_policy:training",
        ),
        Step(
            "Filter by Quantization",
            lambda host: not wishes.quantizations or (host.provider.quantization or "unknown") in wishes.quantizations,
            "No endpoints found with the requested quantizations.",
            "quantization",
        ),
    ]


def _demands(needs: Requirements, wishes: ProviderPreferences) -> list[Step]:
    return [
        Step(
            "Filter by Required Parameters",
            lambda host: not wishes.require_parameters or needs.parameters <= host.supported_parameters,
            f"No endpoints found that can handle the requested parameters. Visit: {ROUTING_DOCS}",
            "require_parameters",
        ),
        Step(
            "Filter by Max Price",
            lambda host: _affordable(host, wishes.max_price or {}),
            "No endpoints found that satisfy the requested maximum price.",
            "max_price",
        ),
    ]


def _named(host: Host, slugs: Collection[str]) -> bool:
    return any(host.answers_to(slug) for slug in slugs)


def _affordable(host: Host, bounds: dict[str, str | float | int]) -> bool:
    """Prompt and completion bounds are USD per million tokens, the others per unit."""
    for name, bound in bounds.items():
        scale = PER_MILLION if name in ("prompt", "completion") else 1
        if host.prices.prices.get(name, Decimal(0)) * scale > Decimal(str(bound)):
            return False
    return True


def _refuse_overlong(hosts: Sequence[Host], needs: Requirements) -> None:
    longest = max(host.model.context_length for host in hosts)
    output = needs.output_limit or 0
    if needs.prompt_tokens + output > longest:
        raise ApiError(
            400,
            f"This endpoint's maximum context length is {longest} tokens. However, you requested about "
            f"{needs.prompt_tokens + output} tokens ({needs.prompt_tokens} of text input, {output} in the output). "
            "Please reduce the length of either one, or use the context-compression plugin to compress your prompt "
            "automatically.",
            metadata={"error_type": "context_length_exceeded", "provider_name": None},
        )


def _nobody(message: str, code: str, funnel: list[dict[str, Any]], step: Step | None) -> ApiError:
    availability: dict[str, Any] = {"code": code, "retryable": False, "docs_url": ROUTING_DOCS}
    metadata: dict[str, Any] = {"routing_funnel": funnel, "error_type": "not_found"}
    if step is not None:
        metadata["failed_routing_step"] = step.name
    if step is not None and step.excluded_by:
        availability["excluded_by"] = [step.excluded_by]
    return ApiError(404, message, metadata=metadata, availability=availability)
