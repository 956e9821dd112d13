"""Denials of consents as grants: for whatever consents and documents, what the grants let through is what the consents leave."""

from dataclasses import replace
from functools import reduce

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fhir_server.access.consents import MOST_NAMED, MOST_PROVISIONS, Denial, OptOut, Part, Rule, read_consent
from fhir_server.access.decision import Decision, Reach
from fhir_server.access.following import MOST_CONSENTS, MOST_OF_PATIENT, Standing
from fhir_server.access.opting_out import EVERYTHING, MOST_ALIKE, MOST_KEPT, MOST_SINGLE, Kept, kept_from, narrowed
from resources.store import Key
from search.match import Document, allows
from search.query import Compartment, Grant
from search.values import BEGIN, END, Entry, ReferenceValue, TokenValue, Value

TYPES = ("Observation", "Condition", "Patient", "Task", "Organization", "AuditEvent")
PATIENTS = ("p", "q", "r")
LABELS = ("R", "V")
IDS = ("1", "2", "3")
ME, OTHER = "Practitioner/me", "Practitioner/other"

types = st.none() | st.frozensets(st.sampled_from(TYPES[:4]), min_size=1)
labels = st.lists(st.sampled_from(LABELS), max_size=2, unique=True).map(lambda codes: tuple(("s", code) for code in codes))
ids = st.none() | st.frozensets(st.builds("{}/{}".format, st.sampled_from(TYPES[:4]), st.sampled_from(IDS)), min_size=1)
parts = st.builds(Part, types, labels, ids)
actors = st.sampled_from([None, frozenset((ME,)), frozenset((OTHER,)), frozenset((ME, OTHER))])
rules = st.builds(Rule, parts, actors, st.sampled_from([None, frozenset(("TREAT",)), frozenset(("HRESCH",))]))
denials = st.builds(Denial, rules, st.lists(rules, max_size=2).map(tuple))
opt_outs = st.lists(st.builds(OptOut, st.sampled_from(PATIENTS), st.lists(denials, min_size=1, max_size=2).map(tuple)), max_size=4)
grants = st.sampled_from(
    [
        Reach({type: (Grant(type),) for type in TYPES}),
        Reach({type: (Grant(type, Compartment("p")),) for type in TYPES[:3]}),
        Reach({"Observation": (Grant("Observation", free=True), Grant("Observation", Compartment("q")))}),
    ]
)


@st.composite
def documents(draw: st.DrawFn, most: int) -> Document:
    type, id = draw(st.sampled_from(TYPES)), draw(st.sampled_from(IDS))
    owners = draw(st.lists(st.sampled_from(PATIENTS), max_size=most, unique=True)) if type != "Organization" else []
    if type == "Patient":
        id = owners[0] if owners else "p"
        owners = [id]
    security: list[Value] = [TokenValue("s", label) for label in draw(st.lists(st.sampled_from(LABELS), max_size=2, unique=True))]
    values = {"_security": security} if security else {}
    if type == "Task" and owners:
        values["patient"] = [ReferenceValue(f"Patient/{owner}") for owner in owners]
    entry = Entry(values=values, patients=() if type == "Task" else tuple(sorted(owners)))
    return Document(Key(type, id), entry, 0)


def owners_of(document: Document) -> set[str]:
    named = {str(value[0]).partition("/")[2] for value in document.entry.values.get("patient", ())}
    return named | set(document.entry.patients)


def has(part: Part, document: Document) -> bool:
    """Whether a document is in a part, as plainly as it can be said."""
    security = {tuple(value) for value in document.entry.values.get("_security", ())}
    return (
        (part.types is None or document.key.type in part.types)
        and (not part.labels or bool(security & set(part.labels)))
        and (part.ids is None or document.name in part.ids)
    )


def left(opt_outs: list[OptOut], document: Document) -> bool:
    """Whether the consents leave a document to ME for treatment, at any time."""

    def counts(rule: Rule) -> bool:
        return (rule.actors is None or ME in rule.actors) and (rule.purposes is None or "TREAT" in rule.purposes)

    def denies(denial: Denial) -> bool:
        covered = counts(denial.rule) and has(denial.rule.part, document)
        return covered and not any(counts(rule) and has(rule.part, document) for rule in denial.exceptions)

    concerned = [opt_out for opt_out in opt_outs if opt_out.patient in owners_of(document)]
    return document.key.type == "AuditEvent" or not any(denies(denial) for each in concerned for denial in each.denials)


