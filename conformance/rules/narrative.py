"""Narrative XHTML: only what https://hl7.org/fhir/R4/narrative.html allows, so that showing it can do no harm.

Basic formatting of HTML 4.0 (chapters 7-11 without 9.4, and 15), `a`, `img` and inline `style`; no script, form, frame, object, head,
external style, event attribute, entity beyond XML's five, document type or processing instruction.
"""

import re
from functools import lru_cache
from typing import Any
from xml.parsers import expat

from conformance.findings import Finding, Scope, shown

NAMESPACE = "http://www.w3.org/1999/xhtml"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ELEMENTS = _words(
    """a abbr acronym address area b bdo big blockquote br caption cite code col colgroup dd del dfn div dl dt em h1 h2 h3 h4 h5 h6
    hr i img ins kbd li map ol p pre q samp small span strong sub sup table tbody td tfoot th thead tr tt ul var"""
)
_EVERYWHERE = _words(
    """id class title style lang xml:lang dir accesskey tabindex align valign char charoff width height border cellpadding cellspacing
    frame rules summary span colspan rowspan headers scope abbr axis cite"""
)
_ONLY = {
    "a": frozenset(("href", "name", "rel", "rev", "hreflang", "type", "charset", "shape", "coords", "target")),
    "img": frozenset(("src", "alt", "longdesc", "usemap", "ismap")),
    "area": frozenset(("href", "alt", "shape", "coords", "nohref")),
    "map": frozenset(("name",)),
    "td": frozenset(("nowrap", "bgcolor")),
    "th": frozenset(("nowrap", "bgcolor")),
    "tr": frozenset(("bgcolor",)),
    "table": frozenset(("bgcolor",)),
    "ol": frozenset(("start", "type")),
    "ul": frozenset(("type",)),
    "li": frozenset(("value", "type")),
    "br": frozenset(("clear",)),
    "hr": frozenset(("noshade", "size")),
    "del": frozenset(("datetime",)),
    "ins": frozenset(("datetime",)),
}
_LINKS = frozenset(("href", "src", "cite", "longdesc", "usemap"))
_NOISE = re.compile(r"[\x00-\x20]+")
_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]*):")
_SCHEMES = frozenset(("http", "https", "mailto", "tel", "ftp", "ftps", "sms", "urn", "cid"))
_ACTIVE_STYLE = re.compile(r"expression\s*\(|javascript:|vbscript:|behaviou?r\s*:|-moz-binding|@import", re.IGNORECASE)


class _Refused(Exception):
    """The rest of the div need not be read."""


class _Reader:
    """Reads one div; collects what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.content = False
        self.outermost = True

    def read(self, div: str) -> list[str]:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype
        parser.ProcessingInstructionHandler = self._instruction
        parser.XmlDeclHandler = self._declaration
        parser.buffer_text = True
        try:
            parser.Parse(div, True)
        except _Refused:
            return self.problems
        except expat.ExpatError as problem:
            self.problems.append(
                f"is not well-formed XHTML: {_reason(problem)} at line {problem.lineno}, column {problem.offset + 1}"
            )
            return self.problems
        if not self.content:
            self.problems.append("has no content: write some text or an image, or leave the narrative out (txt-2)")
        return self.problems

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self.outermost:
            self.outermost = False
            self._root(name, attributes.pop("xmlns", None))
        elif name not in _ELEMENTS:
            self.problems.append(f"holds the element <{_clean(name)}>, which a narrative may not have (txt-1)")
        if name == "img":
            self.content = True
        for attribute, value in attributes.items():
            self._attribute(name, attribute, value)

    def _root(self, name: str, namespace: str | None) -> None:
        if name != "div":
            self.problems.append(f"begins with <{_clean(name)}>; a narrative is one <div> (txt-1)")
        if namespace != NAMESPACE:
            self.problems.append(f'has not the namespace of XHTML: begin with <div xmlns="{NAMESPACE}">')

    def _attribute(self, element: str, name: str, value: str) -> None:
        if name not in _EVERYWHERE and name not in _ONLY.get(element, ()):
            if name != "xmlns" or value != NAMESPACE:
                self.problems.append(
                    f"holds the attribute {_clean(name)} on <{_clean(element)}>, which a narrative may not have (txt-1)"
                )
        elif name in _LINKS:
            self._link(element, name, value)
        elif name == "style" and _ACTIVE_STYLE.search(value):
            self.problems.append(f"holds active content in style on <{_clean(element)}> (txt-1)")

    def _link(self, element: str, name: str, value: str) -> None:
        scheme = _SCHEME.match(_NOISE.sub("", value).lower())
        if scheme is None or scheme.group(1) in _SCHEMES:
            return
        if scheme.group(1) == "data" and element == "img" and value.lower().startswith("data:image/"):
            return
        self.problems.append(f"holds a {_clean(name)} on <{_clean(element)}> with {scheme.group(1)}:, which may run code (txt-1)")

    def _text(self, text: str) -> None:
        if not self.content and text.strip():
            self.content = True

    def _doctype(self, *_: Any) -> None:
        self.problems.append("holds a document type declaration; a narrative may have none (txt-1)")
        raise _Refused  # before any entity it declares is expanded

    def _instruction(self, target: str, data: str) -> None:
        self.problems.append(f"holds the processing instruction {_clean(target)}; a narrative may have none (txt-1)")

    def _declaration(self, *_: Any) -> None:
        self.problems.append("begins with an XML declaration; a narrative may have none (txt-1)")


def _clean(name: str) -> str:
    return name if len(name) <= 40 and name.isprintable() else shown(name)


def _reason(problem: expat.ExpatError) -> str:
    if problem.code == 11:  # XML_ERROR_UNDEFINED_ENTITY: a constant that pyexpat gives as text only
        return "only the entities &lt; &gt; &amp; &quot; and &apos; are known (write the character itself)"
    return expat.ErrorString(problem.code) or "it cannot be read"


@lru_cache(maxsize=2048)
def _checked(div: str) -> tuple[str, ...]:
    return tuple(_Reader().read(div))


def problems(div: str) -> tuple[str, ...]:
    """What is wrong with a narrative's div, each a clause that follows `the narrative …`; () if nothing is."""
    return _checked(div) if len(div) <= 1000 else tuple(_Reader().read(div))


def narrative(value: Any, scope: Scope) -> list[Finding] | None:
    """The rule of the type xhtml (invariants txt-1 and txt-2)."""
    if not isinstance(value, str):
        return None
    found = problems(value)
    return [Finding(f"the narrative {text}", "invariant") for text in found] if found else None
