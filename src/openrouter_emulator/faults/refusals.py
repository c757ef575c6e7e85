"""Requests refused with each status OpenRouter knows, in the words it uses."""

from collections.abc import Callable
from typing import Any

from openrouter_emulator.faults.fault import Parameters, Stage, Value, fault
from openrouter_emulator.http.errors import ApiError, ConnectionReset

NOBODY: dict[str, Any] = {"provider_name": None}
RATE_HEADERS = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1790000000000"}
RETRYABLE = {429: "capacity_exhausted", 503: "temporarily_unavailable"}
Variants = dict[str, tuple[str, dict[str, Any] | None]]
"""By variant: message and metadata; the first is the usual one."""

REFUSALS: dict[int, Variants] = {
    400: {
        "invalid": ("Provider returned error", {"error_type": "invalid_request", "provider_name": None}),
        "context_length": (
            "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens "
            "(8500 of text input, 500 in the output). Please reduce the length of either one, or use the "
            "context-compression plugin to compress your prompt automatically.",
            {"error_type": "context_length_exceeded", "provider_name": None},
        ),
        "model": ("no/such-model is not a valid model ID", None),
        "models": ("'models' array must have 3 items or fewer.", None),
        "content_policy": ("The request violates the content policy.", {"error_type": "content_policy_violation"}),
        "image": ("The image could not be read.", {"error_type": "invalid_image", **NOBODY}),
        "reasoning": ("Reasoning is mandatory for this endpoint and cannot be disabled.", NOBODY),
    },
    401: {
        "missing": ("Missing Authentication header", None),
        "no_credentials": ("No auth credentials found", None),
        "user_not_found": ("User not found.", None),
    },
    402: {
        "insufficient": (
            "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
            NOBODY,
        ),
        "unaffordable": (
            "This request requires more credits, or fewer max_tokens. You requested up to 64000 tokens, but can only "
            "afford 1200. To increase, visit https://openrouter.ai/settings/credits and add more credits",
            NOBODY,
        ),
    },
    403: {
        "key_limit": (
            "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys",
            NOBODY,
        ),
        "moderation": (
            'Your chosen model requires moderation and your input was flagged for "violence".',
            {"reasons": ["violence"], "flagged_input": "start ... end", "provider_name": "OpenAI", "model_slug": "x/y"},
        ),
        "guardrail": ("Request blocked: prompt injection patterns detected", {"patterns": ["ignore previous"]}),
        "budget": ("Workspace monthly budget of $500.00 exceeded. Contact your org admin.", None),
        "gate": (
            "This model is not available for this kind of client.",
            {"failed_routing_step": "Gate Free Endpoints by Agentic Harness"},
        ),
        "region": ("This model is not available in your region.", None),
    },
    404: {
        "no_endpoints": ("No endpoints found for this model.", None),
        "tools": ('No endpoints found that support tool use. Try disabling "search".', None),
        "image_input": ("No endpoints found that support image input", None),
        "modalities": ("No endpoints found that support the requested output modalities: image, text", None),
        "providers": ("No allowed providers are available for the selected model.", None),
        "data_policy": (
            "No endpoints available matching your guardrail restrictions and data policy. "
            "Configure: https://openrouter.ai/settings/privacy",
            None,
        ),
        "deprecated": ("This model is no longer available; its alpha period has ended.", None),
    },
    408: {"timeout": ("Request timed out", {"error_type": "timeout"})},
    409: {"conflict": ("Conflict", None)},
    410: {"gone": ("Gone", None)},
    412: {"precondition": ("Precondition failed", {"error_type": "precondition_failed"})},
    413: {"too_large": ("Request body is too large.", {"error_type": "payload_too_large"})},
    422: {"unprocessable": ("Unprocessable entity", {"error_type": "unprocessable"})},
    429: {
        "per_minute": ("Rate limit exceeded: free-models-per-min.", {"headers": RATE_HEADERS, **NOBODY}),
        "per_day": (
            "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
            {"headers": RATE_HEADERS, **NOBODY},
        ),
        "upstream": (
            "Provider returned error",
            {
                "raw": "the model is temporarily rate-limited upstream. Please retry shortly.",
                "provider_name": "Groq",
                "is_byok": False,
                "error_type": "rate_limit_exceeded",
                "limit_source": "upstream_provider_shared_pool",
            },
        ),
    },
    499: {"closed": ("Client closed request", None)},
    500: {"internal": ("Internal Server Error", None)},
    502: {"garbage": ("Provider returned error", {"error_type": "provider_unavailable", **NOBODY})},
    503: {"overloaded": ("No endpoints are available right now.", {"error_type": "provider_overloaded"})},
    504: {"timeout": ("Provider timed out", {"error_type": "timeout", **NOBODY})},
    524: {"edge": ("A timeout occurred", None)},
    529: {"overloaded": ("Provider overloaded", {"error_type": "provider_overloaded", **NOBODY})},
}


