"""
Manifests are what Kubernetes' published models take, and the commands in them judge.

The models of the Kubernetes client are generated from the API's OpenAPI document: by them an unknown key, a missing
one and a value of another type are refused. No cluster is asked; Kueue's part is a label.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_r1eval.cluster.submission import PytestArguments, Submission
from pytest_r1eval.errors import PlanError
from pytest_r1eval.k8s.manifests import GPU, QUEUE_LABEL, Cluster, judge_command, manifests, slice_command
from pytest_r1eval.k8s.yaml import documents
from tests.k8s.api_models import check
from tests.processes import TIMEOUT_S, n_stored
from tests.recordings import record_run
from tests.requirements import KUBERNETES


def job_in(folder: Path, *, slice_arguments: Sequence[str] = (), n_slices: int = 2) -> Submission:
    """Ask for a gate on a recorded run, in a folder that stands in for the volume."""
    return Submission(
        folder=folder / "evals" / "k8s" / "gate",
        output_dir=folder / "evals",
        root=folder,
        python=sys.executable,
        model=str(folder / "model"),
        marks="smoke",
        n_slices=n_slices,
        gpus_per_node=4,
        workers="0",
        arguments=PytestArguments(
            slice=("--r1-engine", "replay", *slice_arguments), judge=("--r1-baseline", str(folder / "base"))
        ),
    )


def rendered(job: Submission, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - fields of several types
    """Render manifests, and read them as kubectl does."""
    cluster = Cluster(**{"name": "gate", "image": "registry.example/r1eval:1", "claim": "evals", **more})
    return [*yaml.safe_load_all(documents(manifests(job, cluster)))]


class TestModels:
    """What is rendered is what the published models take."""

    @KUBERNETES.mark
    @pytest.mark.parametrize(
        "more",
        [
            {},
            {"queue": "gpu-queue", "namespace": "evals", "deadline_s": 3600, "token_secret": "hf"},
            {"claim_size": "200Gi", "storage_class": "nfs"},
        ],
    )
    def test_they_take_it(self, tmp_path: Path, more: dict[str, Any]) -> None:
        """Jobs and claim have only keys of the API, each with a value of its type, and lose nothing in the models."""
        for manifest in rendered(job_in(tmp_path), **more):
            check(manifest, f"V1{manifest['kind']}")

    @KUBERNETES.mark
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"completionsMode": "Indexed"}, ".spec.completionsMode is not part of V1JobSpec"),
            ({"completions": "2"}, ".spec.completions is '2'; expected int"),
            ({"template": {"spec": {"volumes": []}}}, "Invalid value for `containers`, must not be `None`"),
            ({"podFailurePolicy": {"rules": [{"action": 4}]}}, r".rules\[0\].action is 4; expected str"),
        ],
    )
    def test_they_refuse_what_is_not_the_api_s(self, tmp_path: Path, change: dict[str, Any], words: str) -> None:
        """An unknown key, a value of another type and a required key that is missing are refused by their paths."""
        slices, _ = rendered(job_in(tmp_path))
        with pytest.raises(ValueError, match=words):
            check({**slices, "spec": {**slices["spec"], **change}}, "V1Job")


class TestJobs:
    """The Jobs say what a gate needs."""

    def test_a_slice_for_each_index(self, tmp_path: Path) -> None:
        """The slices' Job is indexed, with a pod, its GPUs and shared memory for each slice."""
        slices, judge = rendered(job_in(tmp_path, n_slices=8), cpu="16", memory="128Gi")
        spec = slices["spec"]
        assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 8, 8)
        (container,) = spec["template"]["spec"]["containers"]
        assert container["resources"] == {"limits": {GPU: "4"}, "requests": {"cpu": "16", "memory": "128Gi"}}
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/dev/shm"}  # noqa: S108
        assert GPU not in str(judge)

    def test_no_gpu_is_asked_for_none(self, tmp_path: Path) -> None:
        """Zero GPUs ask for no GPU."""
        job = Submission(
            **{field: getattr(job_in(tmp_path), field) for field in Submission.__slots__} | {"gpus_per_node": 0}
        )
        assert GPU not in str(rendered(job))

    def test_the_image_s_user_can_write(self, tmp_path: Path) -> None:
        """Each pod gives its volume to the group that the image's user has."""
        dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")
        for manifest in rendered(job_in(tmp_path)):
            group = manifest["spec"]["template"]["spec"]["securityContext"]["fsGroup"]
            assert f"USER {group}:{group}" in dockerfile

    def test_kueue_finds_its_queue(self, tmp_path: Path) -> None:
        """With a queue both Jobs have Kueue's label and are suspended until it admits them; without, neither."""
        for manifest in rendered(job_in(tmp_path), queue="gpu-queue"):
            assert manifest["metadata"]["labels"][QUEUE_LABEL] == "gpu-queue"
            assert manifest["spec"]["suspend"] is True
        assert "suspend" not in str(rendered(job_in(tmp_path)))
        assert QUEUE_LABEL not in str(rendered(job_in(tmp_path)))

    def test_only_the_judge_has_the_token(self, tmp_path: Path) -> None:
        """A secret's token is in the judge's environment and not in a slice's."""
        slices, judge = rendered(job_in(tmp_path), token_secret="hf")  # noqa: S106 - the name of a secret
        assert "HF_TOKEN" not in str(slices["spec"]["template"]["spec"]["containers"][0]["env"])
        (_, token) = judge["spec"]["template"]["spec"]["containers"][0]["env"]
        assert token == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}

    def test_kubernetes_does_not_read_the_command(self, tmp_path: Path) -> None:
        """What Kubernetes would expand in a command is escaped, and what a shell expands is left."""
        slices, _ = rendered(job_in(tmp_path, slice_arguments=("--r1-system-prompt", "$(HF_HOME) costs $$5")))
        command = slices["spec"]["template"]["spec"]["containers"][0]["command"][-1]
        assert "'$$(HF_HOME) costs $$$$5'" in command
        assert "attempt-0-$(date +%s)" in command

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            ({"name": "Gate_1"}, "--name 'Gate_1'; expected at most 51 small letters, digits and dashes"),
            ({"name": "g" * 52}, "expected at most 51 small letters"),
            ({"memory": "64 GB"}, "--memory '64 GB'; expected a quantity of Kubernetes, as in 500m, 8 or 64Gi"),
            ({"image": "a b"}, "--image 'a b'; expected an image"),
            ({"mount": "data"}, "--mount 'data'; expected an absolute path in the container"),
            ({"queue": "a\nb"}, r"--queue 'a\\nb'; expected"),
        ],
    )
    def test_a_wrong_name_is_refused(self, more: dict[str, Any], words: str) -> None:
        """A name, quantity, image or path that Kubernetes would refuse is refused in one line."""
        with pytest.raises(PlanError, match=words):
            Cluster(**{"name": "gate", "image": "i", "claim": "evals", **more})


