"""Giving memory back to the system after a large request: the C library keeps what was freed, sometimes for ever."""

import ctypes
import sys

LARGE = 1 << 20
"""Bytes of a body after which it is worth its millisecond or so."""


def _trimmer() -> "ctypes._NamedFuncPointer | None":
    if not sys.platform.startswith("linux"):
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; musl gives memory back by itself
    if trim is not None:
        trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim


_trim = _trimmer()


def give_back() -> None:
    """Return freed memory to the system, where the C library can."""
    if _trim is not None:
        _trim(0)
