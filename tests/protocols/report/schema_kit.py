"""As much of JSON Schema as docs/privacy-report.schema.json uses; a word it does not know is an error, not ignored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

SCHEMA: Schema = json.loads(
    (Path(__file__).resolve().parents[3] / "docs/privacy-report.schema.json").read_text("utf-8")
)

TYPES: dict[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
REMARKS = {"$schema", "$defs", "title", "description"}
# Read together with another word.
WITH_OTHERS = {"required", "additionalProperties"}


def faults(value: object, schema: Schema, whole: Schema, where: str = "$") -> Iterator[str]:
    """Everything about the value that the schema does not allow."""
    for word, wanted in schema.items():
        match word:
            case "$ref":
                yield from faults(value, whole["$defs"][wanted.removeprefix("#/$defs/")], whole, where)
            case "type":
                names = wanted if isinstance(wanted, list) else [wanted]
                if not any(TYPES[name](value) for name in names):
                    yield f"{where} is no {wanted}: {str(value)[:60]}"
            case "enum":
                if value not in wanted:
                    yield f"{where} is none of {wanted}: {value}"
            case "const":
                if value != wanted:
                    yield f"{where} is not {wanted}: {value}"
            case "minimum":
                if isinstance(value, int | float) and value < wanted:
                    yield f"{where} is below {wanted}: {value}"
            case "pattern":
                if isinstance(value, str) and not re.search(wanted, value):
                    yield f"{where} does not match {wanted}: {value}"
            case "anyOf":
                if all(list(faults(value, choice, whole, where)) for choice in wanted):
                    yield f"{where} fits no choice: {str(value)[:60]}"
            case "items":
                for index, item in enumerate(value if isinstance(value, list) else []):
                    yield from faults(item, wanted, whole, f"{where}[{index}]")
            case "properties":
                if isinstance(value, dict):
                    yield from _object(value, schema, whole, where)
            case _:
                assert word in REMARKS | WITH_OTHERS, word


def _object(value: dict[str, object], schema: Schema, whole: Schema, where: str) -> Iterator[str]:
    properties = schema["properties"]
    yield from (f"{where} lacks {key}" for key in schema["required"] if key not in value)
    assert schema["additionalProperties"] is False
    yield from (f"{where} has {key}" for key in value if key not in properties)
    for key in properties.keys() & value.keys():
        yield from faults(value[key], properties[key], whole, f"{where}.{key}")
