"""What callers may ask an answer to fit: schemas, sound ones and odd ones, and values for them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

__all__ = ["HUGE", "NAMES", "VALUES", "schemas"]

HUGE = 10**400  # a whole number that is no float
NAMES = st.sampled_from(["a", "b", "aa"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2050)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([HUGE, 0.5, "a", "aab", "", "\ud800", "2026-11-22"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.just("\ud800"), inner, max_size=3)
    ),
    max_leaves=5,
)
BOUNDS = st.integers(-9, 9) | st.sampled_from([0.5, 2000, HUGE])
COUNTS = st.integers(0, 3)
PATTERNS = st.sampled_from(["^a+$", "(?i)B", "(?P<x>a)", "^(a+)+$", "[0-9]{2}"])


KINDS = ("object", "array", "string", "integer", "number", "boolean", "null")


def keywords(inner: st.SearchStrategy[Any]) -> dict[str, dict[str, st.SearchStrategy[Any]]]:
    """What a schema may say of each kind of value, and of any; `inner` are schemas, too."""
    several = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(NAMES, inner, max_size=2)
    names = st.lists(NAMES, max_size=2, unique=True)
    rest = inner | st.booleans()
    of_numbers = {
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), BOUNDS),
        "multipleOf": st.sampled_from([2, 0.1, 1e-300, HUGE]),
    }
    return {
        "object": {
            "properties": named,
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "required": names,
            "dependentRequired": st.dictionaries(NAMES, names, max_size=1),
            **dict.fromkeys(("minProperties", "maxProperties"), COUNTS),
            **dict.fromkeys(("additionalProperties", "unevaluatedProperties"), rest),
            "propertyNames": inner,
        },
        "array": {
            "items": inner,
            "prefixItems": several,
            "contains": inner,
            "uniqueItems": st.booleans(),
            "unevaluatedItems": rest,
            **dict.fromkeys(("minItems", "maxItems", "minContains", "maxContains"), COUNTS),
        },
        "string": {
            "pattern": PATTERNS,
            "format": st.sampled_from(["date", "email", "uuid", "of my own"]),
            **dict.fromkeys(("minLength", "maxLength"), COUNTS),
        },
        "integer": of_numbers,
        "number": of_numbers,
        "any": {
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "const": VALUES,
            **dict.fromkeys(("allOf", "anyOf", "oneOf"), several),
            **dict.fromkeys(("not", "if", "then"), inner),
            "$ref": st.sampled_from(
                ["#", "#/$defs/a", "#/properties/a", "#nowhere", "http://a.test/"]
            ),
            "$defs": st.dictionaries(st.just("a"), inner, max_size=1),
            "$id": st.just("http://a.test/"),
            "description": st.text(st.characters(codec="utf-8"), max_size=3),
        },
    }


@st.composite
def schemas(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS, depth: int = 2) -> Any:
    """Schemas of one or two kinds of value, with a few keywords, which may be of another kind."""
    if not depth:
        return draw(st.sampled_from([{}, {"type": "string"}, {"type": "integer"}, True, False]))
    kind = draw(st.sampled_from(kinds))
    known = keywords(schemas(depth=depth - 1))
    own, other = known.get(kind, {}), known[draw(st.sampled_from(sorted(known)))]
    made: dict[str, Any] = {"type": draw(st.sampled_from([kind, kind, [kind, "null"]]))}
    if draw(st.integers(0, 5)) == 0:
        del made["type"]
    for names, most in ((own, 3), (other, 1)):
        if names:
            chosen = draw(st.lists(st.sampled_from(sorted(names)), max_size=most, unique=True))
            made |= {name: draw(names[name]) for name in chosen}
    return made
