"""Data processes: a job across real processes, and what happens when one is killed."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from participant.dataplane import process
from participant.dataplane.client import DataProcess, DataProcessLostError
from participant.dataplane.ipc import (
    MAX_IPC_BYTES,
    Configured,
    ConfigureFailed,
    Quit,
    ToData,
)
from participant.dataplane.ipc_stream import IpcStream
from participant.dataplane.times import Times
from shared.errors import DecodeError, FailureCode, LocalProtocolError
from shared.names import Principal, Role
from tests.integration.dataplane_realm import Job, Party, World, new_authority

PATIENCE_SECONDS = 10.0


class ProcessParty(Party):
    """A participant whose data plane is a process of its own."""

    process: DataProcess
    watching: asyncio.Task[None]

    async def launch(self) -> None:
        """Start the process and take what it reports."""
        self.process = await DataProcess.start("warning")
        self.watching = asyncio.create_task(self._watch())
        await self.start()

    async def _watch(self) -> None:
        async for event in self.process.events():
            self.emit(event)

    async def tell(self, order: ToData) -> None:
        """Give an order to the process."""
        await self.process.send(order)

    async def end(self) -> None:
        """End the process."""
        await self.process.close()
        await asyncio.gather(self.watching, return_exceptions=True)


@asynccontextmanager
async def processes(folder: Path) -> AsyncIterator[tuple[Job, list[ProcessParty]]]:
    """Give a prepared job of two servers, two sources and a consumer."""
    authority = new_authority()
    realm = World(folder, Times())
    parties = []
    for name, role in (
        ("MPC_server_001", Role.MPCS),
        ("MPC_server_002", Role.MPCS),
        ("Hospital001", Role.CLIENT),
        ("Hospital002", Role.CLIENT),
        ("Liberty001", Role.CLIENT),
    ):
        own = folder / name
        own.mkdir()
        (own / "data.csv").write_text("age\n1\n3\n")
        parties.append(ProcessParty(Principal(name), role, own, authority, Times()))
    try:
        await asyncio.gather(*(party.launch() for party in parties))
        job = realm.job(parties[:2], parties[2:4], parties[4])
        await job.prepare()
        yield job, parties
    finally:
        await asyncio.gather(*(party.end() for party in parties))


def test_job_runs_across_processes(tmp_path: Path) -> None:
    """The same walk, with one process a party."""

    async def scenario() -> None:
        async with processes(tmp_path) as (job, _):
            await job.start()
            for party in job.parties():
                await party.reached(job.id, "delivered")

            assert job.result()["n"] == 4

    asyncio.run(scenario())


def test_killed_server_is_named_within_a_second(tmp_path: Path) -> None:
    """Whoever needed it reports that, and its own control process knows at once."""

    async def scenario() -> None:
        async with processes(tmp_path) as (job, parties):
            late = job.sources()[0]
            await job.start(party for party in job.parties() if party is not late)
            await job.consumer.reached(job.id, "linked")
            await asyncio.sleep(0.2)
            begun = asyncio.get_running_loop().time()
            os.kill(parties[1].process.pid, signal.SIGKILL)
            failures = [
                await party.failed(job.id) for party in (parties[0], job.consumer)
            ]
            elapsed = asyncio.get_running_loop().time() - begun

            assert elapsed < 1
            assert all(failure.code is FailureCode.PARTY_LOST for failure in failures)
            assert all(failure.peer == parties[1].name for failure in failures)

            with pytest.raises(DataProcessLostError):
                await parties[1].watching
            with pytest.raises(DataProcessLostError):
                await parties[1].process.send(Quit())

    asyncio.run(scenario())


def test_data_process_ends_with_its_control_process() -> None:
    """A closed socket is all that it takes; nothing stays behind."""

    async def scenario() -> None:
        data = await DataProcess.start("warning")
        data._stream.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            code = await data._process.wait()

        assert code == 0

    asyncio.run(scenario())


def test_data_process_ends_when_asked() -> None:
    """Quit ends it, and the events end without an error."""

    async def scenario() -> None:
        data = await DataProcess.start("warning")
        watching = asyncio.create_task(anext(data.events(), None))
        await data.close()

        assert await watching is None
        assert data._process.returncode == 0

    asyncio.run(scenario())


def test_data_process_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing is bounded."""
    monkeypatch.setattr("participant.dataplane.client.CLOSE_SECONDS", 0.2)

    async def scenario() -> None:
        data = await DataProcess.start("warning")
        os.kill(data.pid, signal.SIGSTOP)
        await data.close()

        assert data._process.returncode == -signal.SIGKILL

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "sent",
    [
        (5).to_bytes(4, "big") + b"\x81\xa1a\x01\x01",
        (MAX_IPC_BYTES + 1).to_bytes(4, "big"),
        len(Configured().pack()).to_bytes(4, "big") + Configured().pack(),
    ],
)
def test_nonsense_from_the_control_process_ends_the_data_process(sent: bytes) -> None:
    """A bug of ours ends it with a code, not in a state that nobody thought of."""

    async def scenario() -> None:
        data = await DataProcess.start("error")
        data._stream._writer.write(sent)
        async with asyncio.timeout(PATIENCE_SECONDS):
            code = await data._process.wait()
        data._stream.close()

        assert code == 1

    asyncio.run(scenario())


def test_order_that_is_too_long_is_not_sent() -> None:
    """The limit holds where a message is made."""

    async def scenario() -> None:
        one, other = socket.socketpair()
        stream = await IpcStream.over(one)
        too_long = ConfigureFailed.model_construct(reason="x" * MAX_IPC_BYTES)
        with pytest.raises(LocalProtocolError):
            stream.send(too_long)
        stream.send(Configured(port=1270))
        peer = await IpcStream.over(other)

        assert Configured(port=1270) == await peer.receive()

        stream.send(Quit())
        stream._writer.write((MAX_IPC_BYTES + 1).to_bytes(4, "big"))

        assert Quit() == await peer.receive()

        with pytest.raises(DecodeError):
            await peer.receive()
        stream.close()

        peer.close()

    asyncio.run(scenario())


def test_wrong_arguments_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody starts it by hand without being told how it is meant."""
    code = process.main([])

    assert code == 2
    assert "usage" in capsys.readouterr().err
