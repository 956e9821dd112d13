"""What the consent page offers, and what follows from what is posted."""

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smart_auth.consent.categories import CATEGORIES, category_name, parts
from smart_auth.consent.choices import Group, granted, offers
from smart_auth.consent.words import NAMES, doing, sentence, word
from smart_auth.errors import OAuthError
from smart_auth.scopes import Pairs, ResourceScope, Scopes, parse_scope, parse_scopes

LAB = "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory"
VITAL = "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"
ASKED = "openid fhirUser launch/patient offline_access patient/Patient.rs patient/Observation.rs patient/Condition.rs"


def scope(text: str) -> ResourceScope:
    read = parse_scope(text)
    assert read is not None
    return read


def fine(type: str, pairs: Pairs) -> str | None:
    """Every search parameter is one, but `nonsense`."""
    return "there is no such parameter" if any(name == "nonsense" for name, _ in pairs) else None


def yours(_: ResourceScope) -> str:
    return ""


def boxes(groups: tuple[Group, ...]) -> dict[str, bool]:
    """All boxes of a page, those for parts too: value -> ticked."""
    outer = [offer for group in groups for offer in group.offers]
    return {offer.value: offer.checked for one in outer for offer in (one, *one.narrower)}


@pytest.mark.parametrize(
    ("posted", "expected"),
    [
        (ASKED, ASKED),
        ("patient/Patient.rs", "patient/Patient.rs"),
        ("openid", "openid"),
        ("patient/Condition.rs patient/Patient.rs", "patient/Condition.rs patient/Patient.rs"),
        (f"patient/Patient.rs {LAB}", f"patient/Patient.rs {LAB}"),
        (f"patient/Observation.rs {LAB} {VITAL}", f"{LAB} {VITAL}"),
        (f"patient/Condition.rs patient/Observation.rs {LAB}", f"patient/Condition.rs {LAB}"),
        ("patient/Observation.r", "patient/Observation.r"),
        ("patient/Patient.rs patient/Patient.rs", "patient/Patient.rs"),
        ("", ""),
    ],
)
def test_what_is_posted_is_granted(posted: str, expected: str) -> None:
    """[B7, B8] Exactly what was chosen, in no case more; a category takes the place of its type."""
    assert granted(posted.split(), parse_scopes(ASKED), fine).text == expected


@pytest.mark.parametrize(
    "posted",
    [
        "patient/Patient.cruds", "patient/Patient.u", "patient/Encounter.rs", "patient/*.rs", "user/Patient.rs", "system/Patient.rs",
        "online_access", "launch", "openid2", "patient/Observation.rs?nonsense=1", "patient/Patient", "patient/patient.rs", "*", "",
        "patient/Patient.rs ", "patient/Patient.rs\tpatient/Encounter.rs", "patient/Patient.rs patient/Encounter.rs", "<script>", "\x00",
        "patient/Observation.sr", "patient/Observation.rs?", "patient/*.rs?category=laboratory",
    ],
)  # fmt: skip
def test_what_was_not_asked_for_is_refused(posted: str) -> None:
    """[B7] A form that was changed grants nothing at all, not even its honest parts."""
    with pytest.raises(OAuthError, match="invalid_scope"):
        granted(["openid", "patient/Patient.rs", posted], parse_scopes(ASKED), fine)


@pytest.mark.parametrize(
    ("asked", "posted", "expected"),
    [
        ("patient/*.rs", "patient/Condition.rs", "patient/Condition.rs"),
        ("patient/*.rs", "patient/*.rs patient/Condition.rs", "patient/Condition.rs"),
        ("patient/*.rs patient/Condition.rs", "patient/*.rs patient/Condition.rs", "patient/*.rs patient/Condition.rs"),
        ("patient/*.read", "patient/*.read", "patient/*.read"),
        ("patient/*.read", "patient/Condition.rs", "patient/Condition.rs"),
        ("patient/*.rs patient/Observation.rs", f"patient/*.rs patient/Observation.rs {LAB}", LAB),
        ("patient/*.rs patient/Condition.cud", "patient/*.rs patient/Condition.cud", "patient/*.rs patient/Condition.cud"),
    ],
)
def test_parts_of_a_wildcard(asked: str, posted: str, expected: str) -> None:
    """Types and categories may be chosen in place of "everything"; what would give them whole again goes."""
    assert granted(posted.split(), parse_scopes(asked), fine).text == expected


def test_more_than_anybody_chooses() -> None:
    """A form with thousands of values is refused before they are looked at."""
    with pytest.raises(OAuthError, match="more than 200"):
        granted(["patient/Patient.rs"] * 201, parse_scopes(ASKED), fine)


