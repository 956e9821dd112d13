"""The grammar of scopes, and what having one scope says of another."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_auth.scopes import LETTERS, MOST, WORDS, ResourceScope, parse_scope, parse_scopes, within

LEVELS = ("patient", "user", "system")
TYPES = ("Patient", "Observation", "Condition")
PAIRS = (("category", "laboratory"), ("status", "final"), ("code", "http://loinc.org|1-8"))


@pytest.mark.parametrize(
    ("text", "type", "letters", "narrowed"),
    [
        ("patient/Observation.rs", "Observation", "rs", ()),
        ("user/Appointment.cruds", "Appointment", "cruds", ()),
        ("system/*.cruds", "*", "cruds", ()),
        ("system/*.c", "*", "c", ()),
        ("patient/Patient.r", "Patient", "r", ()),
        ("patient/Observation.cs", "Observation", "cs", ()),
        ("patient/Observation.read", "Observation", "rs", ()),
        ("patient/Observation.write", "Observation", "cud", ()),
        ("user/Observation.*", "Observation", "cruds", ()),
        ("patient/*.read", "*", "rs", ()),
        ("system/*.*", "*", "cruds", ()),
        ("patient/Observation.rs?category=laboratory", "Observation", "rs", (("category", "laboratory"),)),
        ("patient/Observation.rs?category=http://a|b", "Observation", "rs", (("category", "http://a|b"),)),
        ("patient/Observation.rs?category=http%3A%2F%2Fa%7Cb", "Observation", "rs", (("category", "http://a|b"),)),
        ("patient/Observation.rs?category=a&status=final", "Observation", "rs", (("category", "a"), ("status", "final"))),
        ("patient/Observation.s?category=a,b", "Observation", "s", (("category", "a,b"),)),
        ("patient/Observation.rs?category:not=a", "Observation", "rs", (("category:not", "a"),)),
    ],
)
def test_scopes_are_read(text: str, type: str, letters: str, narrowed: tuple[tuple[str, str], ...]) -> None:
    """[G6] Version 2 as it is written; of version 1 `read` is `rs`, `write` is `cud` and `*` is `cruds`."""
    read = parse_scope(text)
    assert read == ResourceScope(read.level if read else "system", type, letters, narrowed, text)
    assert text.startswith(f"{read.level}/")
    assert parse_scopes(text).resources == (read,)


@pytest.mark.parametrize(
    "text",
    [
        *("patient/Observation.sr", "patient/Observation.dc", "user/*.srudc", "patient/Observation.rr", "patient/Observation.rws"),
        *("patient/Observation.", "patient/Observation", "patient/.rs", "/Observation.rs", "patient.rs", "patient/Observation.x"),
        *("Patient/Observation.rs", "clinician/Observation.rs", "patient/observation.rs", "patient/Obs*.rs", "patient/**.rs"),
        *(
            "patient/Observation.rs?",
            "patient/Observation.rs?category",
            "user/Observation.rs?category=",
            "user/Observation.rs?=a",
            "user/Observation.rs?category=a&status=",
            "patient/*.rs?category=a",
            "patient/Observation.read?a=b",
        ),
        *(
            "patient/Observation.*?a=b",
            'patient/Observation.rs?a="b"',
            "patient/Observation.rs?a=\\b",
            "patient/Observation.rs#a=b",
        ),
        *("patient/Observation.rs\n", "\tpatient/Observation.rs", "patient/Observation.rs?a=\u00e4", "patient/Observ\u00e4tion.rs"),
        *("patient/Observation.READ", "patient/Observation.RS", "patient/Observation.read.rs", "patient/Observation.rs/1"),
        f"patient/{'A' * 100}.rs",
        f"patient/Observation.rs?a={'b' * 600}",
        f"patient/Observation.rs?{'a=b&' * 200}",
    ],
)
def test_what_is_no_scope_gives_nothing(text: str) -> None:
    """[G6] Letters out of order or repeated, unknown spellings, wildcards that are narrowed, overlong texts: no access."""
    assert parse_scope(text) is None
    assert parse_scopes(text).resources == ()


def test_words_are_kept_apart() -> None:
    """Words that mean something are words, everything else is unknown; repeated ones count once, in order."""
    read = parse_scopes(
        "openid  patient/Patient.rs fhirUser launch/patient?role=x openid unheard-of patient/Patient.rs launch/planet"
    )
    assert read.words == ("openid", "fhirUser", "launch/patient?role=x")
    assert [scope.text for scope in read.resources] == ["patient/Patient.rs"]
    assert read.unknown == ("unheard-of", "launch/planet")
    assert read.text == "openid fhirUser launch/patient?role=x patient/Patient.rs"


def test_words_are_no_access() -> None:
    """No word can be mistaken for access to documents."""
    assert all(parse_scope(word) is None for word in WORDS)
    assert MOST >= 66  # an app may name every type of a patient's record


_letters = st.lists(st.sampled_from(LETTERS), min_size=1, unique=True).map(lambda found: "".join(sorted(found, key=LETTERS.index)))
_scopes = st.builds(
    ResourceScope,
    st.sampled_from(LEVELS),
    st.sampled_from((*TYPES, "*")),
    _letters,
    st.lists(st.sampled_from(PAIRS), unique=True, max_size=2).map(tuple),
)


def _allows(scope: ResourceScope) -> set[tuple[str, str, str, frozenset[tuple[str, str]]]]:
    """What the scope lets somebody do: level, type, letter, and of which conditions those hold for the document."""
    worlds = [
        frozenset(p for p, holds in zip(PAIRS, each, strict=True) if holds) for each in product((True, False), repeat=len(PAIRS))
    ]
    types = TYPES if scope.type == "*" else (scope.type,)
    return {(scope.level, t, c, held) for t in types for c in scope.letters for held in worlds if set(scope.narrowed) <= held}


@given(_scopes, _scopes)
def test_covers_is_being_allowed_all_of_it(one: ResourceScope, other: ResourceScope) -> None:
    """A scope covers another exactly if it allows everything that the other allows (where `*` is more than all types there are)."""
    more = one.type != "*" and other.type == "*"
    assert one.covers(other) == (_allows(one) >= _allows(other) and not more)


@given(_scopes, _scopes, _scopes)
def test_covers_is_a_partial_order(a: ResourceScope, b: ResourceScope, c: ResourceScope) -> None:
    """Each covers itself; what is covered by what is covered is covered; two that cover each other allow the same."""
    assert a.covers(a)
    assert not (a.covers(b) and b.covers(c)) or a.covers(c)
    assert not (a.covers(b) and b.covers(a)) or _allows(a) == _allows(b)


@given(st.lists(_scopes, max_size=4), _scopes)
def test_several_scopes_never_cover_more_than_they_allow(have: list[ResourceScope], wanted: ResourceScope) -> None:
    """Together they cover a scope letter by letter, and never one that allows something beyond them."""
    most = parse_scopes(" ".join(_written(scope) for scope in have if scope.type != "*" or not scope.narrowed))
    allowed = set().union(*(_allows(scope) for scope in most.resources))
    if within([wanted], most):
        assert _allows(wanted) <= allowed
    for scope in most.resources:
        assert within([scope], most)


def _written(scope: ResourceScope) -> str:
    query = "&".join(f"{name}={value}" for name, value in scope.narrowed)
    return f"{scope.level}/{scope.type}.{scope.letters}" + (f"?{query}" if query else "")


@given(_scopes.filter(lambda scope: scope.type != "*" or not scope.narrowed))
def test_what_is_written_is_read(scope: ResourceScope) -> None:
    """A scope that is written as version 2 has it is read as itself."""
    read = parse_scope(_written(scope))
    assert read is not None
    assert (read.level, read.type, read.letters, read.narrowed) == (scope.level, scope.type, scope.letters, scope.narrowed)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever is sent is sorted into scopes, words and the unknown, and every scope says what it was made of."""
    read = parse_scopes(text)
    parts = [part for part in dict.fromkeys(text.split(" ")) if part]
    assert sorted(parts) == sorted([*(scope.text for scope in read.resources), *read.words, *read.unknown])
    assert parse_scopes(read.text).text == read.text


@given(st.from_regex(r"(patient|user|system)/[A-Za-z*]{1,12}\.[cruds*]{1,6}(\?[a-z]{1,8}=[a-z|,]{0,8})?", fullmatch=True))
def test_letters_are_in_order_or_mean_nothing(text: str) -> None:
    """What is read has each letter once and in the order c, r, u, d, s."""
    read = parse_scope(text)
    if read is not None:
        assert read.letters
        assert list(read.letters) == sorted(set(read.letters), key=LETTERS.index)
        assert read.type == "*" or read.type[0].isupper()
