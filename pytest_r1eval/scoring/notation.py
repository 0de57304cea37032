r"""
The notation of an answer: LaTeX or plain text, taken apart into tokens that `scoring.mathematics` reads.

What says how an answer looks, and not what it is, is left out: dollar signs and other marks of a formula, spaces, sizes
of brackets, fonts, colours, boxes, and a `,`, `;` or `.` at the end. Signs of Unicode are read as their commands.

A comma makes thousands where digits say so: `10,\!080`, `10{,}080`, and outside of brackets `58,500`. The last may as
well be a list of two numbers, so `comma_is_thousands` chooses.
"""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

MAX_CHARACTERS = 2_000
"""Of an answer; the longest of MATH-500 has 83."""
MAX_DEPTH = 40
"""Of brackets in brackets; a parser that follows a model deeper uses up its stack."""


class UnreadableError(ValueError):
    """The rule cannot read an answer as mathematics; the message says why."""


class Kind(StrEnum):
    """What a token is."""

    NUMBER = "number"
    LETTER = "letter"
    FUNCTION = "function"
    COMMAND = "command"
    SIGN = "sign"
    WORD = "word"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A piece of an answer; of a command the text is its name without the backslash."""

    kind: Kind
    text: str


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "∕": "/", "√": " sqrt ",  # noqa: RUF001
        "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "±": r"\pm ", "∓": r"\mp ", "°": r"\degree ",
        "∪": r"\cup ", "∈": r"\in ", "≈": r"\approx ", "≡": r"\equiv ", "θ": r"\theta ", "²": "^2 ", "³": "^3 ",  # noqa: RUF001
        "½": r"\frac12 ", "¼": r"\frac14 ", "¾": r"\frac34 ", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "",
        "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "α": r"\alpha ", "β": r"\beta ",  # noqa: RUF001
        "€": "", "£": "", "¥": "",
    }
)  # fmt: skip
_LOOKS = _words("""
    left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr middle displaystyle textstyle
    limits quad qquad boxed fbox framebox mathbf mathit mathsf mathtt mathnormal mathcal boldsymbol bm bf rm it
    sf operatorname ensuremath hfill angle triangle underline strut nolimits bfseries itshape large Large small
""")
"""Commands that are left out; the group that may follow stays."""
_TEXT = _words("""
    text textbf textit textrm textsf texttt textnormal mbox hbox emph mathrm operatorname
""")
"""Commands whose group holds words."""
_COLOURS = frozenset({"color", "textcolor", "colorbox", "definecolor", "fcolorbox"})
_GREEK = _words("""
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar
""")
FUNCTIONS = _words("""
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp max min gcd lcm
""")
_SIGNS = {
    "cdot": "*", "times": "*", "ast": "*", "div": "/", "le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥",
    "geqslant": "≥", "lt": "<", "gt": ">", "in": "∈", "cup": "∪", "pm": "±", "mp": "∓", "equiv": "=", "approx": "≈",  # noqa: RUF001
    "degree": "°", "circ": "°", "percent": "%", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
    "lvert": "|", "rvert": "|", "vert": "|", "langle": "⟨", "rangle": "⟩", "lor": "or", "vee": "or", "land": "and",
    "wedge": "and", "lbrace": r"\{", "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "colon": ":", "or": "or",
    "ne": "≠", "neq": "≠", "cong": "=", "simeq": "≈", "doteq": "=", "slash": "/", "lparen": "(", "rparen": ")",
}  # fmt: skip
_NAMES = {"infinity": "infty", "inf": "infty", "oo": "infty"}
_COMMANDS = _words("""
    frac sqrt binom pmod bmod mod pod overline bar infty pi begin end cfrac choose emptyset varnothing
