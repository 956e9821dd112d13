"""What of the scopes that an app asks for lies within the most that somebody may have."""

from smart_auth.scopes import LETTERS, ResourceScope, Scopes, parse_scopes


def common(asked: Scopes, most: Scopes, *, words: bool = True) -> Scopes:
    """What both allow, in the order of `asked`: a scope that lies within `most` as it is written, of others the parts that do.

    Words (`openid`, `launch/patient?role=x`) are kept where `most` has them; with `words` False all are, for a `most` that has none.
    """
    known = {word.partition("?")[0] for word in most.words}
    kept = [word for word in asked.words if not words or word.partition("?")[0] in known]
    parts = [text for scope in asked.resources for text in _parts(scope, most)]
    return parse_scopes(" ".join((*kept, *parts)))


def covered(asked: Scopes, most: Scopes) -> bool:
    """Whether all that is asked for, words too, lies within `most`."""
    known = set(most.words)
    return not asked.unknown and all(word in known for word in asked.words) and all(most.cover(scope) for scope in asked.resources)


def _parts(scope: ResourceScope, most: Scopes) -> list[str]:
    if most.cover(scope):
        return [scope.text]
    return [text for each in most.resources if (text := _part(scope, each))]


def _part(scope: ResourceScope, most: ResourceScope) -> str:
    """What one scope and one limit have in common, "" for nothing."""
    if scope.level != most.level or ("*" not in (scope.type, most.type) and scope.type != most.type):
        return ""
    type = most.type if scope.type == "*" else scope.type
    letters = "".join(letter for letter in LETTERS if letter in scope.letters and letter in most.letters)
    query = "&".join(dict.fromkeys((*_query(scope), *_query(most))))
    if not letters or (query and type == "*"):
        return ""
    return f"{scope.level}/{type}.{letters}{'?' if query else ''}{query}"


def _query(scope: ResourceScope) -> list[str]:
    return [pair for pair in scope.text.partition("?")[2].split("&") if pair]
