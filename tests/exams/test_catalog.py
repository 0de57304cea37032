"""The catalog: four sources, no name twice, and no LightEval at collection."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_r1eval.core.benchmarks import Benchmark
from pytest_r1eval.core.built_in import BUILT_IN, BUILT_IN_POOLS, LIVECODEBENCH_WINDOWS
from pytest_r1eval.errors import ExamError, PlanError
from pytest_r1eval.exams.catalog import CUSTOM_SAMPLES_PER_PROBLEM, SMOKE, SMOKE_CODE, build_catalog, mark_expression

SHIPPED = [*BUILT_IN, *LIVECODEBENCH_WINDOWS, SMOKE, SMOKE_CODE]
ALWAYS = [*(benchmark.name for benchmark in SHIPPED), *BUILT_IN_POOLS]
KEYS = "name, task, task_module, samples_per_problem, mark, max_new_tokens, revision, answers, metric"
CONTRIBUTED = Benchmark(name="olympiad", mark="olympiad", task="o", task_module="plugin.tasks", samples_per_problem=8)


@pytest.fixture
def pyproject(tmp_path: Path) -> Path:
    """Return where the user's pyproject.toml goes."""
    return tmp_path / "pyproject.toml"


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Return where the user's task file goes."""
    return tmp_path / "my_tasks.py"


def task_file(*names: str) -> str:
    """Write a custom-task module whose import would fail here."""
    table = ", ".join(f"LightevalTaskConfig(name={name!r})" for name in names)
    return f"from lighteval.tasks.lighteval_task import LightevalTaskConfig\nTASKS_TABLE = [{table}]\n"


def from_pyproject(path: Path) -> list[Benchmark]:
    """Return the benchmarks that a pyproject.toml adds."""
    catalog = build_catalog(tasks=None, pyproject=path, contributed=())
    return [benchmark for name, benchmark in catalog.items() if name not in ALWAYS]


def exam_error(
    *, tasks: Path | None = None, pyproject: Path | None = None, contributed: tuple[Benchmark, ...] = ()
) -> str:
    """Return what a user reads."""
    with pytest.raises(ExamError) as caught:
        build_catalog(tasks=tasks, pyproject=pyproject, contributed=contributed)
    return str(caught.value)