def named_by_others(opt_outs: list[OptOut], document: Document) -> bool:
    """Whether a Consent of somebody whose it is not denies the very document."""
    others = [each for each in opt_outs if each.patient not in owners_of(document)]
    return any(document.name in (denial.rule.part.ids or ()) for each in others for denial in each.denials)


def shown(reach: Reach | None, document: Document) -> bool:
    return reach is None or allows((), reach.of(document.key.type), document)


def kept_of(opt_outs: list[OptOut], *, named: bool = False) -> dict[str, tuple[Kept, ...]]:
    standing = Standing()
    standing.take([(str(number), None, each) for number, each in enumerate(opt_outs)])
    return kept_from(standing.of((ME,)), frozenset((ME,)), frozenset(("TREAT",)), 0, named=named)


def decided(opt_outs: list[OptOut], reach: Reach | None) -> Reach | None:
    decision = Decision(read=reach, search=reach)
    kept = kept_of(opt_outs)
    return narrowed(decision, kept, ("r", "s")).search if kept else decision.search


ALONE = Document(Key("Observation", "3"), Entry(values={}, patients=("p",)), 0)
SINGLE = [OptOut(who, (Denial(Rule(Part(ids=frozenset((f"Observation/{id}",))))),)) for who, id in (("p", "2"), ("q", "3"))]


@settings(max_examples=150, deadline=None)
@example(SINGLE, Reach({"Observation": (Grant("Observation"),)}), ALONE)
@example(SINGLE[1:], Reach({"Observation": (Grant("Observation"),)}), ALONE)
@given(opt_outs, grants, documents(most=1))
def test_a_document_of_one_patient(opt_outs: list[OptOut], reach: Reach | None, document: Document) -> None:
    """It is shown if and only if the token lets it through and the patient's consents leave it. One that another patient's Consent names as
    well may be kept all the same: those who keep single documents share a grant."""
    expected, told = shown(reach, document) and left(opt_outs, document), shown(decided(opt_outs, reach), document)
    assert told == expected or (expected and named_by_others(opt_outs, document))


@settings(max_examples=100, deadline=None)
@given(opt_outs, grants, documents(most=3))
def test_a_document_of_several_patients(opt_outs: list[OptOut], reach: Reach | None, document: Document) -> None:
    """It is shown only if the consents of all of them leave it, and never where the token does not let it through."""
    if shown(decided(opt_outs, reach), document):
        assert shown(reach, document)
        assert left(opt_outs, document)


def test_many_who_deny_the_same_share_a_grant() -> None:
    """However many patients keep what is labelled, a type has two grants; those who keep single documents share one too."""
    labelled = [OptOut(f"p{n}", (Denial(Rule(Part(labels=(("s", "R"),)))),)) for n in range(500)]
    single = [OptOut(f"s{n}", (Denial(Rule(Part(ids=frozenset((f"Observation/{n}",))))),)) for n in range(500)]
    reach = decided(labelled + single, None)
    assert reach is not None
    assert len(reach.of("Observation")) == 3
    assert len(reach.of("Condition")) == 2
    assert shown(reach, Document(Key("Observation", "x"), Entry(values={}, patients=("p1",)), 0))
    assert not shown(reach, Document(Key("Observation", "7"), Entry(values={}, patients=("s7",)), 0))


def test_too_many_different_denials_keep_the_whole_type() -> None:
    """Beyond a number of different ways to deny part of a type, the rest of those patients' documents of it is kept, not shown."""
    each = [OptOut(f"p{n}", (Denial(Rule(Part(labels=(("s", f"L{n}"),)))),)) for n in range(MOST_ALIKE + 5)]
    reach = decided(each, None)
    assert reach is not None
    visible = [
        n
        for n in range(MOST_ALIKE + 5)
        if shown(reach, Document(Key("Observation", "x"), Entry(values={}, patients=(f"p{n}",)), 0))
    ]
    assert len(visible) == MOST_ALIKE


