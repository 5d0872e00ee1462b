"""Run one trial: load, the failure, recovery, and the audit afterwards."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dev.service import wait_for
from loadtest.faults import history
from loadtest.faults.catalogue import Fault
from loadtest.faults.judge import Verdict, judge
from loadtest.faults.traffic import OK, READ, WRITE, Load, Sample
from loadtest.faults.world import World

_SERVICES = 2
_CALM = 3.0  # seconds of load before the fault, and without failures after it
_GIVE_UP = 60.0
DEADLINE = 2.0
SLACK = 1.0  # because the machine is busy
BACK = 10.0
_HONEST = {
    "store-unavailable", "store-timeout", "store-overloaded", "overloaded", "queue-full",
    "too-many-reads", "not-ready",
}  # fmt: skip


@dataclass
class Result:
    """The measurements of one trial; times are in seconds.

    write_gap, read_gap: the longest time without a good answer. back: until requests worked again.
    """

    name: str
    what: str
    outage: bool
    loses: bool
    requests: int
    errors: dict[str, int]
    write_gap: float
    read_gap: float
    back: float
    slowest: float
    verdict: Verdict

    @property
    def broken(self) -> list[str]:
        """Return the promises that did not hold."""
        return self.unsafe + self.late

    @property
    def unsafe(self) -> list[str]:
        """Return the broken promises about what was stored and said."""
        checks = {
            "acknowledged events were lost": self.verdict.lost and not self.loses,
            "wrong answers": self.verdict.wrong and not self.loses,
            f"failures other than an honest 503: {self.errors}": set(self.errors) - _HONEST,
            "the fault had no effect": self.outage and not self.errors,
        }
        return [text for text, broken in checks.items() if broken]

    @property
    def late(self) -> list[str]:
        """Return the broken promises about times."""
        most_gap = DEADLINE + SLACK
        checks = {
            f"an answer took {self.slowest:.1f} s": self.slowest > DEADLINE + SLACK,
            f"back only after {self.back:.1f} s": self.back > BACK,
            f"no service for {max(self.write_gap, self.read_gap):.1f} s": (
                not self.outage and max(self.write_gap, self.read_gap) > most_gap
            ),
        }
        return [text for text, broken in checks.items() if broken]


def run(world: World, fault: Fault, kept: Path, *, hold: float | None = None) -> Result:
    """Try one failure; if a promise breaks, keep journal and history in the folder `kept`."""
    folder = Path(tempfile.mkdtemp(prefix=f"{fault.name}-"))
    with ExitStack() as stack:
        services = [stack.enter_context(world.service(tls=fault.tls)) for _ in range(_SERVICES)]
        urls = [service.ready().url for service in services]
        load = Load(urls, folder)
        load.start()
        try:
            time.sleep(_CALM)
            begun = time.monotonic()
            with fault.inflict(world):
                time.sleep(fault.hold if hold is None else hold)
            healed = time.monotonic()
            _calm_again(load, healed)
        finally:
            load.stop()
        world.mend()
        result = _judge(fault, load, urls[0], begun, healed)
    if result.broken:
        history.save(folder / "history.jsonl", load.history)
        (folder / "services.log").write_text("".join(line for s in services for line in s.lines))
        shutil.copytree(folder, kept / fault.name, dirs_exist_ok=True)
    shutil.rmtree(folder)
    return result


def _calm_again(load: Load, healed: float) -> None:
    def calm() -> bool:
        now = time.monotonic()
        return now - healed >= _CALM and not load.failed_since(now - _CALM)

    wait_for(calm, seconds=_GIVE_UP, what="requests work again after the fault")


def _judge(fault: Fault, load: Load, url: str, begun: float, healed: float) -> Result:
    samples = load.samples[:]
    failed = [sample for sample in samples if sample.outcome != OK]
    return Result(
        name=fault.name,
        what=fault.what,
        outage=fault.outage,
        loses=fault.loses,
        requests=len(samples),
        errors=dict(Counter(sample.outcome for sample in failed)),
        write_gap=_gap(samples, WRITE, begun),
        read_gap=_gap(samples, READ, begun),
        back=max(0.0, max((sample.ended for sample in failed), default=healed) - healed),
        slowest=max(sample.ended - sample.begun for sample in samples),
        verdict=judge(load, url),
    )


def _gap(samples: list[Sample], operation: str, begun: float) -> float:
    """Return the longest time after `begun` without a good answer to this operation."""
    well = sorted(s.ended for s in samples if s.operation == operation and s.outcome == OK)
    times = [begun, *(moment for moment in well if moment > begun)]
    return max(after - before for before, after in itertools.pairwise(times))
