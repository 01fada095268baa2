"""Somebody who uses ``mpc-participant`` with its default home."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from participant.home.folder import Home
from shared.names import Io, Role
from tests.participant_world import World
from tests.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = (sys.executable, "-m", "participant")


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the program, with a home folder of their own."""

    folder: Path

    @property
    def home(self) -> Path:
        """The default home of the program."""
        return self.folder / ".mpc" / "participant"

    @property
    def environment(self) -> dict[str, str]:
        """What the program sees of it."""
        kept = {name: os.environ[name] for name in os.environ if name[:4] != "MPC_"}
        return {**kept, "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}

    def run(self, *arguments: str, feed: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [*PROGRAM, *arguments],
            input=feed,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env=self.environment,
        )

    def sit_down(self, *arguments: str) -> Terminal:
        """Start the prompt on a terminal."""
        return Terminal([*PROGRAM, *arguments, "shell"], self.environment)

    def history(self) -> str:
        """Return what the prompt has kept of what was typed."""
        return (self.home / "shell.history").read_text()

    def join(self, folder: str, name: str, password: bytes | None = None) -> None:
        """Have an identity, as a registration leaves it; its broker is away."""
        home = Home(self.home / folder)
        identity = World().join(name, Role.CLIENT, Io.OUTPUT).identity
        nowhere = replace(identity.broker, url="amqp://127.0.0.1:1")
        identity = replace(identity, broker=nowhere)
        home.write_card(identity)
        home.key_file(password).save(identity)
