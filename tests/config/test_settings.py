"""Options, environment and ini: one order of precedence, and every bad value named."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_r1eval.config.baseline_choice import File, Named, OnHub, Previous, Published
from pytest_r1eval.config.option import Option
from pytest_r1eval.config.options import MARKS, NEWEST, OPTIONS
from pytest_r1eval.config.reading import is_asked
from pytest_r1eval.config.settings import Settings, chosen_sampling, sampling_for, settings_from
from pytest_r1eval.config.tracker_choice import TrackerChoice
from pytest_r1eval.core.benchmarks import Sampling
from pytest_r1eval.core.built_in import BUILT_IN, BUILT_IN_POOLS
from pytest_r1eval.core.choices import (
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
from pytest_r1eval.core.thinking import ThinkTags
from pytest_r1eval.core.uploads import UploadWishes
from pytest_r1eval.exams.catalog import SMOKE
from pytest_r1eval.sandbox import Limits

Read = Callable[..., Settings]


@pytest.fixture
def read(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Return a function that reads the settings of a command line, an environment and an ini file."""

    def settings(*arguments: str, environment: dict[str, str] | None = None, ini: str = "") -> Settings:
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        pytester.makeini(f"[pytest]\n{ini}\n")
        return settings_from(pytester.parseconfig(*arguments))

    return settings


def usage_error(read: Read, *arguments: str, environment: dict[str, str] | None = None, ini: str = "") -> str:
    """Return what a user reads."""
    with pytest.raises(pytest.UsageError) as caught:
        read(*arguments, environment=environment, ini=ini)
    return str(caught.value)


LIMITS: list[dict[str, Any]] = [{"cpu_s": 1.0}, {"wall_s": 2.5}, {"n_threads": 3}]

DATES = (dt.date(2024, 12, 31), dt.date(2025, 2, 28), dt.date(2026, 1, 1))

LINEAGES: list[dict[str, Any]] = [{"step": 1}, {"parent": "a/b"}, {"commit": "c"}]

