"""The version of the server."""

import tomllib
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def server_version() -> str:
    """The version in pyproject.toml beside the packages: the application runs from its source tree, it is never installed."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    found: str = tomllib.loads(text)["project"]["version"]
    return found
