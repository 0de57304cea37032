"""
A RayJob has the fields that KubeRay documents, each with a value of its type, and pods that Kubernetes' models take.

KubeRay publishes no models for Python. The tables below have the fields of ray.io/v1 as its API reference lists them.
tests/ray/test_cluster.py submits a rendered entrypoint to a real cluster of Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_r1eval.cluster.submission import PytestArguments, Submission
from pytest_r1eval.errors import PlanError
from pytest_r1eval.k8s.manifests import GPU, QUEUE_LABEL, Cluster
from pytest_r1eval.k8s.ray_job import ray_manifests
from pytest_r1eval.k8s.yaml import documents
from tests.k8s.api_models import check
from tests.requirements import KUBERNETES

FIELDS: Mapping[str, Mapping[str, str]] = {
    "RayJob": {"apiVersion": "str", "kind": "str", "metadata": "V1ObjectMeta", "spec": "RayJobSpec"},
    "RayJobSpec": {
        "activeDeadlineSeconds": "int",
        "backoffLimit": "int",
        "rayClusterSpec": "RayClusterSpec",
        "entrypoint": "str",
        "shutdownAfterJobFinishes": "bool",
        "suspend": "bool",
    },
    "RayClusterSpec": {"headGroupSpec": "HeadGroupSpec", "workerGroupSpecs": "WorkerGroupSpecs"},
    "HeadGroupSpec": {"rayStartParams": "dict(str, str)", "template": "V1PodTemplateSpec"},
    "WorkerGroupSpec": {
        "groupName": "str",
        "replicas": "int",
        "minReplicas": "int",
        "maxReplicas": "int",
        "rayStartParams": "dict(str, str)",
        "template": "V1PodTemplateSpec",
    },
}
"""What a rendered RayJob may have, by type; KubeRay has more."""
OPTIONS = ("--r1-tp", "2", "--r1-samples", "aime24=16", "--r1-sigmas", "2")


def check_ray(value: Any, kind: str) -> None:  # noqa: ANN401 - a manifest, or a part of one
    """Refuse what KubeRay's documented fields do not have."""
    if kind == "WorkerGroupSpecs":
        for group in value:
            check_ray(group, "WorkerGroupSpec")
    elif kind in FIELDS:
        for key, item in value.items():
            check_ray(item, FIELDS[kind][key])
    else:
        check(value, kind, path=kind)


def job(**more: Any) -> Submission:  # noqa: ANN401 - fields of several types
    """Ask for a gate on a model of the Hub."""
    return replace(
        Submission(
            folder=Path("/data/evals/ray/gate"),
            output_dir=Path("/data/evals"),
            root=Path("/data/project"),
            python="python",
            model="org/model",
            marks="aime24 or gpqa",
            n_slices=4,
            gpus_per_node=2,
            arguments=PytestArguments(),
        ),
        **more,
    )


def rendered(
    asked: Submission,
    *,
    options: tuple[str, ...] = OPTIONS,
    **more: Any,  # noqa: ANN401 - the same
) -> list[dict[str, Any]]:
    """Render manifests, and read them as kubectl does."""
    cluster = Cluster(**{"name": "gate", "image": "registry.example/r1eval:1", "claim": "evals", **more})
    return [*yaml.safe_load_all(documents(ray_manifests(asked, cluster, benchmarks="aime24,gpqa", options=options)))]


@KUBERNETES.mark
@pytest.mark.parametrize(
    "more", [{}, {"queue": "gpus", "namespace": "evals", "deadline_s": 3600, "token_secret": "hf"}]
)
def test_it_has_the_documented_fields(more: dict[str, Any]) -> None:
    """A RayJob has only documented fields of the right types, and its pods lose nothing in Kubernetes' models."""
    (manifest,) = rendered(job(), **more)
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    check_ray(manifest, "RayJob")


def test_the_claim_is_made_before_it() -> None:
    """With a size, the volume's claim is a manifest of its own."""
    assert [one["kind"] for one in rendered(job(), claim_size="200Gi")] == ["PersistentVolumeClaim", "RayJob"]


def test_a_pod_for_each_slice() -> None:
    """Each slice has a pod with its GPUs, the head offers nothing, and only the head has the token."""
    (manifest,) = rendered(job(), token_secret="hf", cpu="16", memory="128Gi")  # noqa: S106 - the name of a secret
    cluster = manifest["spec"]["rayClusterSpec"]
    (slices,) = cluster["workerGroupSpecs"]
    assert {slices[name] for name in ("replicas", "minReplicas", "maxReplicas")} == {4}
    assert slices["rayStartParams"] == {"num-cpus": "1", "num-gpus": "2"}
    (container,) = slices["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {GPU: "2"}, "requests": {"cpu": "16", "memory": "128Gi"}}
    assert container["workingDir"] == "/data/project"
    assert "command" not in container
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"] == {"num-cpus": "0"}
    assert "HF_TOKEN" in str(head)
    assert "HF_TOKEN" not in str(slices)
    assert GPU not in str(head)


def test_the_entrypoint_waits_for_the_verdict() -> None:
    """The entrypoint names the submission, so that applying it again goes on, and has every option of pytest."""
    (manifest,) = rendered(job())
    assert manifest["spec"]["entrypoint"] == (
        "r1eval ray submit --wait --name gate --model org/model --benchmarks aime24,gpqa --slices 4 --gpus 2 "
        "--output-dir /data/evals --r1-tp 2 --r1-samples aime24=16 --r1-sigmas 2"
    )
    assert manifest["spec"]["backoffLimit"] == 0
    assert manifest["spec"]["shutdownAfterJobFinishes"] is True


def test_kueue_finds_its_queue() -> None:
    """With a queue the RayJob has Kueue's label and is suspended until it is admitted; without, neither."""
    (manifest,) = rendered(job(), queue="gpus")
    assert manifest["metadata"]["labels"][QUEUE_LABEL] == "gpus"
    assert manifest["spec"]["suspend"] is True
    assert "suspend" not in str(rendered(job()))


@pytest.mark.parametrize(
    ("asked", "options", "name", "words"),
    [
        (job(), (), "g" * 48, "expected a letter first and at most 47 characters"),
        (job(), (), "1-gate", "expected a letter first"),
        (job(workers="2"), (), "gate", "--workers 2 with --ray, where a slice is one engine"),
        (job(), ("--r1-lineage", "parent=$HOME"), "gate", "'parent=.HOME' in the entrypoint of a RayJob"),
        (job(model="a model"), (), "gate", "'a model' in the entrypoint of a RayJob, which two shells read"),
    ],
)
def test_what_kuberay_or_a_shell_would_change_is_refused(
    asked: Submission, options: tuple[str, ...], name: str, words: str
) -> None:
    """A name that KubeRay refuses, several engines, and a word that a shell would change are refused."""
    with pytest.raises(PlanError, match=words):
        rendered(asked, options=options, name=name)