class TestSources:
    """What is there without, and with, each source."""

    def test_built_in_alone(self, tmp_path: Path) -> None:
        """A folder without a pyproject.toml has the built-in benchmarks and smoke."""
        catalog = build_catalog(tasks=None, pyproject=tmp_path / "pyproject.toml", contributed=())

        assert list(catalog.values())[: len(SHIPPED)] == SHIPPED
        assert list(catalog) == ALWAYS

    def test_smoke_ships(self) -> None:
        """The task of smoke is a file of this package."""
        assert Path(SMOKE.task_module).is_file()

    def test_tasks_file(self, tasks: Path) -> None:
        """Each task of a tasks file is a benchmark of four samples, marked by its name with underscores."""
        tasks.write_text(task_file("plain", "my:task-1", "24game"))

        catalog = build_catalog(tasks=tasks, pyproject=None, contributed=())

        expected = [
            Benchmark(
                name=name,
                mark=name,
                task=task,
                task_module=str(tasks),
                samples_per_problem=CUSTOM_SAMPLES_PER_PROBLEM,
            )
            for name, task in (("plain", "plain"), ("my_task_1", "my:task-1"), ("_24game", "24game"))
        ]
        assert expected == [benchmark for name, benchmark in catalog.items() if name not in ALWAYS]

    def test_table_with_every_key(self, pyproject: Path) -> None:
        """A table with every key makes a benchmark of these values, with its dotted module unchanged."""
        pyproject.write_text(
            "[[tool.r1eval.benchmark]]\n"
            'name = "olympiad"\ntask = "olympiad:hard"\ntask_module = "lighteval.tasks.tasks.olympiade_bench"\n'
            'samples_per_problem = 8\nmark = "hard"\nmax_new_tokens = 1024\nrevision = "abc"\nmetric = "em"\n'
        )

        expected = [
            Benchmark(
                name="olympiad",
                mark="hard",
                task="olympiad:hard",
                task_module="lighteval.tasks.tasks.olympiade_bench",
                samples_per_problem=8,
                max_new_tokens=1024,
                revision="abc",
                metric="em",
            )
        ]
        assert expected == from_pyproject(pyproject)

    def test_shortest_table(self, pyproject: Path) -> None:
        """A name and a module define a benchmark, and the module's path starts at the pyproject.toml."""
        pyproject.write_text('[[tool.r1eval.benchmark]]\nname = "my-exam"\ntask_module = "evals/tasks.py"\n')

        expected = [
            Benchmark(
                name="my-exam",
                mark="my_exam",
                task="my-exam",
                task_module=str(pyproject.parent / "evals" / "tasks.py"),
                samples_per_problem=CUSTOM_SAMPLES_PER_PROBLEM,
            )
        ]
        assert expected == from_pyproject(pyproject)

    @pytest.mark.parametrize("content", ["", "[tool.ruff]\n", "[tool.r1eval]\n", "[tool.r1eval]\nbenchmark = []\n"])
    def test_pyproject_without_tables(self, pyproject: Path, content: str) -> None:
        """A pyproject.toml without tables of ours adds no benchmark."""
        pyproject.write_text(content)

        assert from_pyproject(pyproject) == []

    def test_sources_come_in_order(self, tasks: Path, pyproject: Path) -> None:
        """Benchmarks come in the order built in, tasks file, pyproject.toml, other plugins."""
        tasks.write_text(task_file("b"))
        pyproject.write_text('[[tool.r1eval.benchmark]]\nname = "a"\ntask_module = "x"\n')

        catalog = build_catalog(tasks=tasks, pyproject=pyproject, contributed=iter([CONTRIBUTED]))

        names = [benchmark.name for benchmark in SHIPPED]
        assert [*names, "b", "a", "olympiad", *BUILT_IN_POOLS] == list(catalog)
        assert catalog["olympiad"] is CONTRIBUTED


class TestPools:
    """Pools by a name, of benchmarks from any source."""

    def test_a_pool_of_pyproject(self, pyproject: Path) -> None:
        """A list in tool.r1eval.pools is a pool, also of the project's own benchmarks."""
        pyproject.write_text(
            '[[tool.r1eval.benchmark]]\nname = "own"\ntask_module = "x"\nanswers = "mathematics"\n'
            '[tool.r1eval.pools]\nhard = ["aime26", "hmmt_feb25"]\nsmall = ["math500", "own"]\n'
        )
        catalog = build_catalog(tasks=None, pyproject=pyproject, contributed=())
        parts = {name: [part.name for part in catalog[name].parts] for name in ("aime_all", "hard", "small")}
        assert parts == {
            "aime_all": ["aime24", "aime25", "aime26"],
            "hard": ["aime26", "hmmt_feb25"],
            "small": ["math500", "own"],
        }

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (
                'hard = ["aime24", "aime2"]',
                "{path}: pool hard: no benchmark 'aime2' to pool; expected some of aime24, ",
            ),
            ('hard = ["aime24", "aime24"]', "{path}: pool hard: 'aime24' is in the pool twice; expected each"),
            ('hard = ["aime24", "gpqa"]', "{path}: pool hard: aime24 and gpqa have different forms of answers (math"),
            ('hard = ["aime24", "aime_all"]', "{path}: pool hard: no benchmark 'aime_all' to pool; expected some of"),
            ('gpqa = ["aime24", "aime25"]', "{path}: pool 'gpqa' is taken already; expected a name of its own."),
            ('aime_all = ["aime24", "aime25"]', "{path}: pool 'aime_all' is taken already; expected a name of its"),
            ('skip = ["aime24", "aime25"]', "{path}: pool 'skip' is taken already; expected a name of its own."),
            ('"my-pool" = ["aime24", "aime25"]', "{path}: pool my-pool: mark 'my-pool' is not a Python identifier"),
            (
                'hard = "aime24"',
                "{path}: tool.r1eval.pools is not a table of lists of names; write [tool.r1eval.pools]",
            ),
            ("hard = [1, 2]", "{path}: tool.r1eval.pools is not a table of lists of names; write [tool.r1eval.pools]"),
        ],
    )
    def test_a_bad_pool_is_refused(self, pyproject: Path, content: str, expected: str) -> None:
        """A bad pool is refused in one line with its file, what was found and what was expected."""
        pyproject.write_text(f"[tool.r1eval.pools]\n{content}\n")
        message = exam_error(pyproject=pyproject)
        assert message.startswith(expected.format(path=pyproject))
        assert "\n" not in message


