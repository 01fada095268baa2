"""A consumer at work in an asyncio program."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from participant.home.folder import Home
from participant.home.identities import place_of
from participant.sdk.job import AsyncJob, JobRecord, Listener, record
from participant.sdk.questions import Options, make_question
from participant.sdk.results import Result
from participant.service.background import Background, connected
from participant.service.control import request_of
from participant.service.job_list import running_jobs
from participant.service.local import NotRunningError, Request
from participant.service.running import is_running
from shared.errors import ConfigError
from shared.names import Io

CONSUMERS = frozenset({Io.OUTPUT.value, Io.BOTH.value})


class AsyncAnalyst:
    """A consumer that asks for computations, within an ``async with`` block.

    It uses the control process that runs in the home. Where none does, the block has
    one of its own, as a process in the background, which ends with it.

    Args:
        home: the identity's folder; ``MPC_HOME`` or else the default one unless given.
        identity: its name or number, where the folder has several.
        password: of the key file, where it has one.
    """

    def __init__(
        self,
        home: Path | str | None = None,
        *,
        identity: str | None = None,
        password: str | bytes | None = None,
    ) -> None:
        self._folder = None if home is None else Path(home)
        self._identity = identity
        self._password = password.encode() if isinstance(password, str) else password
        self._home: Home | None = None
        self._started: Background | None = None
        self._jobs: list[AsyncJob] = []
        self._status: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        """Have a control process that is logged on.

        Raises:
            ConfigError: nobody is registered in the home, or it is no consumer's.
            TransportError: broker or manager do not answer.
        """
        path = place_of(self._folder).choose(self._identity)
        if not path.is_dir():
            raise ConfigError(
                f"there is no folder {path}", "name the home of a registered consumer"
            )
        home = Home(path)
        home.check_registered()
        if (
            self._password is None
            and home.needs_password
            and not await is_running(home)
        ):
            raise ConfigError(
                "the key file has a password and none was given",
                "give it, from a prompt: password=getpass()",
            )
        status, self._started = await connected(home, [], self._password)
        self._home = home
        self._status = {name: str(status.get(name)) for name in ("principal", "realm")}
        if status.get("io") not in CONSUMERS:
            await self.close()
            raise ConfigError(
                f"{self.principal} is not a consumer of results",
                "register one: mpc-manager token create --role client --io output",
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go; jobs that are not over go on."""
        await self.close()

    async def close(self) -> None:
        """Follow no job any more, and end the control process that was started here."""
        self._home = None
        while self._jobs:
            await self._jobs.pop().leave()
        if self._started is not None:
            started, self._started = self._started, None
            await started.end()

    @property
    def principal(self) -> str:
        """The consumer's name in the realm."""
        return self._status.get("principal", "")

    @property
    def realm(self) -> str:
        """The realm's name."""
        return self._status.get("realm", "")

    async def runmpc(
        self,
        statistic: str,
        *,
        dataset: str,
        columns: str | Sequence[str] = (),
        progress: Listener | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Ask for a computation; return as soon as the request is safely on its way.

        Args:
            statistic: its name; docs/statistics.md describes all.
            dataset: of every source.
            columns: their names, or the name of the only one.
            progress: hears how far the job is.
            options: see ``Options``.

        Raises:
            RefusedError: it cannot be asked so; nothing was sent.
            ConfigError: a bound is broken.
            NotRunningError: not within the block, or the control process is gone.
        """
        question = make_question(statistic, dataset, columns, **options)
        return await self._begun(request_of(question), progress)

    async def job(self, job: str, progress: Listener | None = None) -> AsyncJob:
        """Return a job that was asked for before.

        Args:
            job: its number, such as ``J001``, or eight digits or more of its id.
            progress: hears how far it is.

        Raises:
            RefusedError: there is none.
            NotRunningError: as for ``runmpc``.
        """
        return await self._begun({"op": "result", "job": job}, progress)

    async def result(self, job: str) -> Result:
        """Return the result of a job that was asked for before, fetched if need be.

        Raises:
            RefusedError: there is none.
            JobFailedError: the job ended without one.
            NotRunningError: as for ``runmpc``.
        """
        return await (await self.job(job)).result()

    async def jobs(self) -> list[JobRecord]:
        """Return the jobs of this consumer, the newest last.

        Raises:
            NotRunningError: as for ``runmpc``.
        """
        return [record(answer) for answer in await running_jobs(self._open_home())]

    async def _begun(self, request: Request, progress: Listener | None) -> AsyncJob:
        job = AsyncJob(self._open_home(), progress)
        await job.begin(request)
        self._jobs = [*(other for other in self._jobs if not other.is_over), job]
        return job

    def _open_home(self) -> Home:
        if self._home is None:
            raise NotRunningError(
                "the analyst is not open", "use it within its with block"
            )
        return self._home
