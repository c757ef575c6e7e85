"""`python -m openrouter_emulator --port N`."""

import argparse
import logging
import sys

import msgspec

from openrouter_emulator.application import create_emulator
from openrouter_emulator.server import serve
from openrouter_emulator.settings import EmulatorSettings


def build_parser() -> argparse.ArgumentParser:
    defaults = EmulatorSettings()
    parser = argparse.ArgumentParser(
        prog="openrouter_emulator",
        description="An OpenRouter that runs offline.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--port", type=int, default=8787, help="0 takes a free port (default: 8787)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback)")
    parser.add_argument("--exit-with-parent", action="store_true", default=False, help="stop when the parent stops")
    parser.add_argument(
        "--tokens-per-second",
        type=float,
        help=f"speed of an answer, 0 for as fast as possible (default: {defaults.tokens_per_second:g})",
    )
    parser.add_argument(
        "--first-token-delay", type=float, help=f"seconds before it begins (default: {defaults.first_token_delay:g})"
    )
    parser.add_argument("--api-key", dest="api_keys", action="append", help="accept only this key; may be repeated")
    parser.add_argument("--seed", type=int, help="other seeds give other answers (default: 0)")
    return parser


def _is_not_a_meant_break(record: logging.LogRecord) -> bool:
    """Faults break connections on purpose, and stopping cancels open streams."""
    return not record.getMessage().startswith(("ASGI callable returned without", "Cancel "))


def main() -> None:
    parser = build_parser()
    options = vars(parser.parse_args())
    host, port, exit_with_parent = (options.pop(name) for name in ("host", "port", "exit_with_parent"))
    try:
        settings = EmulatorSettings().updated(options)
    except msgspec.ValidationError as error:
        parser.error(str(error))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_not_a_meant_break)
    serve(create_emulator(settings), host=host, port=port, exit_with_parent=exit_with_parent)


if __name__ == "__main__":
    main()
