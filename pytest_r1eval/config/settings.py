"""
Options, environment and ini: read at this one edge, checked once, passed inward as a value.

Every option `--r1-x-y` is also `R1_X_Y` in the environment and `r1_x_y` in an ini
file, in that order of precedence. The table in `options` defines what an option's text means; what
options mean together is checked here.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_r1eval.config.baseline_choice import BaselineChoice
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.config.policy import Policy, find_policy
from pytest_r1eval.config.reading import Reader, given, named_marks, root_of
from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.core.benchmarks import Benchmark, Sampling
from pytest_r1eval.core.choices import (
    RELEASE_MARK,
    AllocationKind,
    Claim,
    CodeGrader,
    Family,
    GateKind,
    InconclusivePolicy,
    LastLook,
    SamplingSource,
    UploadLayout,
    UploadWhen,
)
from pytest_r1eval.core.lineage import Lineage
from pytest_r1eval.core.plans import Slice
from pytest_r1eval.core.texts import hidden_argument, hidden_in, without_lines
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.core.uploads import UploadWishes
from pytest_r1eval.errors import PolicyError

if TYPE_CHECKING:
    from pytest_r1eval.sandbox import Limits


GPU_MEMORY_UTILIZATION = 0.8
"""The fraction of a GPU's memory that the engines on it take if nothing else is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    Everything a user decided, checked.

    Attributes are the options of the table, by their fields. These are not, or differ from their option:

    - `root`: the folder of the user's baselines and pyproject.toml. pytest's own rootdir moves with the test paths
      among its arguments.
    - `n_workers`: the number of shards.
    - `goes_on`: whether `resume` comes from the ledger.
    - `in_full`: benchmarks that the ledger has earlier attempts at, which looks could not count.
    - `regrades`: whether `--r1-grader` grades a stored run again.
    - `named_terms`: the options about judging that the command line has beside a stored run.
    - `model`: empty where a stored run is judged.
    - `samples`: samples per problem, by the benchmark's name.
    - `margin`, `relative_margin`, `max_truncated`, `max_no_answer`: fractions.
    - `policy`: what it sets of one benchmark is in `of`.
    - `asked_gate`: `--r1-gate`.
    """

    root: Path
    output_dir: Path
    model: str = ""
    n_workers: int = 1
    revision: str | None = None
    base_model: str | None = None
    adapter: str | None = None
    adapter_merge: bool = False
    engine: str = "vllm"
    server_url: str | None = None
    tp: int | None = None
    engines_per_gpu: int | None = None
    dtype: str = "bfloat16"
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    grader: CodeGrader = CodeGrader.LIGHTEVAL
    sandbox_limits: Limits | None = None
    unsafe_code: bool = False
    samples: Mapping[str, int] = field(default_factory=dict)
    subset: int | None = None
    sampling: SamplingSource = SamplingSource.DEEPSEEK
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    max_new_tokens: int | None = None
    max_model_len: int | None = None
    system_prompt: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    think_tags: ThinkTags | None = None
    thinking_budget: int | None = None
    template_date: dt.date = dt.date(2025, 1, 1)
    seed: int | None = None
    tasks: Path | None = None
    data: Path | None = None
    baseline: BaselineChoice | None = None
    anchor: BaselineChoice | None = None
    save_baseline: str | None = None
    lineage: Lineage | None = None
    asked_gate: GateKind = GateKind.FIXED
    max_samples: LastLook = LastLook.CAPPED
    allocation: AllocationKind = AllocationKind.AUTO
    policy: Policy | None = None
    family: Family = Family.NONE
    sigmas: float = 3.0
    margin: float | None = None
    relative_margin: float | None = None
    max_truncated: float | None = None
    max_no_answer: float | None = None
    claim: Claim = Claim.HELD
    two_sided: bool = False
    exact: bool = False
    inconclusive: InconclusivePolicy = InconclusivePolicy.FAIL
    reports: tuple[Path, ...] = ()
    resume: str | None = None
    fresh: bool = False
    goes_on: bool = False
    in_full: frozenset[str] = frozenset()
    fail_fast: bool = False
    slice: Slice | None = None
    timeout_s: float | None = None
    judge_only: Path | None = None
    regrades: bool = False
    named_terms: frozenset[str] = frozenset()
    upload: str | None = None
    upload_when: UploadWhen = UploadWhen.PASS
    upload_required: bool = False
    upload_public: bool = False
    upload_layout: UploadLayout = UploadLayout.LIGHTEVAL
    upload_model_page: str | None = None
    trackers: tuple[TrackerChoice, ...] = ()

    @property
    def gate(self) -> GateKind:
        """How samples are drawn: a further attempt is complete, because it is judged with earlier ones."""
        return GateKind.FIXED if self.fresh else self.asked_gate

    @property
    def template_arguments(self) -> str | None:
        """The arguments of the chat template as JSON, their keys sorted; None for none."""
        return json.dumps(self.chat_template_kwargs, sort_keys=True) if self.chat_template_kwargs else None

    @property
    def names_adapter(self) -> bool:
        """Whether an option is about an adapter, so that what is judged has to be one."""
        return self.adapter_merge or self.adapter is not None or self.base_model is not None

    @property
    def upload_wishes(self) -> UploadWishes | None:
        """Where the run is to be uploaded; None for nowhere."""
        if self.upload is None:
            return None
        return UploadWishes(
            repo=self.upload,
            layout=self.upload_layout,
            is_public=self.upload_public,
            model_page=self.upload_model_page,
        )

    def of(self, benchmark: str) -> Settings:
        """Return what was decided about one benchmark: a policy may set options for it alone."""
        member = None if self.policy is None else self.policy.member(benchmark)
        own = {} if member is None else {field: value for field, value in member.values.items() if field != "samples"}
        return replace(self, **own) if own else self  # samples are by benchmark already

    @property
    def each(self) -> tuple[Settings, ...]:
        """What was decided, for each benchmark of a policy; itself without one."""
        return (self,) if self.policy is None else tuple(map(self.of, self.policy.names))

    def gate_for(self, benchmark: str) -> GateKind:
        """Return how a benchmark's samples are drawn: in full where they count together with earlier ones."""
        return GateKind.FIXED if benchmark in self.in_full else self.of(benchmark).gate


