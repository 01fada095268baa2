"""What the local socket offers: the operations of a running control process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta

from participant.protocol.consent import Policy
from participant.protocol.identity import key_hash
from participant.protocol.model import PartyJob
from participant.protocol.pins import read_pin, with_pin, without_pin
from participant.service.control_process import ControlProcess
from participant.service.local import Answer, Request
from participant.service.pinning import pins_shown
from participant.service.question import Question
from participant.service.summary import is_over, summary
from participant.statistics.params import parse_params
from shared.codec import Value
from shared.crypto.derivation import fingerprint_text
from shared.errors import ConfigError, JobError, RefusalCode, RefusedError
from shared.messages import Requirements
from shared.messages.wire import validate
from shared.names import JobId, display_number

PROGRESS_INTERVAL = timedelta(seconds=2)
"""How often a waiting command hears something even if nothing moved."""

NUMBER_TIMEOUT = timedelta(seconds=5)
"""How long a detached request waits for its display number."""
MAX_LISTED = 500
MIN_PREFIX = 8
"""Hexadecimal digits that name a job, at least."""

_MILLISECOND = timedelta(milliseconds=1)


class Control:
    """Answers requests of commands.

    Args:
        process: the running control process.
    """

    def __init__(self, process: ControlProcess) -> None:
        self._process = process

    async def handle(self, request: Request) -> AsyncIterator[Answer]:
        """Yield the answers to a request.

        Raises:
            FrameworkError: what the command's user is told.
        """
        operation = _OPERATIONS.get(str(request.get("op")))
        if operation is None:
            raise ConfigError(
                "the control process does not know this command",
                "it is of another release; stop it and start it again",
            )
        async for answer in operation(self, request):
            yield answer

    async def submit(self, request: Request) -> AsyncIterator[Answer]:
        """Ask for a job, and follow it unless ``detach`` is set."""
        state = await self._process.submit(read_question(request))
        if not request.get("detach"):
            async for answer in self._follow(state.job):
                yield answer
            return
        last: Answer = {"event": "done", **summary(state)}
        try:
            async with asyncio.timeout(NUMBER_TIMEOUT.total_seconds()):
                async for answer in self._follow(state.job):
                    last = answer | {"event": "done"}
                    if answer["job"] is not None or answer["event"] == "done":
                        break
        except TimeoutError:
            pass  # its id is known; its number comes with the manager's answer
        yield last

    async def result(self, request: Request) -> AsyncIterator[Answer]:
        """Follow a job that was asked for before."""
        async for answer in self._follow(self._find(request.get("job")).job):
            yield answer

    async def cancel(self, request: Request) -> AsyncIterator[Answer]:
        """Give a job up."""
        state = self._find(request.get("job"))
        await self._process.cancel(state.job)
        yield {"event": "done", **summary(state)}

    async def jobs(self, request: Request) -> AsyncIterator[Answer]:  # noqa: ARG002 - as all
        """List the jobs of this participant, the newest last."""
        shown: list[Value] = [summary(job) for job in self._own_jobs()[-MAX_LISTED:]]
        yield {"event": "done", "jobs": shown}

    async def status(self, request: Request) -> AsyncIterator[Answer]:  # noqa: ARG002 - as all
        """Say who this is and how it stands with the manager."""
        yield {"event": "done", **self._status()}

    async def reload_datasets(
        self,
        request: Request,  # noqa: ARG002 - as all
    ) -> AsyncIterator[Answer]:
        """Read datasets and policy again."""
        names = await self._process.reload()
        yield {"event": "done", "offered": list(names)}

    async def pins(self, request: Request) -> AsyncIterator[Answer]:  # noqa: ARG002 - as all
        """List whose identity keys are held to."""
        yield self._pins()

    async def pin(self, request: Request) -> AsyncIterator[Answer]:
        """Hold somebody to a key that the owner names."""
        pin = read_pin(str(request.get("principal")), str(request.get("key_hash")))
        policy = self._policy()
        await self._process.change(lambda now: with_pin(now, policy, pin))
        yield self._pins()

    async def unpin(self, request: Request) -> AsyncIterator[Answer]:
        """Hold somebody to a key no more."""
        name = str(request.get("principal"))
        policy = self._policy()
        await self._process.change(lambda now: without_pin(now, policy, name))
        yield self._pins()

    async def stop(self, request: Request) -> AsyncIterator[Answer]:  # noqa: ARG002 - as all
        """End the control process in good order."""
        yield {"event": "done"}
        self._process.stop()

    async def _follow(self, job: JobId) -> AsyncIterator[Answer]:
        """Yield a job's progress until it is over."""
        moved = asyncio.Event()

        def watch(changed: PartyJob) -> None:
            if changed.job == job:
                moved.set()

        last: Answer = {}
        with self._process.jobs.watched(watch):
            while True:
                moved.clear()
                state = self._process.jobs.get(job)
                if state is None:
                    raise JobError("the job is not known here any more")
                shown = summary(state) | self._problem()
                if is_over(state):
                    yield {"event": "done", **shown}
                    return
                if shown != last:
                    last = shown
                    yield {"event": "progress", **shown}
                try:
                    async with asyncio.timeout(PROGRESS_INTERVAL.total_seconds()):
                        await moved.wait()
                except TimeoutError:
                    continue

    def _problem(self) -> dict[str, Value]:
        problem = self._process.logon.problem
        if problem is None:
            return {}
        return {"problem": str(problem), "hint": problem.hint}

    def _policy(self) -> Policy:
        return self._process.party().rules.policy

    def _pins(self) -> Answer:
        shown: list[Value] = [*pins_shown(self._process.identity(), self._policy())]
        return {"event": "done", "pins": shown}

    def _own_jobs(self) -> list[PartyJob]:
        return [job for job in self._process.jobs.all() if job.time_of("requested")]

    def _find(self, name: Value) -> PartyJob:
        return find_job(self._own_jobs(), str(name))

    def _status(self) -> dict[str, Value]:
        process = self._process
        identity, session = process.identity(), process.mail.sessions.current
        return {
            "principal": identity.principal,
            "role": identity.role.value,
            "io": identity.io.value if identity.io else None,
            "realm": identity.realm.name,
            "fingerprint": fingerprint_text(identity.realm.fingerprint),
            "key_hash": key_hash(identity.signing.public).hex(),
            "broker": identity.broker.url,
            "is_online": session is not None,
            "session_ends": session.exp if session else None,
            "addresses": list(process.addresses()),
            "datasets": list(process.offered),
            "pins": {pin.principal: pin.key_hash.hex() for pin in identity.pins},
            "dropped": {str(name): n for name, n in process.mail.counters.items()},
            **self._problem(),
        }


