"""`make docs`: print the chart's Grafana dashboard as JSON. Standard library only.

Each entry of ROWS is one panel: title, unit and description, then queries with their legends.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from dev.grafana import (
    FIRING,
    Panel,
    dashboard,
    graph,
    metric,
    over,
    per_second,
    quantiles,
    share,
    stat,
)

API = 'route!="other"'
FAST = API + ',le="0.5"'
SECONDS = "request_duration_seconds"

ROWS: dict[str, list[Panel]] = {
    "At a glance": [
        stat("Ready instances", "none", "Instances that accept requests.",
             (over("sum", "ready"), "ready")),
        stat("Requests", "reqps", "Requests per second of every route except `other`.",
             (per_second("requests_total", "", API), "requests")),
        stat("Failing", "percentunit", "Share answered with 5xx; the objective is 0.1 %.",
             (share("requests_total", 'status=~"5.."', "", API), "5xx"), bad=0.001),
        stat("p90", "s", "Over all routes; the objective is 500 ms.",
             *quantiles(SECONDS, "", API, "0.9"), bad=0.5),
        stat("Events", "eps", "Events accepted: acknowledged and stored.",
             (per_second("events_total", "", 'outcome="accepted"'), "accepted")),
        stat("Alerts firing", "none", "Alerts of rules.yaml. Each has a runbook.",
             (f"count({FIRING}) or vector(0)", "alerts"), bad=1),
    ],
    "Requests: rate, errors, duration": [
        graph("Requests by route", "reqps", "`other`: health, metrics, /docs and unknown paths.",
              (per_second("requests_total", "route"), "{{route}}")),
        graph("Answers other than 200", "reqps",
              "4xx: the client must fix the request. 503: the client sends the request again.",
              (per_second("requests_total", "status", API + ',status!="200"'), "{{status}}")),
        graph("Share of 5xx by route", "percentunit", "The line is the objective, 0.1 %.",
              (share("requests_total", 'status=~"5.."', "route", API), "{{route}}"), bad=0.001),
        graph("p50 by route", "s", "From a request's head to the end of its answer.",
              *quantiles(SECONDS, "route", API, "0.5")),
        graph("p90 by route", "s", "The line is the objective, 500 ms.",
              *quantiles(SECONDS, "route", API, "0.9"), bad=0.5),
        graph("p99 by route", "s", "Near the deadline (2 s) when Cassandra is slow or down.",
              *quantiles(SECONDS, "route", API, "0.99")),
        graph("Share over 500 ms by route", "percentunit", "The line is the objective, 10 %.",
              (f"1 - {per_second(SECONDS + '_bucket', 'route', FAST)}"
               f" / {per_second(SECONDS + '_count', 'route', API)}", "{{route}}"), bad=0.1),
        graph("Requests in flight", "none", "Requests of all instances that are not answered yet.",
              (over("sum by (operation)", "requests_in_flight"), "{{operation}}")),
        graph("Denied", "reqps", "Requests without a valid key (401) or without the scope (403).",
              (per_second("denied_total", "reason"), "{{reason}}")),
    ],
    "Events": [
        graph("Events by kind and outcome", "eps", "Discarded events are older than the retention.",
              (per_second("events_total", "kind, outcome"), "{{kind}} {{outcome}}")),
        graph("Share discarded", "percentunit", "A rise means broken clocks or an old backlog.",
              (share("events_total", 'outcome="discarded"'), "discarded")),
        graph("Refused batches by reason", "cps",
              "Counted once for each reason in a batch (400 or 422).",
              (per_second("refused_total", "reason"), "{{reason}}")),
        graph("Rejected events by reason", "eps",
              "Events that lenient batches were stored without (`Prefer: handling=lenient`).",
              (per_second("rejected_events_total", "reason"), "{{reason}}")),
        graph("Events per batch", "none",
              "At most MAX_BATCH_EVENTS. Single-event batches cost the most per event.",
              (f"{per_second('batch_events_sum')} / {per_second('batch_events_count')}", "mean"),
              *quantiles("batch_events", of="0.5 0.9")),
        graph("Erasures by outcome", "cps",
              "Erasures of players. Clients must repeat those that failed.",
              (per_second("erasures_total", "outcome"), "{{outcome}}")),
        graph("Lag of events", "s", "Time of receipt minus the event's own time, in coarse steps.",
              *quantiles("event_lag_seconds")),
        graph("Clock skew by instance", "s", "The service's clock minus Cassandra's.",
              (metric("clock_skew_seconds"), "{{instance}}"), least=-1),
    ],
    "Queue and group commit": [
        graph("Rows waiting", "none",
              "Rows that wait for a group commit, at most WRITER_QUEUE_ROWS.",
              (over("max by (instance)", "queued_rows"), "{{instance}}")),
        graph("Age of the oldest row", "s", "How long the oldest row has waited, by instance.",
              (over("max by (instance)", "queue_age_seconds"), "{{instance}}")),
        graph("Shed by reason", "reqps",
              "Requests answered with 503 so that the others stay fast.",
              (per_second("shed_total", "reason"), "{{reason}}")),
        graph("Rows per group commit", "none",
              "Grows with the load. More rows in a group commit make each row cheaper.",
              *quantiles("group_commit_rows", of="0.5 0.9")),
        graph("Group commits", "cps", "Batches sent to Cassandra.",
              (per_second("group_commit_rows_count"), "batches")),
        graph("Sessions returned", "cps",
              "Also counts ends without a start, and sessions that end before their start.",
              (per_second("sessions_returned_total"), "returned"),
              (per_second("incomplete_ends_total"), "ends without a start"),
              (per_second("negative_durations_total"), "end before start")),
    ],
    "Starts per country": [
        graph("Hours asked, by kind of count", "cps",
              "Where the counts came from: memory, a count kept in Cassandra, or a new count.",
              (per_second("country_hours_total", "kind"), "{{kind}}")),
        graph("Rows read", "cps", "Rows that new counts read: the starts of a group commit each.",
              (per_second("country_rows_read_total"), "rows")),
        graph("Counts at once", "none",
              "How many hours were being counted on average, by all instances.",
              (per_second("country_count_duration_seconds_sum"), "counts")),
    ],
    "Cassandra, as the service sees it": [
        graph("Latency of writes", "s", "From sending a batch to its answer at LOCAL_QUORUM.",
              *quantiles("store_duration_seconds", match='operation="write"')),
        graph("Latency of reads", "s", "From sending a query to its answer.",
              *quantiles("store_duration_seconds", match='operation="read"')),
        graph("Requests to Cassandra", "ops", "Group commits and queries sent to Cassandra.",
              (per_second("store_duration_seconds_count", "operation"), "{{operation}}")),
        graph("Failures by reason", "ops", "`bug`: Cassandra says that the request is invalid.",
              (per_second("store_errors_total", "reason"), "{{reason}}")),
        graph("Extra requests", "ops", "Retries, speculation and splits, within their budget.",
              (per_second("store_extra_requests_total", "kind"), "{{kind}}")),
        graph("Nodes and connections", "none",
              "Fewest nodes up and most nodes down that an instance sees; connections of all.",
              (over("min", "driver_nodes", 'state="up"'), "nodes up"),
              (over("max", "driver_nodes", 'state="down"'), "nodes down"),
              (over("sum", "driver_connections"), "connections")),
    ],
    "Saturation": [
        graph("CPU by instance", "percentunit",
              "One event loop can use at most 100 % of one core.",
              (f"rate({metric('process_cpu_seconds_total')}[$__rate_interval])", "{{instance}}"),
              bad=0.9),
        graph("Memory by instance", "bytes", "Resident memory.",
              (metric("process_resident_memory_bytes"), "{{instance}}")),
        graph("Event loop stalls", "cps", "How often the loop was late by 100 ms or more.",
              (per_second("event_loop_stalls_total", "instance"), "{{instance}}")),
        graph("HTTP connections", "none", "Open connections, at most MAX_CONNECTIONS.",
              (over("sum by (instance)", "connections"), "{{instance}}")),
        graph("Connections cut", "cps", "Connections closed because the client was slow or idle.",
              (per_second("connections_cut_total", "reason"), "{{reason}}")),
        graph("Telemetry lost", "cps",
              "Spans that could not be exported, and log lines above their rate limit.",
              (per_second("spans_dropped_total"), "spans"),
              (per_second("log_lines_suppressed_total"), "log lines")),
    ],
    "Instances": [
        graph("Readiness", "none",
              "Instances that are ready, that are draining, and whose schema does not fit.",
              (over("sum", "ready"), "ready"),
              (over("sum", "draining"), "draining"),
              (over("sum", "schema_mismatch"), "schema does not fit")),
        graph("Versions", "none", "Instances by version, to follow a rollout.",
              (over("count by (version)", "build_info"), "{{version}}")),
        graph("Schema", "none", "Newest migration that the instances see in the database.",
              (over("min", "schema_version"), "lowest"),
              (over("max", "schema_version"), "highest")),
    ],
}  # fmt: skip


def main() -> int:
    """Print the dashboard."""
    argparse.ArgumentParser(
        description="Print the Grafana dashboard.",
        epilog="Example: python dev/dashboard.py > charts/player-sessions/files/dashboard.json",
    ).parse_args()
    print(json.dumps(dashboard(ROWS), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
