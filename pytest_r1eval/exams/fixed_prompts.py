"""
The 64 prompts of `r1eval same`, written for it: arithmetic, algebra, programs, tables, plain text in several scripts.

The list is fixed: scores of two versions of it are not compared, and its digest tells. No text of a data set is in it.
"""

import datetime as dt
import hashlib
import json

from pytest_r1eval.core.prompt_scores import AskedPrompts
from pytest_r1eval.exams.prompts import PromptTokenizer

MAX_TOKENS = 512
"""Of one prompt; more would only be more of the same."""
TEMPLATE_DATE = dt.date(2025, 1, 1)
"""What a chat template that prints the date sees."""

FIXED_PROMPTS: tuple[str, ...] = (
    "Compute 417 + 586 and explain each carry.",
    "What is 23 * 47? Show the partial products.",
    "Divide 1001 by 13 and check the result by multiplication.",
    "Write 5/8 as a decimal, then as a percentage.",
    "Simplify (3x - 2)(x + 5) - (x - 1)^2.",
    "Solve 7y - 4 = 3(y + 8) for y.",
    "For which values of k does x^2 + kx + 9 = 0 have exactly one real solution?",
    "A rectangle has perimeter 46 and area 120. How long are its sides?",
    "The sum of three consecutive odd numbers is 111. Find them.",
    "How many divisors does 2^3 * 3^2 * 5 have?",
    "Find the remainder of 2^50 on division by 7.",
    "Evaluate the sum of 1/(n(n+1)) for n from 1 to 99.",
    "A fair die is rolled twice. With what probability is the second roll larger than the first?",
    "In how many ways can five books stand on a shelf if two of them must not touch?",
    "Differentiate x^2 * sin(x) with respect to x.",
    "Integrate 2x * exp(x^2) from 0 to 1.",
    "Find the point on the line y = 2x + 1 that is closest to the origin.",
    "Prove that the square of an odd number leaves remainder 1 on division by 8.",
    "Show that the square root of 3 is irrational.",
    "A train covers 84 km in 56 minutes. What is its mean speed in km/h?",
    "Mix 3 litres of 20 % salt water with 5 litres of 12 % salt water. How strong is the mixture?",
    "Convert the binary number 1101011 to decimal and to hexadecimal.",
    "What is the determinant of the matrix [[2, 1], [7, 4]]?",
    "Let f(n) = f(n-1) + 2 f(n-2) with f(0) = 0 and f(1) = 1. What is f(8)?",
    "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n\nWhat does gcd(84, 36) return, and how?",
    "Write a Python function that reverses the words of a sentence but not their letters.",
    "Why does this loop never end?\n\ni = 10\nwhile i != 0:\n    i -= 3",
    "SELECT city, COUNT(*) FROM visits GROUP BY city HAVING COUNT(*) > 2;\n\nSay in words what this returns.",
    "Write a regular expression that matches dates such as 2031-07-04.",
    "for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }\n\nHow could a compiler vectorise this?",
    "Explain the difference between a list and a tuple in Python in three sentences.",
    "What is the running time of binary search, and why?",
    "Sort 9, 4, 7, 1, 8 by insertion and write the list after each step.",
    '{"name": "pump", "litres": [3, 5, 8], "on": true}\n\nWhat is the sum of the numbers in this JSON?',
    "| day | rain |\n|---|---|\n| Mon | 4 mm |\n| Tue | 0 mm |\n| Wed | 11 mm |\n\nOn which day did most rain fall?",
    '#include <stdio.h>\nint main(void) { printf("%d\\n", 7 / 2); return 0; }\n\nWhat is printed?',
    "Two trains leave two towns 210 km apart towards each other at 60 and 80 km/h. When do they meet?",
    "If all blips are blops and some blops are blaps, must some blips be blaps?",
    "Anna is twice as old as Ben was when Anna was as old as Ben is now. Ben is 24. How old is Anna?",
    "A farmer has hens and rabbits: 20 heads and 56 feet. How many rabbits?",
    "Name three uses of copper and the property that each relies on.",
    "Why is the sky blue at noon and red at dusk?",
    "Describe how a bicycle's gears trade force for speed.",
    "Summarise in one sentence: the meeting moved from Monday to Thursday because the hall was booked twice.",
    "Rewrite politely: send me the report now.",
    "List the planets of the solar system from the sun outwards.",
    "Continue the series: 2, 6, 12, 20, 30, ...",
    "Which weighs more, a kilogram of feathers or a kilogram of iron? Give the reason.",
    "Write a haiku about a lighthouse in fog.",
    "Describe a quiet harbour at five in the morning, in two sentences.",
    "Translate into French: The bridge is closed until further notice.",
    "Bitte erkläre in zwei Sätzen, warum Eis auf Wasser schwimmt.",
    "¿Cuántos minutos hay en tres horas y media?",
    "Quelle est la somme des angles d'un hexagone ?",
    "Quanto fa un terzo di un quarto di 480?",
    "Сколько будет 15 процентов от 240?",
    "一个正方形的周长是36厘米，它的面积是多少？",  # noqa: RUF001 - Chinese
    "12と18の最小公倍数を求めてください。",
    "삼각형의 두 각이 35도와 65도일 때 나머지 각은 몇 도인가요?",
    "كم عدد الأضلاع في شكل ثماني؟",
    "\\[ \\lim_{x \\to 0} \\frac{1 - \\cos x}{x^2} \\] Evaluate this limit.",
    "Let $A = \\{1, 2, 3, 4\\}$. How many subsets of $A$ contain $1$ but not $4$?",
    "0.1 + 0.2 == 0.3 is False in most languages. Explain why, with the binary expansion of 0.1.",
    "x" * 40 + " How many letters are in the word before this question?",
)


def digest_of_prompts() -> str:
    """Return the digest of the list."""
    return _digest(json.dumps(FIXED_PROMPTS))


def asked_prompts(tokenizer: PromptTokenizer, *, max_position: int | None) -> AskedPrompts:
    """
    Put the fixed prompts into a model's chat template and tokenizer.

    Args:
        tokenizer: The model's tokenizer.
        max_position: The longest context that it takes, tokens; None for no limit.

    Raises:
        ModelError: If the chat template cannot be rendered.
    """
    texts = tokenizer.chats(FIXED_PROMPTS, date=TEMPLATE_DATE)
    longest = min(MAX_TOKENS, (max_position or MAX_TOKENS + 1) - 1)  # one token is drawn after it
    vocabulary = tokenizer.vocabulary
    return AskedPrompts(
        prompts=digest_of_prompts(),
        texts=_digest(json.dumps(texts)),
        n_vocabulary=len(vocabulary),
        vocabulary=_digest(json.dumps(sorted(vocabulary.items()))),
        ids=tuple(tokenizer.encode(text)[:longest] for text in texts),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
