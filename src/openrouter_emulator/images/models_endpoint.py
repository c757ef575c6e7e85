"""`GET /images/models`: image models with a descriptor for each parameter they take."""

from typing import Any

from openrouter_emulator.call import Call
from openrouter_emulator.catalogue.endpoints import require_model
from openrouter_emulator.catalogue.models import Model
from openrouter_emulator.http.errors import ApiError
from openrouter_emulator.http.playback import Playback
from openrouter_emulator.images.offer import ImageOffer, image_offers

ENUMS = {
    "resolution": "resolutions",
    "aspect_ratio": "aspect_ratios",
    "output_format": "output_formats",
    "quality": "qualities",
    "background": "backgrounds",
}
RANGES = ("n", "input_references", "output_compression")
UNITS = {"/megapixel": "megapixel", "/image": "image", "/request": "request"}
BILLABLES = {"Image Output": "output_image", "Image Input": "input_image", "Text Input": "input_text"}


async def list_image_models(call: Call) -> Playback:
    offers = image_offers()
    rows = [_row(model, offers[model.id]) for model in call.emulator.catalogue if model.id in offers]
    return call.answer_json({"data": rows})


async def list_image_endpoints(call: Call) -> Playback:
    model = require_model(call)
    offer = image_offers().get(model.id)
    if offer is None:
        raise ApiError(404, f"{model.id} is not an image model")
    hosts = call.emulator.hosts.of(model)
    rows = [_endpoint(offer, host.provider.name, host.provider.slug) for host in hosts]
    return call.answer_json({"id": model.id, "endpoints": rows})


def _row(model: Model, offer: ImageOffer) -> dict[str, Any]:
    shown = ("id", "name", "created", "description", "architecture")
    return {name: model.row[name] for name in shown} | {
        "supported_parameters": descriptors(offer),
        "supports_streaming": offer.provider == "OpenAI",
        "endpoints": f"/api/v1/images/models/{model.id}/endpoints",
    }


def _endpoint(offer: ImageOffer, name: str, slug: str) -> dict[str, Any]:
    return {
        "provider_name": name,
        "provider_slug": slug,
        "provider_tag": slug,
        "supported_parameters": descriptors(offer),
        "allowed_passthrough_parameters": [],
        "supports_streaming": name == "OpenAI",
        "pricing": [_price(row) for row in offer.price_units if row["label"] in BILLABLES],
    }


def _price(row: dict[str, str]) -> dict[str, Any]:
    unit = UNITS.get(row["unit"], "token")
    return {"billable": BILLABLES[row["label"]], "unit": unit, "cost_usd": float(row["price_usd"])}


def descriptors(offer: ImageOffer) -> dict[str, Any]:
    """A parameter that is absent is not supported."""
    found: dict[str, Any] = {}
    for name, listed in ENUMS.items():
        if offer.parameters.get(listed):
            found[name] = {"type": "enum", "values": offer.parameters[listed]}
    for name in RANGES:
        if offer.parameters.get(name):
            found[name] = {"type": "range", **offer.parameters[name]}
    if offer.parameters.get("seed"):
        found["seed"] = {"type": "boolean"}
    return found
