"""Bodies come back from the disk as they were, whichever dictionary they were packed with."""

from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from resources.store import StoreUnavailable
from resources.stores import bodies
from resources.stores.bodies import LATER, Bodies, Spoilt, is_spoilt

EVENTS = Path(bodies.__file__).with_name("events.zstd")


@given(st.binary(max_size=3_000), st.booleans())
def test_what_was_packed_comes_back_whether_as_a_document_or_as_events(body: bytes, as_events: bool) -> None:
    """Stores hold groups of events that were packed as documents are, from before events had a dictionary."""
    bodies = Bodies()
    packed = bodies.pack_events(body) if as_events else bodies.pack(body)
    assert Bodies().unpack(packed) == body


def test_a_body_of_many_megabytes_comes_back() -> None:
    """Its frame has another head than a short one's."""
    body = b'{"resourceType":"AuditEvent"}\n' * 400_000
    assert Bodies().unpack(Bodies().pack_events(body)) == Bodies().unpack(Bodies().pack(body)) == body


@pytest.mark.parametrize("packed", [b"", b"spoilt", zstandard.ZstdCompressor().compress(b"without a dictionary")])
def test_what_was_never_packed_is_an_error(packed: bytes) -> None:
    """Of any kind: too short, no frame at all, a frame of somebody else's."""
    with pytest.raises(Spoilt):
        Bodies().unpack(packed)


def test_what_a_newer_program_packed_is_not_spoilt() -> None:
    """A frame that names a dictionary to come says that this program is too old; one that names any other number was touched."""
    dictionary = EVENTS.read_bytes()
    newer = zstandard.ZstdCompressionDict(dictionary[:4] + LATER[1].to_bytes(4, "little") + dictionary[8:])
    packed = zstandard.ZstdCompressor(dict_data=newer).compress(b"{}" * 100)
    with pytest.raises(StoreUnavailable, match="update this server"):
        Bodies().unpack(packed)
    with pytest.raises(Spoilt):
        Bodies().unpack(packed.replace(LATER[1].to_bytes(4, "little"), b"spoi"))


@pytest.mark.parametrize("bit", range(32))
def test_no_single_bit_of_a_dictionarys_number_makes_a_newer_one_of_it(bit: int) -> None:
    """Bytes that a disk has spoilt are spoilt, whatever they say."""
    packed = bytearray(Bodies().pack_events(b"{}" * 100))
    packed[5 + bit // 8] ^= 1 << bit % 8
    assert zstandard.get_frame_parameters(bytes(packed)).dict_id not in LATER
    with pytest.raises(Spoilt):
        Bodies().unpack(bytes(packed))


def test_no_room_is_made_for_what_cannot_be() -> None:
    """A frame that claims a terabyte is spoilt; it does not use up the memory."""
    packed = Bodies().pack_events(b"{}" * 100_000)
    claimed = b"".join((packed[:4], b"\xe3", packed[5:9], (1 << 40).to_bytes(8, "little"), packed[13:]))
    assert zstandard.get_frame_parameters(claimed).content_size == 1 << 40
    with pytest.raises(Spoilt):
        Bodies().unpack(claimed)


@pytest.mark.parametrize(
    ("problem", "spoilt"),
    [
        (Spoilt("x"), True),
        (IndexError(), True),
        (ValueError(), True),
        (MemoryError(), False),
        (OSError(), False),
        (TimeoutError(), False),
        (StoreUnavailable("x"), False),
        (AssertionError(), False),
    ],
)
def test_what_passes_by_itself_is_not_spoilt(problem: Exception, spoilt: bool) -> None:
    """Only what stands in the store as it stands may be passed over."""
    assert is_spoilt(problem) is spoilt
