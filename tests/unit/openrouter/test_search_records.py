"""Searches in billing records."""

from decimal import Decimal

from app.openrouter.generations import GenerationRecord
from app.openrouter.pricing import PriceList
from app.openrouter.types import Usage
from app.openrouter.web_search import searched_by_record


def test_a_record_that_bills_nothing_bills_no_search() -> None:
    usage = Usage(prompt_tokens=10, completion_tokens=0, cost=Decimal(0))
    record = GenerationRecord(id="gen-1", model=None, provider=None, usage=usage, search_engine="exa", search_results=5)

    found = searched_by_record(record, PriceList(), lambda _: False)

    assert (found.searches, found.search_cost) == (1, Decimal(0))
