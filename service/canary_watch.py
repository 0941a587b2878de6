"""Watches canaries, and returns their traffic to the champion if the challenger is worse.

Each worker publishes its counts once a second. The worker with the lowest process id adds them up and tests them: the
fraction of failed responses, the fraction of responses slower than the champion's 99th percentile, and the errors that
feedback shows on the same rows since the canary began. Five engine errors of the challenger end the canary at once. The
probability that a challenger that equals the champion is rolled back is at most 0.001 over the lifetime of a canary.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from models.aliases import CHAMPION
from models.serving_changes import set_traffic
from models.serving_state import ModelState, ServingStateError
from models.version_files import StoreError
from models.version_lifecycle import VersionStore
from service.errors import RetryLater
from service.feedback.live_report import worse_than_champion
from service.follower import Follower
from service.metrics import SECONDS, VersionCounters
from service.periodic_work import repeat
from service.registry import ModelEntry
from service.sequential_test import SequentialTest
from service.worker_files import WorkerFiles

POLL_S = 1.0
ALPHA = 0.001 / 3  # error probability of each of the three tests
ENGINE_ERRORS = 5
CHAMPION_RESPONSES = 500  # minimum number for determining the champion's 99th percentile
SLOW_SHARE = 0.01
FAILURES = (500, 504)  # without 503, which does not depend on the version
log = logging.getLogger("tabserve.canary")


@dataclass
class ResponseCounts:
    """The number of responses of one version since the canary began. seconds: responses by bucket of SECONDS."""

    responses: int = 0
    failed: int = 0
    engine_errors: int = 0
    rows: int = 0
    seconds: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))

    def add(self, other: "ResponseCounts") -> None:
        self.responses += other.responses
        self.failed += other.failed
        self.engine_errors += other.engine_errors
        self.rows += other.rows
        self.seconds = [one + two for one, two in zip(self.seconds, other.seconds, strict=True)]

    def slower_than(self, bucket: int) -> int:
        return sum(self.seconds[bucket + 1 :])


def counts_since_flush(source: VersionCounters) -> ResponseCounts:
    """The counts of a version since the last flush.

    Problems that clients cause are not failures: an invalid row, a slow client, a short deadline, or too little memory
    for a body.
    """
    counters, found = source.counters, ResponseCounts()
    for (_, status), count in counters.requests.items():
        found.responses += count
        found.failed += count if status in FAILURES else 0
        found.engine_errors += count if status == 500 else 0
    found.failed -= counters.short_deadlines
    found.rows = counters.valid_rows
    for buckets in counters.seconds.values():
        found.seconds = [one + two for one, two in zip(found.seconds, buckets.counts, strict=True)]
    return found


class CanaryTest:
    """The test of one canary over all workers."""

    def __init__(self, canary: str, after_rows: int) -> None:
        self.canary = canary
        self.may_act = False  # whether the challenger has predicted enough rows
        self._after_rows = after_rows
        self._failed, self._slow = SequentialTest(ALPHA), SequentialTest(ALPHA)
        self._slow_bucket: int | None = None  # the bucket of the champion's 99th percentile
        self._before = ResponseCounts(), ResponseCounts()

    def check(self, champion: ResponseCounts, challenger: ResponseCounts) -> str | None:
        """The reason to roll back, from the counts since the canary began."""
        if challenger.engine_errors >= ENGINE_ERRORS:
            return f"{challenger.engine_errors} engine errors"
        one, two = self._before
        first, second = champion.responses - one.responses, challenger.responses - two.responses
        if first < 0 or second < 0:  # the counts of a worker are missing
            self._before = champion, challenger
            return None
        self._failed.add(first, champion.failed - one.failed, second, challenger.failed - two.failed)
        if (bucket := self._slow_bucket) is not None:
            slow = champion.slower_than(bucket) - one.slower_than(bucket)
            self._slow.add(first, slow, second, challenger.slower_than(bucket) - two.slower_than(bucket))
        elif champion.responses >= CHAMPION_RESPONSES:
            self._slow_bucket = percentile_bucket(champion.seconds)
        self._before = champion, challenger
        self.may_act = challenger.rows >= self._after_rows
        if not self.may_act:
            return None
        if self._failed.rejected:
            return f"more failed responses: {self._failed.summary}"
        return f"more slow responses: {self._slow.summary}" if self._slow.rejected else None


def percentile_bucket(seconds: Sequence[int]) -> int:
    """The bucket with the 99th percentile."""
    total, above = sum(seconds), 0
    for bucket in range(len(seconds) - 1, -1, -1):
        above += seconds[bucket]
        if above > SLOW_SHARE * total:
            return bucket
    return 0


class CanaryWatch:
    """Watches the canaries in a worker."""

    def __init__(self, follower: Follower, files: WorkerFiles) -> None:
        self._follower = follower
        self._plane = follower.plane
        self._files = files
        self._own: dict[str, dict[str, ResponseCounts]] = {}  # counts of this worker by canary and version
        self._tests: dict[str, CanaryTest] = {}  # by model
        self._published = False
        self._known: dict[str, str] | None = None  # the canary of each model at the last check
        self._plane.metrics.observe_counters = self._count

    async def run(self) -> None:
        """Watch until cancelled."""
        await repeat(self.poll, POLL_S, "a canary cannot be watched")

    async def poll(self) -> None:
        watched = {name: entry for name, entry in self._plane.snapshot.entries.items() if entry.canary}
        known, self._known = self._known, {name: entry.canary for name, entry in watched.items()}
        keys = {key_of(entry) for entry in watched.values()}
        self._own = {key: counts for key, counts in self._own.items() if key in keys}
        self._tests = {name: test for name, test in self._tests.items() if name in watched}
        if watched or self._published:
            self._published = bool(watched)
            self._files.publish_counts(self._own)
        ended = self._files.ended_canaries()
        for name, canary in ended.items():
            if name in watched and watched[name].canary == canary:
                await self._follower.end_canary(name, canary)
                del watched[name]
        if ended and self._files.is_leader:
            self._files.set_ended_canaries({name: canary for name, canary in ended.items() if self._is_split(name)})
        if watched and self._files.is_leader:
            for entry in watched.values():
                if known is not None and known.get(entry.name) != entry.canary:
                    await self._begin(entry)
                await self._test(entry)

    def _is_split(self, name: str) -> bool:
        """Whether `serving.json` splits the traffic of a model."""
        wanted = self._follower.wanted.get(name)
        return wanted is not None and bool(wanted.traffic)

    def _count(self, source: VersionCounters) -> None:
        """Add the counts of a version; called at every flush of the metrics."""
        entry = self._plane.snapshot.entries.get(source.model)
        if entry is not None and entry.canary:
            counts = self._own.setdefault(key_of(entry), {})
            counts.setdefault(source.version, ResponseCounts()).add(counts_since_flush(source))

    async def _begin(self, entry: ModelEntry) -> None:
        """Forget an earlier canary of the same versions and shares: its feedback, and the counts of ended workers."""
        self._files.forget_counts(key_of(entry))
        if self._plane.live.has_feedback:
            try:
                await self._plane.feedback.run(self._plane.feedback.begin_canary, entry.name, entry.canary)
            except RetryLater:
                self._forget(entry.name)

    def _forget(self, model: str) -> None:
        """Treat the canary of a model as a new one at the next check."""
        if self._known is not None:
            self._known.pop(model, None)

    async def _test(self, entry: ModelEntry) -> None:
        assert entry.rollback
        test = self._tests.get(entry.name)
        if test is None or test.canary != entry.canary:
            test = self._tests[entry.name] = CanaryTest(entry.canary, entry.rollback.after_rows)
        champion, challenger = ResponseCounts(), ResponseCounts()
        for version, counts in self._files.counts(key_of(entry), self._own):
            (champion if version == entry.aliases[CHAMPION] else challenger).add(ResponseCounts(**counts))
        reason = test.check(champion, challenger)
        # otherwise feedback of an earlier canary may remain
        begun = self._known is not None and entry.name in self._known
        if reason is None and test.may_act and entry.rollback.feedback and begun:
            reason = await self._worse_by_feedback(entry)
        if reason is not None:
            await self._roll_back(entry, reason)

    async def _worse_by_feedback(self, entry: ModelEntry) -> str | None:
        """The reason to roll back according to the truth about the same rows."""
        if not self._plane.live.has_feedback:
            return None
        feedback = self._plane.feedback
        try:
            return worse_than_champion(entry, await feedback.run(feedback.sums, entry.name, 0.0), ALPHA)
        except RetryLater:  # the feedback thread is busy, or its database cannot be read: the next check is in a second
            return None

    async def _roll_back(self, entry: ModelEntry, reason: str) -> None:
        log.error("canary rolled back", extra={"model": entry.name, "canary": entry.canary, "reason": reason})
        self._plane.metrics.automatic_rollback(entry.name)
        self._files.end_canary(entry.name, entry.canary)
        self._forget(entry.name)
        versions, traffic = VersionStore(self._plane.settings.store, "automatic rollback"), dict(entry.traffic)

        def apply(state: ModelState) -> ModelState:
            unchanged = state.traffic is not None and dict(state.traffic.shares) == traffic
            return set_traffic(state, None) if unchanged else state

        try:
            await asyncio.to_thread(versions.change, "automatic_rollback", entry.name, apply, reason=reason)
        except (ServingStateError, StoreError) as error:  # the rollback still takes effect in memory
            log.warning("the rollback cannot be written", extra={"model": entry.name, "reason": str(error)})
        await self._follower.end_canary(entry.name, entry.canary)


def key_of(entry: ModelEntry) -> str:
    return f"{entry.name} {entry.canary}"
