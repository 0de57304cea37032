"""What a package index shows, and whose repository the addresses name."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

from hatch_build import described
from tests.documents import OWNER, REPOSITORY, ROOT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](docs/a.md)", "[a](https://x.org/o/r/blob/v1.2/docs/a.md)"),
        ("[a](docs/a.md#part)", "[a](https://x.org/o/r/blob/v1.2/docs/a.md#part)"),
        ("![a](docs/a.png)", "![a](https://x.org/o/r/raw/v1.2/docs/a.png)"),
        ("[![a](a.png)](https://b.org)", "[![a](https://x.org/o/r/raw/v1.2/a.png)](https://b.org)"),
        ("[a](https://b.org/c)", "[a](https://b.org/c)"),
        ("[a](#part)", "[a](#part)"),
    ],
)
def test_a_relative_link_becomes_a_whole_address(text: str, expected: str) -> None:
    """A relative link becomes the address at the version's tag; whole addresses and anchors stay."""
    assert described(text, repository="https://x.org/o/r", version="1.2") == expected


def test_the_built_description_is_the_readme_with_whole_addresses() -> None:
    """The metadata holds README.md, each link of which leads to a file of this repository or elsewhere."""
    core = ProjectMetadata(str(ROOT), PluginManager()).core
    links = re.findall(r"\]\(([^)\s]+)\)", core.readme)
    ours = {link.partition("#")[0].removeprefix(f"{REPOSITORY}/") for link in links if link.startswith(REPOSITORY)}
    tag = f"v{core.version}"
    assert core.readme_content_type == "text/markdown"
    assert all(link.startswith("https://") for link in links)
    assert f"raw/{tag}/docs/images/report.png" in ours
    assert [path for path in ours if not (ROOT / path.partition(f"/{tag}/")[2]).is_file()] == []


def git(*arguments: str, folder: Path) -> str:
    """Return what git prints in a folder."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


class TestOwner:
    """The owner's one place is pyproject.toml."""

    def test_every_address_of_this_repository_has_the_owner(self) -> None:
        """No document, workflow or test names this repository under another owner."""
        names = git("ls-files", folder=ROOT)
        assert "pyproject.toml" in names.splitlines()
        other = (
            rf"(?<![\w-])(?!{OWNER}\b)[\w-]+(?:/pytest-r1eval(?:@|/blob|/issues|/security)|\.github\.io/pytest-r1eval)"
        )
        found = {
            path: hits
            for path in names.splitlines()
            if (ROOT / path).suffix in {".md", ".yml", ".toml", ".py", ".cff"}
            if (hits := re.findall(other, (ROOT / path).read_text(encoding="utf-8")))
        }
        assert found == {}

    def test_make_owner_changes_all_of_them(self, tmp_path: Path) -> None:
        """After `make owner` no file names the former owner's repository, and the metadata has the new address."""
        copy = tmp_path / "copy"
        names = git("ls-files", folder=ROOT)
        for name in names.splitlines():
            if (ROOT / name).is_file() and (ROOT / name).stat().st_size < 1_000_000:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, copy / name)
        for command in (["git", "init", "-q"], ["git", "add", "-A"], ["make", "-s", "owner", "OWNER=acme"]):
            subprocess.run(command, cwd=copy, capture_output=True, check=True)
        assert git("grep", "-l", f"{OWNER}/pytest-r1eval", folder=copy) == ""
        assert 'Homepage = "https://github.com/acme/pytest-r1eval"' in (copy / "pyproject.toml").read_text()
