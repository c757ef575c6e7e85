"""Where what was found is cited in the text."""

from typing import Any

from openrouter_emulator.answers.web_search import Search

MOST_CITED = 3


def cite(text: str, search: Search) -> tuple[dict[str, Any], ...]:
    """Citations with offsets into the text, in characters: one a line, as far as lines and results go."""
    lines = [line for line in text.split("\n") if line][: min(search.results, MOST_CITED)]
    return tuple(_citation(text, line, search, number) for number, line in enumerate(lines, start=1))


def _citation(text: str, line: str, search: Search, number: int) -> dict[str, Any]:
    start = text.index(line)
    return {
        "type": "url_citation",
        "url_citation": {
            "url": f"https://{search.sites[(number - 1) % len(search.sites)]}/simulated/{number}",
            "title": f"Simulated source {number}",
            "content": search.passage,
            "start_index": start,
            "end_index": start + len(line),
        },
    }