TRACKERS = (("mlflow", None), ("wandb", None), ("mlflow", "m/7"))
KINDS: list[tuple[str, str, str, str, tuple[object, ...]]] = [
    ("model", "a/a", "b/b", "c/c", ("a/a", "b/b", "c/c")),
    ("revision", "r1", "r2", "r3", ("r1", "r2", "r3")),
    ("base-model", "a/a", "b/b", "c/c", ("a/a", "b/b", "c/c")),
    ("adapter", "a/a", "b/b", "c/c", ("a/a", "b/b", "c/c")),
    ("engine", "replay", "vllm", "replay", ("replay", "vllm", "replay")),
    ("server-url", "http://a:1", "https://b/v1/", "http://c/d", ("http://a:1", "https://b", "http://c/d")),
    ("tp", "2", "auto", "8", (2, None, 8)),
    ("engines-per-gpu", "2", "auto", "8", (2, None, 8)),
    ("dtype", "float32", "float16", "auto", ("float32", "float16", "auto")),
    ("gpu-memory-utilization", "0.1", "0.2", "1", (0.1, 0.2, 1.0)),
    ("engine-arg", "a-b=1", "c=true", "d=x", ({"a_b": 1}, {"c": True}, {"d": "x"})),
    ("samples", "aime24=1", "gpqa=2", "lcb=3", ({"aime24": 1}, {"gpqa": 2}, {"lcb": 3})),
    ("subset", "1", "2", "3", (1, 2, 3)),
    ("temperature", "0", "0.5", "1", (0.0, 0.5, 1.0)),
    ("top-p", "0.1", "0.2", "1", (0.1, 0.2, 1.0)),
    ("sampling", "model", "deepseek", "model", tuple(map(SamplingSource, ("model", "deepseek", "model")))),
    ("top-k", "0", "20", "40", (0, 20, 40)),
    ("min-p", "0", "0.05", "1", (0.0, 0.05, 1.0)),
    ("repetition-penalty", "1", "1.05", "0.5", (1.0, 1.05, 0.5)),
    ("presence-penalty", "-2", "0", "1.5", (-2.0, 0.0, 1.5)),
    ("max-new-tokens", "1", "2", "3", (1, 2, 3)),
    ("max-model-len", "1", "2", "3", (1, 2, 3)),
    ("system-prompt", "Be brief.", "Think.", "50 % off", ("Be brief.", "Think.", "50 % off")),
    ("chat-template-kwargs", "a=1", "b=false", "c=x", ({"a": 1}, {"b": False}, {"c": "x"})),
    ("think-tags", "<a>,</a>", "[B], [/B]", "c,d",
     tuple(ThinkTags(opening=one, closing=two) for one, two in (("<a>", "</a>"), ("[B]", "[/B]"), ("c", "d")))),
    ("thinking-budget", "1", "512", "4096", (1, 512, 4096)),
    ("template-date", "2024-12-31", "2025-02-28", "2026-01-01", DATES),
    ("seed", "0", "1", str(2**63 - 1), (0, 1, 2**63 - 1)),
    ("grader", "strict", "lighteval", "strict", tuple(map(CodeGrader, ("strict", "lighteval", "strict")))),
    ("sandbox-limit", "cpu_s=1", "wall_s=2.5", "n_threads=3", tuple(Limits(**each) for each in LIMITS)),
    ("baseline", "published", "previous", "a/b", (Published(), Previous(), Named(name="a/b"))),
    ("log", "mlflow", "wandb", "mlflow:m/7", tuple((TrackerChoice(name=n, version=v),) for n, v in TRACKERS)),
    ("anchor", "a/b", "previous", "hf://x", (Named(name="a/b"), Previous(), OnHub(place="hf://x"))),
    ("save-baseline", "a/a", "b/b", "c/c", ("a/a", "b/b", "c/c")),
    ("lineage", "step=1", "parent=a/b", "commit=c", tuple(Lineage(**each) for each in LINEAGES)),
    ("gate", "sequential", "fixed", "sequential", tuple(map(GateKind, ("sequential", "fixed", "sequential")))),
    ("max-samples", "auto", "k", "auto", tuple(map(LastLook, ("auto", "k", "auto")))),
    ("allocation", "equal", "auto", "equal", tuple(map(AllocationKind, ("equal", "auto", "equal")))),
    ("family", "holm", "none", "holm", tuple(map(Family, ("holm", "none", "holm")))),
    ("sigmas", "1", "2.5", "4", (1.0, 2.5, 4.0)),
    ("margin", "1", "2", "50", (0.01, 0.02, 0.5)),
    ("relative-margin", "1", "2", "50", (0.01, 0.02, 0.5)),
    ("max-truncated", "0", "2", "50", (0.0, 0.02, 0.5)),
    ("max-no-answer", "0", "2", "50", (0.0, 0.02, 0.5)),
    ("claim", "held", "held", "held", (Claim.HELD, Claim.HELD, Claim.HELD)),
    ("inconclusive", "pass", "fail", "pass", tuple(map(InconclusivePolicy, ("pass", "fail", "pass")))),
    ("resume", "run1", "run2", "run3", ("run1", "run2", "run3")),
    ("timeout", "60", "30", "1.5", (60.0, 30.0, 1.5)),
    ("slice", "1/2", "2/2", "3/4", (Slice(number=1, total=2), Slice(number=2, total=2), Slice(number=3, total=4))),
]  # fmt: skip
"""Option, value on the command line, in the environment, in the ini file, and what each becomes."""

DEFAULTS: dict[str, object] = {
    "engine": "vllm",
    "server_url": None,
    "tp": None,
    "engines_per_gpu": None,
    "dtype": "bfloat16",
    "gpu_memory_utilization": 0.8,
    "engine_args": {},
    "grader": CodeGrader.LIGHTEVAL,
    "sandbox_limits": None,
    "unsafe_code": False,
    "samples": {},
    "subset": None,
    "sampling": SamplingSource.DEEPSEEK,
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "min_p": None,
    "repetition_penalty": None,
    "presence_penalty": None,
    "max_new_tokens": None,
    "max_model_len": None,
    "system_prompt": None,
    "chat_template_kwargs": {},
    "think_tags": None,
    "thinking_budget": None,
    "template_date": dt.date(2025, 1, 1),
    "seed": None,
    "revision": None,
    "tasks": None,
    "data": None,
    "baseline": None,
    "anchor": None,
    "save_baseline": None,
    "lineage": None,
    "gate": GateKind.FIXED,
    "max_samples": LastLook.CAPPED,
    "allocation": AllocationKind.AUTO,
    "family": Family.NONE,
    "sigmas": 3.0,
    "margin": None,
    "claim": Claim.HELD,
    "two_sided": False,
    "fail_fast": False,
    "exact": False,
    "inconclusive": InconclusivePolicy.FAIL,
    "resume": None,
    "timeout_s": None,
    "n_workers": 1,
}


