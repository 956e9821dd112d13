"""What `_text` and `_content` may ask, and what a document's words are."""

import pytest

from search.text.expression import BadText, Either, Every, Expression, Phrase, holds, parse_text
from search.text.words import text_of, words_of

HEART, FAILURE = Phrase(("heart",)), Phrase(("failure",))

READ: list[tuple[str, Expression]] = [
    ("heart", HEART),
    ("Héart", HEART),
    ("heart failure", Every((HEART, FAILURE))),
    ("heart and failure", Every((HEART, FAILURE))),
    ("heart AND failure", Every((HEART, FAILURE))),
    ("heart OR failure", Either((HEART, FAILURE))),
    ("heart or failure", Every((HEART, Phrase(("or",)), FAILURE))),
    ('"heart failure"', Phrase(("heart", "failure"))),
    ('"heart fail*"', Phrase(("heart", "fail"), prefix=True)),
    ("heart-failure", Phrase(("heart", "failure"))),
    ("hea*", Phrase(("hea",), prefix=True)),
    ("heart & failure", Every((HEART, FAILURE))),
    ("heart NOT failure", Every((HEART,), (FAILURE,))),
    ("NOT failure heart", Every((HEART,), (FAILURE,))),
    ("(heart OR failure) heart", Every((Either((HEART, FAILURE)), HEART))),
    ('"and"', Phrase(("and",))),
]


@pytest.mark.parametrize(("text", "expression"), READ)
def test_read(text: str, expression: Expression) -> None:
    """Each form of the language means what it should."""
    assert parse_text(text) == expression


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no words"),
        ("-", "no words"),
        ("NOT heart", "what is not to be there"),
        ("heart OR", "no words"),
        ("heart NOT", "nothing after NOT"),
        ("heart AND", "nothing after AND"),
        ("(heart", "without its )"),
        ("heart)", "without its ("),
        ('"heart', "not closed"),
        ("h*", "at least 2"),
        ("((((((((((heart))))))))))", "more than 8"),
        (" ".join(["heart"] * 51), "more than 50"),
    ],
)
def test_not_read(text: str, why: str) -> None:
    """What cannot be read says why."""
    with pytest.raises(BadText, match=r".*" + why.replace("(", r"\(").replace(")", r"\)")):
        parse_text(text)


def test_words() -> None:
    """Words are folded letters and digits; very long runs are none."""
    assert words_of("L'État, 3 mg/d: \ufb01ne " + "x" * 65) == ["l", "etat", "3", "mg", "d", "fine"]


def test_text_of_a_document() -> None:
    """The narrative without tags; of the rest every string but addresses and encoded data."""
    div = "<div>He<b>art</b><br/>rate<!-- a > b --> &lt;60&#160;bpm</div>"
    document = {
        "resourceType": "Observation",
        "id": "hidden",
        "meta": {"tag": [{"display": "hidden"}]},
        "text": {"status": "generated", "div": div},
        "code": {"coding": [{"system": "http://hidden", "code": "8867-4", "display": "Heart rate"}]},
        "subject": {"reference": "Patient/hidden", "display": "Ann"},
        "valueAttachment": {"data": "aGlkZGVu", "title": "curve"},
        "note": [{"text": "at rest"}],
    }
    text = text_of(document)
    assert text.narrative == "heart rate 60 bpm"
    assert text.rest == "8867 4 heart rate ann curve at rest"


@pytest.mark.parametrize(
    ("asked", "narrative", "content"), [("rate", True, True), ("ann", False, True), ("bpm curve", False, True)]
)
def test_narrative_or_all(asked: str, narrative: bool, content: bool) -> None:
    """`_text` looks into the narrative, `_content` into everything; words beside one another may be in either part."""
    text = text_of({"text": {"div": "<div>rate bpm</div>"}, "name": "Ann", "title": "curve"})
    assert holds(parse_text(asked), text, narrative=True) is narrative
    assert holds(parse_text(asked), text, narrative=False) is content
