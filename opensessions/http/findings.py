"""What pydantic finds wrong with a request, as sentences for its author."""

from collections.abc import Mapping, Sequence
from typing import Any

_SENTENCES = {
    "missing": "{field} is required",
    "string_type": "{field} must be a string",
    "int_type": "{field} must be a whole number",
    "int_parsing": "{field} must be a whole number",
    "int_parsing_size": "{field} must be a whole number of a usual size",
    "int_from_float": "{field} must be a whole number",
    "float_type": "{field} must be a number",
    "bool_type": "{field} must be true or false",
    "dict_type": "{field} must be an object",
    "model_type": "{field} must be an object",
    "model_attributes_type": "{field} must be an object",
    "list_type": "{field} must be a list",
    "value_error": "{field} {error}",
    "greater_than_equal": "{field} must be at least {ge}",
    "less_than_equal": "{field} must be at most {le}",
    "string_too_short": "{field} must not be empty",
    "string_too_long": "{field} is longer than {max_length} characters",
    "too_long": "{field} has more than {max_length} entries",
    "literal_error": "{field} must be {expected}",
    "enum": "{field} must be {expected}",
    "string_pattern_mismatch": "{field} must match {pattern}",
}


def sentence(finding: Mapping[str, Any], field: str) -> str:
    """One finding about a field, which it begins with."""
    words = {**finding.get("ctx", {}), "field": field or "The body"}
    known = _SENTENCES.get(finding["type"])
    return known.format(**words) if known else f"{words['field']}: {finding['msg']}"


def path(loc: Sequence[str | int]) -> str:
    """Where in the body: `agent_config.allowed_tools[1]`. Steps in brackets are pydantic's own."""
    steps = [step for step in loc if isinstance(step, int) or not step.startswith(("(", "["))]
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
    return text if len(text) <= 200 else text[:197] + "..."
