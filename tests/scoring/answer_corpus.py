r"""
Forms of answers and the grade that each must get, by problem; written for these tests, from no data set.

Three hundred and more. What a form of mathematics shows is put into a box (`MATHEMATICS`); `RESPONSES` and `LETTERS`
are whole responses.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_r1eval.core.records import Outcome

R, W, N, T = Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER, Outcome.TRUNCATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """The forms of one problem's answer that are right, and those that are wrong."""

    gold: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


MATHEMATICS = (
    Forms(
        gold="204",
        right=(
            "204", " 204 ", "204.", "204 ,", "204,", "$204$", r"\(204\)", r"\[204\]", r"\fbox{204}", r"\boxed{204}",
            r"\color{red}{204}", r"\color{blue} 204", r"{\color{red}204}", r"\textcolor{red}{204}", r"\mathbf{204}",
            r"\text{204}", r"\displaystyle 204", r"204 \pmod{1000}", r"204 \pmod {1000}", r"204 \bmod 1000",
            r"2204 \bmod 1000", "204 (mod 1000)", r"204 \text{ (mod 1000)}", r"204 \; (\text{mod } 1000)",
            r"204 \text{ mod } 1000", r"x \equiv 204 \pmod{1000}", "x = 204", "204 = x", "N=204",
            r"m+n = 204", r"m + n = 125 + 79 = 204", "125+79=204", r"\text{Area} = 204", r"f(2) = 204", "204.0", "0204",
            r"204\text{ cm}^2", r"204 \text{ square units}", "204 cm", "204 degrees", r"204^\circ", r"204^{\circ}",
            "204°", r"\$204", r"204\%", r"\frac{408}{2}", r"\dfrac{408}{2}", "408/2", r"12 \cdot 17", r"12 \times 17",
            r"204 \quad", r"\left(204\right)", "+204", "2.04e+2", r"2.04 \times 10^2", r"204 \text{ or } 204",
            r"\sqrt{41616}", "204_{10}", r"\{204\}", r"|{-204}|", r"\lfloor 204.7 \rfloor", "204!/203!", r"204\ ",
            r"\overline{AB} = 204", r"|AB| = 204", r"\gcd(408, 612) = 204", r"P(A \cap B) = 204",
            r"204 \text{ in.}", r"204\text{ }^\circ", r"|\vec{v}| = 204",
        ),
        wrong=(
            "16", "16 or 204", "204 or 16", "16, 204", r"16 \text{ or } 204", r"204 \text{ and } 16", r"16 \lor 204",
            r"\pm 204", "-204", "205", "204.0001", "203.9999999", r"1204 \pmod{1000}", r"\{16, 204\}", "204; 16",
            r"1204 \text{ (mod 1000)}",
            "not 204", r"204 \text{ is wrong}", "about 204", r"\approx 204", "204 or so", "[16, 204]", "204 to 210",
            r"\neq 204", "x > 204", r"x \ge 204", "2x = 204", r"x^2 = 204", "16 = 204", r"\frac{204}{16}", "204x",
            r"204 \pm 16", "2 04", "20 4", "204?", "around 200", "none", r"\text{none}", r"\emptyset", "204i",
            "204 maybe", r"204, \ldots", r"204^{2}", "204!", "1/204", "0.204", "2_{04}", "204_8", "(204, 16)",
            r"\text{not } x = 204", r"16, \vec{v} = 204", r"16 or \foo = 204", r"204 \neq 16", r"\foo = 204 = 16",
        ),
    ),
    Forms(
        gold=r"\frac{1}{2004!}",
        right=(r"\frac{1}{2004!}", "1/2004!", r"(2004!)^{-1}", r"\frac{2005}{2005!}"),
        wrong=(r"\frac{1}{2006!}", "1/2006!", "0", "0.0", r"\frac{1}{2003!}", r"-\frac{1}{2004!}", "10^{-5000}"),
    ),
    Forms(
        gold="2021",
        right=("2021", "2,021", r"2{,}021", r"2,\!021", "2021.00", r"2^{11}-27"),
        wrong=(r"\pm 2021", r"\pm2021", "±2021", "-2021", "2021, -2021", "2.021", "2 021", r"|x| = 2021"),
    ),
    Forms(
        gold="58,500",
        right=("58500", "58,500", r"58{,}500", r"58,\!500", r"\$58,500", "5.85 \\cdot 10^4", r"58\,500"),
        wrong=("58", "500", "58, 500, 1", "58.5", "5850"),
    ),
    Forms(
        gold=r"\frac{1}{3}",
        right=(r"\frac13", "1/3", r"\tfrac{1}{3}", r"0.\overline{3}", r"\frac{2}{6}", "3^{-1}", r"\frac 1 3",
               r"P = \frac{1}{3}", r"\frac{1}{3} \approx 0.333", r"1 \div 3", r"\cfrac{1}{3}"),
        wrong=("0.333", "0.3333333333", r"\frac{1}{3} \text{ or } \frac{2}{3}", "3", r"0.\overline{33}4", "33%"),
    ),
    Forms(
        gold="0.5",
        right=("0.5", ".5", r"\frac12", "1/2", r"50\%", "50%", "½", "0.50"),
        wrong=("0.05", "5", "50", r"5\%", "0.5, 0.6"),
    ),
    Forms(
        gold=r"1\frac{4}{5}",
        right=(r"\frac{9}{5}", "1.8", r"1 \frac45", "1 4/5", "9/5"),
        wrong=(r"\frac45", r"1 \cdot \frac45", "1.45", "14/5"),
    ),
    Forms(
        gold=r"3\sqrt{13}",
        right=(r"\sqrt{117}", "3 sqrt(13)", "3*sqrt(13)", r"\sqrt{13}\cdot 3", "3√13", r"\frac{39}{\sqrt{13}}",
               r"3 \sqrt {13}", r"\sqrt{9}\sqrt{13}", r"3(13)^{1/2}"),
        wrong=("10.8167", r"3\sqrt{12}", r"\sqrt{39}", r"\pm 3\sqrt{13}", "10.816653826391967"),
    ),
    Forms(
        gold=r"1+2\sqrt{3}",
        right=(r"2\sqrt3+1", r"1+\sqrt{12}", r"1 + 2 \cdot \sqrt{3}", r"\sqrt{13+4\sqrt{3}}"),
        wrong=(r"1-2\sqrt{3}", r"1 \pm 2\sqrt{3}", r"3\sqrt{3}", "4.4641016"),
    ),
    Forms(
        gold=r"288 \pi",
        right=(r"288\pi", r"\pi \cdot 288", "288π", "288*pi", "288 pi", r"288\pi \text{ cubic units}"),
        wrong=("904.78", "288", r"28\pi", r"288 \cdot 3.14"),
    ),
    Forms(
        gold=r"\frac{20000}{\pi}",
        right=(r"\frac{20000}{\pi}", r"20000/\pi", r"20000\pi^{-1}", r"\frac{20000}{\pi} \approx 6366.2"),
        wrong=("6366.2", r"20000\pi", r"\approx 6366"),
    ),
    Forms(gold=r"\ln 2", right=(r"\ln(2)", r"\frac{1}{2}\ln 4", r"-\ln\frac12"), wrong=(r"\log 2", "0.693", r"\ln 3")),
    Forms(gold=r"\log 2", right=(r"\log(2)", r"\frac12 \log 4"), wrong=(r"\ln 2", r"\log_2 10", "0.30103")),
    Forms(gold="3", right=(r"\log_2 8", r"\log_{2}{8}", r"\sqrt[3]{27}", "3 ways", r"\binom{3}{1}", r"6 \div 2"),
          wrong=("3 or 4", r"\log_2 9", "three")),
    Forms(
        gold=r"\frac{\sqrt{3}}{2}",
        right=(r"\sin 60^\circ", r"\cos\frac{\pi}{6}", r"\frac{3}{2\sqrt{3}}", r"\sqrt{\frac34}", r"\sqrt3/2"),
        wrong=(r"\sin 60", "0.866", r"\frac{\sqrt{2}}{2}", r"\frac{3}{2}"),
    ),
    Forms(gold=r"90^\circ", right=("90", "90°", "90 degrees", r"90^{\circ}", r"\angle A = 90^\circ"),
          wrong=(r"\frac{\pi}{2}", "9", r"90^\circ \text{ or } 270^\circ")),
    Forms(
        gold=r"5.4 \text{ cents}",
        right=("5.4", r"5.4\text{ cents}", "5.4 cents", r"\frac{27}{5}"),
        wrong=("5", "54", "5.40001"),
    ),
    Forms(gold=r"\$32,\!348", right=("32348", "32,348", r"\$32,348", r"32{,}348"), wrong=("32", "348", "32.348")),
    Forms(gold="52_8", right=("52_8", "52_{8}", "52", "(52)_8"), wrong=("42", "52_9", "25_8")),
    Forms(
        gold="6-5i",
        right=("6 - 5i", "-5i+6", r"6-5\,i", r"z = 6-5i"),
        wrong=("6+5i", "6-5", r"6 \pm 5i", "-6+5i"),
    ),
    Forms(
        gold="x^5 - x^4 + x - 1",
        right=("x^5-x^4+x-1", "-1+x-x^4+x^5", "(x-1)(x^4+1)", "x^{5}-x^{4}+x-1", "x**5-x**4+x-1",
               "f(x) = x^5-x^4+x-1", r"(x^4+1)\left(x-1\right)"),
        wrong=("x^5-x^4+x+1", "x^5 - x^4", "y^5-y^4+y-1", "0"),
    ),
    Forms(gold=r"\frac{11+9a}{20}", right=(r"\frac{9a+11}{20}", "(11+9a)/20", r"\frac{11}{20}+\frac{9a}{20}"),
          wrong=(r"\frac{11-9a}{20}", r"11+\frac{9a}{20}")),
    Forms(gold=r"\cot x", right=(r"\frac{\cos x}{\sin x}", r"\cot(x)", r"\frac{1}{\tan x}"), wrong=(r"\tan x", "cot")),
    Forms(gold=r"\sin 2x", right=(r"2\sin x\cos x", r"\sin(2x)"), wrong=(r"\sin^2 x", r"2 \sin x")),
    Forms(gold="2^{100000}", right=("2^{100000}",), wrong=("2^{100001}", "2^{100000}-1", "0")),
    Forms(gold="4^{(4^{(4^4)})}-3", right=("4^{(4^{(4^4)})} - 3",), wrong=("4^{(4^{(4^5)})}-3", "4")),
    Forms(
        gold="x=5",
        right=("5", "x=5", "x = 5.0", "5 = x"),
        wrong=("y=5", "x=6", "x=5, x=6", r"x=\pm 5"),
    ),
    Forms(
        gold="y = 2x + 3",
        right=("y=2x+3", "2x+3", "y - 2x - 3 = 0", "y-2x=3", "2y = 4x+6", "3 + 2x = y"),
        wrong=("y=2x-3", "y=3x+2", "2x", "x = 2y+3"),
    ),
    Forms(gold="5x - 7y + 4 = 0", right=("5x-7y+4=0", "5x + 4 = 7y", "7y-5x-4=0"), wrong=("5x+7y+4=0", "5x-7y+4", "0")),
    Forms(gold=r"x + y \le 4", right=(r"x+y\leq 4", r"4 \ge x+y", r"2x+2y \le 8"), wrong=(r"x+y<4", r"x+y \ge 4")),
    Forms(
        gold="1, -2",
        right=("-2, 1", "1,-2", r"1 \text{ and } -2", r"\{1, -2\}", "x=1, x=-2", "1 or -2", r"\{-2,1\}", "-2; 1",
               r"x = 1 \text{ or } x = -2", "1, 1, -2", r"\frac{-1 \pm 3}{2}"),
        wrong=("1", "-2", "1, 2", "1, -2, 3", "(1, -2)", "-1"),
    ),
    Forms(gold=r"\frac12 \pm 1", right=(r"\frac32, -\frac12", r"\frac{1}{2} \pm 1"), wrong=(r"\frac32", r"2 \pm 1")),
    Forms(gold=r"\sqrt{2}/3 \pm \frac12/3", right=(r"\frac{\sqrt2 \pm \frac12}{3}",), wrong=(r"\frac{\sqrt2}{3}",)),
    Forms(gold=r"3 \pm 2 \sqrt{2}", right=(r"3+2\sqrt{2}, 3-2\sqrt{2}", r"3 \mp 2\sqrt2", r"3\pm\sqrt8"),
          wrong=(r"3+2\sqrt2", r"3 \pm \sqrt{2}", r"\pm 3 + 2\sqrt2")),
    Forms(
        gold=r"(3, \frac{\pi}{2})",
        right=(r"\left(3,\frac{\pi}{2}\right)", r"(3, \pi/2)", r"(r,\theta) = (3, \frac{\pi}{2})",
               r"\begin{pmatrix} 3 \\ \frac{\pi}{2} \end{pmatrix}", r"\big(3, \tfrac{\pi}{2}\big)"),
        wrong=(r"3, \frac{\pi}{2}", r"(\frac{\pi}{2}, 3)", r"[3, \frac{\pi}{2}]", "(3, 1.5708)", r"(3, 90^\circ)"),
    ),
    Forms(
        gold=r"(2,\infty)",
        right=(r"(2, \infty)", "x > 2", "2 < x", r"x \in (2,\infty)", r"\left(2,+\infty\right)", "(2, infinity)"),
        wrong=(r"[2,\infty)", r"x \ge 2", r"(-\infty, 2)", "2", r"x < 2", r"(2,\infty]"),
    ),
    Forms(
        gold=r"[-2,7]",
        right=(r"x \in [-2,7]", r"-2 \le x \le 7", r"7 \geq x \geq -2", r"\left[-2, 7\right]"),
        wrong=("(-2,7)", "[-2,7)", r"-2 < x < 7", "-2, 7"),
    ),
    Forms(
        gold=r"(-\infty, 2) \cup (3, \infty)",
        right=(r"(3,\infty) \cup (-\infty,2)", r"x < 2 \text{ or } x > 3", r"x \in (-\infty,2) \cup (3,\infty)"),
        wrong=(r"(-\infty, 2) \cup [3, \infty)", r"(2, 3)", r"(-\infty, 2)"),
    ),
    Forms(
        gold=r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}",
        right=(r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}", r"\begin{bmatrix} 0.2 \\ -3.6 \end{bmatrix}",
               r"\begin{pmatrix} \frac15 \\[4pt] -\frac{18}{5} \end{pmatrix}",
               r"\frac15\begin{pmatrix} 1 \\ -18 \end{pmatrix}", r"\left(\frac15, -\frac{18}{5}\right)"),
        wrong=(r"\begin{pmatrix} 1/5 & -18/5 \end{pmatrix}", r"\begin{pmatrix} -18/5 \\ 1/5 \end{pmatrix}", "1/5"),
    ),
    Forms(
        gold=r"\text{Thursday}",
        right=("Thursday", r"\text{thursday}", r"\textbf{Thursday}", r"\mathrm{Thursday}", r"\text{Thursday}."),
        wrong=("Friday", r"\text{Thursday or Friday}", r"\text{not Thursday}", "4"),
    ),
    Forms(gold=r"\text{(C)}", right=("C", "(C)", r"\text{C}", r"\textbf{(C)}"), wrong=("B", "(B)", "c", "B, C")),
    Forms(gold=r"x \ne 2", right=(r"x \neq 2", r"2 \ne x"), wrong=("x = 2", "2", r"x \ne 3", "x > 2")),
    Forms(gold="yes", right=("Yes", r"\text{Yes}", r"\mathbf{yes}"), wrong=("no", r"\text{no}", "1")),
    Forms(gold="3:4", right=("3 : 4", "3:4"), wrong=("4:3", "34", "3")),
    Forms(gold="0", right=("0", "0.0", "-0", r"\sqrt{3+2\sqrt{2}}-1-\sqrt{2}", r"\sin \pi"),
          wrong=("0 or 1", "0 or even", r"10^{-300}", r"\frac{\sqrt{2}}{2004!}", r"\frac{0}{0}", r"5x - 7y = 0")),
)  # fmt: skip
"""Mathematics: what is in the box of a response to a problem with that answer."""

