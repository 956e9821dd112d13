"""FHIR_STYLE_FILE: how apps should look, as an organization wants it."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

MOST = 65_536
"""Bytes of the file."""


@cache
def read_style(path: Path) -> dict[str, Any]:
    """The style, read once. Raises ValueError with a sentence where the file cannot be read, is too long, or is no JSON object."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise ValueError(f"{path} cannot be read: {problem.strerror}") from None
    if len(content) > MOST:
        raise ValueError(f"{path} is longer than {MOST} bytes")
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as problem:
        raise ValueError(f"{path} is no JSON object: {problem}") from None
