"""Bodies as they lie on disk: zstd with a dictionary trained on FHIR documents (`dictionary.zstd`, made by scripts/train_dictionary.py).

A frame names the dictionary it needs, so that a later dictionary can stand beside this one.
"""

from functools import lru_cache
from pathlib import Path

import zstandard

_DICTIONARY = Path(__file__).with_name("dictionary.zstd")
_LEVEL = 3


class Bodies:
    """Packs and unpacks document bodies. Not for several threads at once: a context is kept for each direction."""

    def __init__(self) -> None:
        dictionary = _dictionary()
        self._packer = zstandard.ZstdCompressor(level=_LEVEL, dict_data=dictionary, write_checksum=False)
        self._unpacker = zstandard.ZstdDecompressor(dict_data=dictionary)
        self.unpack = self._unpacker.decompress

    def pack(self, body: bytes) -> bytes:
        """The body as it lies on disk. Copied, because the compressor's own object keeps as much memory as the body takes."""
        return bytes(memoryview(self._packer.compress(body)))


@lru_cache(maxsize=1)
def _dictionary() -> zstandard.ZstdCompressionDict:
    dictionary = zstandard.ZstdCompressionDict(_DICTIONARY.read_bytes())
    dictionary.precompute_compress(level=_LEVEL)
    return dictionary
