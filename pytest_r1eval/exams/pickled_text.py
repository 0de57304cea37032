"""
Read a text out of a pickle without running the pickle.

LiveCodeBench keeps its private tests as a pickled string, and unpickling is running
whatever program the file holds. A pickle of one string needs six kinds of
instructions; any other is refused before anything is done.
"""

import pickletools

_FRAMING = frozenset({"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"})
_TEXT = frozenset({"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})


def text_of(pickled: bytes) -> str:
    """
    Return the string that a pickle holds.

    Raises:
        ValueError: If it is not a pickle of a single string.
    """
    found: list[str] = []
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in _TEXT and isinstance(argument, str):
            found.append(argument)
        elif opcode.name not in _FRAMING:
            raise ValueError(f"a pickle with the instruction {opcode.name}; expected one string")
    if len(found) != 1:
        raise ValueError(f"a pickle of {len(found)} strings; expected one")
    return found[0]
