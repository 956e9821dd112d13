"""Narrative XHTML: what may be shown and what may do harm (https://hl7.org/fhir/R4/narrative.html)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.rules.narrative import NAMESPACE, problems


def div(inner: str, attributes: str = "") -> str:
    return f'<div xmlns="{NAMESPACE}"{attributes}>{inner}</div>'


GOOD = [
    div("text"),
    div("<p>a<b>b</b><br/></p><table border='1'><tr><td colspan='2' style='color: red'>x</td></tr></table>"),
    div(
        '<a href="http://example.org/x">x</a><a href="#y">y</a><a name="y"/><a href="mailto:a@example.org">m</a><a href="Patient/1">p</a>'
    ),
    div('<img src="data:image/png;base64,AAAA" alt="x"/>'),
    div("&lt;script&gt; &amp; &#160; ü 名"),
    div("<!-- a comment -->x"),
    div("x", ' lang="de" xml:lang="de" class="c" id="i"'),
]


@pytest.mark.parametrize("text", GOOD)
def test_formatting_is_allowed(text: str) -> None:
    """Basic formatting, links, images, inline styles."""
    assert problems(text) == ()


BAD = [
    (div("<script>alert(1)</script>x"), "script"),
    (div("<iframe src='http://example.org'/>x"), "iframe"),
    (div("<form><input/></form>x"), "form"),
    (div("<object/>x"), "object"),
    (div("<style>p {}</style>x"), "style"),
    (div("<link rel='stylesheet' href='http://example.org'/>x"), "link"),
    (div("<svg onload='x'/>x"), "svg"),
    (div("<p onclick='x()'>x</p>"), "onclick"),
    (div("x", ' onload="x()"'), "onload"),
    (div('<a href="javascript:x()">x</a>'), "javascript"),
    (div('<a href="JaVa&#10;Script:x()">x</a>'), "javascript"),
    (div('<a href=" &#1;javascript:x()">x</a>'), "well-formed"),
    (div('<a href="vbscript:x">x</a>'), "vbscript"),
    (div('<a href="data:text/html,x">x</a>'), "data"),
    (div('<img src="data:text/html,x"/>'), "data"),
    (div('<p style="width: expression(x)">x</p>'), "style"),
    (div('<p style="background: url(javascript:x)">x</p>'), "style"),
    (div("<p>x"), "well-formed"),
    (div("&nbsp;x"), "entities"),
    ("text", "well-formed"),
    ("", "well-formed"),
    ("<div>x</div>", "namespace"),
    (f'<p xmlns="{NAMESPACE}">x</p>', "one <div>"),
    (f'<h:div xmlns:h="{NAMESPACE}">x</h:div>', "one <div>"),
    (div(" \n "), "no content"),
    (div("<p/>"), "no content"),
    (f'<!DOCTYPE div [<!ENTITY a "b">]>{div("&a;")}', "document type"),
    (f'<?xml version="1.0"?>{div("x")}', "XML declaration"),
    (div("<?php x ?>x"), "processing instruction"),
    (div("<p xmlns='http://example.org/other'>x</p>"), "xmlns"),
    (div("x") + div("y"), "well-formed"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_the_rest_is_refused(text: str, words: str) -> None:
    """Whatever can run, load or hide something, and what is no XHTML, with words that name it."""
    found = problems(text)
    assert found
    assert any(words in problem for problem in found), found


def test_entities_are_not_expanded() -> None:
    """A document type is refused before the bombs that it declares go off."""
    bomb = "<!DOCTYPE div [" + '<!ENTITY a0 "x">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 20)) + "]>"
    assert problems(bomb + div("&a19;")) == ("holds a document type declaration; a narrative may have none (txt-1)",)


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    """Whatever is sent, the answer is a list of problems or none; nothing is raised."""
    problems(text)
    problems(div(text))
