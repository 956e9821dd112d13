"""What of a stored document stands in the files: all of it, the elements that were asked for, what de-identification leaves of it."""

from collections.abc import Callable, Sequence

from conformance.summary import subset
from fhir_server.exporting.asked import Asked
from fhir_server.exporting.deidentified.hiding import Hiding
from resources.store import Version

Shape = Callable[[Version], bytes | None]
"""A live version -> its bytes in a file; None: it is left out."""

_BINARY = b'"url":"Binary/'
"""Stored bytes have no white space between tokens, and quotes within strings are escaped: this is an attachment's address."""


def shape_of(asked: Asked, type: str, hiding: Hiding | None) -> Shape:
    """What is made of documents of a type: the stored bytes themselves, but for the addresses of attachments, which become absolute
    (https://hl7.org/fhir/uv/bulkdata/STU2/export.html#attachments). What `hiding` de-identifies has none."""
    names = _elements(asked.elements, type)
    absolute = b'"url":"%b/Binary/' % asked.base.encode()

    def shaped(version: Version) -> bytes:
        body = version.body
        assert body is not None
        if names:
            body = subset(type, body, None, names)
        return body.replace(_BINARY, absolute) if _BINARY in body else body

    def hidden(version: Version) -> bytes | None:
        assert hiding is not None
        shown = hiding.version(version)
        if shown is None or shown.body is None:
            return None
        return subset(type, shown.body, None, names) if names else shown.body

    return shaped if hiding is None else hidden


def _elements(names: Sequence[str], type: str) -> tuple[str, ...]:
    """The names of `_elements` that are about a type; where none is, its documents stay whole."""
    return tuple(name.rpartition(".")[2] for name in names if name.rpartition(".")[0] in ("", type))
