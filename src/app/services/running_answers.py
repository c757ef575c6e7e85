"""How many answers of one person may be written at the same time."""

from collections.abc import Callable
from uuid import UUID

from app.coordination.coordination import Coordination, coordination
from app.coordination.seats import Leave
from app.core.config import Settings, get_settings
from app.core.errors import TooManyRequests

MARGIN_SECONDS = 60.0
"""How long a shared seat outlives the longest call, should nobody be left to give it up."""


class TooManyRunningAnswers(TooManyRequests):
    """All of the account's answers that may run at once are running; one more can be asked when one has ended."""

    code = "too_many_running_answers"


class AnswerSeat:
    """A place among somebody's running answers: kept by the answer that starts, else given up with the request."""

    def __init__(self, leave: Leave) -> None:
        self._leave: Leave | None = leave

    def hand_over(self) -> Leave:
        """What gives the seat up from now on; :meth:`close` no longer does."""
        leave, self._leave = self._leave, None
        if leave is None:
            raise RuntimeError("this seat is somebody else's already")
        return leave

    def close(self) -> None:
        """Give the seat up unless an answer has it."""
        if self._leave is not None:
            self.hand_over()()


class RunningAnswers:
    """Hands out seats; per process, or across processes where they share a server."""

    def __init__(self, *, settings: Callable[[], Settings], coordination: Coordination) -> None:
        self._settings = settings
        self._coordination = coordination

    async def take(self, user_id: UUID) -> AnswerSeat:
        """A seat; raises :class:`TooManyRunningAnswers`."""
        settings = self._settings()
        limit = settings.max_running_answers_per_user
        seconds = settings.openrouter_total_timeout_seconds + MARGIN_SECONDS
        leave = await self._coordination.seats.take(str(user_id), limit=limit, seconds=seconds)
        if leave is None:
            raise TooManyRunningAnswers(
                f"{limit} answers are being written for you already. Wait until one of them is complete.", limit=limit
            )
        return AnswerSeat(leave)


running_answers = RunningAnswers(settings=get_settings, coordination=coordination)
