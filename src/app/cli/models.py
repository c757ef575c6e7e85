"""`wisqu models`: what may be asked for, and what answers."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated

import typer

from app.services.models_service import OfferedModel, models_service

app = typer.Typer(no_args_is_help=True, help="The models OpenRouter offers.")


@app.command("list")
def list_models(
    q: Annotated[str, typer.Option(help="Only models whose id or name holds these words.")] = "",
    output: Annotated[str | None, typer.Option(help="Only models that make this: text, image or audio.")] = None,
) -> None:
    """List the models with context, prices in USD per million tokens, and the plan that opens them."""
    _refresh()
    found = models_service.list_models(query=q, output=output)
    for row in _table(found):
        typer.echo(row)
    typer.echo(f"{len(found)} models in all.")


@app.command("show")
def show_model(model_id: Annotated[str, typer.Argument(help="A model's id, living or retired.", metavar="ID")]) -> None:
    """Show one model, and what answers when it is asked for."""
    _refresh()
    answering = models_service.require(model_id)
    if answering.note:
        typer.echo(answering.note)
    for name, value in _facts(answering.model, sent_as=answering.sent_as):
        typer.echo(f"{name:<12}{value}")


def _refresh() -> None:
    if not asyncio.run(_refreshed()):
        typer.echo("OpenRouter could not be asked: this is the list shipped with this version.", err=True)


async def _refreshed() -> bool:
    try:
        return await models_service.refresh()
    finally:
        await models_service.aclose()


def _table(models: list[OfferedModel]) -> Iterator[str]:
    width = max((len(model.id) for model in models), default=0)
    for model in models:
        prices = f"{_usd(model.prices.prompt):>8} in {_usd(model.prices.completion):>8} out"
        yield f"{model.id:<{width}}  {_count(model.context_length):>10} tokens  {prices}  {model.unlocked_by or '-'}"


def _facts(model: OfferedModel, *, sent_as: str) -> Iterator[tuple[str, str]]:
    prices, features = model.prices, model.features
    can = {"tools": features.tools, "structured outputs": features.structured_outputs, "reasoning": features.reasoning}
    yield "sent as", sent_as
    yield "name", model.name
    yield "context", f"{_count(model.context_length)} tokens, at most {_count(model.max_output_tokens)} of them answer"
    yield "reads", ", ".join(model.input_modalities)
    yield "makes", ", ".join(model.output_modalities)
    yield "prices", f"{_usd(prices.prompt)} in, {_usd(prices.completion)} out, USD per million tokens"
    yield "cache", f"{_usd(prices.cache_read)} read, {_usd(prices.cache_write)} written, USD per million tokens"
    yield (
        "supports",
        ", ".join(name for name, is_there in can.items() if is_there) or "none of tools, schemas, reasoning",
    )
    yield "plan", f"from {model.unlocked_by.value} on" if model.unlocked_by else "none"
    yield "replaces", ", ".join(model.replaces) or "nothing"


def _usd(price: Decimal | None) -> str:
    return "?" if price is None else f"{price:.2f}"


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else f"{tokens:,}"
