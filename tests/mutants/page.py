"""docs/mutants.md: every check, and the tests that fall without it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.mutants.checks import AREAS, ROOT, Check

PAGE = ROOT / "docs" / "mutants.md"

EQUIVALENT: Mapping[str, str] = {
    "participant/service/session.py: _open: identity.role not in proven.rule.roles": (
        "what is for clients alone also needs a duty that no MPC server has"
    ),
    "manager/protocol/as_exchange.py: _endorsement: endorsement.exp <= now": (
        "a session that would be shorter than a minute is refused in any case"
    ),
    "manager/protocol/as_exchange.py: step: not now < account.cert_ends": (
        "a session ends with the certificate, and would be shorter than a minute"
    ),
    "manager/protocol/as_exchange.py: step: request.p != account.principal": (
        "the account is the sender's, and so has to be the endorsement"
    ),
}
"""Checks that nothing can notice, by path and name, each with the reason."""

_HEAD = """\
# What tests notice

`make mutants` removes every single check of the protocol's receivers in turn, one condition or one part of it, runs the tests
that come to its line, and writes this page. A check whose removal no test notices makes it fail, unless the reason why nothing can
notice is in the table. A test in `make test` compares the list below with the checks that are in the code: who adds a
check, or changes one, runs it again.

It looks at the files named here, and at conditions that lead to a refusal, at calls that do nothing but refuse, and at answers
that are yes only if every part holds. It stops at the third test that falls; more may.
"""


@dataclass(frozen=True, slots=True)
class Fallen:
    """A check and the tests that fell without it."""

    check: Check
    tests: tuple[str, ...]

    @property
    def is_unnoticed(self) -> bool:
        """Whether it can be removed, and nobody said why that is all right."""
        return not self.tests and key_of(self.check) not in EQUIVALENT


def key_of(check: Check) -> str:
    """Return what names a check among all."""
    return f"{check.path}: {check.name}"


def page(found: Sequence[Fallen], before: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        found: what fell, of some files or all.
        before: the tables of the other files, as ``tables`` returns them.
    """
    parts = [_HEAD]
    for area, paths in AREAS.items():
        parts.append(f"\n## {area}\n")
        for path in paths:
            rows = [each for each in found if each.check.path == path]
            table = "".join(
                f"| {cell(each.check)} | {_tests(each)} |\n" for each in rows
            )
            table = f"\n| removed | fell |\n|---|---|\n{table}"
            parts += [f"\n### `{path}`\n", table if rows else before.get(path, table)]
    return "".join(parts)


def tables() -> dict[str, str]:
    """Return the page's tables by file, as they are now."""
    if not PAGE.exists():
        return {}
    text = re.sub(r"\n## .*\n", "", PAGE.read_text())
    parts = re.split(r"\n### `(.+)`\n", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def cell(check: Check) -> str:
    """Return how a check is named in the page's tables."""
    function, _, asks = check.name.partition(": ")
    return f"`{function}`: `{asks.replace('|', chr(0x2223))}`"


def _tests(fallen: Fallen) -> str:
    if not fallen.tests:
        return f"nothing: {EQUIVALENT.get(key_of(fallen.check), 'NOT NOTICED')}"
    named = dict.fromkeys(
        test.rpartition("::")[2].split("[")[0] for test in fallen.tests
    )
    return ", ".join(f"`{name}`" for name in named)
