"""What docs/dependencies.md and the bill of materials say is what is installed."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "dependencies.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("pandas", "parquet", "postgresql")

_REQUIREMENT = re.compile(r"([\w-]+)(?:\[\w+\])?(.*)")


def required(requirements: list[str]) -> dict[str, str]:
    """Return the bounds of each package."""
    found = [_REQUIREMENT.fullmatch(line) for line in requirements]
    return {match[1]: match[2] for match in found if match is not None}


RUNTIME = required(PROJECT["dependencies"])
OPTIONAL = required(
    [line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]]
)


def normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return name.lower().replace("_", "-")


def test_every_dependency_is_explained_with_its_bounds() -> None:
    """Whoever audits the project starts here."""
    listed = re.findall(
        r"^\| `([\w-]+)` \| .+? \| .+? \| .+? \| `([^`]+)`[^|]* \| .+? \|$",
        PAGE,
        re.MULTILINE,
    )

    assert dict(listed) == RUNTIME | OPTIONAL
    assert len(RUNTIME | OPTIONAL) == len(listed)


def test_every_tool_is_named() -> None:
    """They run on the developers' machines."""
    part = PAGE.partition("## For development alone\n")[2].partition("\n## ")[0]
    extras = PROJECT["optional-dependencies"]
    tools = set(required([*extras["dev"], *extras["screenshots"]]))
    tools -= {PROJECT["name"]}

    assert sorted(tool for tool in tools if tool.lower() not in part.lower()) == []


@pytest.mark.slow
def test_the_bill_of_materials_lists_what_is_installed(tmp_path: Path) -> None:
    """It must be of use to whoever looks for a package with a known hole."""
    file = tmp_path / "sbom.json"
    folder = Path(sys.executable).parent
    subprocess.run(
        [
            *("make", "-C", str(ROOT), "--old-file=.venv/.ready", "sbom"),
            *(f"BIN={folder}", "READY=.venv/.ready", f"SBOM={file}"),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    text = file.read_text()
    bill = json.loads(text)
    versions = {normal(c["name"]): c["version"] for c in bill["components"]}
    urls = {c["purl"].partition("@")[0] for c in bill["components"]}
    wanted = {normal(name) for name in (*RUNTIME, *OPTIONAL)}
    root = bill["metadata"]["component"]
    (needs,) = (d for d in bill["dependencies"] if d["ref"] == root["bom-ref"])

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert (root["name"], root["version"]) == (PROJECT["name"], PROJECT["version"])
    assert {name: metadata.version(name) for name in wanted} == {
        name: version for name, version in versions.items() if name in wanted
    }
    assert {f"pkg:pypi/{name}" for name in wanted} <= urls
    assert wanted <= {normal(ref.partition("==")[0]) for ref in needs["dependsOn"]}
    assert str(ROOT) not in text
