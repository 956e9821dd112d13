"""What is asked of the text of documents: words that must all be there, `"a phrase"`, `begin*`, OR, NOT and parentheses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from search.text.words import words_of
from search.values import DocumentText

MAX_PARTS = 50
"""Most words and phrases in one text query."""

MAX_DEPTH = 8
"""Deepest parentheses in one."""

MIN_PREFIX = 2
"""Fewest characters before a `*`."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that follow one another; with `prefix` the last may go on."""

    words: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Every:
    """All of `parts` (at least one), and none of `without`. Each may be in another part of the text."""

    parts: tuple["Expression", ...]
    without: tuple["Expression", ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of the parts."""

    parts: tuple["Expression", ...]


Expression = Phrase | Every | Either


class BadText(ValueError):
    """A text query that cannot be read; the text is a sentence for the person who sent it."""


_TOKEN = re.compile(r'\s*(?:"([^"]*)"|([()])|([^\s()"]+))')


def parse_text(text: str) -> Expression:
    """`"heart failure" OR (edema NOT lung*)` as an Expression. Raises BadText.

    Words beside one another must all be there; AND (in any case) says the same. OR and NOT are operators in capitals only.
    """
    if text.count('"') % 2:
        raise BadText(f'\'{text}\' has a " that is not closed: write "several words" for a phrase')
    reader = _Reader(list(_tokens(text)), text)
    found = reader.either(0)
    if reader.at < len(reader.tokens):
        raise BadText(f"'{text}' has a ) without its (")
    return found


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """(kind, text): kinds are `phrase`, `(`, `)`, `AND`, `OR`, `NOT`, `word`."""
    for quoted, bracket, word in _TOKEN.findall(text):
        if bracket:
            yield bracket, bracket
        elif word in ("OR", "NOT") or word.upper() == "AND":
            yield word.upper(), word
        elif word:
            yield "word", word
        else:
            yield "phrase", quoted


class _Reader:
    """A recursive descent over the tokens."""

    def __init__(self, tokens: list[tuple[str, str]], text: str) -> None:
        self.tokens, self.text, self.at, self._parts = tokens, text, 0, 0

    def either(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise BadText(f"'{self.text}' has more than {MAX_DEPTH} parentheses inside one another")
        parts = [self._every(depth)]
        while self._kind() == "OR":
            self.at += 1
            parts.append(self._every(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _every(self, depth: int) -> Expression:
        parts: list[Expression] = []
        without: list[Expression] = []
        while (kind := self._kind()) not in ("", ")", "OR"):
            if kind in ("AND", "NOT"):
                self.at += 1
            if kind == "AND":
                self._needs_more("AND")
                continue
            part = self._unit(depth)
            if part is not None:
                (without if kind == "NOT" else parts).append(part)
        if not parts:
            raise BadText(self._nothing(bool(without)))
        return parts[0] if len(parts) == 1 and not without else Every(tuple(parts), tuple(without))

    def _unit(self, depth: int) -> Expression | None:
        """The phrase or parenthesis here; None for a word without letters and digits, which says nothing."""
        self._needs_more("NOT")
        kind, token = self.tokens[self.at]
        self.at += 1
        if kind == "(":
            found = self.either(depth + 1)
            if self._kind() != ")":
                raise BadText(f"'{self.text}' has a ( without its )")
            self.at += 1
            return found
        words = tuple(words_of(token))
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadText(f"more than {MAX_PARTS} words and phrases are given")
        if token.endswith("*") and words and len(words[-1]) < MIN_PREFIX:
            raise BadText(f"'{token}' is too short: give at least {MIN_PREFIX} characters before *")
        return Phrase(words, token.endswith("*")) if words else None

    def _needs_more(self, operator: str) -> None:
        if self._kind() in ("", ")", "OR", "AND"):
            raise BadText(f"'{self.text}' has nothing after {operator}")

    def _kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def _nothing(self, negated: bool) -> str:
        if negated:
            return f"'{self.text}' says only what is not to be there: say also what is, as in fever NOT cough"
        return f"'{self.text}' has no words to look for where some are needed"


def holds(expression: Expression, text: DocumentText, *, narrative: bool) -> bool:
    """Whether the text (its narrative only, or all of it) is what the expression says."""
    if isinstance(expression, Phrase):
        return _occurs(expression, text.narrative) or (not narrative and _occurs(expression, text.rest))
    if isinstance(expression, Either):
        return any(holds(part, text, narrative=narrative) for part in expression.parts)
    return all(holds(part, text, narrative=narrative) for part in expression.parts) and not any(
        holds(part, text, narrative=narrative) for part in expression.without
    )


def _occurs(phrase: Phrase, words: str) -> bool:
    wanted = f" {' '.join(phrase.words)}" + ("" if phrase.prefix else " ")
    return wanted in f" {words} "
