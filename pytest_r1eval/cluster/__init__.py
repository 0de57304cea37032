"""
A gate that is spread over machines: what Slurm, Ray and Kubernetes have in common.

A submission is a folder with an attempt of each slice in it. Slices are drawn by `pytest --r1-slice I/N`, merged when
all are whole, and judged once. Who starts a slice, and where, is a backend's: `slurm`, `ray`, `k8s`.
"""
