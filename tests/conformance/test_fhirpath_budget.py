"""What an expression may do is bounded: whoever evaluates one that was sent sets how many steps it may take."""

import time
from typing import Any

import pytest

from conformance.fhirpath import FhirPathError, compile_expression, compile_paths
from conformance.fhirpath.budget import TooCostly, bounded

STEPS = 1_000_000
NAMES = [{"family": "abcdefghij" * 4, "given": [f"g{i}"], "use": "official"} for i in range(60)]
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "name": NAMES,
    "text": {"status": "generated", "div": "<div xmlns='http://www.w3.org/1999/xhtml'>" + "x" * 50_000 + "</div>"},
    "contained": [{"resourceType": "Patient", "id": f"c{i}", "name": NAMES} for i in range(10)],
}

CHARACTERS = "%resource.name.family.toChars()"
COSTLY = {
    "a list that doubles": "name" + ".select($this.combine($this))" * 25,
    "a list that doubles, in a total": "name.aggregate($total.combine($total).combine($this), {}).count()",
    "loops in loops": "name.select(" + "%resource.name.select(" * 5 + "family" + ")" * 6,
    "loops in loops that find nothing": "name.where(%resource.name.where(%resource.name.where(%resource.name.where(false))))",
    "loops in loops that ask": "name.exists(%resource.name.exists(%resource.name.exists(%resource.name.exists(use = 'x'))))",
    "loops in loops over all": "name.all(%resource.name.all(%resource.name.all(%resource.name.all(use = 'official'))))",
    "nodes of nodes": "name.select(%resource.descendants()).select(%resource.descendants()).count()",
    "children of many": "contained.name.select(%resource).contained.name.select(%resource).contained.name.count()",
    "documents compared": "contained.name.select(%resource).distinct().count() + contained.name.select(%resource).isDistinct()",
    "each with each": "descendants() ~ descendants().tail()",
    "equal documents": "contained.name.select(%resource.contained = %resource.contained)",
    "texts that double": "'ab'" + ".encode('hex')" * 40,
    "texts made again and again": "descendants().select(%resource.text.`div`.upper() & 'x').count()",
    "texts grown by replace": "descendants().select('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.replace('', %resource.id & %resource.id)"
    ".replace('', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx').replace('', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy')).count()",
    "regular expressions on long texts": "descendants().select(%resource.text.`div`.matches('[ab]*a[ab]{400}$')).count()",
    "matches of matches": "text.`div`.replaceMatches('x(.*z)?', 'y').length()",
    "a total of much": "descendants().aggregate($total | %resource.descendants().id, {}).count()",
    "sums in a long expression": "descendants().select(" + " & ".join(["name.family.first()"] * 80) + ").count()",
    "an order": "descendants().select(%resource.name.family).sort().count()",
    "targets looked for": "descendants().select(%resource.descendants().select('#c1')).resolve().count()",
    "repeat of documents": "name.select(%resource.contained).repeat(%resource.contained).count()",
    "narrative checked again and again": "descendants().select(%resource.text.`div`.htmlChecks()).count()",
}


@pytest.mark.parametrize("expression", COSTLY.values(), ids=COSTLY.keys())
def test_what_takes_too_long_is_cut_off(expression: str) -> None:
    """An expression that would go on for minutes, or fill the memory, ends after its steps, within seconds."""
    before = time.process_time()
    with pytest.raises((TooCostly, FhirPathError)) as refusal, bounded(STEPS):
        compile_expression(expression, "Patient").evaluate(PATIENT)
    assert time.process_time() - before < 8
    assert "steps" in str(refusal.value) or "characters" in str(refusal.value)


PLAIN = [
    "name.where(use = 'official').given.first()",
    "contained.descendants().count()",
    "name.select(given.first() & ' ' & family).distinct().count()",
    "text.`div`.matches('x{10}')",
    "name.family.select(replaceMatches('[aeiou]', '')).distinct()",
    "repeat(contained).name.family.count()",
]


@pytest.mark.parametrize("expression", PLAIN)
def test_a_bound_changes_no_result(expression: str) -> None:
    """What stays within its steps gives the same as without a bound."""
    found = compile_expression(expression, "Patient").evaluate(PATIENT)
    assert found
    with bounded(STEPS):
        assert compile_expression(expression, "Patient").evaluate(PATIENT) == found


def test_bounds_end_with_their_block() -> None:
    """Nothing is counted after the block for which a bound was set, also when it ended by an error."""
    expression = compile_expression("descendants().count()", "Patient")
    with pytest.raises(TooCostly), bounded(10):
        expression.evaluate(PATIENT)
    assert expression.evaluate(PATIENT)[0] > 1_000


CATASTROPHIC = [
    "'" + "a" * 40 + "'.matches('^(a+)+b$')",
    "'" + "x" * 3_000 + "'.matches('(x+x+)+y')",
    "'" + "a" * 40 + "'.replaceMatches('^(a|a)*$b', 'c')",
]


@pytest.mark.parametrize("expression", CATASTROPHIC)
def test_regular_expressions_end(expression: str) -> None:
    """What keeps engines that try everything busy for ever takes no time."""
    before = time.process_time()
    compile_expression(expression, "Patient").evaluate(PATIENT)
    assert time.process_time() - before < 1


REGULAR = [
    ("'a\nb'.matches('a.b')", True),
    ("'Größe'.matches('^Gr\\\\p{L}+$')", True),
    ("'Ärzte'.replaceMatches('(?i)ä', 'Ae')", "Aerzte"),
    ("'2026-11-23'.replaceMatches('(\\\\d+)-(\\\\d+)-(?P<day>\\\\d+)', '${day}.$2.$1')", "23.11.2026"),
    ("'abc'.replaceMatches('b', '\\\\1')", "a\\1c"),
    ("'abc'.replaceMatches('x*', '-')", "-a-b-c-"),
    ("'library'.matchesFull('libr')", False),
]


@pytest.mark.parametrize(("expression", "value"), REGULAR)
def test_regular_expressions(expression: str, value: object) -> None:
    """Regular expressions match lines' ends and letters beyond ASCII, and substitutes name their groups."""
    assert compile_expression(expression, "Patient").evaluate(PATIENT) == [value]


REFUSED = [
    ("'a'.matches('(?=a)')", "invalid perl operator"),
    ("'a'.matches('(a)\\\\1')", "invalid escape sequence"),
    ("'a'.matches('a{1001}')", "invalid repetition size"),
    ("'a'.replaceMatches('a', '$1')", "there is no group $1"),
    ("'a'.replaceMatches('a', '${name}')", "there is no group ${name}"),
]


@pytest.mark.parametrize(("expression", "words"), REFUSED)
def test_regular_expressions_that_cannot_be(expression: str, words: str) -> None:
    """What RE2 does not know, and groups that are not there, are refused with a reason."""
    with pytest.raises(FhirPathError) as refusal:
        compile_expression(expression, "Patient").evaluate(PATIENT)
    assert words in str(refusal.value)


MANY_TYPES = [
    "extension" + ".value.extension" * 12 + ".url",
    "name.where(" + "extension.value.where(" * 8 + "true" + ").count() > 0" * 8 + ").given",
]


@pytest.mark.parametrize("expression", MANY_TYPES)
def test_paths_over_all_types_are_compiled_in_time(expression: str) -> None:
    """Elements that may be of fifty types, below each other: compiled, or given up, within seconds."""
    before = time.process_time()
    try:
        with bounded(STEPS):
            compile_paths(expression, "Patient")
    except FhirPathError:
        pass
    assert time.process_time() - before < 8