def _refusal(status: int) -> Callable[[Parameters], ApiError]:
    def refuse(parameters: Parameters) -> ApiError:
        variant = parameters.text("variant")
        message, metadata = REFUSALS[status].get(variant, (variant, None))
        headers = dict((metadata or {}).get("headers", {}))
        availability: dict[str, Any] | None = None
        if status in RETRYABLE:
            availability = {"code": RETRYABLE[status], "retryable": True, "requested_models": []}
        if parameters.has("retry_after"):
            seconds = parameters.count("retry_after")
            headers["Retry-After"] = str(seconds)
            availability = (availability or {"code": "temporarily_unavailable", "retryable": True}) | {
                "retry_after": seconds
            }
        return ApiError(
            status,
            message,
            metadata=None if metadata is None else dict(metadata),
            availability=availability,
            headers=headers,
            http_status=200 if parameters.flag("inside_200") else None,
        )

    return refuse


for _status, _variants in REFUSALS.items():
    fault(
        f"http_{_status}",
        Stage.REFUSAL,
        f"HTTP {_status} before anything is generated; variants: {', '.join(_variants)} (or any message)",
        quirks=(6, 9, 37, 41) if _status in (404, 429) else (6, 37),
        variant=next(iter(_variants)),
        retry_after="",
        inside_200=False,
    )(_refusal(_status))


@fault(
    "storm_429",
    Stage.REFUSAL,
    "429 with Retry-After; as a standing order with `times` it refuses a whole burst of requests",
    quirks=(9,),
    retry_after=1,
)
def storm(parameters: Parameters) -> ApiError:
    given: dict[str, Value] = {
        "variant": "upstream",
        "retry_after": parameters.count("retry_after"),
        "inside_200": False,
    }
    return _refusal(429)(Parameters(given, {}))


@fault(
    "error_200",
    Stage.REFUSAL,
    "HTTP 200 whose JSON body is nothing but an error (code 502 or 429), also when a stream was asked for",
    quirks=(6, 36),
    code=502,
)
def error_inside_200(parameters: Parameters) -> ApiError:
    metadata = {"provider_name": "Groq", "raw": '{"error":{"message":"upstream broke"}}'}
    return ApiError(parameters.count("code"), "Provider returned error", metadata=metadata, http_status=200)


@fault("reset_connection", Stage.REFUSAL, "the connection breaks before a single byte is answered")
def reset(_parameters: Parameters) -> ConnectionReset:
    return ConnectionReset()


@fault(
    "generation_404",
    Stage.REFUSAL,
    "`GET /generation` is not ready; with `times`, for so many polls",
    quirks=(41,),
    paths=("/generation",),
)
def not_ready(_parameters: Parameters) -> ApiError:
    return ApiError(404, "Generation not found")


@fault("slow_headers", Stage.DELAY, "nothing is sent for so many seconds, not even headers", seconds=5.0)
def slow_headers(parameters: Parameters) -> float:
    return parameters.number("seconds")
