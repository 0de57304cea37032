"""
What a program is tested with: inputs and the outputs that are expected of them.

A LiveCodeBench problem can have tens of megabytes of them, so a problem carries
their digest alone. The digest is part of the exam's, and the grader looks the
tests up by it.
"""

import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTests:
    """
    The tests of one problem, all of which a right program passes.

    Attributes:
        inputs: What stdin holds; of a function, its arguments as JSON, one a line.
        outputs: What stdout must hold; of a function, the result as JSON.
        function: The function to call; None for a program that reads stdin.

    Raises:
        ValueError: If there is no test, or not one output for each input.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: str | None = None

    def __post_init__(self) -> None:
        if not self.inputs or len(self.inputs) != len(self.outputs):
            raise ValueError(
                f"{len(self.inputs)} inputs and {len(self.outputs)} outputs; expected one output for each of at least "
                "one input"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of their JSON."""
        return hashlib.sha256(lighteval_json(self).encode()).hexdigest()


def lighteval_json(tests: CodeTests) -> str:
    """Write tests as the JSON that LightEval's scorer reads: `inputs`, `outputs`, `fn_name`."""
    content = {"inputs": tests.inputs, "outputs": tests.outputs, "fn_name": tests.function}
    return json.dumps(content, ensure_ascii=False)


def from_lighteval_json(text: str) -> CodeTests:
    """Read what `lighteval_json` wrote."""
    content = json.loads(text)
    return CodeTests(inputs=tuple(content["inputs"]), outputs=tuple(content["outputs"]), function=content["fn_name"])
