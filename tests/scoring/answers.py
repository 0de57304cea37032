"""Right programs for the problems of smoke_code, by title: what a model that solves them all would answer."""

ANSWERS = {
    "Total": "input()\nprint(sum(map(int, input().split())))",
    "Upside Down": "import sys\nprint('\\n'.join(reversed(sys.stdin.read().splitlines())))",
    "Average": "n = int(input())\nprint(f'{sum(map(int, input().split())) / n:.3f}')",
    "Prime Or Not": (
        "for _ in range(int(input())):\n    n = int(input())\n"
        "    print('YES' if n > 1 and all(n % d for d in range(2, isqrt(n) + 1)) else 'NO')"
    ),
    "Pairs With A Sum": (
        "n, t = map(int, input().split())\nseen = Counter()\ntotal = 0\nfor x in map(int, input().split()):\n"
        "    total += seen[t - x]\n    seen[x] += 1\nprint(total)"
    ),
    "Islands": (
        "import sys\nsys.setrecursionlimit(10**6)\nh, w = map(int, input().split())\n"
        "land = {(i, j) for i in range(h) for j, c in enumerate(input()) if c == '#'}\n"
        "n = 0\nwhile land:\n    n += 1\n    stack = [land.pop()]\n    while stack:\n        i, j = stack.pop()\n"
        "        for at in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):\n"
        "            if at in land:\n                land.remove(at)\n                stack.append(at)\nprint(n)"
    ),
    "Word Count": "print(len(set(input().lower().split())))",
    "Two Sum": (
        "class Solution:\n    def two_sum(self, numbers: List[int], target: int) -> List[int]:\n        seen = {}\n"
        "        for j, x in enumerate(numbers):\n            if target - x in seen:\n"
        "                return [seen[target - x], j]\n            seen[x] = j"
    ),
    "Balanced": (
        "class Solution:\n    def is_balanced(self, text: str) -> bool:\n        stack = []\n"
        "        for c in text:\n            if c in '([{':\n                stack.append(')]}'['([{'.index(c)])\n"
        "            elif not stack or stack.pop() != c:\n                return False\n        return not stack"
    ),
    "Merge Ranges": (
        "class Solution:\n    def merge(self, ranges: List[List[int]]) -> List[List[int]]:\n        out = []\n"
        "        for a, b in sorted(ranges):\n            if out and a <= out[-1][1]:\n"
        "                out[-1][1] = max(out[-1][1], b)\n            else:\n                out.append([a, b])\n"
        "        return out"
    ),
    "Longest Rise": (
        "class Solution:\n    def longest_rise(self, numbers: List[int]) -> int:\n        tails = []\n"
        "        for x in numbers:\n            k = bisect_left(tails, x)\n            tails[k:k + 1] = [x]\n"
        "        return len(tails)"
    ),
    "Letter Counts": (
        "class Solution:\n    def letter_counts(self, text: str) -> Dict[str, int]:\n        return dict(Counter(text))"
    ),
}
SLOW = {
    "Pairs With A Sum": (
        "n, t = map(int, input().split())\nx = list(map(int, input().split()))\n"
        "print(sum(x[i] + x[j] == t for j in range(n) for i in range(j)))"
    )
}
"""Right and too slow: the largest input ends it."""