TABLE = '[[tool.r1eval.benchmark]]\nname = "good"\ntask_module = "x"\n[[tool.r1eval.benchmark]]\n'
NO_TABLES = "{path}: tool.r1eval.benchmark is not an array of tables; write [[tool.r1eval.benchmark]]"


class TestMistakes:
    """Every mistake names the file, the table and the key."""

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (
                TABLE + 'name = "b"\ntask_module = "x"\nsamples = 8\n',
                f"{{path}}: benchmark 2: unknown key 'samples'; expected {KEYS} (name and task_module are required)",
            ),
            (
                TABLE + 'task_module = "x"\n',
                f"{{path}}: benchmark 2: key 'name' is missing; expected {KEYS} (name and task_module are required)",
            ),
            (
                TABLE + 'name = "b"\n',
                (
                    f"{{path}}: benchmark 2: key 'task_module' is missing; expected {KEYS} "
                    "(name and task_module are required)"
                ),
            ),
            (
                TABLE + 'name = "b"\ntask_module = "x"\nsamples_per_problem = "8"\n',
                "{path}: benchmark 2: samples_per_problem is '8'; expected a int",
            ),
            (
                TABLE + 'name = "b"\ntask_module = "x"\nsamples_per_problem = true\n',
                "{path}: benchmark 2: samples_per_problem is True; expected a int",
            ),
            (
                TABLE + 'name = "b"\ntask_module = "x"\nsamples_per_problem = 8.0\n',
                "{path}: benchmark 2: samples_per_problem is 8.0; expected a int",
            ),
            (TABLE + 'name = 3\ntask_module = "x"\n', "{path}: benchmark 2: name is 3; expected a str"),
            (
                TABLE + 'name = "b"\ntask_module = "x"\nsamples_per_problem = 0\n',
                "{path}: benchmark 2: b: 0 samples per problem; expected 1 or more",
            ),
            (
                TABLE + 'name = "b"\ntask_module = "x"\nmax_new_tokens = 0\n',
                "{path}: benchmark 2: b: 0 max new tokens; expected 1 or more",
            ),
            (
                TABLE + 'name = "b"\ntask_module = "x"\nanswers = "words"\n',
                "{path}: benchmark 2: answers is 'words'; expected mathematics or letters",
            ),
            (
                TABLE + 'name = "b"\ntask_module = "x"\nmark = "my-mark"\n',
                "{path}: benchmark 2: b: mark 'my-mark' is not a Python identifier, so -m could not select it",
            ),
            ("[tool.r1eval.benchmark]\nname = 'b'\n", NO_TABLES),
            ("[tool.r1eval]\nbenchmark = 'aime'\n", NO_TABLES),
            ("[tool.r1eval]\nbenchmark = ['aime']\n", NO_TABLES),
            ("[tool]\nr1eval = true\n", NO_TABLES),
            ("[[tool.r1eval]]\n", NO_TABLES),
            ("tool = 1\n", NO_TABLES),
            (
                "[tool.r1eval\n",
                (
                    "{path} cannot be read: Expected ']' at the end of a table declaration (at line 1, column 13); "
                    "expected TOML"
                ),
            ),
        ],
    )
    def test_pyproject(self, pyproject: Path, content: str, expected: str) -> None:
        """A malformed table in pyproject.toml is refused with what was found and what was expected."""
        pyproject.write_text(content)

        assert expected.format(path=pyproject) == exam_error(pyproject=pyproject)

    def test_pyproject_in_another_encoding(self, pyproject: Path) -> None:
        """A pyproject.toml in another encoding than UTF-8 is refused."""
        pyproject.write_bytes("name = 'é'".encode("latin-1"))

        message = exam_error(pyproject=pyproject)

        assert message.startswith(f"{pyproject} cannot be read: 'utf-8' codec can't decode byte 0xe9")
        assert message.endswith("; expected TOML")

    def test_broken_tasks_file(self, tasks: Path) -> None:
        """A tasks file that is not Python is named before anything is loaded."""
        tasks.write_text("TASKS_TABLE = [")

        assert exam_error(tasks=tasks).startswith(f"{tasks}: is not Python (")

    def test_name_of_a_built_in(self, tasks: Path) -> None:
        """A task with a built-in benchmark's name is refused."""
        tasks.write_text(task_file("aime24"))

        expected = (
            "two benchmarks are named 'aime24' (tasks 'aime24' of lighteval.tasks.tasks.aime and 'aime24' of "
            f"{tasks}); rename one"
        )
        assert expected == exam_error(tasks=tasks)

    def test_two_tasks_of_one_name(self, tasks: Path) -> None:
        """Two tasks of one file whose names become equal are refused."""
        tasks.write_text(task_file("a:b", "a_b"))

        expected = f"two benchmarks are named 'a_b' (tasks 'a:b' of {tasks} and 'a_b' of {tasks}); rename one"
        assert expected == exam_error(tasks=tasks)

    def test_contributed_twice(self) -> None:
        """Two plugins with a benchmark of one name are refused."""
        message = exam_error(contributed=(CONTRIBUTED, CONTRIBUTED))

        assert message.startswith("two benchmarks are named 'olympiad'")

    @pytest.mark.parametrize("field", ["name", "task", "task_module", "metric", "revision"])
    def test_a_control_character_is_refused(self, field: str) -> None:
        """A benchmark of another plugin with a control character is refused in a printable message."""
        message = exam_error(contributed=(replace(CONTRIBUTED, **{field: "a\n::error::b"}),))  # type: ignore[arg-type]  # a text field

        assert message.startswith(f"a benchmark has the {field.replace('_', ' ')} 'a\\n::error::b', with the character")
        assert message.isprintable()