RESPONSES = (
    ("ANSWER: 204", R), ("ANSWER: $204$", R), ("Answer: 204", R), ("**Answer:** 204", R), ("**ANSWER: 204**", R),
    ("answer: 204.", R), ("The final answer is: 204", R), ("Final answer: $204$", R), ("ANSWER:\n204", R),
    ("ANSWER: \\[\n204\n\\]", R), ("ANSWER: $\\boxed{204}$", R), ("ANSWER: The sum is $\\boxed{204}$.", R),
    ("Therefore, the final answer is: $\\boxed{204}$. I hope it is correct", R),
    ("Therefore, the final answer is: 204. I hope it is correct.", R),
    ("\\boxed{16}\nNo.\n\\boxed{204}", R), ("\\boxed{204}\nThat is 16 more than 188.", R), ("\\boxed 204", R),
    ("\\boxed{16}\nANSWER: 204", R), ("\\[\n\\boxed{204}\n\\]", R), ("$$\\boxed{204}$$", R), ("\\fbox{204}", R),
    ("Put it into \\boxed{}.\n\\boxed{204}\nI used \\boxed{}.", R), ("> ANSWER: 204", R), ("# Answer: 204", R),
    ("<think>Is it \\boxed{16}?</think>\\boxed{204}", R), ("Is it \\boxed{16}?</think>\\boxed{204}", R),
    ("<thinking>\\boxed{16}</thinking>\\boxed{204}", R), ("[THINK]\\boxed{16}[/THINK]\\boxed{204}", R),
    ("<reasoning>16</reasoning>ANSWER: 204", R), ("◁think▷\\boxed{16}◁/think▷\\boxed{204}", R),
    ("<think>a</think>no<think>b \\boxed{16}</think>\\boxed{204}", R),
    ("\\boxed{16} or \\boxed{204}", W), ("$\\boxed{16}$ and $\\boxed{204}$", W), ("\\boxed{204}, \\boxed{16}", W),
    ("ANSWER: 16 or 204", W), ("ANSWER: 204\nANSWER: 16", W), ("\\boxed{204}\n\\boxed{16}", W),
    ("ANSWER: 16 or $\\boxed{204}$", W), ("ANSWER: $ANSWER", W), ("<think>\\boxed{204}</think>\\boxed{16}", W),
    ("\\boxed{\\boxed{204}}", R), ("\\boxed{" + "(" * 500 + "204" + ")" * 500 + "}", W),
    ("\\boxed{" + "2+" * 5000 + "204}", W), ("\\boxed{9^{9^{9^{9}}}}", W), ("\\boxed{(9999!)!}", W),
    ("204", N), ("The answer is 204.", N), ("So it is 204", N), ("", N), ("\\boxed{}", N), ("\\boxed{204", N),
    ("<think>\\boxed{204}", N), ("<think>\\boxed{204}</think>I do not know.", N), ("An answer is not possible", N),
    ("$204$", N), ("Answer 204", N), ("\\boxed{204}</think>", N), ("ANSWER:", N), ("\\textbf{204}", N),
)  # fmt: skip
"""Whole responses to a problem whose answer is 204, and their grades; the engine ended them by itself."""