def settings_from(config: pytest.Config) -> Settings:
    """
    Read and check every option.

    Raises:
        pytest.UsageError: If a value is not what it must be; the message names the option.
    """
    read = Reader(config, os.environ)
    _refuse_hidden(config, read)
    values, root, here = read.values(), root_of(config), config.invocation_params.dir
    policy: Policy | None = values.get("policy")
    if policy is None and RELEASE_MARK in named_marks(config):
        policy = _policy_of(root, models=[values[name] for name in _CHECKPOINTS if values.get(name)], here=here)
    if policy is not None:
        _refuse_beside(policy, read)
        values |= {"policy": policy, "samples": policy.samples}
    is_stored = "judge_only" in values
    settings = Settings(
        root=root,
        n_workers=_n_workers(config),
        regrades=is_stored and "grader" in {option.name for option in given(config, "grade")},
        named_terms=frozenset(option.name for option in given(config, "judge")) if is_stored else frozenset(),
        **values,
    )
    _refuse_contradictions(settings)
    if policy is not None:
        refuse_contradictions_in(policy, settings)
    return settings


def refuse_contradictions_in(policy: Policy, settings: Settings) -> None:
    """
    Refuse a policy of which a benchmark's options contradict each other.

    Raises:
        pytest.UsageError: If some do; the message names the benchmark.
    """
    for name in policy.names:
        try:
            _refuse_contradictions(settings.of(name))
        except pytest.UsageError as error:
            raise pytest.UsageError(f"{policy.path}, {name}: {error}") from error


_CHECKPOINTS = ("model", "adapter", "base_model")
"""Options that may name a folder of a checkpoint."""


def _policy_of(root: Path, *, models: Iterable[str], here: Path) -> Policy | None:
    """Return the policy of the user's pyproject.toml, which no checkpoint brings along."""
    try:
        policy = find_policy(root)
    except PolicyError as error:
        raise pytest.UsageError(str(error)) from error
    if policy is not None and any(root.resolve().is_relative_to((here / model).resolve()) for model in models):
        raise pytest.UsageError(
            f"-m {RELEASE_MARK}: {policy.path} is beside the model that it would judge; expected a policy that no "
            f"checkpoint brings along. Start pytest in your own folder, or name the file: --r1-policy {policy.path}"
        )
    return policy


