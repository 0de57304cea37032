"""
A gate as a RayJob of KubeRay: a cluster of Ray with a pod for each slice, and `r1eval ray submit` as its entrypoint.

Decisions:

- The head draws nothing. The gate's folder is on the volume that the head has mounted, and the judge runs there.
- A pod offers Ray one slice: its GPUs, and one CPU for the task. What else it asks of Kubernetes is the engine's.
- KubeRay sends the entrypoint through a shell, Ray through another one. What either of them would read is refused.
- A red gate is a failed RayJob, so no failure starts it again. Applied again, it goes on with what is stored.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from pytest_r1eval.cluster.submission import Submission
from pytest_r1eval.errors import PlanError
from pytest_r1eval.k8s.manifests import (
    RESOURCES_OF_JUDGE,
    Cluster,
    Manifest,
    claims,
    environment,
    mount,
    pod,
    queued,
    resources_of_slice,
    suspended,
    token,
)

_MAX_NAME = 47
"""KubeRay's own limit, of 1.4 and newer: it appends to a RayJob's name, for the names of services."""


def ray_manifests(
    job: Submission, cluster: Cluster, *, benchmarks: str, options: Sequence[str]
) -> tuple[Manifest, ...]:
    """
    Return everything to apply: the claim where it is to be made, and the RayJob.

    Args:
        job: What is judged; its paths are the containers'.
        cluster: Where.
        benchmarks: By name, as on the command line.
        options: Pytest's, as on the command line.

    Raises:
        PlanError: If KubeRay would refuse the name, a slice is asked for several engines, or a shell would read a word
            of the entrypoint.
    """
    if job.workers != "auto":
        raise PlanError(
            f"--workers {job.workers} with --ray, where a slice is one engine; leave it out, and give more --slices"
        )
    if len(cluster.name) > _MAX_NAME or not cluster.name[0].isalpha():
        raise PlanError(
            f"--name {cluster.name}; expected a letter first and at most {_MAX_NAME} characters, as KubeRay has it"
        )
    return (*claims(cluster), _ray_job(job, cluster, entrypoint(job, benchmarks=benchmarks, options=options)))


def entrypoint(job: Submission, *, benchmarks: str, options: Sequence[str]) -> str:
    """
    Write the command that a RayJob runs on its head.

    Raises:
        PlanError: If a word of it is not the same word behind a shell.
    """
    words = [
        *("r1eval", "ray", "submit", "--wait", "--name", job.folder.name, "--model", job.model),
        *("--benchmarks", benchmarks, "--slices", str(job.n_slices), "--gpus", str(job.gpus_per_node)),
        *("--output-dir", str(job.output_dir), *options),
    ]
    for word in words:
        if shlex.quote(word) != word:
            raise PlanError(
                f"{word!a} in the entrypoint of a RayJob, which two shells read; expected letters, digits and "
                "@%+=:,./-_ only"
            )
    return " ".join(words)


def _ray_job(job: Submission, cluster: Cluster, command: str) -> Manifest:
    deadline: dict[str, Manifest] = {} if cluster.deadline_s is None else {"activeDeadlineSeconds": cluster.deadline_s}
    head = _group(
        _container("ray-head", job, cluster, resources=RESOURCES_OF_JUDGE, more=token(cluster)),
        cluster,
        {"num-cpus": "0"},
    )
    offered = {"num-cpus": "1", "num-gpus": str(job.gpus_per_node)}
    slices = _group(
        _container("ray-worker", job, cluster, resources=resources_of_slice(job, cluster)), cluster, offered
    )
    n_pods: dict[str, Manifest] = dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), job.n_slices)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": queued(cluster.name, cluster),
        "spec": {
            **suspended(cluster),
            **deadline,
            "entrypoint": command,
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": True,
            "rayClusterSpec": {
                "headGroupSpec": head,
                "workerGroupSpecs": [{"groupName": "slices", **n_pods, **slices}],
            },
        },
    }


def _group(container: Manifest, cluster: Cluster, offered: Mapping[str, str]) -> Mapping[str, Manifest]:
    return {"rayStartParams": offered, "template": {"spec": pod(cluster, container)}}


def _container(
    name: str, job: Submission, cluster: Cluster, *, resources: Manifest, more: Sequence[Manifest] = ()
) -> Manifest:
    """Return a container without a command, which KubeRay writes; its folder is where pytest runs."""
    return {
        "name": name,
        "image": cluster.image,
        "workingDir": str(job.root),
        "env": [*environment(cluster), *more],
        "resources": resources,
        "volumeMounts": [mount(cluster)],
    }
