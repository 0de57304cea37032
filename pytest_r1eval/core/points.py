"""Fractions in percentage points, as every report writes them."""


def described_difference(difference: float) -> str:
    """Say a difference of fractions in points, e.g. "2.1 points below the baseline"."""
    if difference == 0:
        return "exactly the baseline's"
    return f"{points(abs(difference))} points {'below' if difference < 0 else 'above'} the baseline"


def described_fall(fall: float | None) -> str:
    """Say how large a fall is caught: "a fall of 4.3 points"; None for none."""
    return "no fall, not even to 0," if fall is None else f"a fall of {points(fall)} points"


def points(fraction: float) -> str:
    """Write a fraction in percentage points, one decimal; two where one would hide it."""
    return f"{100 * fraction:.2f}" if 0 < abs(fraction) < 0.001 else f"{100 * fraction:.1f}"


def score(mean: float, standard_error: float) -> str:
    """Return a pass@1 with its error, in points."""
    return f"{100 * mean:.1f} ± {100 * standard_error:.1f}"
