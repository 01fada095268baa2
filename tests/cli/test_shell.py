"""The prompt, as far as it goes without a realm: lines, keys, errors, identities."""

import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.realm_fixture import until
from tests.person import Person
from tests.terminal import CTRL_C, CTRL_D, TAB, UP

pytestmark = pytest.mark.slow

TOKEN = "mpxe1.AAAA.BBBB"


@pytest.fixture
def person() -> Iterator[Person]:
    """Somebody who has not registered anybody."""
    folder = Path(tempfile.mkdtemp(prefix="mpc-"))
    try:
        yield Person(folder)
    finally:
        shutil.rmtree(folder)


def test_piped_commands_go_on_after_an_error(person: Person) -> None:
    """The exit code is that of the last command that failed, as --help says."""
    lines = "# a comment\n\nnonsense\njobs\nhelp jobs\n"
    done = person.run("shell", feed=lines)

    assert done.returncode == 3
    assert done.stdout.startswith("Usage: mpc-participant jobs")
    assert done.stderr.splitlines()[:2] == [
        "mpc-participant: error: there is no command 'nonsense'",
        "mpc-participant: hint: help lists the commands",
    ]
    assert "error: no information found in" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_failed_is_exit_code_zero(person: Person) -> None:
    """An empty input is no mistake either; nothing behind exit is read."""
    assert person.run("shell").returncode == 0
    assert person.run("shell", feed="help\nexit\nnonsense\n").returncode == 0


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("jobs 'open", 2, "error: no closing quotation"),
        ("run", 2, "error: 'run' is for the command line"),
        ("shell", 2, "error: 'shell' is for the command line"),
        ("jobs --nonsense", 2, "hint: see 'mpc-participant jobs --help'"),
        ("help nonsense", 2, "error: there is no command 'nonsense'"),
        ("jbos", 2, "hint: did you mean 'jobs'? help lists the commands"),
        ("completion", 2, "hint: the Tab key completes here"),
        ("runmpc --statistic meam --dataset d", 2, "hint: did you mean 'mean'?"),
        ("runmpc --statistik mean", 2, "hint: did you mean '--statistic'?"),
        ("result", 2, "error: missing argument"),
        ("register", 3, "hint: use --token-file FILE"),
        ("mpc-participant status", 3, "error: no information found"),
        (TOKEN, 2, "error: a token is not a command"),
    ],
)
def test_a_line_that_is_wrong_says_why(
    person: Person, line: str, code: int, says: str
) -> None:
    """In the words of the command line, with what to do next."""
    done = person.run("shell", feed=f"{line}\n")

    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr


def test_a_command_takes_the_options_of_the_command_line(person: Person) -> None:
    """They are the same commands."""
    person.join("", "Analytics001")
    done = person.run("shell", feed="jobs --json\nidentities --json\n")
    jobs, identities = map(json.loads, done.stdout.splitlines())

    assert jobs == []
    assert identities == [
        {
            "number": 1,
            "principal": "Analytics001",
            "role": "client",
            "io": "output",
            "realm": "demo",
            "home": str(person.home),
            "is_running": False,
        }
    ]


def test_ctrl_c_and_ctrl_d_at_the_prompt(person: Person) -> None:
    """One throws the line away, the other is exit."""
    with person.sit_down() as terminal:
        terminal.until("mpc> ")
        terminal.press("nonsense")
        terminal.until("nonsense")
        terminal.interrupt("mpc> ")
        terminal.press(CTRL_D)
        code = terminal.end()

    assert code == 0
    assert "there is no command" not in terminal.text
    assert "Traceback" not in terminal.text


def test_an_error_leaves_the_prompt(person: Person) -> None:
    """The name of who is registered stands before it; exit is exit code 0."""
    person.join("", "Analytics001")
    with person.sit_down() as terminal:
        terminal.until("Analytics001> ")
        terminal.enter("nonsense")
        terminal.until("hint: help lists the commands")
        terminal.until("Analytics001> ")
        terminal.enter("exit")
        code = terminal.end()

    assert code == 0


def test_the_history_keeps_commands_and_no_tokens(person: Person) -> None:
    """Neither what answers a question, nor a token where it does not belong."""
    with person.sit_down() as terminal:
        terminal.until("mpc> ")
        terminal.enter("help exit")
        terminal.until("mpc> ")
        terminal.enter(TOKEN)
        terminal.until("mpc> ")
        terminal.enter("register")
        terminal.until("token: ")
        terminal.enter("mpxe1.secret")
        terminal.until("mpc> ")
        terminal.press(CTRL_D)
        terminal.end()
    mode = (person.home / "shell.history").stat().st_mode
    with person.sit_down() as again:
        again.until("mpc> ")
        again.press(f"{UP}{UP}\r")
        again.until("Leave the prompt")

    assert person.history() == "help exit\nregister\nhelp exit\n"
    assert mode & 0o777 == 0o600
    assert "mpxe1.secret" not in terminal.text


def test_a_history_that_others_can_read_is_refused(person: Person) -> None:
    """As any file of a home."""
    person.join("", "Analytics001")
    (person.home / "shell.history").touch(0o644)
    with person.sit_down() as terminal:
        code = terminal.end()

    assert code == 3
    assert "chmod" in terminal.text


