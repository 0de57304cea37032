"""
The manifests of a gate: an Indexed Job of slices, a Job that judges, and the claim that both share.

Decisions:

- A pod of index I draws slice I + 1. Each start writes into a folder of its own and begins with a copy of what the
  one before it stored, as on Slurm: a pod on a lost node may still write.
- Kubernetes starts no Job after another. The judge waits on the shared volume, with two CPUs and no GPU, until every
  slice has left its mark.
- A pod that is evicted or preempted does not count as a failure. What pytest refuses (exit code 4) ends the Job.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pytest_r1eval.cluster.commands import draw, judge, merge, without_secrets
from pytest_r1eval.cluster.submission import Submission
from pytest_r1eval.core.texts import hidden_in
from pytest_r1eval.errors import PlanError

Manifest: TypeAlias = "Mapping[str, Manifest] | Sequence[Manifest] | str | int | bool"

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""By which Kueue finds the queue of a Job."""
GPU = "nvidia.com/gpu"
REFUSED = 4
"""pytest's exit code for what was asked wrongly: another pod would end the same way."""
MAX_FAILURES = 20
"""Pods of one slice that may fail before it is given up; as many as Slurm's restarts."""
RESOURCES_OF_JUDGE: Manifest = {"requests": {"cpu": "2", "memory": "8Gi"}}
GROUP = 1000
"""Of our image's user, who is not root; a new volume is root's alone."""
GRACE_S = 120
"""What a pod that is evicted has for storing what is drawn."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_MAX_NAME = 63 - len("-slices-9999")
"""A pod's host name has 63 characters, and the Job's suffix and the index are part of it."""
_EXPANDED = re.compile(r"\$\$|\$\((?=[A-Za-z_][A-Za-z0-9_.-]*\))")
_QUANTITY = re.compile(r"\d+(?:\.\d+)?(?:m|[EPTGMk]i?)?")
_SHM, _CLAIM = "shm", "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """
    Where a gate runs.

    Attributes:
        name: Of the Jobs; the folder on the volume has it too.
        image: The container's, with pytest-r1eval and its engine.
        claim: The volume's claim, which all pods can write (ReadWriteMany).
        mount: Where it is mounted.
        namespace: None for the one that kubectl applies to.
        queue: Kueue's; None without Kueue.
        claim_size: The size of a claim to make; None where it is there.
        storage_class: Of a claim to make; None for the cluster's own.
        cpu: CPUs of a slice.
        memory: Memory of a slice.
        token_secret: The secret whose key `token` is the judge's HF_TOKEN; None for none.
        deadline_s: Seconds after which the judge gives up waiting; None for never.
    """

    name: str
    image: str
    claim: str
    mount: str = "/data"
    namespace: str | None = None
    queue: str | None = None
    claim_size: str | None = None
    storage_class: str | None = None
    cpu: str = "8"
    memory: str = "64Gi"
    token_secret: str | None = None
    deadline_s: int | None = None

    def __post_init__(self) -> None:
        names = {
            "--name": self.name, "--claim": self.claim, "--namespace": self.namespace, "--queue": self.queue,
            "--storage-class": self.storage_class, "--token-secret": self.token_secret,
        }  # fmt: skip
        for option, text in names.items():
            longest = _MAX_NAME if option == "--name" else 63
            if text is not None and not (_NAME.fullmatch(text) and len(text) <= longest):
                raise PlanError(
                    f"{option} {text!a}; expected at most {longest} small letters, digits and dashes, as Kubernetes "
                    "names things"
                )
        for option, text in {"--cpu": self.cpu, "--memory": self.memory, "--claim-size": self.claim_size}.items():
            if text is not None and not _QUANTITY.fullmatch(text):
                raise PlanError(f"{option} {text!a}; expected a quantity of Kubernetes, as in 500m, 8 or 64Gi")
        if not self.image or hidden_in(self.image) is not None or " " in self.image:
            raise PlanError(f"--image {self.image!a}; expected an image, as in registry.example/r1eval:1.0")
        if not self.mount.startswith("/") or hidden_in(self.mount) is not None:
            raise PlanError(f"--mount {self.mount!a}; expected an absolute path in the container")


def manifests(job: Submission, cluster: Cluster) -> tuple[Manifest, ...]:
    """
    Return everything to apply: the claim where it is to be made, the slices' Job and the judge's.

    Args:
        job: What runs in the containers; its paths are theirs.
        cluster: Where.
    """
    return (*claims(cluster), _slices(job, cluster), _judge(job, cluster))


def claims(cluster: Cluster) -> tuple[Manifest, ...]:
    """Return the claim where it is to be made."""
    return () if cluster.claim_size is None else (_claim(cluster, size=cluster.claim_size),)


def slice_command(job: Submission) -> str:
    """Write what the container of a slice runs."""
    return f"""\
cd {shlex.quote(str(job.root))} || exit 2
{without_secrets(job)}
slice=$((${{JOB_COMPLETION_INDEX:?an Indexed Job sets it}} + 1))
folder={shlex.quote(str(job.folder))}/slices/$slice
attempt=$folder/attempt-0-$(date +%s)
mkdir -p "$folder" && rm -f "$folder/refused"
echo "== slice $slice/{job.n_slices} in $attempt"
resume=$({shlex.quote(job.python)} -m pytest_r1eval.cluster.handover "$attempt") || exit 2
{draw(job)} &
pytest=$!
trap 'kill -TERM $pytest' TERM INT
wait $pytest; code=$?
while kill -0 $pytest 2>/dev/null; do wait $pytest; code=$?; done
case $code in
  0) touch "$folder/whole" ;;
  {REFUSED}) touch "$folder/refused" ;;
