"""
A gate on a Slurm cluster: an array of slices, then a job that judges.

Nothing here samples or decides. Submitted are two batch scripts that a person could
have written; each slice is `pytest --r1-slice I/N` on one node, so engines, tensor
parallel sizes and resuming are those of one machine.

A run's folder belongs to one attempt of one slice. A job that Slurm starts again gets a folder of its own, named by job
and SLURM_RESTART_COUNT. It begins with a copy of what the attempt before it stored. An orphan that goes on writing on a
lost node writes where no reader looks any more. It also keeps each SQLite file to one host, which its write-ahead log
needs on a shared file system.
"""
