"""Who draws which sample: opening a run, planning, and the worker that fills it."""
