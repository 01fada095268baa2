"""The documentation says what the code does, and nothing else's paths."""

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest
from pydantic import BaseModel

from manager.config import ManagerSettings
from participant.config import ParticipantSettings
from participant.dataplane.frames import FrameType
from participant.home.policy import PolicyFile
from shared import messages
from shared.cli import ExitCode
from shared.envelope import DropReason, Header
from shared.errors import ErrorCode, FailureCode, RefusalCode
from shared.messages import CATALOGUE, Structure
from shared.messages.realm import RealmDescriptor

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
ERRORS = (ROOT / "docs" / "errors.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("*.md"),
        ROOT / "tests" / "README.md",
        *(ROOT / "examples").rglob("*.md"),
    ]
)
NEGATIVE_TESTS = 65

_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]*) \|", re.MULTILINE)
_FOREIGN = re.compile(
    r"(?<![\w.~])/(?:work|tmp|home|root|usr|etc|var|opt|proc|mnt|srv)\b"
)
_STANDARD = re.compile(
    r"/(?:opt/mpc-management|etc/systemd/system|var/lib(?:/mpc-(?:manager|participant))?)\b"
)
"""Where docs/deploy.md installs the project, on anybody's machine."""
_SECTIONS = re.compile(
    r'docs/protocol\.md, (?:sections? )?("[^"]+"(?:(?:,| and|, and) "[^"]+")*)'
)

NAMES = {rule.model: name for name, rule in CATALOGUE.items()} | {
    messages.LinkHello: "link.hello",
    messages.ApRequest: "ap.req",
    messages.ApReply: "ap.rep",
    messages.PeerHello: "peer.hello",
    messages.EndOfData: "END",
}


def structures() -> Iterator[tuple[str, type[Structure]]]:
    """Every structure of the wire, with the heading under which it is described."""
    for name in messages.__all__:
        model = getattr(messages, name)
        if (
            isinstance(model, type)
            and issubclass(model, Structure)
            and model is not Structure
        ):
            yield NAMES.get(model, name), model
    yield "Header", Header


def section(heading: str) -> str:
    """Return what stands under a heading of the protocol, up to the next one."""
    parts = re.split(r"^#{1,6} +(.+?) *$", PROTOCOL, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    if heading not in found:
        pytest.fail(f"docs/protocol.md has no heading {heading!r}")
    return found[heading]


def slugs(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text())
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(text)
    }


@pytest.mark.parametrize(("heading", "model"), tuple(structures()))
def test_every_field_of_the_wire_is_described(
    heading: str, model: type[Structure]
) -> None:
    """Whoever writes another implementation has this page alone."""
    described = _ROW.findall(section(heading))
    expected = {
        name: model is Header or field.is_required() or name in {"v", "type"}
        for name, field in model.model_fields.items()
    }

    assert expected == {name: "may be absent" not in kind for name, kind in described}


@pytest.mark.parametrize("name", tuple(CATALOGUE))
def test_every_message_is_in_the_catalogue_of_the_page(name: str) -> None:
    """Way and suites stand beside its name, as the receiver checks them."""
    rule = CATALOGUE[name]
    way = {"up": "P to M", "down": "M to P", "both": "both"}[rule.way.value]
    suites = ", ".join(str(int(suite)) for suite in sorted(rule.suites))

    assert f"| `{name}` | {way} | {suites} |" in section("3.6 Catalogue")


def test_the_page_names_no_message_that_does_not_exist() -> None:
    """A message that was taken out must leave the catalogue of the page too."""
    listed = {name for name, _ in _ROW.findall(section("3.6 Catalogue"))}

    assert set(CATALOGUE) == listed


@pytest.mark.parametrize("codes", [ErrorCode, RefusalCode, FailureCode])
def test_every_code_is_explained(codes: type[StrEnum]) -> None:
    """A peer sees codes only, so the page must say what each means."""
    explained = [
        name
        for name, _ in re.findall(
            r"^\| `(\w+)` \| (.+) \|$", section("Codes"), re.MULTILINE
        )
    ]

    assert not {code.value for code in codes} - set(explained)


@pytest.mark.parametrize(
    ("heading", "codes"),
    [
        ("A job failed", FailureCode),
        ("A party refused", RefusalCode),
        ("The manager answers with an error", ErrorCode),
    ],
)
def test_every_code_has_a_cause_and_a_cure(heading: str, codes: type[StrEnum]) -> None:
    """Whoever meets a code looks it up, and finds nothing that does not exist."""
    part = ERRORS.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| .+ \| .*\|$", part, re.MULTILINE)

    assert listed == [code.value for code in codes]


def test_every_exit_code_is_explained() -> None:
    """Scripts tell ends apart by them."""
    listed = re.findall(r"^\| (\d+) \| .+ \| .*\|$", ERRORS, re.MULTILINE)

    assert listed == [str(code.value) for code in ExitCode]


