"""Error envelopes in all the forms they have had; combine with a fault that causes an error."""

from typing import Any

from openrouter_emulator.faults.fault import Parameters, Stage, fault
from openrouter_emulator.http.wire import encode

Envelope = dict[str, Any]
RAW_FORMS: dict[str, Any] = {
    "openai": encode({"error": {"message": "simulated upstream message", "type": "server_error"}}).decode(),
    "anthropic": encode({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}).decode(),
    "code": encode({"code": 1302, "error": "simulated upstream message"}).decode(),
    "list": encode({"errors": [{"message": "simulated upstream message"}]}).decode(),
    "text": "simulated upstream message",
    "object": {"retryable": True},
}
METADATA_FORMS: dict[str, dict[str, Any] | None] = {
    "absent": None,
    "provider_null": {"provider_name": None},
    "raw": {"provider_name": "Groq", "raw": RAW_FORMS["openai"]},
    "raw_only": {"raw": RAW_FORMS["openai"]},
    "byok": {"is_byok": True, "provider_name": "Groq", "raw": RAW_FORMS["openai"]},
    "headers": {"headers": {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0"}, "provider_name": None},
    "previous_errors": {
        "previous_errors": [{"provider": "Cerebras", "code": "rate_limited", "status": 429}],
        "provider_name": None,
    },
}


@fault("error_metadata", Stage.ERROR, f"the error's metadata: {', '.join(METADATA_FORMS)}", quirks=(37,), form="raw")
def error_metadata(envelope: Envelope, parameters: Parameters) -> Envelope:
    return _with_metadata(envelope, METADATA_FORMS.get(parameters.text("form")))


@fault(
    "error_raw",
    Stage.ERROR,
    f"the upstream's words in `metadata.raw`: {', '.join(RAW_FORMS)}",
    quirks=(38,),
    form="anthropic",
)
def error_raw(envelope: Envelope, parameters: Parameters) -> Envelope:
    raw = RAW_FORMS.get(parameters.text("form"), parameters.text("form"))
    return _with_metadata(envelope, {"provider_name": "Groq", **(envelope["error"].get("metadata") or {}), "raw": raw})


@fault("no_user_id", Stage.ERROR, "no `user_id` beside the error", quirks=(42,))
def no_user_id(envelope: Envelope, _parameters: Parameters) -> Envelope:
    return {name: value for name, value in envelope.items() if name != "user_id"}


@fault(
    "status_inside_message", Stage.ERROR, "the upstream's status stands in the message alone", quirks=(39,), status=400
)
def status_inside_message(envelope: Envelope, parameters: Parameters) -> Envelope:
    message = f'Upstream error: {{"error":{{"message":"bad request","code":{parameters.count("status")}}}}}'
    return envelope | {"error": envelope["error"] | {"message": message}}


@fault("string_error_code", Stage.ERROR, "the error's code is text", quirks=(10,), code="server_error")
def string_error_code(envelope: Envelope, parameters: Parameters) -> Envelope:
    return envelope | {"error": envelope["error"] | {"code": parameters.text("code")}}


@fault("codeless_error", Stage.ERROR, "no code, but `error_type` and `http_status` on the error itself", quirks=(40,))
def codeless_error(envelope: Envelope, _parameters: Parameters) -> Envelope:
    error = dict(envelope["error"])
    status = error.pop("code")
    return envelope | {"error": {"error_type": "unmapped", "http_status": status, **error}}


@fault("zod_error", Stage.ERROR, "a validation error without a code, as `/responses` writes it", quirks=(40,))
def zod_error(_envelope: Envelope, _parameters: Parameters) -> Envelope:
    message = encode([{"code": "invalid_type", "path": ["input"], "message": "Invalid input"}]).decode()
    return {"success": False, "error": {"name": "ZodError", "message": message}}


def _with_metadata(envelope: Envelope, metadata: dict[str, Any] | None) -> Envelope:
    error = {name: value for name, value in envelope["error"].items() if name != "metadata"}
    return envelope | {"error": error if metadata is None else error | {"metadata": metadata}}