LETTERS = st.sets(st.sampled_from("cruds"), min_size=1).map(lambda some: "".join(each for each in "cruds" if each in some))
SCOPES = st.builds(
    lambda level, type, letters, query: f"{level}/{type}.{letters}{query if type != '*' else ''}",
    st.sampled_from(["patient", "user"]),
    st.sampled_from(["*", "Patient", "Observation", "Condition"]),
    LETTERS,
    st.sampled_from(["", "", "?category=laboratory", "?category=laboratory&status=final"]),
)


@given(st.lists(SCOPES, min_size=1, max_size=5), st.lists(SCOPES, max_size=6))
@example(["patient/*.c", "user/*.cr"], ["user/Patient.c", "user/Patient.cr"])
def test_nothing_is_ever_added(asked: list[str], posted: list[str]) -> None:
    """Whatever is posted for whatever was asked: every scope that comes out was posted, and lies within what was asked for."""
    possible = parse_scopes(" ".join(asked))
    try:
        result = granted(posted, possible, fine)
    except OAuthError:
        return
    assert {each.text for each in result.resources} <= set(posted)
    assert all(possible.cover(each) for each in result.resources)
    assert all(result.resources for _ in posted)  # whoever chose something gets something


@given(st.lists(SCOPES, min_size=1, max_size=5))
def test_the_untouched_page_grants_what_was_asked_for(asked: list[str]) -> None:
    """What is ticked at first, posted as it is, gives all that was asked for, in those words; each single box is accepted too."""
    possible = parse_scopes(" ".join(asked))
    shown = boxes(offers(possible, yours))
    ticked = [value for value, checked in shown.items() if checked]
    assert set(granted(ticked, possible, fine).text.split()) == set(asked)
    for value in shown:
        assert granted([value], possible, fine).text == value


def test_the_page_shows_again_what_was_chosen() -> None:
    """After a mistake the same boxes are ticked as before."""
    shown = boxes(offers(parse_scopes(ASKED), yours, frozenset((LAB, "openid"))))
    assert {value for value, checked in shown.items() if checked} == {LAB, "openid"}


@pytest.mark.parametrize(
    ("text", "whose", "expected"),
    [
        ("patient/Patient.rs", "", "See your name, address and other personal details"),
        ("patient/Condition.rs", "of Anna Smith", "See health problems and diagnoses of Anna Smith"),
        ("user/Appointment.rsu", "of the patients you care for", ""),
        ("user/Appointment.rus", "of the patients you care for", "See and change appointments of the patients you care for"),
        (
            "patient/Observation.cruds",
            "",
            "See, add, change and delete your laboratory results, vital signs and other observations",
        ),
        ("patient/*.rs", "", "See everything in your record"),
        ("patient/*.rs", "of Anna Smith", "See everything in the record of Anna Smith"),
        ("user/*.read", "of the patients you care for", "See everything of the patients you care for"),
        ("patient/Observation.s", "", "Search your laboratory results, vital signs and other observations"),
        ("user/Practitioner.rs", "of the patients you care for", "See doctors, nurses and other staff"),
        ("patient/VisionPrescription.rs", "", "See your vision prescription entries"),
        (LAB, "", "See your laboratory results"),
        ("patient/Observation.rs?category=laboratory", "", "See your laboratory results"),
        (
            "patient/Condition.rs?clinical-status=active",
            "",
            "See your health problems and diagnoses, only where clinical-status is active",
        ),
    ],
)
def test_scopes_in_words(text: str, whose: str, expected: str) -> None:
    """A patient reads sentences, not scopes."""
    read = parse_scope(text)
    assert (sentence(read, whose, category_name(read)) if read is not None else "") == expected


@pytest.mark.parametrize("letters", ["".join(some) for some in product(*((letter, "") for letter in "cruds")) if any(some)])
def test_every_letter_is_said(letters: str) -> None:
    """No combination of letters sounds smaller than it is."""
    said = doing(letters).lower()
    for letter, verb in {"c": "add", "u": "change", "d": "delete"}.items():
        assert (verb in said) == (letter in letters)
    assert ("see" in said or "search" in said) == bool({"r", "s"} & set(letters))


def test_staying_connected_is_said() -> None:
    """Words have their meaning, with or without what follows a question mark."""
    assert word("offline_access") == "Stay connected until you end it"
    assert word("launch/patient?role=guardian") == word("launch/patient")


@pytest.mark.parametrize("type", sorted(CATEGORIES))
def test_categories_are_scopes(type: str) -> None:
    """Each category of the table gives a scope that can be read, lies within its type's, and has its name."""
    whole = scope(f"patient/{type}.rs")
    for part, name in parts(whole):
        read = parse_scope(part.text)
        assert read == part and Scopes((whole,)).cover(read) and category_name(read) == name


def test_only_types_of_fhir_have_names() -> None:
    """The table of names has no misspelt type."""
    from conformance.load import definitions

    assert set(NAMES) <= set(definitions().resource_types)
