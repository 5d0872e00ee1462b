"""The steps of `make e2e` in their order.

All steps after `load` run under load. A failed request fails the step, except where something was
killed. At the end every session that was ever acknowledged must be read back.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e import policies, start, tls
from tests.e2e.steps import Run

Step = Callable[[Run], str]

STEPS: tuple[Step, ...] = (
    start.images,
    start.gitops_before_cassandra,
    start.install_before_cassandra,
    Run.helm_test,
    Run.system_tests,
    Run.load,
    tls.tls,
    Run.rolling_restart,
    Run.upgrade_with_migration,
    Run.retention,
    Run.scale,
    Run.pod_kill,
    tls.wrong_authority,
    tls.renewed_certificates,
    Run.cassandra_kill,
    start.upgrade_while_cassandra_restarts,
    Run.wrong_superuser,
    Run.rollback,
    Run.reinstall,
    Run.gitops,
    policies.network_policies,
    Run.load_workers,
    Run.audit,
)


def steps(*, enforce: bool, only: list[str]) -> tuple[Step, ...]:
    """Return the steps to run; `only` names some of them, for a namespace that was kept."""
    chosen = (policies.enforcing_agent, *STEPS) if enforce else STEPS
    return tuple(step for step in chosen if not only or name(step) in only)


def name(step: Step) -> str:
    return step.__name__.replace("_", "-")
