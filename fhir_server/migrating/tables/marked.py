"""YAML (or JSON, which is YAML too) with the place of every word, all of them as text: `no`, `1` and `2020-01-31` stay what they are.

PyYAML finds the structure; what it would make of words is not asked for.
"""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

DEEPEST, MOST = 30, 100_000
"""Levels, and words, at most: aliases could make more of a small file than fits into memory."""


class BadMapping(Exception):
    """A mapping that cannot be used: sentences, each with the place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Node:
    """What stands at a place: a text, a list, or members by name with the places of their names. Lines and columns count from 1."""

    line: int
    column: int
    value: "str | list[Node] | dict[str, Node]"
    quoted: bool = False


@dataclass
class Problems:
    """What is wrong with a file, all of it."""

    file: str
    found: list[str] = field(default_factory=list)

    def add(self, node: Node, text: str) -> None:
        """Something is wrong there."""
        self.found.append(f"{self.file} line {node.line}, column {node.column}: {text}")

    def check(self) -> None:
        """Raises BadMapping if there is anything."""
        if self.found:
            raise BadMapping(self.found)

    def members(self, node: Node, *known: str, what: str) -> dict[str, Node]:
        """The members of a node that has only known ones (none: any). Tells what else there is, and gives {} where there are none."""
        if not isinstance(node.value, dict):
            self.add(node, f"{what} must be names with values")
            return {}
        for name, inner in node.value.items():
            if known and name not in known:
                self.add(inner, f"{name!r} is not known in {what}; known are {', '.join(known)}")
        return node.value

    def text(self, node: Node | None, what: str) -> str:
        """The text of a node; "" where there is none."""
        if node is None:
            return ""
        if not isinstance(node.value, str):
            self.add(node, f"{what} must be a text")
            return ""
        return node.value

    def texts(self, node: Node | None, what: str) -> tuple[str, ...]:
        """The texts of a list, or of one text."""
        if node is None:
            return ()
        if isinstance(node.value, list):
            return tuple(self.text(each, what) for each in node.value)
        return (self.text(node, what),)


def read_marked(path: Path) -> Node:
    """What a file holds. Raises BadMapping."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as failure:
        raise BadMapping([f"{path} cannot be read: {failure.strerror}"]) from None
    except UnicodeDecodeError:
        raise BadMapping([f"{path} is not text in UTF-8"]) from None
    except RecursionError:
        raise BadMapping([f"{path} is nested too deeply"]) from None
    except yaml.YAMLError as failure:
        mark = getattr(failure, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadMapping([f"{path.name}{place}: {getattr(failure, 'problem', None) or 'not YAML'}"]) from None
    if root is None:
        raise BadMapping([f"{path.name} is empty"])
    return _Reader(path.name).read(root, 0)


class _Reader:
    def __init__(self, file: str) -> None:
        self._file, self._count = file, 0

    def read(self, node: yaml.Node, depth: int) -> Node:
        self._count += 1
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if depth > DEEPEST or self._count > MOST:
            raise BadMapping([f"{self._file} line {line}, column {column}: more than {DEEPEST} levels or {MOST} words"])
        if isinstance(node, yaml.ScalarNode):
            return Node(line, column, node.value, node.style is not None)
        if isinstance(node, yaml.SequenceNode):
            return Node(line, column, [self.read(each, depth + 1) for each in node.value])
        assert isinstance(node, yaml.MappingNode)
        members: dict[str, Node] = {}
        for key, value in node.value:
            at = f"{self._file} line {key.start_mark.line + 1}, column {key.start_mark.column + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise BadMapping([f"{at}: a name must be a text"])
            if key.value in members:
                raise BadMapping([f"{at}: {key.value!r} stands here a second time"])
            members[key.value] = self.read(value, depth + 1)
        return Node(line, column, members)
