"""What is asked: benchmarks, data sets, prompts."""
