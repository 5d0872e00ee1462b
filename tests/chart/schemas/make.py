"""Make the JSON schemas of this folder from CustomResourceDefinitions, strict and small.

Strict: a field that the definition does not know is refused, as the API server refuses it with
`--validate=strict`. Small: descriptions are left out, and repeated parts are written once; the
K8ssandraCluster goes from 2.4 MB to 50 kB. CEL rules are left out: `kubectl apply
--dry-run=server` checks those. kubeconform reads these files too: `-schema-location
'tests/chart/schemas/{{.Group}}_{{.ResourceKind}}_{{.ResourceAPIVersion}}.json'`.

Example: python -m tests.chart.schemas.make crds/k8ssandra.io_k8ssandraclusters.yaml
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

SUBSCHEMA = ("items", "additionalProperties", "not")
SUBSCHEMAS = ("anyOf", "oneOf", "allOf")
KEPT = ("type", "required", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength")
SHARED = 60  # minimum length in characters of a repeated schema under $defs


def strict(schema: Any) -> Any:
    """Return the JSON schema of a structural schema; `true` and `false` stay as they are."""
    if not isinstance(schema, dict):
        return schema
    made = {key: schema[key] for key in KEPT if key in schema}
    made |= {key: strict(schema[key]) for key in SUBSCHEMA if key in schema}
    made |= {key: [strict(each) for each in schema[key]] for key in SUBSCHEMAS if key in schema}
    if "properties" in schema:
        made["properties"] = {name: strict(each) for name, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    return made


def parts(part: Any) -> Iterator[str]:
    """Yield the JSON of this part and of every object within it."""
    if isinstance(part, dict):
        yield json.dumps(part)
    for each in part.values() if isinstance(part, dict) else part:
        if isinstance(each, dict | list):
            yield from parts(each)


def shared(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the same schema with repeated parts under $defs."""
    seen = Counter(parts(schema))
    names: dict[str, str] = {}
    definitions: dict[str, Any] = {}

    def replace(part: Any) -> Any:
        if isinstance(part, list):
            return [replace(each) for each in part]
        if not isinstance(part, dict):
            return part
        text = json.dumps(part)
        if "type" not in part or isinstance(part["type"], dict) or seen[text] < 2:
            return {key: replace(each) for key, each in part.items()}
        if len(text) < SHARED:
            return part
        if text not in names:
            names[text] = f"part{len(names) + 1}"
            definitions[names[text]] = {key: replace(each) for key, each in part.items()}
        return {"$ref": f"#/$defs/{names[text]}"}

    made = {key: replace(each) for key, each in schema.items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "$defs": definitions}


def write(definition: Path, folder: Path) -> Path:
    spec = yaml.load(definition.read_text(), yaml.CSafeLoader)["spec"]
    version = next(each for each in spec["versions"] if each["storage"])
    whole = strict(version["schema"]["openAPIV3Schema"])
    whole["properties"].pop("status", None)
    schema = shared(whole)
    file = folder / f"{spec['group']}_{spec['names']['kind'].lower()}_{version['name']}.json"
    # Write a line for each shared part, so that the difference of a new operator is readable.
    file.write_text(
        json.dumps(schema, separators=(",", ":")).replace('},"part', '},\n"part') + "\n"
    )
    return file


def main() -> None:
    what, _, example = (__doc__ or "").partition("\n\nExample: ")
    parser = argparse.ArgumentParser(
        description=what.partition("\n")[0], epilog=f"Example: {example.strip()}"
    )
    parser.add_argument("definition", nargs="+", type=Path, help="YAML of one definition")
    for definition in parser.parse_args().definition:
        print(write(definition, Path(__file__).parent))


if __name__ == "__main__":
    main()
