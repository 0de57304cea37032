"""Every command, code block, pasted output and link of the documents is true of this code."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sqlite3
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import typer.main
import yaml

from pytest_r1eval.commands import run_benchmarks
from pytest_r1eval.commands.cli import application
from pytest_r1eval.config.options import OPTIONS
from pytest_r1eval.config.policy import read_policy
from pytest_r1eval.config.registered import ENGINES
from pytest_r1eval.config.settings import settings_from
from pytest_r1eval.core.built_in import BUILT_IN
from pytest_r1eval.engines.engine import EngineFactory, EngineParts
from pytest_r1eval.evaluation.process import keywords
from pytest_r1eval.exams.catalog import build_catalog
from pytest_r1eval.reports.appearance import appearance_of
from pytest_r1eval.runs.store import FILE_NAME
from pytest_r1eval.stats.verdicts import Verdict
from tests.documents import (
    DOCUMENTS,
    REPOSITORY_URL,
    ROOT,
    Block,
    Command,
    blocks,
    commands,
    output,
    output_names,
)
from tests.recordings import record_run
from tests.requirements import VLLM
from tests.vllm_server import SERVE, parsed_by_vllm

SERVER_MODULE = "vllm.entrypoints.openai.api_server"
PLAIN = {"git", "cd", "ray", "sky"}
"""Programs of everyone's machine, whose arguments are not ours."""
CHECKED = {"docker", "pytest", "r1eval", "make", "pip", "python", "vllm"}
"""Programs whose command lines the tests below check."""
IS_FOLDER = {"--r1-judge-only", "--r1-data", "--r1-resume"}
"""Options whose value must be a folder that is there."""
MAX_WORDS = 26


