"""
A gate on a Ray cluster: a task for each slice, and an actor that keeps what they store and judges at the end.

Decisions:

- The actor runs on the node of the submission and owns its folder, which has Slurm's layout. No other node needs to
  see that folder: a slice draws on a disk of its node, and ships copies of its store to the actor as it grows.
- The actor starts a lost slice again and not Ray, since each start has a number, a folder, and the newest copy of what
  was stored. A start that is lost can ship no more, and one that still could would write to its own folder.
- A slice is one engine, so its task asks for as many GPUs as a tensor is spread over. Several GPUs are one bundle of a
  placement group: they stay the slice's from one start to the next.

Known trade-off (accepted): the actor ends with its node, and what was shipped remains in the folder.
"""