def test_the_tab_key_completes(person: Person) -> None:
    """A command, an option, one of its choices, each by its beginning."""
    with person.sit_down() as terminal:
        terminal.until("mpc> ")
        terminal.press(f"run{TAB}")
        terminal.until("runmpc ")
        terminal.press(f"--stat{TAB}")
        terminal.until("--statistic ")
        terminal.press(f"linear{TAB}")
        terminal.until("linear-regression ")
        terminal.interrupt("mpc> ")
        terminal.enter("exit")
        terminal.end()

    assert "mpc> runmpc --statistic linear-regression " in terminal.text


def test_sigterm_ends_the_prompt_in_good_order(person: Person) -> None:
    """What it has started must not outlive it."""
    with person.sit_down() as terminal:
        terminal.until("mpc> ")
        terminal.press("half a li")
        terminal.until("half a li")  # it waits for the rest
        code = terminal.signal(signal.SIGTERM)

    assert code == 0
    assert "Traceback" not in terminal.text


def test_several_identities_need_a_choice(person: Person) -> None:
    """The error lists them by number; --help works all the same."""
    person.join("", "Analytics001")
    person.join("2", "Liberty001")
    none = person.run("jobs", "--json")
    helped = person.run("jobs", "--help")

    assert none.returncode == 3
    assert "1: Analytics001 (demo), 2: Liberty001 (demo)" in none.stderr
    assert "--identity NAME" in none.stderr
    assert helped.returncode == 0


@pytest.mark.parametrize("wanted", ["2", "Liberty001"])
def test_an_identity_is_chosen_for_any_command(person: Person, wanted: str) -> None:
    """By name or number; what it does concerns that home alone."""
    person.join("", "Analytics001")
    person.join("2", "Liberty001")
    table = person.folder / "table.csv"
    table.write_text("a,b\n1,2\n")
    added = person.run("--identity", wanted, "dataset", "add", "visits", str(table))
    status = person.run("--identity", wanted, "status")

    assert added.returncode == 0, added.stderr
    assert not (person.home / "datasets.toml").exists()
    assert (person.home / "2" / "datasets.toml").exists()
    assert f"no control process runs in {person.home / '2'}\n" in status.stderr


def test_a_named_home_is_one_identity(person: Person) -> None:
    """``--home`` works as if there were no others, in it or elsewhere."""
    person.join("", "Analytics001")
    person.join("2", "Liberty001")
    done = person.run("--home", str(person.home), "jobs", "--json")
    again = person.run(
        "--home", str(person.home), "register", "--token-file", "-", feed=TOKEN
    )

    assert (done.returncode, done.stdout) == (0, "[]\n")
    assert again.returncode == 3


def test_a_new_identity_has_no_name_yet(person: Person) -> None:
    """Whoever names one would think that it is replaced."""
    person.join("", "Analytics001")
    done = person.run("--identity", "1", "register", "--token-file", "-", feed=TOKEN)

    assert done.returncode == 3
    assert "leave --identity out" in done.stderr


def test_the_prompt_asks_which_identity(person: Person) -> None:
    """Until the answer is one of them; ``--identity`` answers before."""
    person.join("", "Analytics001")
    person.join("2", "Liberty001")
    with person.sit_down() as terminal:
        asked = terminal.until("which identity: ")
        terminal.enter("nobody")
        terminal.until("which identity: ")
        terminal.enter("2")
        terminal.until("Liberty001> ")
        terminal.enter("exit")
        terminal.end()
    with person.sit_down("--identity", "Liberty001") as terminal:
        named = terminal.until("Liberty001> ", "which identity: ")

    assert "1: Analytics001 (demo)" in asked
    assert "which identity" not in named
    assert "nobody" not in person.history()


def test_piped_commands_name_the_identity_once(person: Person) -> None:
    """``connect`` chooses, even where it cannot connect."""
    person.join("", "Analytics001")
    person.join("2", "Liberty001", password=b"secret")
    lines = "jobs --json\nconnect 2\njobs --json\n"
    unsaid = person.run("shell", feed=lines)
    said = person.run("--identity", "1", "shell", feed="jobs --json\n")

    assert unsaid.stderr.count("2 identities are registered here") == 1
    assert unsaid.stderr.count("the key file has a password and none was given") == 2
    assert (said.returncode, said.stdout) == (0, "[]\n")


def test_a_password_that_is_wrong_is_told_at_once(person: Person) -> None:
    """Not as a control process that does not come up; none is started."""
    person.join("", "Locked001", password=b"correct horse")
    wrong = person.folder / "wrong"
    wrong.write_text("incorrect\n")
    done = person.run("shell", feed=f"connect --password-file {wrong}\n")

    assert done.returncode == 3
    assert "identity.key" in done.stderr
    assert not (person.home / "control.log").exists()


def test_ctrl_c_gives_connecting_up(person: Person) -> None:
    """What it started has ended when the prompt comes back."""
    person.join("", "Analytics001")
    log = person.home / "control.log"
    with person.sit_down() as terminal:
        terminal.until("Analytics001> ")
        terminal.enter("connect")
        until(lambda: log.exists() and "broker not reached" in log.read_text(), "a try")
        terminal.press(CTRL_C)
        terminal.until("Analytics001> ")
        terminal.enter("identities --json")
        listed = terminal.until("Analytics001> ")

    assert '"is_running": false' in listed
    assert "Traceback" not in terminal.text


def test_a_broker_that_is_away_is_an_error(person: Person) -> None:
    """After some patience; the exit code is that of any command that wants it."""
    person.join("", "Analytics001")
    done = person.run("shell", feed="connect\nidentities --json\n")

    assert done.returncode == 4
    assert "error: no broker answers at 127.0.0.1:1" in done.stderr
    assert '"is_running": false' in done.stdout