def by_name(item: Block | Command) -> str:
    """Name a parameter of a test."""
    return item.name


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """Import the hook that writes the generated parts of the site."""
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def my_engine(pytester: pytest.Pytester) -> None:
    """Install the entry points of the engines' page, as a package's installer would."""
    (block,) = (block for block in blocks("toml") if ENGINES.group in block.text)
    points = tomllib.loads(block.text)["project"]["entry-points"][ENGINES.group]
    metadata = pytester.mkdir("my_engine-1.dist-info")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-engine\nVersion: 1\n", encoding="utf-8")
    lines = [f"[{ENGINES.group}]", *(f"{name} = {value}" for name, value in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    pytester.syspathinsert()


class TestCommands:
    """Each command line is one that its program takes."""

    def test_each_program_is_known(self) -> None:
        """Each program in the documents' commands has a test, or is listed as plain."""
        assert {command.program for command in commands()} <= CHECKED | PLAIN

    @pytest.mark.parametrize("command", commands("pytest"), ids=by_name)
    @pytest.mark.usefixtures("my_engine")
    def test_pytest_takes_it(self, command: Command, pytester: pytest.Pytester) -> None:
        """Pytest accepts each documented command's options and their values."""
        for option, value in pairwise(command.words):
            if option in IS_FOLDER:
                (pytester.path / value).mkdir(parents=True, exist_ok=True)
            if option == "--r1-policy":
                (pytester.path / value).write_text('[benchmarks.aime24]\ntier = "critical"\n', encoding="utf-8")
            if option == "--r1-tasks":
                (pytester.path / value).touch()
        settings = settings_from(pytester.parseconfig(*command.words[1:]))
        assert settings.model or settings.judge_only is not None

    @pytest.mark.parametrize("command", commands("r1eval"), ids=by_name)
    def test_r1eval_takes_it(self, command: Command) -> None:
        """The parser of `r1eval` accepts every documented command."""
        parse(typer.main.get_command(application()), command.words[1:])

    @pytest.mark.parametrize("command", commands("make"), ids=by_name)
    def test_make_has_it(self, command: Command) -> None:
        """Each documented make target has its help, and the Makefile reads its variables."""
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        target, *assigned = command.words[1:]
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE)
        assert all(f"$({word.partition('=')[0]})" in makefile for word in assigned if word.partition("=")[0] != "NODES")

    @pytest.mark.parametrize("command", commands("docker"), ids=by_name)
    def test_a_container_takes_it(self, command: Command, pytester: pytest.Pytester) -> None:
        """A documented build gives arguments that the Dockerfile has, a documented run options that pytest takes."""
        dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
        given = [value.partition("=")[0] for option, value in pairwise(command.words) if option == "--build-arg"]
        assert all(re.search(rf"^ARG {name}=", dockerfile, re.MULTILINE) for name in given)
        if command.words[1] == "run":
            started = command.words[command.words.index("pytest") + 1 :]
            assert settings_from(pytester.parseconfig(*started)).model
        else:
            assert command.words[1] == "build"

    @pytest.mark.parametrize("command", commands("pip"), ids=by_name)
    def test_pip_knows_the_extra(self, command: Command) -> None:
        """Each documented `pip install` names an extra of pyproject.toml."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        asked = re.findall(r"pytest-r1eval\[(\w+)\]", " ".join(command.words))
        assert set(asked) <= set(project["optional-dependencies"])
        assert asked or command.words[1] == "uninstall"

    @pytest.mark.parametrize("command", commands("python"), ids=by_name)
    def test_python_finds_it(self, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """Each documented module runs as written, and each documented script knows its options."""
        match command.words[1:]:
            case ["-m", "pytest_r1eval.commands.run_benchmarks", *arguments]:
                assert run_benchmarks.main([*arguments, "--dry-run", "--no-check"]) == 0
                assert "#SBATCH" in capsys.readouterr().out
            case ["-m", "pytest_r1eval.checkpoints.merging", _, _, _]:
                assert "ADAPTER BASE_MODEL OUT" in (ROOT / "pytest_r1eval/checkpoints/merging.py").read_text(
                    encoding="utf-8"
                )
            case ["-m", module, *_] if module == SERVER_MODULE:
                pass  # TestServers
            case ["-m", "nltk.downloader" | "spacy", *arguments]:
                needs = (ROOT / "pytest_r1eval/scoring/instructions.py").read_text(encoding="utf-8")
                assert all(word in needs for word in arguments if word != "download")
            case [script, *arguments]:
                text = (ROOT / script).read_text(encoding="utf-8")
                assert all(f'"{word}"' in text for word in arguments if word.startswith("--"))


class TestServers:
    """Each command line of vLLM's server is one that vLLM takes; none is started."""

    def test_a_server_has_a_form_for_each_stack(self) -> None:
        """Each page with `vllm serve` has the module's form too: the locked CPU stack has no `vllm` distribution."""
        module = {command.path for command in commands("python") if SERVER_MODULE in command.words}
        assert {command.path for command in commands("vllm")} <= module

    def test_the_form_of_the_module_is_the_one_that_runs(self) -> None:
        """The documents start the server's module with options of the end-to-end tests' server."""
        (arguments,) = (command.words[3:] for command in commands("python") if SERVER_MODULE in command.words)
        assert {word for word in arguments if word.startswith("--")} <= {"--model", *SERVE}

    @VLLM.mark
    def test_vllm_takes_it(self) -> None:
        """VLLM's own parser takes the documented options of both forms, and refuses one that it does not know."""
        (gpus,) = (command.words[1:] for command in commands("vllm"))
        (cpu,) = (command.words[3:] for command in commands("python") if SERVER_MODULE in command.words)
        of_gpus, of_cpu, unknown = parsed_by_vllm(gpus, cpu, [*gpus, "--tensor-parallel-sizes", "8"])
        assert of_gpus is not None
        assert (of_gpus["model_tag"], of_gpus["tensor_parallel_size"], of_gpus["pipeline_parallel_size"]) == (
            "deepseek-ai/DeepSeek-R1", 8, 2,
        )  # fmt: skip
        assert of_cpu is not None
        assert (of_cpu["model"], of_cpu["enable_chunked_prefill"]) == ("examples/r1eval/tiny-arithmetic", False)
        assert unknown is None


def parse(command: Any, arguments: Sequence[str], *, parent: Any = None) -> None:  # noqa: ANN401 - typer exports no type
    """Parse a command line of `r1eval` and run nothing."""
    rest = list(arguments)
    if hasattr(command, "commands"):
        _, child, rest = command.resolve_command(typer.Context(command, parent=parent), rest)
        parse(child, rest, parent=parent)
        return
    command.make_context("r1eval", rest)


class TestCode:
    """Each block of another language is read by what reads that language."""

    def test_each_block_names_its_language(self) -> None:
        """Each block of the documents names a language that has a test."""
        assert {block.language for block in blocks()} <= {"bash", "python", "yaml", "toml", "json", "text"}

    @pytest.mark.parametrize("block", blocks("python"), ids=by_name)
    def test_python_compiles_and_imports_resolve(self, block: Block) -> None:
        """Every name that a documented block imports exists, and our functions take its keywords."""
        tree = ast.parse(block.text)
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=str(module)):
                    assert {alias.name for alias in node.names} <= names_of(module)
                case ast.Import():
                    assert all(importlib.util.find_spec(alias.name.partition(".")[0]) for alias in node.names)
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in TAKEN:
                    assert {keyword.arg for keyword in node.keywords} <= keywords_of(TAKEN[name], name)

    @pytest.mark.parametrize("block", blocks("yaml"), ids=by_name)
    def test_yaml_loads(self, block: Block) -> None:
        """A step that uses the action gives only inputs that it has."""
        inputs = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["inputs"]
        loaded = yaml.safe_load(block.text)
        for step in loaded if isinstance(loaded, list) else ():  # a mapping is another program's configuration
            assert set(step.get("with", ())) <= set(inputs)

    @pytest.mark.parametrize("block", blocks("toml"), ids=by_name)
    def test_toml_defines_a_benchmark_an_engine_or_a_policy(self, block: Block, tmp_path: Path) -> None:
        """The catalog reads a benchmark, and a policy is one; an entry point is in the group of engines."""
        content = tomllib.loads(block.text)
        if "project" in content:
            assert set(content["project"]["entry-points"]) == {ENGINES.group}
            return
        if "benchmarks" in content:
            policy = tmp_path / "policy.toml"
            policy.write_text(block.text, encoding="utf-8")
            read_policy(policy).check_names(build_catalog(tasks=None, pyproject=None, contributed=()))
            return
        path = tmp_path / "pyproject.toml"
        path.write_text(block.text, encoding="utf-8")
        ours = content["tool"]["r1eval"]
        names = {*ours.get("pools", {}), *(table["name"] for table in ours.get("benchmark", ()))}
        assert names
        assert names <= {*build_catalog(tasks=None, pyproject=path, contributed=())}

    def test_the_engine_is_one(self) -> None:
        """The documented factory builds an engine with every part of the protocol."""
        (block,) = (block for block in blocks("python") if "EngineFactory(" in block.text)
        held: dict[str, Any] = {}
        exec(compile(block.text, block.name, "exec"), held)  # noqa: S102 - our own document
        assert isinstance(held["FACTORY"], EngineFactory)
        engine = held["FACTORY"].build(cast("EngineParts", None))
        assert all(hasattr(engine, part) for part in ("n_concurrent", "start", "generate", "close"))