esac
exit $code
"""


def judge_command(job: Submission) -> str:
    """Write what the judge's container runs: wait for the slices, merge them, judge the run."""
    return f"""\
trap 'exit 143' TERM  # what runs as a container's first process has to ask for it
cd {shlex.quote(str(job.root))} || exit 2
for slice in $(seq 1 {job.n_slices}); do
  folder={shlex.quote(str(job.folder))}/slices/$slice
  until [ -e "$folder/whole" ]; do
    if [ -e "$folder/refused" ]; then
      echo "slice $slice cannot be drawn as asked: see its pod's log"
      exit {REFUSED}
    fi
    sleep 5 & wait $!
  done
done
run=$({merge(job)} --start 0) || exit 2
exec {judge(job)}
"""


def _slices(job: Submission, cluster: Cluster) -> Manifest:
    container: dict[str, Manifest] = {
        "name": "slice",
        **_container(cluster, slice_command(job)),
        "resources": resources_of_slice(job, cluster),
        "volumeMounts": [mount(cluster), {"name": _SHM, "mountPath": "/dev/shm"}],  # noqa: S108 - the engines' own
    }
    shm: Manifest = {"name": _SHM, "emptyDir": {"medium": "Memory"}}
    spec: dict[str, Manifest] = {
        "completionMode": "Indexed",
        "completions": job.n_slices,
        "parallelism": job.n_slices,
        "backoffLimitPerIndex": MAX_FAILURES,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "slice", "operator": "In", "values": [REFUSED]},
                },
            ]
        },
        "template": {"spec": pod(cluster, container, more=[shm])},
    }
    return _job("slices", cluster, spec)


def resources_of_slice(job: Submission, cluster: Cluster) -> Manifest:
    """Return what a slice's container asks for."""
    limits: dict[str, Manifest] = {"limits": {GPU: str(job.gpus_per_node)}} if job.gpus_per_node else {}
    return {"requests": {"cpu": cluster.cpu, "memory": cluster.memory}, **limits}


def _judge(job: Submission, cluster: Cluster) -> Manifest:
    container: dict[str, Manifest] = {
        "name": "judge",
        **_container(cluster, judge_command(job), more=token(cluster)),
        "resources": RESOURCES_OF_JUDGE,
        "volumeMounts": [mount(cluster)],
    }
    spec: dict[str, Manifest] = {"backoffLimit": 0, "template": {"spec": pod(cluster, container)}}
    if cluster.deadline_s is not None:
        spec["activeDeadlineSeconds"] = cluster.deadline_s
    return _job("judge", cluster, spec)


def _claim(cluster: Cluster, *, size: str) -> Manifest:
    spec: dict[str, Manifest] = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": size}},
    }
    if cluster.storage_class is not None:
        spec["storageClassName"] = cluster.storage_class
    metadata = _metadata(cluster.claim, cluster)
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _job(role: str, cluster: Cluster, spec: Mapping[str, Manifest]) -> Manifest:
    metadata = queued(f"{cluster.name}-{role}", cluster)
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {**suspended(cluster), **spec}}


def queued(name: str, cluster: Cluster) -> Manifest:
    """Return the metadata of what Kueue admits, where it is there."""
    return _metadata(name, cluster, labels={} if cluster.queue is None else {QUEUE_LABEL: cluster.queue})


def suspended(cluster: Cluster) -> dict[str, Manifest]:
    """Return the field of what Kueue starts."""
    return {} if cluster.queue is None else {"suspend": True}


def _metadata(name: str, cluster: Cluster, *, labels: Mapping[str, Manifest] | None = None) -> dict[str, Manifest]:
    namespace: dict[str, Manifest] = {} if cluster.namespace is None else {"namespace": cluster.namespace}
    return {"name": name, **namespace, "labels": {"app.kubernetes.io/name": "r1eval", **(labels or {})}}


def _container(cluster: Cluster, command: str, *, more: Sequence[Manifest] = ()) -> dict[str, Manifest]:
    return {
        "image": cluster.image,
        "command": ["bash", "-c", _unexpanded(command)],
        "env": [*environment(cluster), *more],
    }


def environment(cluster: Cluster) -> list[Manifest]:
    """Return what every container has."""
    return [{"name": "HF_HOME", "value": f"{cluster.mount}/huggingface"}]


def _unexpanded(command: str) -> str:
    """Keep Kubernetes from reading a command: it would replace ``$(NAME)`` of its own variables, and halve ``$$``."""
    return _EXPANDED.sub(lambda found: f"${found[0]}" if found[0] != "$$" else "$$$$", command)


def token(cluster: Cluster) -> list[Manifest]:
    """Return the judge's HF_TOKEN, where a secret has it."""
    if cluster.token_secret is None:
        return []
    key: Manifest = {"secretKeyRef": {"name": cluster.token_secret, "key": "token"}}
    return [{"name": "HF_TOKEN", "valueFrom": key}]


def pod(cluster: Cluster, container: Manifest, *, more: Sequence[Manifest] = ()) -> Manifest:
    """Return the specification of a pod with one container and the volume."""
    claim: Manifest = {"name": _CLAIM, "persistentVolumeClaim": {"claimName": cluster.claim}}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
        "automountServiceAccountToken": False,
        "securityContext": {"fsGroup": GROUP, "fsGroupChangePolicy": "OnRootMismatch"},
        "containers": [container],
        "volumes": [claim, *more],
    }


def mount(cluster: Cluster) -> Manifest:
    """Return where a container has the volume."""
    return {"name": _CLAIM, "mountPath": cluster.mount}
