"""What a slice's batch script asks: the run to go on with, copied into its own folder; nothing at the first start."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_r1eval.cluster.attempts import hand_over

if __name__ == "__main__":
    taken = hand_over(Path(sys.argv[1]))
    sys.stdout.write("" if taken is None else f"{taken}\n")