def attribute(option: str) -> str:
    """Return the name of an option's attribute."""
    (found,) = [row for row in OPTIONS if row.name == option]
    return found.field or found.keyword


class TestPrecedence:
    """The command line, then the environment, then the ini file, then the default."""

    @pytest.mark.parametrize(("name", "values", "expected"), [(kind[0], kind[1:4], kind[4]) for kind in KINDS])
    def test_nearer_source_wins(
        self, read: Read, name: str, values: tuple[str, str, str], expected: tuple[object, ...]
    ) -> None:
        """The command line goes before the environment, and the environment before the ini file."""
        line, variable, key = values
        dest = f"r1_{name.replace('-', '_')}"
        arguments, environment, ini = (f"--r1-{name}={line}",), {dest.upper(): variable}, f"{dest} = {key}"

        from_ini = read(ini=ini)
        # the environment stays for the rest of the test
        from_environment = read(environment=environment, ini=ini)
        from_line = read(*arguments, ini=ini)

        actual = tuple(getattr(found, attribute(name)) for found in (from_line, from_environment, from_ini))
        assert expected == actual

    def test_every_option_with_a_value_is_above_or_below(self) -> None:
        """Each option with a value is covered by the tests of this module."""
        elsewhere = {
            "tasks",
            "data",
            "judge-only",
            "policy",
            "output-dir",
            "two-sided",
            "exact",
            "unsafe-code",
            "adapter-merge",
            "fresh",
            "fail-fast",
            "report",
        }
        elsewhere |= {option.name for option in OPTIONS if option.name.startswith("upload")}

        assert {option.name for option in OPTIONS} == {*elsewhere, *(option for option, *_ in KINDS)}

    def test_a_further_attempt_is_drawn_in_full(self, read: Read) -> None:
        """`--r1-fresh` uses the fixed rule, whatever gate was asked for."""
        found = read("--r1-fresh", "--r1-gate", "sequential")
        assert (found.fresh, found.gate, found.asked_gate) == (True, GateKind.FIXED, GateKind.SEQUENTIAL)
        assert not read().fresh

    def test_defaults(self, read: Read, pytester: pytest.Pytester) -> None:
        """A run without options has DeepSeek's recipe and the standard gate."""
        found = read()

        assert {name: getattr(found, name) for name in DEFAULTS} == DEFAULTS
        assert pytester.path / "data" / "evals" == found.output_dir
        assert pytester.path == found.root

    @pytest.mark.parametrize("name", ["two-sided", "exact", "unsafe-code", "fail-fast"])
    def test_flags(self, read: Read, name: str) -> None:
        """A flag accepts the usual words for true and false, and the environment can unset the ini file's."""
        dest = f"r1_{name.replace('-', '_')}"

        assert [
            getattr(read(ini=f"{dest} = {word}"), attribute(name))
            for word in ("true", "1", "Yes", "ON", "false", "0", "no", "off", "")
        ] == [True] * 4 + [False] * 5
        assert getattr(read(environment={dest.upper(): "0"}, ini=f"{dest} = true"), attribute(name)) is False
        assert getattr(read(f"--r1-{name}"), attribute(name)) is True

    @pytest.mark.parametrize("source", ["line", "environment", "ini"])
    def test_paths(self, read: Read, pytester: pytest.Pytester, source: str) -> None:
        """Files and folders are looked for from where pytest was called; ~ is the home folder everywhere."""
        (pytester.path / "my_tasks.py").touch()
        (pytester.path / "sets").mkdir()
        values = {"tasks": "my_tasks.py", "data": "sets", "judge-only": "sets", "output-dir": "~/runs"}
        found = read(
            *(f"--r1-{name}={value}" for name, value in values.items() if source == "line"),
            environment={
                f"R1_{name.replace('-', '_').upper()}": value
                for name, value in values.items()
                if source == "environment"
            },
            ini="\n".join(
                f"r1_{name.replace('-', '_')} = {value}" for name, value in values.items() if source == "ini"
            ),
        )

        assert (pytester.path / "my_tasks.py").resolve() == found.tasks
        assert (pytester.path / "sets").resolve() == found.data == found.judge_only
        assert Path("~/runs").expanduser() == found.output_dir

    @pytest.mark.parametrize("character", ["\n", "\x1b[2J", "\u202e", "\udcff"])
    @pytest.mark.parametrize("option", [option for option in OPTIONS if not (option.is_flag or option.choices)])
    def test_a_control_character_is_refused(self, read: Read, option: Option, character: str) -> None:
        """An option with a control character is refused in printable ASCII; a system prompt may have line breaks."""
        if option.name == "system-prompt" and character == "\n":
            assert read(option.flag, "two\nlines").system_prompt == "two\nlines"
            return
        said = usage_error(read, option.flag, f"x{character}::error::y")
        assert said.startswith(option.flag)
        assert "expected text that can be printed on one line" in said
        assert said.isascii()
        assert said.isprintable()

    def test_a_control_character_in_the_environment_is_refused(self, read: Read) -> None:
        """A control character in a variable is refused as on the command line."""
        said = usage_error(read, environment={"R1_OUTPUT_DIR": "runs\nrun=/elsewhere"})
        assert said.startswith(r"--r1-output-dir is 'runs\nrun=/elsewhere', with the character '\n'; expected text")

    @pytest.mark.parametrize("character", ["\n", "\x07", "\x85", "\u2028"])
    def test_a_control_character_in_another_option_is_refused(self, read: Read, character: str) -> None:
        """Pytest prints its own options' values as they are, as where -k cannot be parsed."""
        said = usage_error(read, "-k", f"x{character}::error::y")
        assert said.startswith("the argument 'x")
        assert said.isascii()
        assert said.isprintable()

    def test_empty_variable_is_not_set(self, read: Read) -> None:
        """An empty variable counts as not set."""
        assert read() == read(environment={option.dest.upper(): "" for option in OPTIONS})

    def test_empty_variable_does_not_hide_the_ini_file(self, read: Read) -> None:
        """An empty variable hides neither the ini file nor the default, for single and for repeated options."""
        found = read(environment={"R1_SEED": "", "R1_SAMPLES": ""}, ini="r1_seed = 5\nr1_samples = aime24=2")

        assert found.seed == 5
        assert found.samples == {"aime24": 2}

    def test_repeated_options(self, read: Read) -> None:
        """A repeated option is given several times, separated by blanks in the environment, or by lines in the ini."""
        pairs = ("aime24=8", "gpqa=2", "aime24=16")
        expected = {"aime24": 16, "gpqa": 2}

        assert expected == read(ini="r1_samples =\n    " + "\n    ".join(pairs)).samples
        assert expected == read(*(f"--r1-samples={pair}" for pair in pairs)).samples
        assert expected == read(environment={"R1_SAMPLES": "  ".join(pairs)}).samples

    @pytest.mark.parametrize(
        ("text", "key", "value"),
        [
            ("max-num-seqs=256", "max_num_seqs", 256),
            ("enforce_eager=true", "enforce_eager", True),
            ("quantization=fp8", "quantization", "fp8"),
            ('override={"a": [1, null]}', "override", {"a": [1, None]}),
            ("formula=a=b", "formula", "a=b"),
            ("empty=", "empty", ""),
        ],
    )  # fmt: skip
    def test_engine_arguments_are_json_or_text(self, read: Read, text: str, key: str, value: object) -> None:
        """Engine arguments keep the types of JSON or are text, and dashes in their names become underscores."""
        assert {key: value} == read("--r1-engine-arg", text).engine_args

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("enable_thinking=false", '{"enable_thinking": false}'),
            ("reasoning_effort=high", '{"reasoning_effort": "high"}'),
            ('reasoning_effort="high"', '{"reasoning_effort": "high"}'),
            ("thinking_budget=512", '{"thinking_budget": 512}'),
            ("x=NaN", '{"x": "NaN"}'),
        ],
    )
    def test_template_arguments_are_stored_as_json(self, read: Read, text: str, expected: str) -> None:
        """Template arguments are stored as JSON, and what JSON cannot read becomes text."""
        assert expected == read("--r1-chat-template-kwargs", text).template_arguments
        assert read().template_arguments is None

    def test_bare_resume_is_the_newest_run(self, read: Read) -> None:
        """`--r1-resume` without a value continues the newest run."""
        expected = NEWEST
        assert expected == read("--r1-resume").resume


