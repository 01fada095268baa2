"""Control processes that work beside a command: started, waited for, ended."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import participant
from participant.home.folder import Home
from participant.service.local import Answer, NotRunningError, ask_once
from participant.service.running import is_running
from shared.errors import ConfigError, TransportError

READY_TIMEOUT = timedelta(seconds=20)
"""How long a control process in the background may take to listen."""
ONLINE_TIMEOUT = timedelta(seconds=20)
"""How long it may then take to log on."""
END_TIMEOUT = timedelta(seconds=10)
"""How long it may take to end before it is killed."""
POLL_SECONDS = 0.1
MAX_SAID_BYTES = 1 << 20

_ERROR = "mpc-participant: error: "


@dataclass(frozen=True, slots=True)
class Background:
    """A control process that was started here, and its home."""

    home: Home
    process: subprocess.Popen[bytes]

    async def end(self) -> None:
        """End it in good order, or kill it; nothing of it runs when this returns."""
        try:
            await ask_once(self.home, {"op": "stop"})
        except (NotRunningError, TransportError):
            self.process.terminate()  # harmless if it has gone already
        # Not in a thread: a program that ends cannot start one any more.
        for _ in range(END_TIMEOUT // timedelta(seconds=POLL_SECONDS)):
            if self.process.poll() is not None:
                return
            await asyncio.sleep(POLL_SECONDS)
        self.process.kill()
        self.process.wait()


async def start_in_background(
    home: Home, arguments: Sequence[str], password: bytes | None = None
) -> Background | None:
    """Start a control process that outlives this one.

    Args:
        home: whose.
        arguments: further ones for the program, before ``run``.
        password: of the key file; it travels through a pipe.

    Returns:
        What was started; ``None`` if one runs already.

    Raises:
        ConfigError: it does not come up, or the key file has a password and none
            was given.
    """
    if await is_running(home):
        return None
    if home.needs_password and password is None:
        raise ConfigError(
            "a control process in the background cannot ask for the password",
            "start 'mpc-participant run --password-file FILE' yourself first",
        )
    logged = home.log_path.stat().st_size if home.log_path.exists() else 0
    started = Background(home, _spawn(home, arguments, password))
    try:
        async with asyncio.timeout(READY_TIMEOUT.total_seconds()):
            while not await is_running(home):
                if started.process.poll() is not None:
                    raise _not_up(home, logged)
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        await started.end()
        raise _not_up(home, logged) from error
    except asyncio.CancelledError:
        await started.end()
        raise
    return started


async def online(home: Home) -> Answer:
    """Wait until the control process of a home has a session; return its status.

    Raises:
        NotRunningError: none runs, or it has ended.
        TransportError: the broker or the manager does not answer.
    """
    status: Answer = {}
    try:
        async with asyncio.timeout(ONLINE_TIMEOUT.total_seconds()):
            while not status.get("is_online"):
                await asyncio.sleep(POLL_SECONDS if status else 0)
                status = await ask_once(home, {"op": "status"})
    except TimeoutError as error:
        problem, hint = status.get("problem"), status.get("hint")
        raise TransportError(
            str(problem or "the manager does not answer"),
            str(hint or "see whether 'mpc-manager run' is running"),
        ) from error
    return status


async def connected(
    home: Home, arguments: Sequence[str], password: bytes | None
) -> tuple[Answer, Background | None]:
    """Have a control process that is logged on: the one that runs, or a new one.

    Args:
        home: whose.
        arguments: for a new one, before ``run``.
        password: of the key file, for a new one.

    Returns:
        Its status, and what was started, for its user to end.

    Raises:
        FrameworkError: it cannot log on; what was started here has ended.
    """
    started = await start_in_background(home, arguments, password)
    try:
        return await online(home), started
    except BaseException:
        if started is not None:
            await started.end()
        raise


def _spawn(
    home: Home, arguments: Sequence[str], password: bytes | None
) -> subprocess.Popen[bytes]:
    root = str(Path(participant.__file__).parents[1])
    command = [sys.executable, "-P", "-m", "participant", "--home", str(home.path)]
    command += [*arguments, "run"]
    reading, writing = os.pipe()
    try:
        if password is not None:
            os.write(writing, password + b"\n")
            command += ["--password-fd", str(reading)]
        with home.log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=() if password is None else (reading,),
                env={**os.environ, "PYTHONPATH": _path_with(root)},
                start_new_session=True,
            )
    finally:
        os.close(reading)
        os.close(writing)


def _path_with(root: str) -> str:
    inherited = os.environ.get("PYTHONPATH")
    return root if not inherited else f"{root}{os.pathsep}{inherited}"


def _not_up(home: Home, logged: int) -> ConfigError:
    """Return the error of a start that failed, with what the process said last.

    Args:
        home: whose.
        logged: bytes that its log had before.
    """
    with home.log_path.open("rb") as log:
        log.seek(logged)
        lines = log.read(MAX_SAID_BYTES).decode(errors="replace").splitlines()
    said = [line.partition(_ERROR)[2] for line in lines if _ERROR in line]
    why = f": {said[-1]}" if said else ""
    return ConfigError(
        f"the control process does not come up{why}", f"its log is {home.log_path}"
    )