TAKEN = {
    "evaluate": "pytest_r1eval/evaluation/process.py",
    "R1EvalCallback": "pytest_r1eval/training/callback.py",
    "Benchmark": "pytest_r1eval/core/benchmarks.py",
}
"""Our callables in the documents, and the file that defines each."""


def names_of(module: str) -> set[str]:
    """Return the names that a module defines; of another package's, whatever is asked."""
    if module == "pytest_r1eval":
        return set(sys.modules["pytest_r1eval"].__all__)
    if not module.startswith("pytest_r1eval."):
        return _Everything()
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    return defined | imported


class _Everything(set[str]):
    """The set that holds every name."""

    def __ge__(self, other: object) -> bool:
        return True


def keywords_of(file: str, name: str) -> set[str]:
    """Return the keywords that a function or class of ours takes."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    *_, found = (node for node in tree.body if getattr(node, "name", None) == name)  # overloads come first
    taken = set(keywords())
    for node in ast.walk(found):
        if isinstance(node, ast.FunctionDef) and node.name in {name, "__init__"}:
            taken |= {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            taken.add(node.target.id)
    return taken


class TestPastedOutputs:
    """What a document shows as printed is what is printed."""

    def test_each_has_a_name(self) -> None:
        """Every text block of the documents is enclosed by comments that name it."""
        named = [(path, name) for path in DOCUMENTS for name in output_names(path)]
        assert len(named) == len(blocks("text"))
        assert {name for _, name in named} == {"demo", "power", "code_scoring"}

    @pytest.mark.parametrize(
        ("page", "quote"),
        [
            ("tutorial/cpu.md", "16 samples a problem catch a fall of 5.7 points with 80 % power"),
            ("verdicts/pass.md", "The baseline holds the same weights"),
        ],
    )
    def test_a_quoted_line_is_one_of_the_demo(self, page: str, quote: str) -> None:
        """A line that a page quotes from a gate is in the demo's output."""
        assert f'"{quote}"' in " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
        assert quote in output(ROOT / "docs" / "tutorial" / "cpu.md", "demo")

    def test_the_quoted_headline_is_a_reports(self) -> None:
        """The page of reports quotes the headline of a gate that fell and is not healthy."""
        page = (ROOT / "docs" / "how-to" / "reports.md").read_text(encoding="utf-8")
        assert f'"No: aime24 {appearance_of(Verdict.FAIL_REGRESSED).finding} and is unhealthy."' in page

    def test_falls_are_those_that_power_computes(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The falls in README's sentence and in the decision's table are those that `r1eval power` computes."""
        falls = {}
        for name in ("aime24", "math500", "gpqa", "lcb"):
            typer.main.get_command(application())(args=["power", "--benchmark", name, "--json"], standalone_mode=False)
            falls[name] = f"{100 * json.loads(capsys.readouterr().out)['mde_80']:.1f}"
        readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
        table = (ROOT / "docs" / "explanation" / "decision.md").read_text(encoding="utf-8")
        shown = "{aime24} points on AIME, {math500} on MATH-500, {gpqa} on GPQA, {lcb} on LiveCodeBench."
        assert shown.format(**falls) in readme
        rows = re.findall(r"^\| (?:AIME|MATH|GPQA|Live).*\| ([\d.]+) \|$", table, re.MULTILINE)
        assert rows == [*falls.values()]

    def test_power_prints_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`r1eval power` prints the outlook, line by line."""
        command, _, pasted = output(ROOT / "docs" / "explanation" / "stopping.md", "power").partition("\n")
        assert command == "$ r1eval power --benchmark aime24"
        typer.main.get_command(application())(args=command.split()[2:], standalone_mode=False)
        assert capsys.readouterr().out == pasted

    def test_code_scoring_is_the_measurement(self) -> None:
        """The table of graders is the file that perf/code_scoring.py wrote."""
        measured = (ROOT / "perf" / "code_scoring.txt").read_text(encoding="utf-8")
        assert output(ROOT / "docs" / "how-to" / "programs.md", "code_scoring") == measured


class TestReference:
    """The generated pages hold what the package knows."""

    def test_options_are_those_of_the_table(self, generated: ModuleType) -> None:
        """The generated table has a row for each option, with default, phase and help."""
        rows = generated.options().splitlines()[2:]
        assert len(rows) == len(OPTIONS)
        for row, option in zip(rows, OPTIONS, strict=True):
            assert row.startswith(f"| `{option.flag}` ")
            assert all(part in row for part in (option.default or "", option.phase, option.help[:40]))

    def test_commands_are_those_of_r1eval(self, generated: ModuleType) -> None:
        """The generated page has a section for each command, which begins with its usage."""
        text = generated.commands()
        words = re.findall(r"^## (r1eval .+)$", text, re.MULTILINE)
        assert {"r1eval power", "r1eval baseline bless", "r1eval slurm submit", "r1eval doctor"} <= set(words)
        assert all(f"Usage: {word} " in text for word in words)

    def test_exams_are_those_that_ship(self, generated: ModuleType) -> None:
        """The table of exams has a row for each with its mark, whole commit and problems, and what it sees."""
        rows = generated.exams().splitlines()[2:]
        assert len(rows) == len(BUILT_IN)
        for row, benchmark in zip(rows, BUILT_IN, strict=True):
            assert row.startswith(f"| `{benchmark.mark}` |")
            assert f"/tree/{benchmark.revision})" in row
            assert ("points" in row) is (benchmark.planning is not None)
        assert "| 4.3 points |" in rows[0]

    def test_markers_are_replaced(self, generated: ModuleType) -> None:
        """Each marker of the reference pages is replaced by its generated part, and other pages stay as they are."""
        assert generated.on_page_markdown("# Page\n") == "# Page\n"
        for marker in generated.PARTS:
            (page,) = (path for path in DOCUMENTS if f"<!-- {marker} -->" in path.read_text(encoding="utf-8"))
            assert page.parent.name == "reference"
            assert "<!--" not in generated.on_page_markdown(f"<!-- {marker} -->")

    def test_tables_are_those_of_a_run(self, tmp_path: Path) -> None:
        """The page of file formats describes every table of a run, and no other."""
        with closing(sqlite3.connect(record_run(tmp_path / "run") / FILE_NAME)) as database:
            held = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        page = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
        section = page.partition("## run.sqlite")[2].partition("\n## ")[0]
        assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == held

    @pytest.mark.parametrize("verdict", Verdict)
    def test_each_verdict_has_a_page(self, verdict: Verdict) -> None:
        """Each verdict has a page, to which the overview links."""
        page = ROOT / "docs" / "verdicts" / f"{verdict.value}.md"
        assert page.read_text(encoding="utf-8").startswith(f"# {verdict.name}\n")
        assert "## What do I do now?" in page.read_text(encoding="utf-8") or verdict is Verdict.INCONCLUSIVE
        assert f"[{verdict.name}]({verdict.value}.md)" in (page.parent / "index.md").read_text(encoding="utf-8")

    @pytest.mark.parametrize("name", sorted({name for path in DOCUMENTS for name in re.findall(
        r"^::: (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)}))  # fmt: skip
    def test_documented_objects_exist(self, name: str) -> None:
        """Each object that a page documents is defined where the page looks for it."""
        module, _, attribute = name.rpartition(".")
        assert attribute in names_of(module)


def links() -> Iterator[tuple[Path, str]]:
    """Return the relative links of all documents, and those to files of the repository."""
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            target = link.partition("#")[0]
            if target.startswith(REPOSITORY_URL):
                yield ROOT, target.removeprefix(REPOSITORY_URL)
            elif target and not target.startswith("http"):
                yield path.parent, target


@pytest.mark.parametrize(("folder", "target"), sorted(set(links())))
def test_links_lead_somewhere(folder: Path, target: str) -> None:
    """Every link to a file of the repository leads to one."""
    assert (folder / target).is_file()


def sentences(text: str) -> Iterator[str]:
    """Return the sentences of a document, cells of tables and items of lists apart; code is left out."""
    prose = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"\]\([^)]*\)", "]", prose)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-|#]|\d+\.))", prose):
        for cell in paragraph.split("|") if paragraph.lstrip().startswith("|") else [paragraph]:
            yield from re.split(r"(?<=[.!?:;])\s+", " ".join(cell.split()))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_are_short(path: Path) -> None:
    """A sentence holds one idea, in about 25 words."""
    long = [sentence for sentence in sentences(path.read_text(encoding="utf-8")) if len(sentence.split()) > MAX_WORDS]
    assert long == []


class TestDoor:
    """The forms that a contributor meets."""

    @pytest.mark.parametrize(
        "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
    )
    def test_issue_forms_load(self, path: Path) -> None:
        """Each issue form has a name and fields with unique ids, as GitHub requires."""
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem == "config":
            assert form["contact_links"]
            return
        ids = [field["id"] for field in form["body"]]
        assert form["name"]
        assert len(ids) == len(set(ids)) > 0

    def test_the_citation_is_of_this_version(self) -> None:
        """CITATION.cff names the project, its license and the version that the wheel has."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
        assert (citation["title"], citation["license"]) == (project["name"], project["license"])
        assert citation["version"] == project.get("version", citation["version"])
