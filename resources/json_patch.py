"""JSON Patch (RFC 6902) on a resource, by the library jsonpatch; problems told with the operation's number and path.

https://hl7.org/fhir/R4/http.html#patch
"""

import re
from collections.abc import Iterable
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException, resolve_pointer

from resources.outcomes import FhirError, error, told

MOST_COPIED = 10_000_000
"""About how many bytes the `copy` operations of one patch may add: copies of copies double, and would soon fill the memory."""

_NODE = 64  # bytes that a value takes beside its text

_FIXED = ("resourceType", "id")
_DOCUMENT = re.compile(r" not found in .*", re.DOTALL)  # the library's messages quote the whole document
_LEAF = re.compile(r"does not support indexing|non-container")  # here they quote a Python type


def apply(document: dict[str, Any], operations: list[Any]) -> dict[str, Any]:
    """The document after all operations, in order. The document given may have been changed; use what is returned.

    Numbers are compared by value (`1.0` equals `1.00`), true is not 1. Raises FhirError: 400 where the patch itself is wrong, 422
    where it does not fit the document, a test fails, or it would change resourceType or id.
    """
    before = [document.get(name) for name in _FIXED]
    current: Any = document
    copied = 0
    for number, operation in enumerate(operations, 1):
        copied += _copied(current, operation)
        if copied > MOST_COPIED:
            raise _failed(422, "too-costly", number, operation, "the patch copies more than 10 MB")
        current = _one(current, operation, number)
    if not isinstance(current, dict):
        raise error(422, "processing", "The patch leaves something that is no resource")
    for name, value in zip(_FIXED, before, strict=True):
        if current.get(name) != value:
            raise error(
                422, "business-rule", f"The patch would change {name} from {told(value)} to {told(current.get(name))}; it must stay"
            )
    return current


def _one(document: Any, operation: Any, number: int) -> Any:
    if not isinstance(operation, dict):
        raise _failed(400, "invalid", number, operation, "it must be an object with op and path")
    try:
        return jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
    except jsonpatch.InvalidJsonPatch as problem:
        raise _failed(400, "invalid", number, operation, str(problem)) from None
    except jsonpatch.JsonPatchTestFailed:
        raise _failed(422, "processing", number, operation, "the test failed: the value there is not the one given") from None
    except (jsonpatch.JsonPatchException, JsonPointerException) as problem:
        raise _failed(422, "processing", number, operation, _reason(operation, problem)) from None


def _reason(operation: dict[str, Any], problem: Exception) -> str:
    if operation.get("op") in ("move", "copy") and isinstance(problem, jsonpatch.JsonPatchPathNotFound):
        return f"there is nothing at {operation.get('from')}"
    text = str(problem)
    if _LEAF.search(text):
        return "the path leads into a value that is neither an object nor an array"
    return _DOCUMENT.sub(" does not exist", text)


def _failed(status: int, code: str, number: int, operation: Any, reason: str) -> FhirError:
    shown = ""
    if isinstance(operation, dict):
        shown = " ".join(_text(operation[name]) for name in ("op", "path") if name in operation)
    return error(
        status,
        code,
        f"Operation {number} ({shown}) cannot be applied: {reason[:300]}" if shown else f"Operation {number}: {reason}",
    )


def _text(value: Any) -> str:
    return value[:100] if isinstance(value, str) else told(value)


def _copied(document: Any, operation: Any) -> int:
    """About how many bytes a `copy` adds; 0 for any other operation, and for one that will fail."""
    if not isinstance(operation, dict) or operation.get("op") != "copy" or not isinstance(operation.get("from"), str):
        return 0
    try:
        return _weight([resolve_pointer(document, operation["from"])])
    except JsonPointerException:
        return 0


def _weight(waiting: list[Any]) -> int:
    total = 0
    while waiting and total <= MOST_COPIED:
        value = waiting.pop()
        total += _NODE + (len(value) if isinstance(value, str) else 0)
        waiting.extend(_children(value))
    return total


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