def test_nothing_heavy_is_imported(tasks: Path, pyproject: Path) -> None:
    """Building the catalog, custom tasks included, takes no LightEval, torch, transformers, datasets or NumPy."""
    tasks.write_text(task_file("one"))
    pyproject.write_text('[[tool.r1eval.benchmark]]\nname = "a"\ntask_module = "tasks.py"\n')
    script = (
        "import sys; from pathlib import Path; from pytest_r1eval.exams.catalog import build_catalog\n"
        "print(*build_catalog(tasks=Path(sys.argv[1]), pyproject=Path(sys.argv[2]), contributed=()))\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )

    child = subprocess.run(
        [sys.executable, "-c", script, str(tasks), str(pyproject)], capture_output=True, text=True, check=True
    )

    names, modules = (line.split() for line in child.stdout.splitlines())
    assert sorted([*ALWAYS, "one", "a"]) == sorted(names)
    assert {"lighteval", "torch", "transformers", "datasets", "vllm", "numpy", "scipy"}.isdisjoint(modules)


def test_names_become_marks() -> None:
    """Each name becomes one mark, once, and open-r1's spelling is understood."""
    assert mark_expression(["aime24", " math_500", "aime24"], tasks=None) == "aime24 or math500"


def test_own_benchmarks_are_found_from_the_folder(tmp_path: Path) -> None:
    """A benchmark of the folder's pyproject.toml is found by its name."""
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.r1eval.benchmark]]\nname = "sums"\ntask_module = "lighteval.tasks.tasks.gsm8k"\n'
    )
    assert mark_expression(["sums"], tasks=None, folder=tmp_path) == "sums"


@pytest.mark.parametrize(("names", "said"), [(["aime2024"], "aime2024"), ([], "")])
def test_unknown_names_are_refused(names: list[str], said: str) -> None:
    """An unknown name is refused, with the names that exist."""
    with pytest.raises(PlanError, match=rf"--benchmarks {said}: no such benchmark; expected some of aime24, "):
        mark_expression(names, tasks=None)
