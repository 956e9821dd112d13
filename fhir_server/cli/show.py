"""What all commands say, in one way: results on standard output, everything else on standard error."""

from typing import NoReturn

from rich.console import Console
from typer import Exit

WRONG = 1
"""Exit code: carried out, but something in it failed."""

REFUSED = 2
"""Exit code: not carried out."""

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(text: str, code: int = REFUSED) -> NoReturn:
    """Say in one line why nothing comes of this, and exit."""
    err.print(f"[bold red]fhir-server:[/] {escaped(' '.join(text.split()))}")
    raise SystemExit(code)


def escaped(text: str) -> str:
    """Text that is printed as it is, whatever brackets it has."""
    from rich.markup import escape

    return escape(text)


__all__ = ["REFUSED", "WRONG", "Exit", "err", "escaped", "fail", "out"]