""")
_SAME_COMMAND = {"dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "pod": "pmod"}
_MOD_IN_WORDS = re.compile(r"\\(?:text(?:rm)?|mathrm|mbox|operatorname)\s*\{\s*(\(?\s*mod\b[^{}]*)\}")
"""A remark that is set as words: `\\text{ (mod 1000)}`."""
_THOUSANDS_FOR_SURE = re.compile(r"(?<=\d)(?:,\\!\s*|\{,\}\s*|\\,)(?=\d{3}(?!\d))")
_PIECE = re.compile(
    r"""
    (?P<newline>\\\\(?:\s*\[[^\]]*\])?)
    | (?P<delimiter>\\[()]|\\\[|\\\]|\$|\\\$)
    | \\(?P<command>[A-Za-z]+)\*?
    | (?P<space>\\[,;:!>\ ~]|[\s~]+|\\$|\\\n)
    | (?P<escaped>\\[{}%|\#&_])
    | (?P<thousands>[1-9]\d{0,2}(?:,\d{3})+(?!\d)(?:\.\d+)?)
    | (?P<repeating>\d+\.\d*(?=\s*\\(?:overline|bar)\b))
    | (?P<number>\d+(?:\.\d+)?(?:(?<=\d)[eE][+-]\d+)?|\.\d+)
    | (?P<letters>[A-Za-z]+)
    | (?P<power>\*\*)
    | (?P<sign>[-+*/^_!()\[\]{}|,;=<>%&:'])
    """,
    re.VERBOSE,
)
_GROUP = re.compile(r"\s*\{([^{}]*)\}")
_OPTION = re.compile(r"\s*\[[^\]]*\]")
_EXPONENT = re.compile(r"\d+\.\d+[eE][+-]\d+")
_WRAPPING = re.compile(
    r"(?:[\s$]|\\[(\[])*(?:\\(?:boxed|fbox|framebox|mathbf|mathrm|boldsymbol|bm|displaystyle|(?:text)?color\s*\{[^{}]*\})\s*)?\{"
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TRAILING = re.compile(r"(?:[\s.,;:!~$*]|\\[,;:! )\]])+$")


def tokens_of(text: str, *, letters: AbstractSet[str] | None, comma_is_thousands: bool) -> list[Token]:
    """
    Take an answer apart.

    Args:
        text: The answer.
        letters: A run of letters that has no meaning of its own is a product of these, or else a word; None takes any
            run of up to three letters for a product.
        comma_is_thousands: Whether `58,500` is one number, outside of brackets.

    Raises:
        UnreadableError: If it is too long, or holds a sign or command that the rule does not know.
    """
    if len(text) > MAX_CHARACTERS:
        raise UnreadableError(f"it has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    text = _MOD_IN_WORDS.sub(r" \1 ", _THOUSANDS_FOR_SURE.sub("", unwrapped(text).translate(_UNICODE)))
    return list(_Tokenizer(text=text, letters=letters, comma_is_thousands=comma_is_thousands).tokens())


def unwrapped(text: str) -> str:
    """Take an answer out of what is around all of it: a box, a colour, a font, braces, and its sentence's full stop."""
    while len(text) <= MAX_CHARACTERS:
        text = without_trailing(text)
        match = _WRAPPING.match(text)
        if match is None or not _is_around_all(text, opening=match.end() - 1):
            return text
        text = text[match.end() : -1]
    return text


def _is_around_all(text: str, *, opening: int) -> bool:
    """Tell whether the brace at a place is closed by the last character."""
    depth = 0
    for match in _BRACE.finditer(text, opening):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.end() == len(text)
    return False


def without_trailing(text: str) -> str:
    """Leave out blanks around an answer, and the punctuation of the sentence that it ends; `5!` keeps its sign."""
    text = text.strip()
    while (match := _TRAILING.search(text)) is not None:
        ending = match.group()
        if "!" in ending and "\\!" not in ending:
            return text[: match.start()] + "!" * ending.count("!")
        text = text[: match.start()]
    return text


@dataclass(slots=True, kw_only=True)
class _Tokenizer:
    text: str
    letters: AbstractSet[str] | None
    comma_is_thousands: bool
    at: int = 0
    depth: int = 0
    text_until: int = 0

    def tokens(self) -> Iterator[Token]:
        while self.at < len(self.text):
            match = _PIECE.match(self.text, self.at)
            if match is None and self.text[self.at] == "." and self.at < self.text_until:  # "in."
                self.at += 1
                continue
            if match is None:
                raise UnreadableError(f"it holds {self.text[self.at]!r}, which is not read")
            kind = match.lastgroup or ""
            found = match.group(kind)
            self.at = match.end()
            match kind:
                case "space" | "delimiter":
                    continue
                case "thousands":
                    yield from self._thousands(found, at=match.start())
                case "number" | "repeating":
                    yield from self._number(found, at=match.start())
                case "letters":
                    yield from self._run(found)
                case "command":
                    yield from self._command(found)
                case _:
                    yield from self._sign({"power": "^", "newline": r"\\"}.get(kind, found))

    def _thousands(self, found: str, *, at: int) -> Iterator[Token]:
        if self.comma_is_thousands and self.depth == 0:
            yield Token(kind=Kind.NUMBER, text=found.replace(",", ""))
        else:  # a list
            first = found.partition(",")[0]
            self.at = at + len(first)
            yield Token(kind=Kind.NUMBER, text=first)

    def _number(self, found: str, *, at: int) -> Iterator[Token]:
        if ("e" in found or "E" in found) and not _EXPONENT.fullmatch(found):
            found = re.split("[eE]", found)[0]
            self.at = at + len(found)
        yield Token(kind=Kind.NUMBER, text=found)

    def _run(self, found: str) -> Iterator[Token]:
        lowered = found.lower()
        name = _NAMES.get(lowered, found)
        if lowered in {"or", "and"}:
            yield Token(kind=Kind.SIGN, text=lowered)
        elif len(found) == 1:
            is_word = self.at <= self.text_until
            yield Token(kind=Kind.WORD if is_word else Kind.LETTER, text=lowered if is_word else found)
        elif name in FUNCTIONS:
            yield Token(kind=Kind.FUNCTION, text=name)
        elif name in _GREEK:
            yield Token(kind=Kind.LETTER, text=name)
        elif name in {"pi", "sqrt", "infty", "mod"}:
            yield Token(kind=Kind.COMMAND, text="root" if name == "sqrt" else name)
        elif lowered == "percent" and self.at > self.text_until:
            yield Token(kind=Kind.SIGN, text="%")
        elif self.at > self.text_until and self._is_product(found):
            yield from (Token(kind=Kind.LETTER, text=letter) for letter in found)
        else:
            yield Token(kind=Kind.WORD, text=lowered)

    def _is_product(self, letters: str) -> bool:
        return len(letters) <= 3 if self.letters is None else set(letters) <= self.letters

    def _command(self, name: str) -> Iterator[Token]:
        name = _SAME_COMMAND.get(name, name)
        if name in _COLOURS:
            self._skip_group(optional=True)
            if name == "fcolorbox":
                self._skip_group(optional=False)
        elif name in {"hspace", "vspace", "label", "rule"}:
            self._skip_group(optional=False)
        elif name in _TEXT:
            yield from self._enter_text()
        elif name in _LOOKS:
            if name in {"left", "right"} and self.text.startswith(".", self.at):
                self.at += 1
        elif name in _SIGNS:
            yield from self._sign(_SIGNS[name])
        elif name in {"begin", "end"}:
            yield Token(kind=Kind.COMMAND, text=f"{name} {self._group().rstrip('*')}")
        else:
            yield _named(name)

    def _sign(self, found: str) -> Iterator[Token]:
        match found:
            case "(" | "[" | r"\{" | "⟨" | "{":
                self.depth += found != "{"
            case ")" | "]" | r"\}" | "⟩":
                self.depth -= 1
            case r"\%":
                found = "%"
            case r"\|":
                found = "|"
            case r"\#" | r"\&" | r"\_":
                raise UnreadableError(f"it holds {found}, which is not read")
            case _:
                pass
        if self.depth > MAX_DEPTH:
            raise UnreadableError(f"it nests brackets more than {MAX_DEPTH} deep")
        yield Token(kind=Kind.SIGN, text=found)

    def _enter_text(self) -> Iterator[Token]:
        """Note where a group of words ends, where a single letter is a word too; one of "or" alone is a separator."""
        match = _GROUP.match(self.text, self.at)
        if match is None:
            return
        words = match.group(1).strip().strip(",").lower().strip()
        if not words:
            self.at = match.end()
        elif words in {"or", "and"}:
            self.at = match.end()
            yield Token(kind=Kind.SIGN, text=words)
        elif re.search(r"[A-Za-z]{2}", words):
            self.text_until = match.end()

    def _skip_group(self, *, optional: bool) -> None:
        """Skip `{red}`, and `[HTML]` before it."""
        if optional and (match := _OPTION.match(self.text, self.at)):
            self.at = match.end()
        self._group()

    def _group(self) -> str:
        match = _GROUP.match(self.text, self.at)
        if match is None:
            raise UnreadableError("a command lacks its group in braces")
        self.at = match.end()
        return match.group(1)


def _named(name: str) -> Token:
    """Make a token of a command that represents itself."""
    if name in FUNCTIONS:
        return Token(kind=Kind.FUNCTION, text=name)
    if name in _GREEK or name in {"imath", "jmath"}:
        return Token(kind=Kind.LETTER, text={"imath": "i", "jmath": "j"}.get(name, name))
    if name in _COMMANDS:
        return Token(kind=Kind.COMMAND, text=name)
    raise UnreadableError(f"it holds \\{name}, which is not read")
