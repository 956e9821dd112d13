"""What is stored of a resource for search, and compared: the same normalised values for every index.

`search/extract.py` makes an Entry of a document, `search/parse.py` makes the same kinds of values of a query, each index compares
them. Times are whole microseconds since 1970-01-01T00:00:00Z; intervals of time are half open: [low, high), those of numbers that a
document holds are closed: [low, high]. An open end is BEGIN or END, -UNBOUNDED or UNBOUNDED: never an infinity, which neither JSON
nor every database can hold.
"""

import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from sys import float_info
from typing import NamedTuple

BEGIN = -62_135_596_800_000_000
"""Year 1: the low end of a Period without a start, in microseconds since the epoch."""

END = 253_402_300_800_000_000
"""The end of year 9999: the high end of a Period without an end."""

UNBOUNDED = float_info.max
"""The high end of a Range without `high` (negated: the low end of one without `low`)."""

NO_DATE = BEGIN - 86_400_000_000
"""`Entry.date` of a document that lacks the date which its type is ordered by: below every date, so that it comes last when the
newest come first."""


class TokenValue(NamedTuple):
    """A code with its system ("" not given). Booleans are `true`/`false`; telecom, id, code and string elements have no system."""

    system: str
    code: str


class StringValue(NamedTuple):
    """`folded` for all comparisons but :exact (see `fold`), `exact` as written."""

    folded: str
    exact: str


class DateValue(NamedTuple):
    """The interval that a date, dateTime, instant, Period or Timing covers, [low, high) in microseconds since the epoch."""

    low: int
    high: int


class NumberValue(NamedTuple):
    """A number.

    In a query (`Term.value`) `low` and `high` are the interval [low, high) that the number covers given its precision: 2.0 covers
    [1.95, 2.05); `value` is the number itself. In a document a plain number is a point (low == value == high): what is looked for
    has a precision, what was measured is taken as written (https://hl7.org/fhir/R4/search.html#number).
    """

    low: float
    high: float
    value: float


class QuantityValue(NamedTuple):
    """A number with its unit. `code` is the coded unit, `unit` the one for people; "" where absent.

    `low`, `high` and `value` as in NumberValue. In a document low < high for a Range, SampledData, or a Quantity with a comparator:
    `>5` is [the next float above 5, UNBOUNDED]; `value` (for sorting) is then the known end, of two the lower.
    """

    system: str
    code: str
    unit: str
    low: float
    high: float
    value: float


class ReferenceValue(NamedTuple):
    """A literal reference. `target` is "Type/id" for a resource of this server or any relative one, else the absolute URL.

    Versioned references lose their version. Fragments (#x) and references with only an identifier or display make no value. A
    canonical with a version (`url|1.0`) makes two values, with it and without."""

    target: str


class UriValue(NamedTuple):
    """A uri, url or canonical as written. A canonical with a version (`url|1.0`) makes two values, with it and without."""

    uri: str


class PositionValue(NamedTuple):
    """A place on the Earth in degrees (WGS 84). In a query `radius` is the farthest that a place may be away, in metres; in a document
    it is 0."""

    latitude: float
    longitude: float
    radius: float = 0.0


class LabelValue(NamedTuple):
    """The text beside a code or identifier, folded (see `fold`), for `:text`.

    `code` is a code of the concept that the text belongs to, by which an index may find it; "" for a concept without any, None for an
    identifier. In a query it says nothing.
    """

    folded: str
    code: str | None = None


class CompositeValue(NamedTuple):
    """Values of one and the same element, one for each component of a composite parameter, in the order of its definition."""

    parts: tuple["Value", ...]


Value = (
    TokenValue
    | StringValue
    | DateValue
    | NumberValue
    | QuantityValue
    | ReferenceValue
    | UriValue
    | PositionValue
    | LabelValue
    | CompositeValue
)


class DocumentText(NamedTuple):
    """The words of a document, each part joined by single spaces: those of its narrative, and those of all other text in it.

    `_text` looks into the narrative, `_content` into both; a phrase never spans the two.
    """

    narrative: str
    rest: str


@dataclass(slots=True)
class Entry:
    """All that an index keeps of one document.

    `values`: search parameter code -> its values, each once; an empty list where the element is there but has nothing to compare (a
    reference without a literal one, a concept of text only), none where it has extensions only; an alias's values
    stand under its `SearchParameter.stored` code only. What only a modifier looks at stands under the code with it
    (`subject:identifier`, see `search.query.FACETS`); composites hold only
    what lies below the root of the document, where the clauses of their components would not do (`search/expansion/conditions.py`).
    The types of the resources that a document contains stand under `search.parameters.CONTAINED`, and nothing else of these does.
    `date`: the low end of the date that the order is by, in microseconds since the epoch (0 if the type has no such date, NO_DATE if only
    this document has none; see `Parameters.order_date`), part of the SQLite index's key.
    `patients`: ids of the Patients in whose compartment the document lies (a Patient lies in its own), sorted.
    `text`: the document's words, for indexes that take them in with the rest; None where the Extractor was not made for such a one.
    `_id` and `_lastUpdated` are not among the values: the index knows them from the store.
    """

    values: dict[str, list[Value]]
    date: int = 0
    patients: tuple[str, ...] = field(default=())
    text: DocumentText | None = None


@lru_cache(maxsize=16_384)
def fold(text: str) -> str:
    """Text for comparison: without case, accents and other combining marks, white space collapsed to single spaces.

    Done once, here, so that every index agrees to the letter (https://hl7.org/fhir/R4/search.html#string).
    """
    if text.isascii():  # then there is nothing to take apart, and nothing to put together
        return " ".join(text.lower().split())
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(unicodedata.normalize("NFKC", bare.casefold()).split())


@lru_cache(maxsize=16_384)
def hash64(text: str) -> int:
    """A signed 64-bit hash of text, the same in every process and for ever (BLAKE2b, 8 bytes, little endian)."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little", signed=True)
