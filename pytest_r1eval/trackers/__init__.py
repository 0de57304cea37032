"""
Verdicts in the trackers where a team looks for them: MLflow, W&B, trackio, TensorBoard, and those of other packages.

A run is logged after its verdict, in a process of its own with a time limit. No tracker changes a verdict, or an exit
code, and none is imported by the process that judges.
"""
