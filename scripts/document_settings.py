"""Write docs/configuration.md from fhir_server/config.py. `--check` only says whether it is up to date (exit code 1: it is not)."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fhir_server.config import Settings, variable  # noqa: E402  (the path is set one line above)

PAGE = ROOT / "docs" / "configuration.md"
HEAD = """# Configuration

Generated from `fhir_server/config.py` and its parts by `make docs`; do not edit.

Every setting is an environment variable. A file `.env` in the working folder is read too; the environment wins over it, and command
line options win over both. An empty variable counts as not given. An unknown `FHIR_…` variable or a bad value stops the start with one
line that names it. `fhir-server check-config` shows what is in effect, secrets hidden, and whether the server could start.
"""
TITLES = {
    "Settings": "The server: addresses, store, search, limits, audit",
    "ProtectionSettings": "TLS, proxies, other web sites, rates",
    "SignInSettings": "Tokens, apps, people who sign in here",
    "OutsideSettings": "People who sign in elsewhere, and other servers' tokens",
    "JobsSettings": "Jobs, and workers",
    "FilesSettings": "Files of jobs",
    "ImportSettings": "Imports",
    "ExportSettings": "De-identified exports",
}
"""The classes that Settings is made of, in the order of the page."""

TABLE = """
**{title}**

| setting | default |
| --- | --- |
"""


def default(value: Any) -> str:
    return "none" if value in (None, "") else f"`{value}`"


def page() -> str:
    classes = {each.__name__: each for each in Settings.__mro__}
    parts = [
        (title, [name for name in Settings.model_fields if name in classes[part].__annotations__]) for part, title in TITLES.items()
    ]
    tables = [TABLE.format(title=title) + "".join(map(_row, names)) for title, names in parts]
    return HEAD + "".join(tables) + "".join(_section(name) for _, names in parts for name in names)


def _row(name: str) -> str:
    return f"| [`{variable(name)}`](#{variable(name).lower()}) | {default(Settings.model_fields[name].default)} |\n"


def _section(name: str) -> str:
    field = Settings.model_fields[name]
    return f"\n## {variable(name)}\n\n{field.description}\n\n{_type(field)}Default: {default(field.default)}.\n"


def _type(field: Any) -> str:
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return "One of " + ", ".join(f"`{choice}`" for choice in choices) + ". "
    name = {int: "A whole number. ", float: "A number. ", Path: "A path. "}.get(field.annotation, "")
    limits = [str(limit) for limit in field.metadata if type(limit).__name__ in ("Ge", "Gt", "Le")]
    words = {"Ge": "at least", "Gt": "more than", "Le": "at most"}
    told = [f"{words[text[:2]]} {text.partition('=')[2].rstrip(')')}" for text in limits]
    return f"{name.rstrip('. ')}, {' and '.join(told)}. " if name and told else name


def main() -> None:
    made = page()
    if "--check" in sys.argv:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        sys.exit(None if current == made else "docs/configuration.md is out of date: make docs")
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