times = st.sampled_from([(BEGIN, END), (5, END), (BEGIN, 7), (5, 9)])
timed = st.builds(lambda rule, at: replace(rule, start=at[0], end=at[1]), rules, times)
several = st.lists(st.builds(Denial, timed, st.lists(timed, max_size=1).map(tuple)), max_size=2).map(tuple)
said = st.builds(OptOut, st.sampled_from(PATIENTS), several, st.booleans(), st.sampled_from([1, MOST_OF_PATIENT // 2]))
steps = st.lists(st.tuples(st.sampled_from("abcd"), st.none() | said), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, min_size=1, max_size=4))
def test_what_stands_after_changes(batches: list[list[tuple[str, OptOut | None]]]) -> None:
    """However Consents come, change and go, what stands is what stood if the last ones alone had come."""
    known: dict[str, OptOut] = {}
    standing = Standing()
    for batch in batches:
        changes = []
        for id, now in batch:
            changes.append((id, known.pop(id, None), now))
            known |= {id: now} if now is not None else {}
        standing.take(changes)
    anew = Standing()
    anew.take([(id, None, each) for id, each in known.items()])
    assert _stands(standing) == _stands(anew)


def _stands(standing: Standing) -> object:
    """What somebody else can tell of it."""
    edges, edge = [], standing.next_edge(BEGIN)
    while edge is not None:
        edges.append(edge)
        edge = standing.next_edge(edge)
    to = {
        actor: sorted((repr((each.denials, each.beyond)), sorted(each.patients.items())) for each in standing.of((actor,)))
        for actor in ("", ME, OTHER)
    }
    return edges, to, standing.by_role, bool(standing)


def test_what_one_patient_says_is_bounded_as_a_whole() -> None:
    """A Consent that names more than is looked at, all its provisions together, denies the whole record; so do all of a patient together,
    until there are fewer again."""
    actors = [{"reference": {"reference": f"Practitioner/{n}"}} for n in range(100)]
    below = {"type": "deny", "actor": actors}
    consent = {"status": "active", "scope": {}, "patient": {"reference": "Patient/p"}}
    read = {count: read_consent({**consent, "provision": {"type": "permit", "provision": [below] * count}}, ()) for count in (4, 5)}
    assert [each is not None and each.beyond for each in read.values()] == [False, True]
    fine = read[4]
    assert fine is not None
    many = MOST_OF_PATIENT // fine.said
    assert many < MOST_CONSENTS
    standing = Standing()
    standing.take([(str(number), None, fine) for number in range(many)])
    assert not standing.of((ME,)) and standing.of(("Practitioner/7",))
    standing.take([("more", None, fine)])
    assert [each.beyond for each in standing.of((ME,))] == [True]
    standing.take([("0", fine, None)])
    assert not standing.of((ME,))


def test_one_patient_cannot_make_everybodys_searches_long() -> None:
    """Consents without end, or that name documents without end, deny the whole record, or all of the type: they are not carried along."""
    many = [OptOut("p", (Denial(Rule(Part(labels=(("s", f"L{n}"),)))),)) for n in range(MOST_KEPT + 1)]
    reach = decided(many, None)
    assert reach is not None
    assert reach.of("Observation") == (Grant("Observation", without=frozenset(("p",))),)
    one = {"meaning": "instance", "reference": {"reference": "Observation/1"}}
    consent = {
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "patient": {"reference": "Patient/p"},
        "provision": {"type": "deny", "data": [one] * (MOST_NAMED + 1)},
    }
    read = read_consent(consent, ())
    assert read is not None and read.denials[0].rule.part.whole
    below: dict[str, object] = {"type": "permit"}
    for provision, beyond in (
        ({"type": "permit", "provision": [below] * (MOST_PROVISIONS - 1)}, False),
        ({"type": "permit", "provision": [below] * MOST_PROVISIONS}, True),
        ({"type": "permit", "provision": [{"type": "permit", "provision": [below] * (MOST_PROVISIONS - 1)}]}, True),
        (reduce(lambda inner, _: {"type": "permit", "provision": [inner]}, range(2_000), below), True),
    ):
        read = read_consent({**consent, "provision": provision}, ())
        assert (read is not None and read.beyond) is beyond
        for named in (False, True):
            kept = kept_of([read] if read else [], named=named)
            assert kept == ({"p": (EVERYTHING,)} if beyond else {})
    names = [OptOut(f"p{n}", (Denial(Rule(Part(ids=frozenset((f"Observation/{n}",))))),)) for n in range(MOST_SINGLE + 1)]
    reach = decided(names, None)
    assert reach is not None and len(reach.of("Observation")) == 1
