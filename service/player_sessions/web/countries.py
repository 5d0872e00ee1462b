"""Session starts per country, over the last hours."""

# No `from __future__ import annotations` here: Litestar could not look up `most_hours` by its name.

import functools
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from litestar.types import ASGIApp

from player_sessions.rules.countries import HOUR_MS, Count, summed
from player_sessions.rules.reasons import INVALID_PARAMETER
from player_sessions.store.store import now_ms
from player_sessions.web.access import READ
from player_sessions.web.answer import Answer
from player_sessions.web.context import Context
from player_sessions.web.documents import CountryCount, HourOfStarts, StartsByCountry, moment
from player_sessions.web.headers import NO_STORE
from player_sessions.web.openapi import description
from player_sessions.web.problems import Refused

DEFAULT_HOURS = 24
MAX_SERIES = 168  # hours in the series of one answer, which bounds its size
_ANSWER = description.answer(StartsByCountry, "The starts.")
_encode = msgspec.json.Encoder().encode


def starts_route(most_hours: int) -> HTTPRouteHandler:
    """Return the route, by which a client may ask for at most `most_hours` hours."""

    @get(
        "/v1/countries/starts",
        operation_id="Starts",
        summary="Count session starts per country",
        tags=[description.ANALYSTS],
        key=READ,
        must_be={"hours": f"a whole number from 1 to {most_hours}", "by": "hour"},
        responses=_ANSWER | description.problems(400, 401, 403, 500, 503),
    )
    async def starts(
        request: Request[Any, Any, Any],
        hours: Annotated[
            int,
            Parameter(ge=1, le=most_hours, description="So many hours; the last is under way."),
        ] = min(DEFAULT_HOURS, most_hours),
        by: Annotated[
            Literal["hour"] | None, Parameter(description="`hour` adds the counts of each hour.")
        ] = None,
    ) -> ASGIApp:
        """Return how many sessions began in each country, over whole hours in UTC."""
        if by and hours > MAX_SERIES:
            detail = f"hours: at most {MAX_SERIES} with by=hour"
            raise Refused(INVALID_PARAMETER, detail)
        context: Context = request.app.state["context"]
        found = await context.store.starts(hours)
        return Answer(_encode(_document(found, series=bool(by))), headers=NO_STORE)

    return starts


def _document(found: dict[int, Count], *, series: bool) -> StartsByCountry:
    """Return the answer for the counts of consecutive hours, oldest first."""
    whole = summed(found.values(), now_ms())
    document = StartsByCountry(
        since=moment(min(found)),
        until=moment(max(found) + HOUR_MS),
        as_of=moment(whole.counted_at),
        total=whole.total,
        countries=_ranked(whole),
    )
    if not series:
        return document
    hours = [_hour(hour, count) for hour, count in found.items()]
    return msgspec.structs.replace(document, hours=hours)


@functools.lru_cache(maxsize=2 * MAX_SERIES)
def _hour(hour: int, count: Count) -> msgspec.Raw:
    """Return an hour of a series as JSON; a count that is kept need not be encoded again."""
    document = HourOfStarts(hour=moment(hour), total=count.total, countries=_ranked(count))
    return msgspec.Raw(_encode(document))


def _ranked(count: Count) -> list[CountryCount]:
    return [CountryCount(country=country, starts=starts) for country, starts in count.ranked()]
