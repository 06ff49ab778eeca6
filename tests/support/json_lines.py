"""Lines of `--json`, compared with the schema that the documents promise; a field it does not have is a mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema

from s32s.frontends.render.json_schema import schema


def check(output: str) -> None:
    """Fail unless every line is one of the schema.

    Raises:
        jsonschema.ValidationError: says which field of which line.
        KeyError: there is no such event.
    """
    for line in output.splitlines():
        facts = json.loads(line)
        _validators()[facts["event"]].validate(facts)


@cache
def _validators() -> dict[str, jsonschema.Draft202012Validator]:
    """One for each event."""
    definitions = schema()["$defs"]
    for definition in definitions.values():
        definition["additionalProperties"] = definition["properties"].get("event", {}).get("const") == "entry"
    return {
        event: jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})
        for name, definition in definitions.items()
        for event in _events(definition)
    }


def _events(definition: dict[str, Any]) -> Iterator[str]:
    event = definition["properties"].get("event", {})
    yield from [event["const"]] if "const" in event else event.get("enum", [])
