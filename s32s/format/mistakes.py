"""What is wrong with JSON that s32s has written itself, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s32s.core import paths

if TYPE_CHECKING:
    import pydantic


def what_is_wrong(error: pydantic.ValidationError) -> str:
    """The first mistake, as the end of a sentence."""
    first = error.errors()[0]
    at = paths.quote(".".join(map(str, first["loc"])))
    match first["type"]:
        case "json_invalid":
            return "it is not JSON, or is cut off"
        case "missing":
            return f"{at} is missing"
        case "extra_forbidden":
            return f"{at} is unknown"
    return f"{at} has a wrong value" if first["loc"] else "it holds something else"
