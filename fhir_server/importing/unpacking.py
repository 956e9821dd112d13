"""What comes of a source, unpacked: gzip and Zstandard, in pieces of a bounded size however much comes of a byte."""

import zlib
from collections.abc import Iterator
from typing import Literal, Protocol

import zstandard

PIECE = 256 * 1024
"""Bytes that are unpacked at a time."""

WINDOW = 128 * 1024 * 1024
"""The most memory that a Zstandard file may ask for (what `zstd --ultra -22` writes)."""

Packing = Literal["", "gzip", "zstd"]

_MAGIC: tuple[tuple[bytes, Packing], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))


class Spoilt(Exception):
    """It is not packed as it says."""


class Unpacker(Protocol):
    """Unpacks a stream."""

    def give(self, piece: bytes) -> Iterator[bytes]:
        """What the next piece comes to, in pieces of PIECE at most (Zstandard: 2 MB). Raises Spoilt."""

    @property
    def whole(self) -> bool:
        """Whether the stream may end here."""


def packing_of(start: bytes) -> Packing:
    """How a file is packed that begins like this."""
    return next((packing for magic, packing in _MAGIC if start.startswith(magic)), "")


def unpacker(packing: Packing) -> Unpacker:
    """What unpacks such a stream."""
    if packing == "gzip":
        return Gzip()
    return Zstd() if packing == "zstd" else Plain()


class Plain:
    """Not packed."""

    whole = True

    def give(self, piece: bytes) -> Iterator[bytes]:
        """See Unpacker."""
        yield piece


class Gzip:
    """https://www.rfc-editor.org/rfc/rfc1952, members one after the other."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None

    @property
    def whole(self) -> bool:
        """See Unpacker."""
        return self._member is None

    def give(self, piece: bytes) -> Iterator[bytes]:
        """See Unpacker."""
        left, more = piece, False
        while left or more:
            member = self._member = self._member or zlib.decompressobj(31)
            try:
                out = member.decompress(left, PIECE)
            except zlib.error:
                raise Spoilt from None
            if out:
                yield out
            more = len(out) == PIECE and not member.eof
            left = member.unused_data if member.eof else member.unconsumed_tail
            if member.eof:
                self._member = None


class Zstd:
    """https://www.rfc-editor.org/rfc/rfc8878, frames one after the other. Four bytes may come to a block of 128 kB, and the library gives
    out all that its input comes to: so it gets little at a time."""

    BITE = 64

    def __init__(self) -> None:
        self._frame: zstandard.ZstdDecompressionObj | None = None

    @property
    def whole(self) -> bool:
        """See Unpacker."""
        return self._frame is None

    def give(self, piece: bytes) -> Iterator[bytes]:
        """See Unpacker."""
        for start in range(0, len(piece), self.BITE):
            left = piece[start : start + self.BITE]
            while left:
                self._frame = frame = self._frame or zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
                try:
                    out = frame.decompress(left)
                except zstandard.ZstdError:
                    raise Spoilt from None
                if out:
                    yield out
                left = frame.unused_data if frame.eof else b""
                if frame.eof:
                    self._frame = None