def _refuse_beside(policy: Policy, read: Reader) -> None:
    """Refuse what a policy sets or forbids, wherever it was written: a verdict would not show that."""
    for option in OPTIONS:
        if option.policy == "beside" or not read.is_given(option):
            continue
        remedy = "write it into the policy" if option.policy == "set" else "judge without the policy"
        raise pytest.UsageError(
            f"{option.flag} (or {option.dest}) beside the release policy {policy.path}, which alone decides what a "
            f"benchmark is judged by; drop the option, or {remedy}"
        )


def _refuse_hidden(config: pytest.Config, read: Reader) -> None:
    """Refuse a control character in any argument or path: it would be printed, and a newline is a line of a script."""
    texts = {"the folder that pytest was started in": str(config.invocation_params.dir)}
    for option in OPTIONS:
        for number, text in enumerate(read.texts(option), 1):
            what = f"{option.flag} ({number})" if option.is_repeatable else option.flag
            texts[what] = without_lines(text) if option.may_have_lines else text
    for what, text in texts.items():
        if (hidden := hidden_in(text)) is not None:
            raise pytest.UsageError(
                f"{what} is {text!a}, with the character {hidden}; expected text that can be printed on one line"
            )
    if (wrong := hidden_argument([str(word) for word in config.invocation_params.args])) is not None:
        raise pytest.UsageError(f"the argument {wrong}")


def _refuse_contradictions(settings: Settings) -> None:
    """Refuse options that contradict each other, or that need another one."""
    if settings.anchor is not None and settings.asked_gate is GateKind.SEQUENTIAL:
        raise pytest.UsageError(
            "--r1-anchor with --r1-gate sequential: looks are planned around one baseline; leave one of the two out"
        )
    if settings.claim is Claim.SAME and settings.margin is None:
        raise pytest.UsageError(
            "--r1-claim same without --r1-margin: expected --r1-margin POINTS, the difference that a PASS must exclude "
            "on both sides"
        )
    if settings.claim is Claim.SAME and settings.asked_gate is GateKind.SEQUENTIAL and settings.judge_only is None:
        raise pytest.UsageError(
            "--r1-claim same with --r1-gate sequential: looks are planned to see a fall, not to exclude a rise; leave "
            "one of the two out"
        )
    if settings.fail_fast and settings.slice is not None:
        raise pytest.UsageError(
            "--r1-fail-fast with --r1-slice: the slice of one machine has no verdict, so that nothing can end the run; "
            "leave one of the two out"
        )
    if settings.upload is None and (settings.upload_model_page is not None or settings.upload_required):
        flag = "--r1-upload-required" if settings.upload_model_page is None else "--r1-upload-model-page"
        raise pytest.UsageError(f"{flag} without --r1-upload: expected --r1-upload REPO, where the samples go")


_CHOOSING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "thinking_budget")
"""What each option of that name sets, of what chooses a token."""


def chosen_sampling(settings: Settings, *, recommended: Sampling | None) -> Sampling:
    """
    Return how tokens are chosen: by the options, else as `--r1-sampling` has it; lengths are another matter.

    Args:
        settings: What the user decided.
        recommended: What the checkpoint recommends, where the user wants that.
    """
    asked = {name: value for name in _CHOOSING if (value := getattr(settings, name)) is not None}
    return replace(recommended or Sampling(), **asked)


def sampling_for(
    benchmark: Benchmark, settings: Settings, *, max_position: int | None, recommended: Sampling | None = None
) -> Sampling:
    """
    Return one benchmark's sampling: as asked for, else its own default, within the model's context.

    A budget that no response can reach is none: it would be the same question under another name.
    """
    is_policed, settings = settings.policy is not None, settings.of(benchmark.name)
    if is_policed and settings.sampling is not SamplingSource.MODEL:
        recommended = None  # it was read for another benchmark of the policy
    chosen = chosen_sampling(settings, recommended=recommended)
    asked_length = settings.max_model_len or chosen.max_model_length
    max_new_tokens = settings.max_new_tokens or benchmark.max_new_tokens or chosen.max_new_tokens
    budget = chosen.thinking_budget
    return replace(
        chosen,
        thinking_budget=None if budget is None or budget >= max_new_tokens else budget,
        max_new_tokens=max_new_tokens,
        max_model_length=min(asked_length, max_position or asked_length),
    )


def _n_workers(config: pytest.Config) -> int:
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return int(workerinput["workercount"])
    specs = config.getoption("tx", default=None) or []
    counts = (spec.partition("*")[0] if "*" in spec else "1" for spec in specs)  # xdist takes 3*popen for three
    return max(1, sum(int(count) if count.isdecimal() else 1 for count in counts))
