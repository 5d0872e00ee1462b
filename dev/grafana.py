"""Panels, queries and layout of a Grafana dashboard, as plain JSON. Standard library only.

`dashboard.py` defines the panels; this module writes them in Grafana's form.
"""

from __future__ import annotations

from typing import Any

SCHEMA_VERSION = 42  # of Grafana 13; Grafana raises older ones itself
WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
FIRING = 'ALERTS{alertname=~"PlayerSessions.*",alertstate="firing",namespace=~"$namespace"}'

Target = tuple[str, str]  # PromQL, legend
Panel = dict[str, Any]


def metric(name: str, match: str = "") -> str:
    name = name if name.startswith("process_") else f"player_sessions_{name}"
    return f"{name}{{{CHOSEN}{',' if match else ''}{match}}}"


def per_second(name: str, by: str = "", match: str = "") -> str:
    return f"sum by ({by}) (rate({metric(name, match)}[$__rate_interval]))"


def over(how: str, name: str, match: str = "") -> str:
    return f"{how} ({metric(name, match)})"


def share(of: str, match: str, by: str = "", within: str = "") -> str:
    """Return the share of a counter's increase that also matches `match`."""
    both = ",".join(filter(None, (within, match)))
    return f"{per_second(of, by, both)} / {per_second(of, by, within)}"


def quantiles(name: str, by: str = "", match: str = "", of: str = "0.5 0.9 0.99") -> list[Target]:
    """Return one target per quantile, or with `by` one per value of that label."""
    labels = ", ".join(filter(None, ("le", by)))
    rate = per_second(f"{name}_bucket", labels, match)
    return [
        (f"histogram_quantile({q}, {rate})", f"{{{{{by}}}}}" if by else f"p{float(q) * 100:g}")
        for q in of.split()
    ]


def stat(title: str, unit: str, text: str, *targets: Target, bad: float | None = None) -> Panel:
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
        "wideLayout": True,
    }
    return _panel("stat", (4, 4), title, unit, text, targets, options, {}, bad)


def graph(
    title: str, unit: str, text: str, *targets: Target, bad: float | None = None, least: int = 0
) -> Panel:
    options = {
        "legend": {
            "calcs": ["mean", "max"],
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    custom = {
        "drawStyle": "line",
        "fillOpacity": 10,
        "lineWidth": 1,
        "showPoints": "never",
        "thresholdsStyle": {"mode": "off" if bad is None else "line"},
    }
    made = _panel("timeseries", (8, 9), title, unit, text, targets, options, custom, bad)
    made["fieldConfig"]["defaults"] |= {} if least else {"min": 0}
    return made


def _panel(
    kind: str,
    size: tuple[int, int],
    title: str,
    unit: str,
    text: str,
    targets: tuple[Target, ...],
    options: dict[str, Any],
    custom: dict[str, Any],
    bad: float | None,
) -> Panel:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if bad is not None:
        steps.append({"color": "red", "value": bad})
    thresholds = {"mode": "absolute", "steps": steps}
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": DATASOURCE,
        "gridPos": {"w": size[0], "h": size[1]},
        "fieldConfig": {
            "defaults": {"unit": unit, "custom": custom, "thresholds": thresholds},
            "overrides": [],
        },
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": expression,
                "legendFormat": legend,
                "range": True,
            }
            for number, (expression, legend) in enumerate(targets)
        ],
    }


def laid_out(rows: dict[str, list[Panel]]) -> list[Panel]:
    """Return all panels with ids and positions, each row under its heading."""
    panels: list[Panel] = []
    y = 0
    for title, row in rows.items():
        panels.append(
            {
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            }
        )
        x, y = 0, y + 1
        for panel in row:
            size = panel["gridPos"]
            if x + size["w"] > WIDTH:
                x, y = 0, y + size["h"]
            panels.append({**panel, "gridPos": {"x": x, "y": y, **size}})
            x += size["w"]
        y += row[-1]["gridPos"]["h"]
    return [{"id": number, **panel} for number, panel in enumerate(panels, 1)]


def variable(name: str, label: str, match: str, **more: Any) -> dict[str, Any]:
    query = f"label_values(player_sessions_build_info{{{match}}},{name})"
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"qryType": 1, "query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
        **more,
    }


def dashboard(rows: dict[str, list[Panel]]) -> dict[str, Any]:
    """Return what Grafana imports: `rows` of panels under their headings."""
    return {
        "uid": "player-sessions",
        "title": "player-sessions",
        "description": "Requests, events, queue, Cassandra and saturation of player-sessions.",
        "tags": ["player-sessions"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "datasource": DATASOURCE,
                    "enable": True,
                    "iconColor": "red",
                    "target": {"refId": "Anno", "expr": FIRING},
                    "titleFormat": "{{alertname}}",
                    "textFormat": "{{route}} {{instance}} {{reason}}",
                }
            ]
        },
        "templating": {
            "list": [
                {
                    "type": "datasource",
                    "name": "datasource",
                    "label": "Prometheus",
                    "query": "prometheus",
                    "refresh": 1,
                },
                # A Prometheus outside of Kubernetes has no label `namespace`: `.*` fits that too.
                variable("namespace", "Namespace", "", allValue=".*"),
                variable("job", "Job", 'namespace=~"$namespace"'),
                variable(
                    "instance", "Instance", 'namespace=~"$namespace",job=~"$job"', allValue=".*"
                ),
            ]
        },
        "panels": laid_out(rows),
    }
