"""FHIRPath expression -> syntax tree, by precedence climbing (http://hl7.org/fhirpath/N1/#operator-precedence)."""

from decimal import Decimal
from functools import lru_cache
from typing import Final

from conformance.fhirpath.lexer import Token, tokens
from conformance.fhirpath.nodes import (
    Binary,
    Call,
    Empty,
    FhirPathError,
    Indexer,
    Literal,
    Member,
    Node,
    Scope,
    TypeTest,
    Unary,
    Union,
    Variable,
)
from conformance.fhirpath.quantity import CALENDAR_UNITS, Quantity
from conformance.fhirpath.temporal import parse_literal

MAX_DEPTH: Final = 64
"""Deepest nesting of brackets and arguments."""
MAX_HEIGHT: Final = 100
"""Highest syntax tree: also long chains `a.b.c…` and `1+1+1…` are trees, and Python's own stack has an end."""

_PRECEDENCE: Final = {
    "implies": 1, "or": 2, "xor": 2, "and": 3, "in": 4, "contains": 4, "=": 5, "~": 5, "!=": 5, "!~": 5,
    "<": 6, ">": 6, "<=": 6, ">=": 6, "|": 7, "is": 8, "as": 8, "+": 9, "-": 9, "&": 9, "*": 10, "/": 10, "div": 10, "mod": 10,
}  # fmt: skip
_UNARY: Final = 11
_WORDS: Final = frozenset(w for w in _PRECEDENCE if w.isalpha())
_NAMES_TOO: Final = frozenset(("as", "is", "in", "contains"))
"""Operators that the grammar also takes as names."""


@lru_cache(maxsize=4_096)
def parse(expression: str) -> Node:
    """The tree of an expression. Raises FhirPathError with the position of what is wrong; never anything else."""
    parser = _Parser(tokens(expression))
    tree = parser.expression(0)
    if parser.here.kind != "end":
        raise FhirPathError(f"unexpected {parser.here.text!r}", parser.here.at)
    return tree


class _Parser:
    """One pass over the tokens of one expression."""

    def __init__(self, stream: list[Token]) -> None:
        self.stream = stream
        self.next = 0
        self.depth = 0

    @property
    def here(self) -> Token:
        return self.stream[self.next]

    def expression(self, lowest: int) -> Node:
        """An expression of operators that bind at least as tightly as `lowest`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise FhirPathError(f"the expression is nested deeper than {MAX_DEPTH} levels", self.here.at)
        left = self._unary() if self.here.kind == "symbol" and self.here.text in "+-" else self._chain(self._term())
        while (precedence := self._operator()) >= lowest and precedence:
            left = self._operate(left, precedence)
        self.depth -= 1
        return left

    def _operator(self) -> int:
        token = self.here
        return _PRECEDENCE.get(token.text, 0) if token.kind in ("symbol", "name") else 0

    def _operate(self, left: Node, precedence: int) -> Node:
        operator = self._take()
        if operator.text in ("is", "as"):
            return TypeTest(operator.at, _height(operator.at, left), operator.text, left, self._type_name())
        right = self.expression(precedence + 1)
        height = _height(operator.at, left, right)
        if operator.text != "|":
            return Binary(operator.at, height, operator.text, left, right)
        if isinstance(left, Union):
            return Union(left.at, max(left.height, right.height + 1), (*left.operands, right))
        return Union(operator.at, height, (left, right))

    def _unary(self) -> Node:
        sign = self._take()
        operand = self.expression(_UNARY)
        return Unary(sign.at, _height(sign.at, operand), sign.text, operand)

    def _chain(self, node: Node) -> Node:
        while self.here.kind == "symbol":
            at = self.here.at
            if self._skip("."):
                node = self._invocation(node)
            elif self._skip("["):
                index = self.expression(0)
                self._expect("]")
                node = Indexer(at, _height(at, node, index), node, index)
            else:
                break
        return node

    def _invocation(self, target: Node | None) -> Node:
        token = self._take()
        if token.kind not in ("name", "quoted") or (token.kind == "name" and token.text in _WORDS - _NAMES_TOO):
            raise FhirPathError("a name must follow here", token.at)
        at = token.at
        if token.kind == "name" and self._skip("("):
            arguments = self._arguments()
            return Call(at, _height(at, *((target,) if target else ()), *arguments), target, token.text, arguments)
        return Member(at, _height(at, *((target,) if target else ())), target, token.text)

    def _arguments(self) -> tuple[Node, ...]:
        if self._skip(")"):
            return ()
        found = [self.expression(0)]
        while self._skip(","):
            found.append(self.expression(0))
        self._expect(")")
        return tuple(found)

    def _term(self) -> Node:
        token = self.here
        if token.kind in ("name", "quoted"):
            if token.kind == "name" and token.text in ("true", "false"):
                return Literal(self._take().at, 1, token.text == "true")
            return self._invocation(None)
        self._take()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "string":
            return Literal(token.at, 1, token.text)
        if token.kind in ("datetime", "time"):
            return Literal(token.at, 1, parse_literal(token.text, token.at))
        if token.kind == "variable":
            return Variable(token.at, 1, token.text)
        if token.kind == "scope":
            return self._scope(token)
        return self._bracketed(token)

    def _bracketed(self, token: Token) -> Node:
        if token.text == "(":
            inner = self.expression(0)
            self._expect(")")
            return inner
        if token.text == "{":
            self._expect("}")
            return Empty(token.at, 1)
        raise FhirPathError("the expression ends too early" if token.kind == "end" else f"unexpected {token.text!r}", token.at)

    @staticmethod
    def _scope(token: Token) -> Node:
        return Scope(token.at, 1, token.text[1:])

    def _number(self, token: Token) -> Node:
        value: int | Decimal = Decimal(token.text) if "." in token.text else int(token.text)
        unit = self.here
        if unit.kind == "string":
            self._take()
            return Literal(token.at, 1, Quantity(Decimal(value), unit.text))
        if unit.kind == "name" and unit.text in CALENDAR_UNITS:
            self._take()
            return Literal(token.at, 1, Quantity(Decimal(value), unit.text, calendar=True))
        return Literal(token.at, 1, value)

    def _type_name(self) -> str:
        name = self._name()
        while self._skip("."):
            name += "." + self._name()
        return name

    def _name(self) -> str:
        token = self._take()
        if token.kind not in ("name", "quoted"):
            raise FhirPathError("the name of a type must follow here", token.at)
        return token.text

    def _take(self) -> Token:
        token = self.here
        if token.kind != "end":
            self.next += 1
        return token

    def _skip(self, symbol: str) -> bool:
        if self.here.kind == "symbol" and self.here.text == symbol:
            self.next += 1
            return True
        return False

    def _expect(self, symbol: str) -> None:
        if not self._skip(symbol):
            found = self.here.text or "the end"
            raise FhirPathError(f"{symbol!r} is missing before {found!r}", self.here.at)


def _height(at: int, *children: Node) -> int:
    height = 1 + max((c.height for c in children), default=0)
    if height > MAX_HEIGHT:
        raise FhirPathError(f"the expression has more than {MAX_HEIGHT} steps in one chain", at)
    return height
