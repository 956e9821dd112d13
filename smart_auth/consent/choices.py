"""What the consent page offers, and what follows from what a user chose on it. Nothing here adds anything to a choice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smart_auth.consent.categories import category_name, parts
from smart_auth.consent.words import EVERYTHING, GROUPS, NAMES, OTHER, group_of, sentence, word
from smart_auth.errors import OAuthError, invalid_scope
from smart_auth.scopes import MOST, Pairs, ResourceScope, Scopes, parse_scope


@dataclass(frozen=True, slots=True)
class Offer:
    """One box of the form: `value` is the scope that it posts. `narrower` replace it when one of them is chosen."""

    value: str
    label: str
    checked: bool = True
    narrower: tuple["Offer", ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Offers below one title."""

    title: str
    offers: tuple[Offer, ...]


def offers(possible: Scopes, whose: Callable[[ResourceScope], str], chosen: frozenset[str] | None = None) -> tuple[Group, ...]:
    """What can be chosen, sorted into groups. `whose` says whose documents a scope is about ("": the reader's own). `chosen` are the
    values that are ticked; None: all that was asked for, and nothing narrower."""

    def ticked(text: str, asked: bool) -> bool:
        return asked if chosen is None else text in chosen

    def offer(scope: ResourceScope) -> Offer:
        label = sentence(scope, whose(scope), category_name(scope))
        inner = tuple(Offer(each.text, text, ticked(each.text, False)) for each, text in _narrower(scope, whose))
        return Offer(scope.text, label, ticked(scope.text, True), inner)

    found: dict[str, list[Offer]] = {title: [] for title in (EVERYTHING, *GROUPS, OTHER)}
    for scope in possible.resources:
        found[group_of(scope.type)].append(offer(scope))
    about = tuple(Offer(text, word(text), ticked(text, True)) for text in possible.words)
    groups = [Group(title, tuple(members)) for title, members in found.items() if members]
    return (*groups, Group("Connection", about)) if about else tuple(groups)


def _narrower(scope: ResourceScope, whose: Callable[[ResourceScope], str]) -> tuple[tuple[ResourceScope, str], ...]:
    """What may be chosen in place of a scope: the types of a wildcard, the categories of a type."""
    if scope.type != "*":
        return tuple((part, name[0].upper() + name[1:]) for part, name in parts(scope))
    singles = (ResourceScope(scope.level, type, scope.letters, (), f"{scope.level}/{type}.{scope.letters}") for type in NAMES)
    return tuple((single, sentence(single, whose(single))) for single in singles)


Problem = Callable[[str, Pairs], str | None]
"""Why search parameters cannot narrow a scope of a type, or None (smart_auth.service.Directory.problem)."""


def granted(posted: Sequence[str], possible: Scopes, problem: Problem) -> Scopes:
    """What the user granted by posting these values.

    A value that is narrower than what was asked for replaces all that it is a part of: whoever picks "laboratory results" does not
    mean all observations beside it. Raises OAuthError for values that lie outside of what was asked for and is possible: the page does
    not offer them, so the form was changed.
    """
    if len(posted) > MOST:
        raise invalid_scope(f"more than {MOST} scopes were chosen")
    chosen = dict.fromkeys(posted)
    words = tuple(text for text in chosen if text in possible.words)
    resources = tuple(_within(text, possible, problem) for text in chosen if text not in possible.words)
    asked = {scope.text for scope in possible.resources}
    parts = [scope for scope in resources if scope.text not in asked]

    def replaced(scope: ResourceScope) -> bool:
        """By a part of it; two parts that differ in letters alone stand beside each other."""
        return any(_is_part(part, scope) and not (scope in parts and _is_part(scope, part)) for part in parts)

    return Scopes(tuple(scope for scope in resources if not replaced(scope)), words)


def _within(text: str, possible: Scopes, problem: Problem) -> ResourceScope:
    scope = parse_scope(text)
    if scope is None or not possible.cover(scope) or (scope.narrowed and problem(scope.type, scope.narrowed) is not None):
        raise OAuthError("invalid_scope", "The form named something that the app did not ask for, so nothing was granted.")
    return scope


def _is_part(part: ResourceScope, whole: ResourceScope) -> bool:
    """Whether `part` is a narrower choice of what `whole` gives, in some letter at least."""
    return (
        part.text != whole.text
        and part.level == whole.level
        and whole.type in ("*", part.type)
        and bool(set(part.letters) & set(whole.letters))
        and set(whole.narrowed) <= set(part.narrowed)
    )