TRUNCATED = (
    ("<think>\\boxed{204}", T), ("Is it \\boxed{204}? Wait", T), ("ANSWER: 204", T), ("", T),
    ("<think>a</think>So \\boxed{204} and so", R), ("a</think>ANSWER: 204\nBecause", R), ("a</think>\\boxed{16}", T),
    ("a</think>\\boxed{204", T), ("a</think>", T), ("a</think>\\boxed{16}, \\boxed{204}", T),
)  # fmt: skip
"""The same, of responses that the token limit ended."""

LETTERS = (
    ("Answer: C", R), ("answer: c", R), ("ANSWER: C", R), ("Answer: (C)", R), ("Answer: C.", R), ("**Answer: C**", R),
    ("**Answer:** C", R), ("Answer: **C**", R), ("Answer: $C$", R), ("Answer: \\boxed{C}", R), ("$\\boxed{C}$", R),
    ("\\boxed{\\text{C}}", R), ("\\boxed{\\textbf{(C)}}", R), ("Final answer: C", R), ("The final answer is: C", R),
    ("Answer: C) 5 m", R), ("Answer: C. 5 m", R), ("Answer: C: 5 m", R), ("Answer: C - 5 m", R),
    ("Answer: C) A ring", R),
    ("Answer: Option C", R), ("Answer: option c", R), ("Answer: C, because A has no charge", R), ("Answer: [C]", R),
    ("Answer: C because A is too small", R), ("Answer: C (not A)", R), ("Answer: C\nOption D would need more heat.", R),
    ("Answer: C\n\nA and B are wrong since D is.", R), ("Answer: A\nNo.\nAnswer: C", R), ("Answer:\nC", R),
    ("<think>Answer: A</think>Answer: C", R), ("Answer: `C`", R), ("Answer: \\textbf{C}", R), ("Answer: C\n```", R),
    ("A) is wrong.\nB) is wrong.\nAnswer: C", R), ("The answer is: C", R), ("Answer: C; the others are too small", R),
    ("Answer: A or C", W), ("Answer: C or A", W), ("Answer: A and C", W), ("Answer: A, C", W), ("Answer: A/C", W),
    ("Answer: A", W), ("Answer: a", W), ("Answer: E", W), ("Answer: (A) or (C)", W), ("Answer: C, D", W),
    ("Answer: C) 5 m or D) 6 m", W), ("Answer: C or D?", W), ("\\boxed{A, C}", W), ("\\boxed{B}", W),
    ("Answer: C & D", W),
    ("\\boxed{A} or \\boxed{C}", W), ("Answer: C\nAnswer: D", W), ("Answer: A C", W),
    ("Answer: Option A or option C", W),
    ("An answer is not possible", N), ("Answer: An answer is not possible", N), ("Answer: none of them", N), ("C", N),
    ("The correct answer is C.", N), ("So C.", N), ("Answer: Carbon", N), ("Answer: a good one", N), ("Answer:", N),
    ("I choose C", N), ("", N), ("<think>Answer: C", N), ("Answer C", N), ("Answer: AC", N), ("Answer: 3", N),
)  # fmt: skip
"""Whole responses to a question of four options whose answer is C, and their grades."""
