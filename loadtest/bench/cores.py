"""The processor cores for server, load and Cassandra, so that none takes the cores of another."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Cores(msgspec.Struct, frozen=True):
    """Three sets of core numbers; an empty set means any core."""

    server: frozenset[int] = frozenset()
    generator: frozenset[int] = frozenset()
    cassandra: frozenset[int] = frozenset()

    def __str__(self) -> str:
        if not self.server:
            return "no process was pinned to cores"
        parts = (f"{name} {_text(getattr(self, name))}" for name in self.__struct_fields__)
        return f"processes were pinned to cores: {', '.join(parts)}"


def automatic() -> Cores:
    """Return two cores for the server and one for the load; pin nothing on fewer than four cores.

    On two cores Cassandra would get less than it needs and hold every contender back.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 4:
        return Cores()
    return Cores(frozenset(cores[:2]), frozenset(cores[2:3]), frozenset(cores[3:]))


def parse(text: str) -> Cores:
    """Read `auto`, `none`, or three lists such as `0,1/2/3`; raise ValueError for anything else."""
    if text == "auto":
        return automatic()
    if text == "none":
        return Cores()
    parts = [frozenset(int(core) for core in part.split(",")) for part in text.split("/")]
    if len(parts) != 3 or not frozenset().union(*parts) <= os.sched_getaffinity(0):
        raise ValueError(text)
    return Cores(*parts)


def pin(pid: int, cores: frozenset[int]) -> None:
    """Pin all threads of a process; threads that they start later inherit the cores."""
    if cores:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def _text(cores: frozenset[int]) -> str:
    return ",".join(map(str, sorted(cores)))
