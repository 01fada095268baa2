"""Homes and key files as the programs meet them: modes, passwords, ordinary users."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from manager.cli.demo_cluster import Party
from tests.integration.realm_fixture import (
    ANALYST,
    HERE,
    LiveRealm,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SEALED = "sealed"
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A consumer whose key file has a password."""

    right: Path
    wrong: Path


@pytest.fixture(scope="module")
def sealed(
    started_realm: LiveRealm, tmp_path_factory: pytest.TempPathFactory
) -> Sealed:
    """A registered consumer with a password, and files with it and another one."""
    folder = tmp_path_factory.mktemp("passwords")
    files = Sealed(folder / "right", folder / "wrong")
    files.right.write_text(f"{PASSWORD}\n")
    files.wrong.write_text("incorrect\n")
    kind = ("--role", "client", "--io", "output", "--prefix", "Sealed")
    started_realm.enrol_only(Party(SEALED, kind, ("--password-file", str(files.right))))
    return files


def test_39_a_key_file_that_others_may_read_is_refused(
    live: LiveRealm, tmp_path: Path
) -> None:
    """The program does not start, and says which chmod helps."""
    home = tmp_path / "home"
    shutil.copytree(live.home(ANALYST), home, ignore=shutil.ignore_patterns("*.sock"))
    home.chmod(0o700)
    (home / "identity.key").chmod(0o644)
    done = live.run(str(home), "run")
    asked = live.run(str(home), "jobs")

    for each in (done, asked):
        assert each.code == 3
        assert "identity.key" in each.err
        assert "chmod" in each.err


def test_a_home_that_others_may_enter_is_refused(
    live: LiveRealm, tmp_path: Path
) -> None:
    """Whatever the modes of the files in it."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    done = live.run(str(home), "run")

    assert done.code == 3
    assert "chmod" in done.err


def test_the_managers_keys_are_refused_likewise(
    live: LiveRealm, tmp_path: Path
) -> None:
    """Its key file opens everything that its store keeps."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for name in ("manager.key", "manager.toml"):
        shutil.copy2(live.home("manager") / name, home / name)
    (home / "manager.key").chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-m", "manager", "--home", str(home), "run"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 3
    assert "manager.key" in done.stderr


def test_38_a_key_file_opens_with_its_password_only(
    live: LiveRealm, sealed: Sealed
) -> None:
    """A wrong one, and none, are told apart."""
    wrong = live.run(SEALED, "run", "--password-file", str(sealed.wrong))
    none = live.run(SEALED, "run")

    assert wrong.code == 3
    assert "password" in wrong.err
    assert none.code == 3
    assert "--password-file" in none.err
    assert PASSWORD not in wrong.err + none.err


def test_a_damaged_key_file_is_refused(live: LiveRealm, tmp_path: Path) -> None:
    """One bit is enough; nobody is logged on with half a key."""
    home = tmp_path / "home"
    shutil.copytree(live.home(ANALYST), home, ignore=shutil.ignore_patterns("*.sock"))
    path = home / "identity.key"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = live.run(str(home), "run")

    assert done.code == 3
    assert "identity.key" in done.err


def test_a_consumer_with_a_password_works(live: LiveRealm, sealed: Sealed) -> None:
    """Its file is given to each command that opens the key file."""
    given = ("--password-file", str(sealed.right))
    job = live.mean(SEALED, *HERE, *given)
    listed = live.run(SEALED, "jobs", "--json", *given)

    assert job["state"] == "done"
    assert job["job"] in listed.out


@pytest.fixture
def ordinary() -> Iterator[list[str]]:
    """What to write before a command so that an ordinary user runs it."""
    if os.geteuid() != 0:
        yield []
        return
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    nobody = pwd.getpwnam("nobody")
    ids = ("--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid))
    # The interpreter may lie where only its owner may look, such as in root's home.
    look = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    yield [setpriv, *ids, *look, "--clear-groups", "--no-new-privs"]


def test_an_ordinary_user_takes_part(live: LiveRealm, ordinary: list[str]) -> None:
    """Nothing of a participant needs root: it registers, and asks, and gets."""
    home = Path(f"{live.folder}-{os.getpid()}")  # below a folder that all may enter
    home.mkdir(mode=0o700)
    if ordinary:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
    token = live.manager(
        *("token", "create", "--role", "client", "--io", "output"),
        *("--prefix", "Ordinary"),
    )

    def run(*arguments: str, feed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ordinary, *program(), "--home", str(home), *arguments],
            input=feed,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd="/",
            env={
                "HOME": str(home),
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
            },
        )

    try:
        registered = run("register", "--token-file", "-", feed=token)
        asked = run(
            *("runmpc", "--statistic", "mean", "--dataset", "visits"),
            *("--column", "mdvis", "--json"),
        )
        owners = {path.owner() for path in home.rglob("*")}
    finally:
        shutil.rmtree(home)

    assert registered.returncode == 0, registered.stderr
    assert registered.stdout.startswith("Ordinary")
    assert asked.returncode == 0, asked.stderr
    assert '"state": "done"' in asked.stdout
    assert owners == {"nobody" if ordinary else pwd.getpwuid(os.geteuid()).pw_name}


def program() -> list[str]:
    """Return how an ordinary user calls the program."""
    return [sys.executable, "-m", "participant"]
