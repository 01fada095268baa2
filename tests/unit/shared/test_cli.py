"""How commands end and what they print then."""

import sys

import click
import pytest

from shared.cli import (
    ExitCode,
    LazyGroup,
    MisspeltError,
    closing,
    config_option,
    exit_code,
    home_option,
    json_output,
    log_level_option,
    run,
    version_option,
)
from shared.errors import (
    AuthenticationError,
    ConfigError,
    CryptoError,
    ErrorCode,
    FrameworkError,
    JobError,
    RefusalCode,
    RefusedError,
    RemoteProtocolError,
    TransportError,
)


@click.group()
@home_option
@config_option
@log_level_option
@version_option
def program(home: object, config: object, log_level: object) -> None:
    """Do things."""


@program.command()
@json_output(object)
def show(as_json: bool) -> None:
    """Print something."""
    click.echo("{}" if as_json else "nothing")


@program.command()
def wait() -> int:
    """End with a code of its own."""
    return ExitCode.NOT_READY


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigError("x"), 3),
        (TransportError("x"), 4),
        (AuthenticationError("x"), 5),
        (RefusedError("x", RefusalCode.POLICY), 5),
        (RemoteProtocolError("x", ErrorCode.FORBIDDEN), 5),
        (JobError("x"), 1),
        (CryptoError("x"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    error: FrameworkError, expected: int
) -> None:
    """Scripts tell a refusal from a broker that is away."""
    assert expected == exit_code(error)


def failing(error: BaseException) -> click.Command:
    """Return a command that raises."""

    @click.command()
    def command() -> None:
        raise error

    return command


def test_an_error_is_printed_with_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr; stdout carries results only."""
    code = run(failing(ConfigError("no home", "make one")), "prog", [])
    printed = capsys.readouterr()

    assert code == 3
    assert printed.out == ""
    assert printed.err == "prog: error: no home\nprog: hint: make one\n"


def test_a_command_without_answer_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    """And its result is on stdout."""
    code = run(program, "prog", ["show", "--json"])

    assert code == 0
    assert capsys.readouterr().out == "{}\n"


def test_a_command_may_end_with_its_own_code() -> None:
    """Such as 75: not ready, try again."""
    assert run(program, "prog", ["wait"]) == 75


def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """In our own form, and with where to read on."""
    code = run(program, "prog", ["show", "--nothing"])

    assert code == 2
    assert capsys.readouterr().err == (
        "prog: error: no such option '--nothing'\nprog: hint: see 'prog show --help'\n"
    )


def test_an_unreadable_argument_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors of click that are not about usage have the same form."""
    code = run(failing(click.FileError("data.csv", "gone")), "prog", [])

    assert code == 2
    assert capsys.readouterr().err.startswith("prog: error: could not open file")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["show", "--help"]])
def test_help_and_version_are_done(arguments: list[str]) -> None:
    """They are no errors."""
    assert run(program, "prog", arguments) == 0


def test_the_version_is_named_after_the_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two programs, one distribution."""
    run(program, "prog", ["--version"])

    assert capsys.readouterr().out.startswith("prog ")


def test_an_interrupt_leaves_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is what the user wanted."""
    code = run(failing(KeyboardInterrupt()), "prog", [])

    assert code == 130
    assert capsys.readouterr().err.strip() == ""


def test_a_question_that_is_not_confirmed_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing was done, and a script must see it."""
    code = run(failing(click.Abort()), "prog", [])

    assert code == 1
    assert "not confirmed" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """``mpc-manager … | head -1`` ends quietly."""
    stdout = sys.stdout
    try:
        code = run(failing(BrokenPipeError(32, "Broken pipe")), "prog", [])
    finally:
        sys.stdout = stdout

    assert code == 1
    assert capsys.readouterr().err == ""


def test_a_bug_is_one_line_for_the_user_and_a_trace_in_the_debug_log(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No trace reaches a user, none is lost, and what the exception says is not shown."""
    with caplog.at_level("DEBUG", logger="shared.cli"):
        code = run(failing(ZeroDivisionError("secret")), "prog", [])
    printed = capsys.readouterr()

    assert code == ExitCode.INTERNAL
    assert "internal error: ZeroDivisionError in test_cli.py" in printed.err
    assert "secret" not in printed.err
    assert "Traceback" not in printed.err
    assert caplog.records[0].exc_info is not None


lazy = LazyGroup(lazy={"show": "tests.unit.shared.test_cli:show"}, name="lazy")


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["shwo"], "no such command 'shwo'", "did you mean 'show'? see 'prog --help'"),
        (["other"], "no such command 'other'", "see 'prog --help'"),
        (["show", "--jsn"], "no such option '--jsn'", "did you mean '--json'? see"),
    ],
)
def test_a_slip_is_told_the_nearest_name(
    words: list[str], error: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of commands that are not imported yet."""
    code = run(lazy, "prog", words)
    lines = capsys.readouterr().err.splitlines()

    assert code == 2
    assert lines[0] == f"prog: error: {error}"
    assert lines[1].startswith(f"prog: hint: {hint}")


def test_a_misspelt_name_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is near, the help is where to look."""
    near = MisspeltError("no statistic 'meam'", "meam", ["mean"])
    codes = [
        run(failing(near), "prog", []),
        run(failing(MisspeltError("no statistic 'x'", "x", ["mean"])), "prog", []),
    ]
    printed = capsys.readouterr().err.splitlines()

    assert codes == [2, 2]
    assert printed[1] == "prog: hint: did you mean 'mean'?"
    assert printed[3] == "prog: hint: see 'prog --help'"


def test_a_help_text_ends_with_examples_and_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each on a line of its own, however wide the terminal is."""

    @click.command(epilog=closing("prog a", "prog b", codes={0: "good", 130: "left"}))
    def command() -> None:
        """Do it."""

    run(command, "prog", ["--help"])
    out = capsys.readouterr().out

    assert out.endswith(
        "  Examples:\n    prog a\n    prog b\n\n"
        "  Exit codes:\n      0  good\n    130  left\n"
    )
