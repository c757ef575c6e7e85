"""How OpenRouter is spoken: requests said, answers heard, errors understood, prices known. It knows only the wire.

Say and hear (`types`, `client`, `timeouts`):

    client = OpenRouterClient(base_url=..., api_key=..., app_name=..., app_url=..., timeouts=Timeouts(total=300))
    request = ChatRequest(messages=[{"role": "user", "content": "Hello"}], model="openai/gpt-4o", max_tokens=800)
    completion = await client.complete(request, request_id="...")
    async with aclosing(client.stream(request)) as events:
        async for event in events:              # GenerationStarted, deltas, and last CompletionFinished(completion)
            ...
    await client.aclose()

Every failure is an `errors.OpenRouterError`: `code`, `retryable`, `worth_another_model`, `status`, `provider`,
`model`, `upstream_message`, `retry_after`, and `partial`, the answer as far as it came. What `stream` and `complete`
return is whole; a cut answer is a `TruncatedStream`, an empty one an `EmptyAnswer`.

Carry a whole turn (`routing`, `route_run`, `attempts`, `breaker`): retries and fallbacks before the first delta.

    plan = plan_route("openai/gpt-4o", policy=RoutePolicy(...), catalog=catalog, needs=Needs(images=True))
    run = RouteRun(client, plan, request, budget=AttemptBudget(5), breaker=breaker)
    completion = await run.complete()           # or: async with aclosing(run.stream()) as events
    run.attempts                                # every call made, also after an error or a cancellation
    summarize(run.attempts, requested=plan.requested, strategy=plan.strategy, catalog=catalog)

Settle afterwards (`generations`): `await client.get_generation(generation_id)` tells what a cut or cancelled answer
cost. `client.get_models()`, `get_key()` and `get_credits()` ask the small questions; `LiveCatalog(client.get_models)`
keeps the catalogue up to date.

Know the models (`catalog`, `models`, `pricing`):

    catalog = shipped_catalog()
    resolved = catalog.require_resolved("anthropic/claude-3.5-sonnet")      # .id to send, .note why, .profile
    estimate_cost(resolved.profile.prices, completion.usage)                # only where `usage.cost` is None
    cache_discount(resolved.profile.prices, completion.usage)
"""

from app.openrouter.catalog import Catalog, ResolvedModel, shipped_catalog
from app.openrouter.client import OpenRouterClient
from app.openrouter.errors import OpenRouterError
from app.openrouter.models import ModelProfile
from app.openrouter.pricing import cache_discount, estimate_cost, highest_cost
from app.openrouter.timeouts import Timeouts
from app.openrouter.types import ChatRequest, Completion, ProviderPreferences, StreamEvent, Usage

__all__ = [
    "Catalog",
    "ChatRequest",
    "Completion",
    "ModelProfile",
    "OpenRouterClient",
    "OpenRouterError",
    "ProviderPreferences",
    "ResolvedModel",
    "StreamEvent",
    "Timeouts",
    "Usage",
    "cache_discount",
    "estimate_cost",
    "highest_cost",
    "shipped_catalog",
]
