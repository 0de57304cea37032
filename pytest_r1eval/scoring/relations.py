r"""Equations and inequalities: what they name. `x > 2` is the interval `(2,\infty)`, and `x \in A` is `A`."""

from sympy import Expr, S, Symbol

from pytest_r1eval.scoring.notation import UnreadableError
from pytest_r1eval.scoring.values import Bracketed, Label, Relation, Value


def related(parts: tuple[Value | Label, ...], signs: tuple[str, ...]) -> Value:
    """Make a relation, or the set that it names."""
    if signs == ("∈",):
        subject, found = parts
        if isinstance(subject, Symbol) and not isinstance(found, Label):
            return found
        raise UnreadableError("only a letter can be in a set")
    if "∈" in signs:
        raise UnreadableError("a set is not a side of an equation")
    return _interval(parts, signs) or Relation(parts=parts, signs=signs)


def _interval(parts: tuple[Value | Label, ...], signs: tuple[str, ...]) -> Bracketed | None:
    """Name the numbers for which an inequality of one letter holds; None where it is another relation."""
    if not set(signs) <= set("<>≤≥"):
        return None
    if any(sign in ">≥" for sign in signs):
        parts, signs = parts[::-1], tuple(_turned(sign) for sign in signs[::-1])
    at = [number for number, part in enumerate(parts) if isinstance(part, Symbol)]
    others = [part for part in parts if not isinstance(part, Symbol)]
    if len(at) != 1 or any(sign in ">≥" for sign in signs) or len(parts) > 3:
        return None
    if not all(isinstance(part, Expr) and not part.free_symbols for part in others):
        return None
    [where] = at
    if len(parts) == 3 and where != 1:
        return None
    lower, upper = (parts[where - 1] if where else -S.Infinity), (parts[-1] if where < len(parts) - 1 else S.Infinity)
    opening = "[" if where and signs[where - 1] == "≤" else "("
    closing = "]" if where < len(parts) - 1 and signs[where] == "≤" else ")"
    return Bracketed(opening=opening, closing=closing, items=(lower, upper))


def _turned(sign: str) -> str:
    return {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}.get(sign, sign)
