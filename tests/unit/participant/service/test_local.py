"""The local socket between commands and the control process."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from participant.home.folder import Home
from participant.service.local import (
    Answer,
    LocalServer,
    NotRunningError,
    Request,
    ask,
    ask_once,
)
from shared.errors import (
    ConfigError,
    JobError,
    RefusalCode,
    RefusedError,
    TransportError,
)


async def answers(request: Request) -> AsyncIterator[Answer]:
    """Count to a number, or fail as asked."""
    match request.get("op"):
        case "count":
            upto = request["upto"]
            assert isinstance(upto, int)
            for number in range(upto):
                yield {"event": "progress", "number": number}
            yield {"event": "done", "number": upto}
        case "refuse":
            raise RefusedError("no such column", RefusalCode.UNKNOWN_COLUMN)
        case "config":
            raise ConfigError("a setting is wrong", "correct it")
        case "job":
            raise JobError("it failed")
        case "wait":
            yield {"event": "progress"}
            await asyncio.Event().wait()
        case _:
            return


async def served(home: Home) -> LocalServer:
    """Return a server that listens."""
    server = LocalServer(home, answers)
    await server.start()
    return server


def test_a_command_hears_progress_and_then_the_end(tmp_path: Path) -> None:
    """In order, until done."""

    async def scene() -> None:
        home = Home(tmp_path / "home")
        server = await served(home)
        heard = [a["event"] async for a in ask(home, {"op": "count", "upto": 2})]
        last = await ask_once(home, {"op": "count", "upto": 1})
        await server.close()

        assert heard == ["progress", "progress", "done"]
        assert last["number"] == 1

    asyncio.run(scene())


def test_errors_keep_their_kind_and_hint(tmp_path: Path) -> None:
    """The exit code follows from the kind."""

    async def scene() -> None:
        home = Home(tmp_path / "home")
        server = await served(home)
        with pytest.raises(RefusedError, match="no such column") as refused:
            await ask_once(home, {"op": "refuse"})
        with pytest.raises(ConfigError, match="a setting is wrong") as wrong:
            await ask_once(home, {"op": "config"})
        with pytest.raises(JobError, match="it failed"):
            await ask_once(home, {"op": "job"})
        with pytest.raises(TransportError, match="ended before it answered"):
            await ask_once(home, {"op": "vanish"})
        await server.close()

        assert refused.value.code is RefusalCode.UNKNOWN_COLUMN
        assert wrong.value.hint == "correct it"

    asyncio.run(scene())


def test_a_command_that_waits_hears_that_the_process_ended(tmp_path: Path) -> None:
    """It does not hang."""

    async def scene() -> None:
        home = Home(tmp_path / "home")
        server = await served(home)
        waiting = ask(home, {"op": "wait"})
        await anext(waiting)
        await server.close()
        with pytest.raises(TransportError):
            await anext(waiting)
        with pytest.raises(NotRunningError):
            await ask_once(home, {"op": "count", "upto": 1})

    asyncio.run(scene())


def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    """The socket's mode says so, from the moment it is there."""

    async def scene() -> None:
        home = Home(tmp_path / "home")
        server = LocalServer(home, answers)
        path = await server.start()

        assert path.stat().st_mode & 0o777 == 0o600
        await server.close()
        assert not path.exists()

    asyncio.run(scene())


def test_a_home_with_a_long_path_names_a_shorter_socket(tmp_path: Path) -> None:
    """A Unix socket's path has about a hundred bytes."""

    async def scene() -> None:
        home = Home(tmp_path / ("x" * 100) / "home")
        server = LocalServer(home, answers)
        path = await server.start()
        note = home.path / "control.path"
        last = await ask_once(home, {"op": "count", "upto": 0})

        assert note.read_text() == str(path)
        assert last["event"] == "done"
        await server.close()
        assert not path.parent.exists()
        assert not note.exists()

    asyncio.run(scene())
