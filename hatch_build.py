"""
The long description of the package: README.md with whole addresses in its links, read by hatchling when it builds.

A package index shows the text away from its repository, where a relative link or picture leads nowhere. The file on
disk stays as it is. The address is `project.urls.Homepage` of pyproject.toml, at the tag of the version.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<picture>!?)(?P<words>\[[^\[\]]*\])\((?!https?://|#)(?P<target>[^()\s]+)\)")


def described(text: str, *, repository: str, version: str) -> str:
    """
    Return a README whose relative links are whole addresses.

    Args:
        text: Markdown.
        repository: The address of the repository, without a slash at its end.
        version: The version, whose tag begins with v.
    """

    def whole(link: re.Match[str]) -> str:
        kind = "raw" if link["picture"] else "blob"
        return f"{link['picture']}{link['words']}({repository}/{kind}/v{version}/{link['target']})"

    return _LINK.sub(whole, text)


class Readme(MetadataHookInterface):
    """What `dynamic = ["readme"]` gets."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the long description to the metadata."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata["urls"]["Homepage"].rstrip("/")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": described(text, repository=repository, version=metadata["version"]),
        }