def test_every_reason_to_drop_an_envelope_is_in_the_pipeline() -> None:
    """Counters have these names; an operator looks them up here."""
    named = set(re.findall(r"`(\w+)`", section("3.2 Receiver pipeline")))

    assert not {reason.value for reason in DropReason} - named


def test_the_negative_tests_are_all_listed() -> None:
    """Tests are named after these numbers."""
    listed = re.findall(r"^(\d+)\. ", section("5 Negative tests"), re.MULTILINE)

    assert [str(number) for number in range(1, NEGATIVE_TESTS + 1)] == listed


def test_the_threat_model_names_a_test_that_exists_for_each_number() -> None:
    """Whoever trusts the table must find what it promises."""
    page = (ROOT / "docs" / "threat_model.md").read_text()
    promised = [
        (int(number), file)
        for number, files in re.findall(
            r"^\| (\d+) \| (`tests/.+) \|$", page, re.MULTILINE
        )
        for file in re.findall(r"`([^`]+)`", files)
    ]
    kept = [
        (number, file)
        for number, file in promised
        if re.search(rf"def test_(?:\d\d_)*{number:02d}_", (ROOT / file).read_text())
    ]

    assert promised == kept
    assert {number for number, _ in promised} == {*range(1, NEGATIVE_TESTS + 1)}


def test_the_adversaries_are_met_by_tests_that_exist() -> None:
    """A mechanism without a test is a hope."""
    page = (ROOT / "docs" / "threat_model.md").read_text()
    part = page.partition("## Adversaries\n")[2].partition("\n**Not covered")[0]
    tests = [row.split(" | ")[3] for row in part.splitlines() if row.startswith("| ")]
    written = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    named = [re.findall(r"`(test_\w+)`", cell) for cell in tests[1:]]

    assert named
    assert [] not in named
    assert {name for names in named for name in names} <= written


def test_every_message_is_in_a_diagram() -> None:
    """Whoever reads the exchanges sees who says what when."""
    drawn = "".join(
        re.findall(r"^```mermaid\n(.*?)^```", PROTOCOL, re.MULTILINE | re.DOTALL)
    )
    frames = {kind.name for kind in FrameType}
    word = r"[a-z]+\.[a-z]+|\bstatus\b|\brevoked\b|\berr\b|\b[A-Z_]{3,}\b"
    said = set(re.findall(word, drawn))

    assert not (set(CATALOGUE) | frames) - said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_diagram_holds_what_mermaid_cannot_read(page: Path) -> None:
    """A semicolon ends a statement there, so half of the text would be an error."""
    drawn = re.findall(
        r"^```mermaid\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )

    assert [line for part in drawn for line in part.splitlines() if ";" in line] == []


@pytest.mark.parametrize("kind", [ManagerSettings, ParticipantSettings, PolicyFile])
def test_every_setting_is_described(kind: type[BaseModel]) -> None:
    """Errors about settings send their reader to the documentation."""
    described = {name for name, _ in _ROW.findall(SETTINGS)}

    assert not set(kind.model_fields) - described


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """A page that moved must not leave readers in the void."""
    text = _FENCE.sub("", page.read_text())
    broken = []
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in slugs(there)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_path_outside_of_the_repository(page: Path) -> None:
    """The documentation is about the project, not about somebody's machine."""
    text = page.read_text()
    if page.name == "deploy.md":
        text = _STANDARD.sub("", text)

    assert _FOREIGN.findall(text) == []


def test_every_decision_record_is_in_the_index() -> None:
    """A record that nobody finds decides nothing."""
    index = (ROOT / "docs" / "README.md").read_text()
    records = {path.name for path in (ROOT / "docs" / "adr").glob("*.md")}

    assert records == set(re.findall(r"\(adr/([^)]+\.md)\)", index))


def test_what_the_code_cites_exists() -> None:
    """A docstring's source must be there to be read."""
    titles = {
        re.sub(r"^[\d.]+ ", "", heading) for heading in _HEADING.findall(PROTOCOL)
    }
    missing = []
    for folder in ("shared", "manager", "participant"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = re.sub(r"\s+", " ", path.read_text())
            missing += [
                f"{path.name}: {page}"
                for page in re.findall(r"docs/[\w/-]+\.md", text)
                if not (ROOT / page).exists()
            ]
            missing += [
                f"{path.name}: {title}"
                for found in _SECTIONS.findall(text)
                for title in re.findall(r'"([^"]+)"', found)
                if title not in titles and f"**{title}**" not in PROTOCOL
            ]

    assert missing == []


def test_the_example_engine_is_shown_as_it_is() -> None:
    """The tests run the file; readers copy from the page."""
    page = (ROOT / "docs" / "engines.md").read_text()
    shown = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)

    assert (ROOT / "examples" / "engine_plugin" / "open_sum.py").read_text() in shown


def test_realm_descriptors_share_one_form() -> None:
    """The page describes the signed realm once for the message and for reg.rep."""
    assert set(messages.SignedRealm.model_fields) < set(RealmDescriptor.model_fields)