_OPERATIONS: Mapping[str, Callable[[Control, Request], AsyncIterator[Answer]]] = {
    "submit": Control.submit,
    "result": Control.result,
    "cancel": Control.cancel,
    "jobs": Control.jobs,
    "status": Control.status,
    "reload-datasets": Control.reload_datasets,
    "pins": Control.pins,
    "pin": Control.pin,
    "unpin": Control.unpin,
    "stop": Control.stop,
}


def find_job(jobs: Sequence[PartyJob], name: str) -> PartyJob:
    """Return the job that a user means by ``J001`` or the start of its id.

    Raises:
        RefusedError: none fits, or several do.
    """
    text = name.strip()
    found = [
        job
        for job in jobs
        if (job.number and display_number(job.number) == text.upper())
        or (len(text) >= MIN_PREFIX and job.job.hex().startswith(text.lower()))
    ]
    if len(found) == 1:
        return found[0]
    error = RefusedError(
        f"{text!r} fits {len(found)} jobs"
        if found
        else f"there is no job {text!r} of this participant",
        RefusalCode.PARAMETERS,
    )
    error.hint = "see which there are: mpc-participant jobs"
    raise error


def request_of(question: Question) -> dict[str, Value]:
    """Return a question as it travels over the local socket."""
    return {
        "op": "submit",
        "params": question.params.to_mapping(),
        "dataset": question.dataset,
        "servers": question.servers,
        "engine": question.engine,
        "threshold": question.threshold,
        "requires": question.requires.model_dump(exclude_none=True),
        "min_sources": question.min_sources,
        "purpose": question.purpose,
        "deadline_ms": question.deadline // _MILLISECOND,
        "result_life_ms": question.result_life // _MILLISECOND,
    }


def read_question(request: Request) -> Question:
    """Return the question in a request.

    Raises:
        RefusedError: its parameters are malformed.
        ConfigError: so is something else.
    """
    params, requires = request.get("params"), request.get("requires")
    if not isinstance(params, dict) or not isinstance(requires, dict):
        raise ConfigError("the request is malformed", "use the same release for both")
    purpose = request.get("purpose")
    return Question(
        params=parse_params(params),
        dataset=str(request.get("dataset")),
        servers=_number(request, "servers"),
        engine=str(request.get("engine")),
        threshold=(
            None if request.get("threshold") is None else _number(request, "threshold")
        ),
        requires=validate(Requirements, requires),
        min_sources=_number(request, "min_sources"),
        purpose=purpose if isinstance(purpose, str) else None,
        deadline=_number(request, "deadline_ms") * _MILLISECOND,
        result_life=_number(request, "result_life_ms") * _MILLISECOND,
    )


def _number(request: Request, name: str) -> int:
    value = request.get(name)
    if not isinstance(value, int):
        raise ConfigError("the request is malformed", "use the same release for both")
    return value
