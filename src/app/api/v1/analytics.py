"""``/analytics``: charts for operators, also as files."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from app.api.deps import AdminUser, AppServices, Operator
from app.api.schemas.analytics import (
    CachePerformanceRead,
    ModelUsageRead,
    PlanDistributionRead,
    SystemStatsRead,
    TopUsersRead,
    UsageTrendsRead,
)
from app.api.schemas.common import ReadModel, Text
from app.api.tables import Format, as_file
from app.domain.analytics import DayRange, Filters
from app.domain.plans import PlanTier
from app.services.analytics_service import AnalyticsService, Report, month_begin

router = APIRouter(prefix="/analytics", tags=["analytics"])

FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The chart; with `format`, its rows as a file",
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


async def _get_analytics(services: AppServices, _admin: AdminUser) -> AnalyticsService:
    return services.analytics


Analytics = Annotated[AnalyticsService, Depends(_get_analytics)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What every chart can be asked for."""

    first: date | None
    last: date | None
    time_zone: str
    plan: PlanTier | None
    model: str | None
    format: Format

    def filters(self, analytics: AnalyticsService, default: Callable[[date], date] | None = None) -> Filters:
        """The same, checked; ``default`` says where a range begins whose end alone is known."""
        return analytics.filters(
            first=self.first,
            last=self.last,
            time_zone=self.time_zone,
            plan=self.plan,
            model=self.model,
            default_first=default,
        )


async def _get_asked(
    first: Annotated[date | None, Query(alias="from")] = None,
    last: Annotated[date | None, Query(alias="to")] = None,
    time_zone: Annotated[Text, Query(max_length=64)] = "UTC",
    plan: PlanTier | None = None,
    model: Annotated[Text | None, Query(max_length=200)] = None,
    format: Format = "json",
) -> Asked:
    return Asked(first, last, time_zone, plan, model, format)


Chart = Annotated[Asked, Depends(_get_asked)]


@router.get("/system-stats", response_model=SystemStatsRead, responses=FILES)
async def get_system_stats(analytics: Analytics, asked: Chart) -> Any:
    """Each number of the house beside the one of as many days before."""
    report = await analytics.system_stats(asked.filters(analytics))
    previous = {"previous_range": _range(report.days.before())}
    return _answer(report, asked, SystemStatsRead, "system-stats", **previous)


@router.get("/plan-distribution", response_model=PlanDistributionRead, responses=FILES)
async def get_plan_distribution(analytics: Analytics, asked: Chart) -> Any:
    """Accounts, money and use by plan."""
    report = await analytics.plan_distribution(asked.filters(analytics))
    return _answer(report, asked, PlanDistributionRead, "plan-distribution")


@router.get("/usage-trends", response_model=UsageTrendsRead, responses=FILES)
async def get_usage_trends(
    analytics: Analytics,
    asked: Chart,
    granularity: Literal["day", "month"] = "day",
    group_by: Literal["plan", "model"] | None = None,
) -> Any:
    """Use by day or month."""
    report = await analytics.usage_trends(asked.filters(analytics), granularity, group_by)
    return _answer(report, asked, UsageTrendsRead, "usage-trends")


@router.get("/top-users", response_model=TopUsersRead, responses=FILES)
async def get_top_users(
    analytics: Analytics,
    operator: Operator,
    asked: Chart,
    by: Literal["cost", "tokens", "messages", "savings"] = "cost",
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> Any:
    """Who used most; looking is written to the audit log."""
    report = await analytics.top_users(operator, asked.filters(analytics, month_begin), by=by, limit=limit)
    return _answer(report, asked, TopUsersRead, "top-users")


@router.get("/model-usage", response_model=ModelUsageRead, responses=FILES)
async def get_model_usage(analytics: Analytics, asked: Chart) -> Any:
    """What each model was used for, how fast it was and how its answers ended."""
    report = await analytics.model_usage(asked.filters(analytics))
    return _answer(report, asked, ModelUsageRead, "model-usage")


@router.get("/cache-performance", response_model=CachePerformanceRead, responses=FILES)
async def get_cache_performance(
    analytics: Analytics, asked: Chart, group_by: Literal["day", "model", "plan"] = "model"
) -> Any:
    """What caching saved, and why it did not."""
    report = await analytics.cache_performance(asked.filters(analytics), group_by)
    return _answer(report, asked, CachePerformanceRead, "cache-performance")


def _answer(report: Report, asked: Asked, body: type[ReadModel], name: str, **more: Any) -> Response | ReadModel:
    if asked.format != "json":
        return as_file(report.items, asked.format, f"{name}-{report.days.first}-{report.days.last}")
    told = asdict(report) | {"range": _range(report.days)} | more
    return body.model_validate(told)


def _range(days: DayRange) -> dict[str, Any]:
    return {"first": days.first, "last": days.last, "time_zone": days.zone.key}
