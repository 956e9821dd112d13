"""What a server has and is not asked for."""

from fhir_server.migrating.contract import Problem
from fhir_server.permission import APPEND_ONLY


def left_out(type: str) -> Problem:
    """Why resources of a type are not asked for."""
    if type in APPEND_ONLY:
        text = f"{type}s were left out: only a server itself writes its record; keep the old ones in an archive"
        return Problem("not-supported", text, None, "information")
    return Problem("not-supported", f"{type[:64]} was left out: it is no resource type of FHIR R4", None, "warning")
