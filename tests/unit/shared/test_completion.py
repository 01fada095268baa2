"""The script that lets a shell complete."""

import subprocess

import click
import pytest

from shared.cli import run
from shared.completion import completion


@click.group()
def program() -> None:
    """Do things."""


program.add_command(completion)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script_that_calls_the_program(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the variable that the program itself listens to."""
    code = run(program, "a-program", ["completion", shell])
    script = capsys.readouterr().out

    assert code == 0
    assert f"_A_PROGRAM_COMPLETE={shell}_complete" in script


def test_bash_understands_its_script(capsys: pytest.CaptureFixture[str]) -> None:
    """Or each new terminal would show an error."""
    run(program, "a-program", ["completion", "bash"])
    script = capsys.readouterr().out
    read = subprocess.run(["bash", "-n"], input=script, text=True, check=False)

    assert read.returncode == 0


def test_another_shell_is_told_which_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With exit code 2."""
    assert run(program, "a-program", ["completion", "csh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err
