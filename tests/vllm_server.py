"""What `vllm serve` is told on a CPU, in the tests and in the documents."""

from __future__ import annotations

SERVE = (
    # vLLM 0.32 on a CPU dies of a request with a seed whose prompt is split over two steps.
    "--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096", "--max-model-len", "4096",
    "--dtype", "bfloat16", "--host", "127.0.0.1",
)  # fmt: skip
