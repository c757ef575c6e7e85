"""What a turn may hold: cut to what is left, refused only when nothing useful is."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from app.domain.quotas import MIN_ANSWER_TOKENS, Allowance, Balance, Meter, TokenPrices, TurnAsk, TurnGrant, grant_turn

PRICES = TokenPrices(prompt=Decimal("0.000001"), completion=Decimal("0.00001"))


def make_balance(*, messages: int = 100, tokens: int = 100_000, cost: str = "0.50", held: int = 0) -> Balance:
    def meter(name: Meter, limit: Decimal) -> Allowance:
        return Allowance(name, limit, Decimal(0))

    return Balance(
        Allowance(Meter.MESSAGES, Decimal(messages), Decimal(0), Decimal(held)),
        meter(Meter.TOKENS, Decimal(tokens)),
        meter(Meter.IMAGES, Decimal(5)),
        meter(Meter.COST, Decimal(cost)),
    )


def make_ask(*, prompt_tokens: int = 1_000, max_tokens: int = 4_096, prices: TokenPrices | None = PRICES) -> TurnAsk:
    return TurnAsk(prompt_tokens, max_tokens, prices)


def grant(ask: TurnAsk, balance: Balance) -> TurnGrant:
    granted = grant_turn(ask, balance)
    assert isinstance(granted, TurnGrant)
    return granted


def test_with_plenty_left_a_turn_holds_prompt_and_longest_answer() -> None:
    granted = grant(make_ask(), make_balance())

    assert granted.max_tokens == 4_096
    assert (granted.amounts.messages, granted.amounts.tokens) == (1, 5_096)
    assert granted.amounts.cost_usd == Decimal("0.04196")


def test_somebody_with_few_tokens_left_can_still_ask_something_short() -> None:
    assert grant(make_ask(prompt_tokens=900), make_balance(tokens=1_000)).max_tokens == 100


def test_somebody_with_little_money_left_can_still_ask_something_short() -> None:
    granted = grant(make_ask(prompt_tokens=1_000), make_balance(cost="0.003"))

    assert granted.max_tokens == 200
    assert granted.amounts.cost_usd == Decimal("0.003")


def test_the_spent_meter_is_the_one_that_refuses() -> None:
    assert grant_turn(make_ask(), make_balance(messages=3, held=3)) == make_balance(messages=3, held=3).messages
    assert grant_turn(make_ask(), make_balance(tokens=1_010)) == make_balance(tokens=1_010).tokens
    assert grant_turn(make_ask(), make_balance(cost="0.0011")) == make_balance(cost="0.0011").cost


def test_an_unknown_price_holds_all_the_money_that_is_left() -> None:
    assert grant(make_ask(prices=None), make_balance(cost="0.50")).amounts.cost_usd == Decimal("0.50")
    assert grant_turn(make_ask(prices=None), make_balance(cost="0")) == make_balance(cost="0").cost


def test_a_free_model_needs_no_money() -> None:
    free = TokenPrices(Decimal(0), Decimal(0))

    assert grant(make_ask(prices=free), make_balance(cost="0")).amounts.cost_usd == 0


def test_refusals_have_the_documented_words() -> None:
    balance = make_balance()

    assert [each.refusal for each in balance] == [
        "Monthly message limit reached (100)",
        "Monthly token limit reached (100000)",
        "Monthly image limit reached (5)",
        "Monthly cost limit reached ($0.50)",
    ]


@given(
    prompt_tokens=st.integers(1, 50_000),
    max_tokens=st.integers(1, 50_000),
    tokens=st.integers(0, 60_000),
    cost=st.decimals("0", "1", places=6),
    priced=st.booleans(),
)
def test_a_grant_never_exceeds_what_is_free(
    prompt_tokens: int, max_tokens: int, tokens: int, cost: Decimal, priced: bool
) -> None:
    balance = make_balance(tokens=tokens, cost=str(cost))
    granted = grant_turn(TurnAsk(prompt_tokens, max_tokens, PRICES if priced else None), balance)

    if isinstance(granted, TurnGrant):
        assert min(MIN_ANSWER_TOKENS, max_tokens) <= granted.max_tokens <= max_tokens
        assert granted.amounts.tokens == prompt_tokens + granted.max_tokens <= balance.tokens.free
        assert 0 <= granted.amounts.cost_usd <= balance.cost.free
