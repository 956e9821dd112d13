"""Bodies as they lie on disk: zstd, with one dictionary for documents (`dictionary.zstd`, made by scripts/train_dictionary.py) and one for
the store's own AuditEvents (`events.zstd`, made by scripts/train_event_dictionary.py), which resemble each other and nothing else.

A frame names the dictionary it needs, so any body is unpacked whichever it was packed with, and later dictionaries can stand beside these.
What needs one that came later than this program is no spoilt body: the program is too old (StoreUnavailable). What nobody can have written
is told apart from what could not be read just now in one place, `is_spoilt`.
"""

from functools import lru_cache
from pathlib import Path

import zstandard

from resources.outcomes import FhirError
from resources.store import StoreUnavailable

_LEVEL = 3

LATER = range(0x5AC3_0000, 0x5AC3_0100)
"""Numbers of dictionaries to come. Any other that this program does not have means spoilt bytes; a spoilt byte in a number that it has does
not lead here."""

_LARGEST = 1 << 30
"""Bytes of a body, at most, by far: a frame that claims more is spoilt, and is not made room for."""


class Spoilt(Exception):
    """Bytes in a store that are not what was written."""


def is_spoilt(problem: Exception) -> bool:
    """Whether reading failed because of what stands in the store and will stand there the next time, so that it may be passed over.

    Not where memory is short, a disk or a server does not answer, or this program is too old: what failed so is to be tried again. Bytes
    that do not unpack are Spoilt; a row with members that no store writes leads to the others.
    """
    return isinstance(problem, Spoilt | LookupError | TypeError | ValueError | RecursionError | FhirError)


class Bodies:
    """Packs and unpacks document bodies. Not for several threads at once: a context is kept for each direction."""

    def __init__(self) -> None:
        documents, events = _dictionary("dictionary"), _dictionary("events")
        self._documents, self._events = _packer(documents), _packer(events)
        self._unpackers = {each.dict_id(): zstandard.ZstdDecompressor(dict_data=each).decompress for each in (documents, events)}

    def pack(self, body: bytes) -> bytes:
        """The body as it lies on disk. Copied, because the compressor's own object keeps as much memory as the body takes."""
        return bytes(memoryview(self._documents.compress(body)))

    def pack_events(self, lines: bytes) -> bytes:
        """A group of the store's own AuditEvents, one a line, as it lies on disk."""
        return bytes(memoryview(self._events.compress(lines)))

    def unpack(self, packed: bytes) -> bytes:
        """What was packed. Raises Spoilt for what never was, StoreUnavailable for what a newer version of this program has packed."""
        try:
            frame = zstandard.get_frame_parameters(packed)
            unpack = self._unpackers.get(frame.dict_id)
            if unpack is not None and frame.content_size <= _LARGEST:
                return unpack(packed)
        except (zstandard.ZstdError, TypeError) as problem:
            if "Allocation" in str(problem):
                raise MemoryError(str(problem)) from None
            raise Spoilt(str(problem)) from None
        if frame.dict_id in LATER:
            raise StoreUnavailable(
                f"The database holds what a newer version of this program has packed (dictionary {frame.dict_id:#x}): update this server."
            )
        raise Spoilt(f"no store packs with dictionary {frame.dict_id} into {frame.content_size} bytes")


def _packer(dictionary: zstandard.ZstdCompressionDict) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=dictionary, write_checksum=False)


@lru_cache(maxsize=2)
def _dictionary(name: str) -> zstandard.ZstdCompressionDict:
    dictionary = zstandard.ZstdCompressionDict(Path(__file__).with_name(f"{name}.zstd").read_bytes())
    dictionary.precompute_compress(level=_LEVEL)
    return dictionary
