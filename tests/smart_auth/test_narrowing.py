"""What two sets of scopes have in common: never more than either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_auth.narrowing import common, covered
from smart_auth.scopes import LETTERS, ResourceScope, Scopes, parse_scopes

CASES = [
    ("patient/*.rs", "patient/*.cruds", "patient/*.rs"),
    ("patient/*.cruds", "patient/*.rs", "patient/*.rs"),
    ("patient/*.read", "patient/*.cruds", "patient/*.read"),
    ("patient/*.*", "patient/Observation.read patient/Patient.r", "patient/Observation.rs patient/Patient.r"),
    ("patient/Observation.rs", "patient/Observation.r patient/Observation.s", "patient/Observation.rs"),
    ("patient/Observation.rs", "user/Observation.rs", ""),
    ("patient/Observation.rs", "patient/Condition.rs", ""),
    ("patient/Observation.c", "patient/Observation.rs", ""),
    ("patient/Observation.rs", "patient/Observation.rs?category=a", "patient/Observation.rs?category=a"),
    ("patient/Observation.rs?code=b", "patient/Observation.rs?category=a", "patient/Observation.rs?code=b&category=a"),
    ("patient/Observation.rs?category=a", "patient/*.rs", "patient/Observation.rs?category=a"),
    ("patient/*.rs", "patient/Observation.r?category=a", "patient/Observation.r?category=a"),
    ("openid launch/patient?role=x offline_access", "launch/patient openid", "openid launch/patient?role=x"),
    ("openid", "patient/*.rs", ""),
]


@pytest.mark.parametrize("asked, most, both", CASES)
def test_what_both_allow(asked: str, most: str, both: str) -> None:
    """The scope as it was asked for where it fits, else the parts that do."""
    assert common(parse_scopes(asked), parse_scopes(most)).text == both


def test_words_need_not_be_among_them() -> None:
    """Roles say nothing of words."""
    assert common(parse_scopes("openid patient/*.rs"), parse_scopes("patient/*.r"), words=False).text == "openid patient/*.r"


ONE = st.builds(
    lambda level, type, letters, query: (
        f"{level}/{type}.{''.join(c for c in LETTERS if c in letters)}{query if type != '*' else ''}"
    ),
    st.sampled_from(["patient", "user", "system"]),
    st.sampled_from(["*", "Patient", "Observation"]),
    st.sets(st.sampled_from(LETTERS), min_size=1),
    st.sampled_from(["", "", "?category=a", "?category=b", "?category=a&code=x"]),
)
SCOPES = st.lists(ONE | st.sampled_from(["openid", "launch/patient"]), max_size=4).map(" ".join).map(parse_scopes)


@given(SCOPES, SCOPES)
def test_never_more_than_either(asked: Scopes, most: Scopes) -> None:
    """Each part lies within both, word for word and letter for letter."""
    both = common(asked, most)
    assert all(most.cover(scope) and asked.cover(scope) for scope in both.resources)
    assert covered(both, most) and set(both.words) <= set(asked.words)


@given(SCOPES, SCOPES)
def test_nothing_is_lost(asked: Scopes, most: Scopes) -> None:
    """What single letter for a single type both allow, without any search, what they have in common allows too."""
    both = common(asked, most)
    for level in ("patient", "user", "system"):
        for letter in LETTERS:
            wanted = ResourceScope(level, "Observation", letter)  # type: ignore[arg-type]
            assert both.cover(wanted) == (asked.cover(wanted) and most.cover(wanted))


@given(SCOPES, SCOPES)
def test_covered_is_what_common_leaves_whole(asked: Scopes, most: Scopes) -> None:
    """All of it is covered exactly where nothing has to go."""
    assert covered(asked, most) == (common(asked, most) == asked)
