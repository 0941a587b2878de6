"""Repeated work continues after an error."""

import asyncio
import logging

import pytest

from service.periodic_work import repeat


def test_an_error_is_logged_and_ends_only_one_call(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    async def work() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            raise asyncio.CancelledError
        if len(calls) == 1:
            raise OSError(24, "Too many open files")

    async def scenario() -> None:
        with pytest.raises(asyncio.CancelledError):
            await repeat(work, 0.0, "the work failed")

    caplog.set_level(logging.ERROR)
    asyncio.run(scenario())
    assert calls == [0, 1, 2]
    assert [(record.message, bool(record.exc_info)) for record in caplog.records] == [("the work failed", True)]