class Volume:
    """A folder that stands in for the volume, in which containers' commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        record_run(folder / "model", n_samples=16, seed=2, weights="w2")
        record_run(folder / "base", n_samples=16, seed=1)

    def started(self, command: str, **variables: str) -> subprocess.Popen[str]:
        """Start a container's command."""
        return subprocess.Popen(
            ["/bin/bash", "-c", command], env={**os.environ, "PYTEST_ADDOPTS": "", **variables}, cwd=self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def ran(self, command: str, **variables: str) -> tuple[int, str]:
        """Run a container's command to its end."""
        process = self.started(command, **variables)
        output, _ = process.communicate(timeout=4 * TIMEOUT_S)
        return process.returncode, output


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """Make a volume."""
    return Volume(tmp_path)


class TestCommands:
    """The containers' commands, run by bash."""

    def test_slices_and_judge_give_the_verdict(self, volume: Volume) -> None:
        """Two slices, one of which was evicted and began again, are merged and judged; nothing is drawn twice."""
        job = job_in(volume.folder, slice_arguments=("--r1-engine-arg", "delay_s=0.1"))
        slices = volume.folder / "evals" / "k8s" / "gate" / "slices"
        evicted = volume.started(slice_command(job), JOB_COMPLETION_INDEX="0")
        end = time.monotonic() + TIMEOUT_S
        while not any(n_stored(path.parent) for path in slices.glob("1/*/*/*/*/run.sqlite")):
            assert time.monotonic() < end
            time.sleep(0.05)
        evicted.send_signal(signal.SIGTERM)
        output, _ = evicted.communicate(timeout=TIMEOUT_S)
        assert evicted.returncode != 0, output
        judge = volume.started(judge_command(job))
        for index in ("0", "1"):
            code, output = volume.ran(slice_command(job), JOB_COMPLETION_INDEX=index)
            assert code == 0, output
        output, _ = judge.communicate(timeout=4 * TIMEOUT_S)
        assert judge.returncode == 0, output
        assert "smoke: PASS." in output
        first, second = sorted(slices.glob("1/attempt-*"))
        assert n_stored(next(first.glob("*/*/*/run.sqlite")).parent) > 0
        assert n_stored(next(second.glob("*/*/*/run.sqlite")).parent) == 96

    def test_what_cannot_be_drawn_ends_the_judge(self, volume: Volume) -> None:
        """A slice that pytest refuses ends with 4, and the judge that waits for it too."""
        job = job_in(volume.folder, slice_arguments=("--r1-temperature", "hot"), n_slices=1)
        code, output = volume.ran(slice_command(job), JOB_COMPLETION_INDEX="0")
        assert (code, "--r1-temperature is 'hot'" in output) == (4, True)
        code, output = volume.ran(judge_command(job))
        assert (code, output) == (4, "slice 1 cannot be drawn as asked: see its pod's log\n")