class TestPlaces:
    """Where a relative path starts depends on where it was written."""

    @pytest.fixture
    def below(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Start in a folder of the project."""
        folder = pytester.path / "a" / "b"
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
        return folder

    def test_runs_of_a_project_have_one_folder(self, read: Read, below: Path, pytester: pytest.Pytester) -> None:
        """Runs of a project share a folder, and so a ledger, wherever pytest starts."""
        assert read().output_dir == pytester.path / "data" / "evals"
        assert below == Path.cwd()

    def test_the_command_line_is_relative_to_the_current_folder(self, read: Read, below: Path) -> None:
        """Relative paths of the command line and the environment start at the current folder."""
        (below / "t.py").touch()
        found = read("--r1-output-dir=runs", "--r1-baseline=../x.json", environment={"R1_TASKS": "t.py"})
        assert found.output_dir == below / "runs"
        assert found.baseline == File(text="../x.json", path=below / ".." / "x.json")
        assert found.tasks == (below / "t.py").resolve()

    def test_an_ini_file_is_relative_to_itself(self, read: Read, below: Path, pytester: pytest.Pytester) -> None:
        """A relative path of an ini file means the same wherever pytest starts below it."""
        (pytester.path / "t.py").touch()
        found = read(ini="r1_output_dir = runs\nr1_tasks = t.py\nr1_baseline = x.json\nr1_report = r.md")
        assert below == Path.cwd()
        assert found.output_dir == pytester.path / "runs"
        assert found.tasks == (pytester.path / "t.py").resolve()
        assert found.baseline == File(text="x.json", path=pytester.path / "x.json")
        assert found.reports == (pytester.path / "r.md",)


class TestWorkers:
    """The number of shards is the number of workers, as xdist counts them."""

    @pytest.mark.usefixtures("all_plugins")
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((), 1),
            (("--tx", "popen"), 1),
            (("--tx", "popen", "--tx", "popen"), 2),
            (("--tx", "3*popen"), 3),
            (("--tx", "2*popen//python=python3", "--tx", "popen"), 3),
            (("-p", "no:xdist"), 1),
        ],
    )
    def test_workers_are_counted(self, read: Read, arguments: tuple[str, ...], expected: int) -> None:
        """Workers are counted from `--tx`, where `3*popen` is three of them."""
        assert expected == read(*arguments).n_workers


SERVER_URL = "an http or https URL of a host, as in http://localhost:8000"
BAD_VALUES = [
    *((name, bad, f"--r1-{name} is {bad!r}; expected {expected}") for names, bads, expected in (
        (("template-date",), ("today", "20250101", "2025-02-30"), "a date, as in 2025-01-01"),
        (("thinking-budget",), ("0", "-1", "1.5", "some"), "a whole number, 1 or more"),
        (("subset", "max-new-tokens", "max-model-len"), ("0", "-1", "1.5", "many"), "a whole number, 1 or more"),
        (("tp", "engines-per-gpu"), ("0", "-1", "1.5", "many"), "auto or a whole number, 1 or more"),
        (("seed",), ("-1", "0.5", "x", str(2**63)), "a whole number from 0 to 2**63 - 1"),
        (("temperature",), ("-0.1", "nan", "inf", "hot"), "a number, 0 or more"),
        (("chat-template-kwargs",), ("enable-thinking=false", "x", "=1"),
         "KEY=VALUE with a name that a template can read, as in enable_thinking=false"),
        (("chat-template-kwargs",), ("tokenize=0",), "an argument of the template's own; every prompt sets tokenize"),
        (("chat-template-kwargs",), ("enable_thinking=False",), "JSON: false"),
        (("think-tags",), ("<think>", "<think>,", "a,a", "a,b,c"), "OPEN,CLOSE, two tags, as in <think>,</think>"),
        (("top-k",), ("-1", "1.5", "all"), "a whole number, 0 or more"),
        (("min-p",), ("-0.1", "1.1", "nan"), "a number from 0 to 1"),
        (("repetition-penalty",), ("0", "-1", "nan", "inf"), "a number above 0"),
        (("presence-penalty",), ("-2.1", "3", "nan"), "a number from -2 to 2"),
        (("sampling",), ("card",), "one of deepseek, model"),
        (("sigmas",), ("0", "-1", "nan", "inf", "38", "x"), "a number above 0 and at most 37"),
        (("margin",), ("0", "-1", "nan", "inf", "x", "100.1", "1000", "5e-324"), "points above 0 and at most 100"),
        (("gpu-memory-utilization", "top-p"), ("0", "1.01", "nan", "80%"), "a number above 0 and at most 1"),
        (("tasks",), ("missing.py", "."), "an existing file"),
        (("data",), ("missing", "test.ini"), "an existing folder"),
        (("output-dir",), ("~nobody-of-this-name/runs",), "a path"),
        (("two-sided", "exact", "unsafe-code"), ("maybe", "2"), "true or false"),
        (("server-url",), ("localhost:8000", "ftp://a", "http://", "http:///v1"), SERVER_URL),
        (("engine",), ("VLLM", "sglang"), "one of replay, server, vllm"),
        (("gate",), ("sometimes",), f"one of {', '.join(GateKind)}"),
        (("inconclusive",), ("ignore",), "one of fail, pass"),
        (("max-samples",), ("64",), "one of k, auto"),
        (("allocation",), ("some",), "one of auto, equal"),
        (("family",), ("bonferroni",), "one of none, holm"),
    ) for name in names for bad in bads),
    *(("samples", bad, f"--r1-samples is {bad!r}; expected BENCH=K with K 1 or more, as in aime24=64")
      for bad in ("aime24", "64", "aime24=0", "aime24=-1", "aime24=x", "aime24=", "=4", "aime24=²", "aime24=1=2")),
    *(("engine-arg", bad, f"--r1-engine-arg is {bad!r}; expected KEY=VALUE, as in max_num_seqs=256")
      for bad in ("max_num_seqs", "=1")),
]  # fmt: skip


PARSED_BY_PYTEST = {
    "allocation",
    "exact",
    "family",
    "gate",
    "grader",
    "inconclusive",
    "max-samples",
    "sampling",
    "two-sided",
    "unsafe-code",
}
"""Options whose values on the command line are pytest's parser's business."""


class TestBadValues:
    """A bad value is a usage error that names the option, what was found and what was expected."""

    @pytest.mark.parametrize("name", list(dict.fromkeys(name for name, _, _ in BAD_VALUES)))
    def test_in_the_environment(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """A bad value in the environment is refused under the option's name."""
        config = pytester.parseconfig()
        for bad, expected in [(bad, expected) for option, bad, expected in BAD_VALUES if option == name]:
            monkeypatch.setenv(f"R1_{name.replace('-', '_').upper()}", bad)

            with pytest.raises(pytest.UsageError) as caught:
                settings_from(config)

            assert expected == str(caught.value)

    @pytest.mark.parametrize(
        ("name", "bad", "expected"),
        [case for case in {case[0]: case for case in BAD_VALUES}.values() if case[0] not in PARSED_BY_PYTEST],
    )
    def test_on_the_command_line(self, read: Read, name: str, bad: str, expected: str) -> None:
        """A wrong value on the command line is refused in the option's sentence; each option has one."""
        assert expected == usage_error(read, f"--r1-{name}={bad}")

    def test_in_the_ini_file(self, read: Read) -> None:
        """A wrong value in the ini file is refused in the option's sentence."""
        expected = "--r1-tp is '0'; expected auto or a whole number, 1 or more"
        assert expected == usage_error(read, ini="r1_tp = 0")

    @pytest.mark.parametrize(
        "option",
        [option for option in OPTIONS if not (option.is_flag or option.choices)],
        ids=lambda option: option.name,
    )
    def test_empty_on_the_command_line(self, read: Read, option: Option) -> None:
        """An empty value on the command line is refused, so that an unset shell variable is not a default."""
        assert usage_error(read, f"{option.flag}=").startswith(f"{option.flag} is ''; expected ")

    @pytest.mark.parametrize(
        "arguments", [("--r1-model", ""), ("--r1-judge-only=",), ("--r1-model=x/y", "--r1-anchor=")]
    )
    def test_empty_is_an_error_of_the_run(self, pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
        """An empty model, run or anchor is a usage error, so that an unset variable does not end green."""
        pytester.makepyfile("def test_mine(): pass")
        result = pytester.runpytest_inprocess(*arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        (line,) = [line for line in result.errlines if line]
        assert line.startswith(f"ERROR: {arguments[-1].rstrip('=') or '--r1-model'} is ''; expected ")

    def test_more_samples_than_anything_resolves(self, read: Read) -> None:
        """More than 10,000 samples of a problem are refused at once."""
        assert usage_error(read, "--r1-samples=smoke=9999999999") == (
            "--r1-samples is 'smoke=9999999999'; expected at most 10000 samples of a problem: more resolve nothing "
            "beside a harness's noise"
        )
        assert read("--r1-samples=smoke=10000").samples == {"smoke": 10_000}

    def test_a_claim_of_sameness_needs_a_margin_and_no_looks(self, read: Read) -> None:
        """The claim that two models are the same is refused without a margin, and with looks; a margin makes it one."""
        assert read("--r1-claim=same", "--r1-margin=3").claim is Claim.SAME
        assert usage_error(read, "--r1-claim=same") == (
            "--r1-claim same without --r1-margin: expected --r1-margin POINTS, the difference that a PASS must exclude "
            "on both sides"
        )
        assert "not to exclude a rise; leave one of the two out" in usage_error(
            read, "--r1-claim=same", "--r1-margin=3", "--r1-gate=sequential"
        )

    def test_an_anchor_and_looks_exclude_each_other(self, read: Read) -> None:
        """A sequential gate is planned around one baseline, so the second would be ignored; it is refused instead."""
        message = usage_error(read, "--r1-anchor=a/b", "--r1-gate=sequential")

        assert message == (
            "--r1-anchor with --r1-gate sequential: looks are planned around one baseline; leave one of the two out"
        )

    @pytest.mark.parametrize("option", [option for option in OPTIONS if option.choices], ids=lambda option: option.name)
    def test_choices_on_the_command_line(self, read: Read, option: Option) -> None:
        """A wrong choice is refused with the choices as they are typed."""
        message = usage_error(read, f"{option.flag}=neither")

        assert f"argument {option.flag}: invalid choice: 'neither' (choose from " in message
        assert all(choice in message for choice in option.choices or ())
        assert "Kind" not in message

    def test_marks_are_the_benchmarks(self) -> None:
        """Every benchmark's mark is registered without an import of the benchmarks."""
        own = ("r1eval", "release", "smoke", "smoke_code")
        assert (*own, *(benchmark.mark for benchmark in BUILT_IN), *BUILT_IN_POOLS) == MARKS

    def test_bad_value_reaches_the_user_as_one_line(self, pytester: pytest.Pytester) -> None:
        """A bad value ends pytest with exit code 4 and one line, without a traceback."""
        result = pytester.runpytest_inprocess("--r1-model", "x/y", "-m", "aime", "--r1-tp", "two")

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        expected = ["ERROR: --r1-tp is 'two'; expected auto or a whole number, 1 or more"]
        assert expected == [line for line in result.errlines if line]


class TestServer:
    """An address, and nothing that is a secret."""

    @pytest.mark.parametrize("url", ["http://me:hush@a", "https://a/v1?key=hush", "https://a/#hush", "http://a:hush"])
    def test_what_may_be_secret_is_not_repeated(self, read: Read, url: str) -> None:
        """A refused server address is not repeated in the message, because it may contain a key."""
        message = usage_error(read, f"--r1-server-url={url}")

        assert message.startswith("--r1-server-url ")
        assert "hush" not in message

    def test_other_engines_may_have_one_in_their_ini_file(self, read: Read) -> None:
        """An ini file with a server's address serves runs with another engine."""
        found = read("--r1-engine", "vllm", ini="r1_server_url = http://a")

        assert (found.engine, found.server_url) == ("vllm", "http://a")


class TestUpload:
    def test_nothing_is_uploaded_by_default(self, read: Read) -> None:
        """An upload is asked for, private, under LightEval's names, and made only where the gates are green."""
        assert read().upload_wishes is None
        found = read("--r1-upload=acme/runs")
        assert found.upload_wishes == UploadWishes(repo="acme/runs", layout=UploadLayout.LIGHTEVAL, is_public=False)
        assert (found.upload_when, found.upload_required) == (UploadWhen.PASS, False)

    def test_every_option(self, read: Read) -> None:
        """Every option of uploads is read, from whichever source it comes."""
        environment = {"R1_UPLOAD_WHEN": "always", "R1_UPLOAD_PUBLIC": "1", "R1_UPLOAD_REQUIRED": "true"}
        found = read(
            "--r1-upload-layout=open-r1",
            "--r1-upload-model-page=acme/model",
            environment=environment,
            ini="r1_upload = acme",
        )
        wishes = UploadWishes(repo="acme", layout=UploadLayout.OPEN_R1, is_public=True, model_page="acme/model")
        assert wishes == found.upload_wishes
        assert (found.upload_when, found.upload_required) == (UploadWhen.ALWAYS, True)

    def test_a_page_is_a_models(self, read: Read) -> None:
        """--r1-upload-model-page refuses an organisation without a model."""
        said = usage_error(read, "--r1-upload=acme/runs", "--r1-upload-model-page=acme")
        assert said == "--r1-upload-model-page is 'acme'; expected org/name of the model"

    @pytest.mark.parametrize("bad", ["a/b/c", "https://huggingface.co/a/b", "-a/b", "a b"])
    def test_a_repository_has_a_name(self, read: Read, bad: str) -> None:
        """--r1-upload refuses what is neither org/name nor an organisation."""
        assert "expected org/name, or org alone" in usage_error(read, f"--r1-upload={bad}")

    @pytest.mark.parametrize("flag", ["--r1-upload-required", "--r1-upload-model-page=acme/model"])
    def test_what_needs_an_upload(self, read: Read, flag: str) -> None:
        """An option that needs --r1-upload is refused without it."""
        assert "without --r1-upload: expected --r1-upload REPO" in usage_error(read, flag)


class TestModel:
    """Without a model, and without a stored run to judge, the plugin is silent."""

    @pytest.mark.parametrize(
        ("arguments", "environment", "expected"),
        [
            ((), {}, False),
            ((), {"R1_MODEL": ""}, False),
            (("--r1-model", "a/b"), {}, True),
            ((), {"R1_MODEL": "a/b"}, True),
            (("--r1-judge-only", "run"), {}, True),
        ],
    )
    def test_is_asked(
        self,
        pytester: pytest.Pytester,
        monkeypatch: pytest.MonkeyPatch,
        arguments: tuple[str, ...],
        environment: dict[str, str],
        *,
        expected: bool,
    ) -> None:
        """A gate is asked for by a model or a stored run, and no other option is looked at."""
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

        assert is_asked(pytester.parseconfig("--r1-tp=bad", *arguments)) is expected


def test_help_lists_every_option(pytester: pytest.Pytester) -> None:
    """`--help` lists each option with its choices, ini key and default."""
    text = " ".join(pytester.runpytest_inprocess("--help").stdout.str().split())

    for option in OPTIONS:
        assert f" {option.flag}" in text
        assert f" {option.dest} (" in text
        assert option.default is None or f"[{option.default}]" in text
        assert "|".join(option.choices or ()) in text
    assert "Kind" not in text


class TestReports:
    """Where reports go, by suffix."""

    def test_files_are_below_the_folder_of_the_call(self, read: Read, pytester: pytest.Pytester) -> None:
        """Several reports, of several kinds, are written below the current folder."""
        found = read("--r1-report", "a.html", "--r1-report", "b/c.json").reports
        assert found == (pytester.path / "a.html", pytester.path / "b" / "c.json")

    def test_another_suffix_is_refused(self, read: Read) -> None:
        """`--r1-report` refuses an unknown suffix and names the known ones."""
        expected = "expected a file that ends in .html, .md, .json, .prom or .txt"
        assert expected in usage_error(read, "--r1-report", "a.pdf")


class TestSampling:
    """Which values a token is chosen with."""

    RECOMMENDED = Sampling(temperature=0.7, top_p=0.8, top_k=20)

    def test_without_an_option_it_is_deepseeks(self, read: Read) -> None:
        """Without an option the sampling is DeepSeek's, which published numbers of R1 models use."""
        assert Sampling() == chosen_sampling(read(), recommended=None)

    def test_an_option_goes_before_the_recommendation(self, read: Read) -> None:
        """An option overrides the model's recommendation for its own value alone, 0 and 1 included."""
        found = read("--r1-sampling=model", "--r1-top-k=0", "--r1-temperature=0", "--r1-presence-penalty=1")
        expected = Sampling(temperature=0.0, top_p=0.8, top_k=0, presence_penalty=1.0)
        assert expected == chosen_sampling(found, recommended=self.RECOMMENDED)

    def test_a_recommendation_leaves_lengths_alone(self, read: Read) -> None:
        """A model's recommended sampling does not change the lengths, which are the benchmark's."""
        found = sampling_for(SMOKE, read(), max_position=4096, recommended=self.RECOMMENDED)
        expected = sampling_for(SMOKE, read(), max_position=4096)
        assert (found.max_new_tokens, found.max_model_length) == (expected.max_new_tokens, expected.max_model_length)
        assert found.top_k == 20

    def test_a_budget_that_no_response_can_reach_is_none(self, read: Read) -> None:
        """A thinking budget as large as the room changes nothing and is dropped; a smaller one is kept."""
        settings = read("--r1-max-new-tokens=100", "--r1-thinking-budget=100")
        assert sampling_for(SMOKE, settings, max_position=None).thinking_budget is None
        settings = read("--r1-max-new-tokens=100", "--r1-thinking-budget=99")
        assert sampling_for(SMOKE, settings, max_position=None).thinking_budget == 99
