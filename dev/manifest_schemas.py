"""JSON schemas of the objects of Kubernetes and its extensions, for kubeconform.

kubeconform would otherwise get them from the internet. They are made from the sources of pinned Go
modules, and refuse unknown fields.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import yaml

from dev.charttools import BUILT, go_module
from dev.toolchain import locked, say

KUBERNETES = "k8s.io/kubernetes@v1.33.13"
# The Go modules with the CRDs, and the CRDs' folders in them.
EXTENSIONS = {
    "sigs.k8s.io/gateway-api@v1.4.0": "config/crd/standard/*_httproutes.yaml",
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/*_[sp]*[es].yaml"
    ),
}
_LOOSE = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
}

Schema = dict[str, Any]


def location() -> str:
    """Return the argument of kubeconform's `-schema-location`."""
    folder = BUILT / "schemas"
    stamp = json.dumps([KUBERNETES, EXTENSIONS])
    with locked(BUILT / "schemas.lock"):
        if not (folder / "stamp").exists() or (folder / "stamp").read_text() != stamp:
            say("making the schemas of Kubernetes' objects from its sources")
            shutil.rmtree(folder, ignore_errors=True)
            for name, schema in [*_kubernetes(), *_extensions()]:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(json.dumps(schema))
            (folder / "stamp").write_text(stamp)
    return f"{folder}/{{{{.Group}}}}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json"


def _name(group: str, version: str, kind: str) -> str:
    return f"{group or version}/{kind.lower()}_{version}.json"


def _kubernetes() -> Iterator[tuple[str, Schema]]:
    file = go_module(KUBERNETES) / "api" / "openapi-spec" / "swagger.json"
    definitions = json.loads(file.read_text())["definitions"] | _LOOSE
    closed = {name: _closed(schema) for name, schema in definitions.items()}
    for schema in closed.values():
        for made in schema.get("x-kubernetes-group-version-kind", []):
            name = _name(made["group"], made["version"], made["kind"])
            yield name, {**schema, "definitions": _reached(schema, closed)}


def _extensions() -> Iterator[tuple[str, Schema]]:
    for module, pattern in EXTENSIONS.items():
        for file in go_module(module).glob(pattern):
            spec = yaml.safe_load(file.read_text())["spec"]
            for version in spec["versions"]:
                name = _name(spec["group"], version["name"], spec["names"]["kind"])
                yield name, _closed(version["schema"]["openAPIV3Schema"])


def _closed(schema: Any) -> Any:
    """Return the schema without unknown fields where fields are known, as the API server has it."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(part) for key, part in schema.items()}
    if isinstance(
        schema.get("properties"), dict
    ) and "x-kubernetes-preserve-unknown-fields" not in (schema):
        found.setdefault("additionalProperties", False)
    return found


def _reached(schema: Schema, definitions: dict[str, Schema]) -> dict[str, Schema]:
    """Return the definitions that `schema` refers to, directly or through others."""
    found: dict[str, Schema] = {}
    waiting = [schema]
    while waiting:
        for name in _references(waiting.pop()):
            if name not in found:
                found[name] = definitions[name]
                waiting.append(definitions[name])
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix("#/definitions/")
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)
