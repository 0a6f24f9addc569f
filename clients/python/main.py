"""Queries a server with the rows of clients/data and checks the responses."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from callscope import (
    CallErrorInput,
    CallFilter,
    CallInput,
    Callscope,
    CallStatus,
    GraphQLClientError,
    GraphQLClientGraphQLMultiError,
    GraphQLClientHttpError,
    RecordCallsInput,
)
from callscope.calls import CallsCallDetailsNodes
from httpx import Response

AS_OF = datetime(2026, 11, 2, 12, tzinfo=UTC)


def connect(token: str) -> Callscope:
    return Callscope(os.environ["GRAPHQL_URL"], headers={"Authorization": f"Bearer {token}"})


async def statistics(callscope: Callscope) -> None:
    stats = (await callscope.stats(as_of=AS_OF)).usage_stats
    assert stats.as_of == AS_OF, stats
    day = stats.last_24_hours
    assert (day.total, day.failure, day.success_rate) == (34, 17, 0.5), stats
    print(f"usageStats: {day.failure} of {day.total} calls failed in 24 hours")


async def groups(callscope: Callscope) -> None:
    dead = (await callscope.dead_keys(as_of=AS_OF)).call_groups
    found = [
        (group.api_key.masked if group.api_key else None, group.counts.total) for group in dead
    ]
    assert found == [("Fake...0003", 11)], found
    print(f"callGroups: the key {found[0][0]} got 403 {found[0][1]} times")


async def pages(callscope: Callscope) -> AsyncIterator[CallsCallDetailsNodes]:
    """All successful calls: `after` is the `endCursor` of the previous page."""
    after = None
    while True:
        succeeded = CallFilter(status=CallStatus.SUCCESS)
        page = (await callscope.calls(as_of=AS_OF, filter_=succeeded, after=after)).call_details
        for call in page.nodes:
            yield call
        if not page.page_info.has_next_page:
            return
        after = page.page_info.end_cursor


async def paging(callscope: Callscope) -> None:
    calls = [call async for call in pages(callscope)]
    assert len({call.id for call in calls}) == len(calls) == 17, calls
    assert calls[0].timestamp == datetime(2026, 11, 2, 11, 59, 30, tzinfo=UTC), calls[0]
    print(f"callDetails: {len(calls)} calls that succeeded, in pages of 8")


async def recording(callscope: Callscope) -> None:
    """Records as a gateway does: a batch that is sent again with the same key is recorded once."""
    call = CallInput(
        timestamp=datetime(2026, 10, 1, 8, tzinfo=UTC),
        key="Fake-key-of-team-four-0004",
        model="gemini-2.5-pro",
        status_code=503,
        latency_ms=900,
        error=CallErrorInput(message="The model is overloaded."),
    )
    batch = RecordCallsInput(calls=[call], idempotency_key="python-example-1")
    first = (await callscope.record(batch)).record_calls
    again = (await callscope.record(batch)).record_calls
    assert (first.recorded, first.duplicate, again.duplicate) == (1, False, True), (first, again)
    stored = first.calls[0]
    assert stored.status == CallStatus.FAILURE and stored.timestamp == call.timestamp, stored
    assert stored.error_log and stored.error_log.message == "The model is overloaded.", stored
    print("recordCalls: recorded once, though sent twice")


def code_of(refused: GraphQLClientError) -> str:
    """The error code. Match on it; messages may change."""
    if isinstance(refused, GraphQLClientGraphQLMultiError):
        return str((refused.errors[0].extensions or {})["code"])
    if isinstance(refused, GraphQLClientHttpError) and isinstance(refused.response, Response):
        # For a status of 400 or more the errors are in the body.
        return str(refused.response.json()["errors"][0]["extensions"]["code"])
    raise refused


async def errors(callscope: Callscope, stranger: Callscope) -> None:
    codes = []
    for answer in (stranger.stats(), callscope.calls(after="nowhere")):
        try:
            await answer
        except GraphQLClientError as refused:
            codes.append(code_of(refused))
    assert codes == ["UNAUTHENTICATED", "BAD_USER_INPUT"], codes
    print(f"errors: {', '.join(codes)}")


async def main() -> None:
    async with (
        connect(os.environ["GRAPHQL_TOKEN"]) as callscope,
        connect("not-a-token-that-anybody-has") as stranger,
    ):
        await statistics(callscope)
        await groups(callscope)
        await paging(callscope)
        await errors(callscope, stranger)
        await recording(callscope)


if __name__ == "__main__":
    asyncio.run(main())
