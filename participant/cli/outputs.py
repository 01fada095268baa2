"""What a participant's commands print for machines."""

from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue

from participant.home.identities import Known
from participant.service.local import Answer
from shared.output import Output, Time, moment, path_text

TIMES = ("offered", "started", "linked", "result", "total")
"""What is told of when a job came how far, in order."""


class AskedJob(Output):
    """A job that this participant asked for.

    Attributes:
        job: its number, as people say it, once the manager gave one.
        id: its id.
        state: how far it is; at its end done, failed, cancelled or expired.
        phase: the furthest that it came here.
        statistic: what was asked for.
        dataset: over which.
        columns: of these.
        servers: how many MPC servers compute.
        sources: how many sources gave input, once that is known.
        result: its figures, where ``result`` or ``runmpc`` print them.
        waiting: what it waits for, while it goes on.
        code: why it ended without a result, as a code.
        party: at whom it failed.
        reason: why, in words.
        requested: when it was asked for.
        times_ms: when it came how far, in milliseconds since the request.
    """

    job: str | None
    id: str
    state: str
    phase: str | None
    statistic: str | None
    dataset: str | None
    columns: tuple[str, ...]
    servers: int | None
    sources: int | None
    result: JsonValue
    waiting: str | None
    code: str | None
    party: str | None
    reason: str | None
    requested: Time | None
    times_ms: dict[str, int]


class NewIdentity(Output):
    """A new identity.

    Attributes:
        principal: its name.
        number: of the identity in this home.
        home: its folder.
        realm: where it is registered.
        fingerprint: of that realm.
    """

    principal: str
    number: int
    home: str
    realm: str
    fingerprint: str


class Identity(Output):
    """An identity of this home.

    Attributes:
        number: by which it can be chosen.
        principal: its name.
        role: what it is.
        io: what a client may do.
        realm: where it is registered.
        home: its folder.
        is_running: whether a control process works in that folder.
    """

    number: int
    principal: str | None
    role: str | None
    io: str | None
    realm: str | None
    home: str
    is_running: bool


class OfferedDataset(Output):
    """A dataset that this participant offers.

    Attributes:
        name: by which consumers ask for it.
        path: its file.
        columns: their names; null if the file cannot be offered.
        problem: why it cannot be.
    """

    name: str
    path: str
    columns: tuple[str, ...] | None
    problem: str | None


class PinnedKey(Output):
    """A principal whose identity key is held to.

    Attributes:
        principal: its name.
        key_hash: SHA-256 of its identity key.
        origin: who wants that: ``policy`` is the owner in policy.toml, ``owner`` by
            command, ``first-use`` is the first key that was seen.
    """

    principal: str
    key_hash: str
    origin: Literal["policy", "owner", "first-use"]


class Status(Output):
    """A running control process.

    Attributes:
        principal: whose it is.
        role: what that is.
        io: what a client may do.
        realm: where it is registered.
        fingerprint: of that realm.
        key_hash: SHA-256 of the identity key, which others can pin.
        broker: where it is.
        is_online: whether the manager knows that it is there.
        session_ends: when its session does.
        addresses: where an MPC server listens, as others reach it.
        datasets: what a source offers.
        pins: identity keys of others that are held to, by name.
        dropped: envelopes that were refused, by reason.
        problem: why it is not online.
        hint: what to do about that.
    """

    principal: str
    role: str
    io: str | None
    realm: str
    fingerprint: str
    key_hash: str
    broker: str
    is_online: bool
    session_ends: Time | None
    addresses: tuple[str, ...]
    datasets: tuple[str, ...]
    pins: dict[str, str]
    dropped: dict[str, int]
    problem: str | None = None
    hint: str | None = None


def job_output(answer: Answer, result: JsonValue = None) -> AskedJob:
    """Return a job, with its figures if they are wanted."""
    times = answer.get("times_ms")
    known = times if isinstance(times, Mapping) else {}
    requested = answer.get("requested")
    return AskedJob.model_validate(
        {
            name: answer.get(name)
            for name in AskedJob.model_fields
            if name not in {"result", "requested", "times_ms", "columns"}
        }
        | {
            "columns": answer.get("columns") or (),
            "result": result,
            "requested": moment(requested if isinstance(requested, int) else None),
            "times_ms": {name: known[name] for name in TIMES if name in known},
        }
    )


def identity_output(known: Known, *, is_running: bool) -> Identity:
    """Return an identity."""
    return Identity(
        number=known.number,
        principal=known.principal,
        role=known.role,
        io=known.io,
        realm=known.realm,
        home=path_text(known.path),
        is_running=is_running,
    )


def status_output(answer: Answer) -> Status:
    """Return what a control process says of itself."""
    ends = answer.get("session_ends")
    return Status.model_validate(
        {name: answer[name] for name in Status.model_fields if name in answer}
        | {"session_ends": moment(ends if isinstance(ends, int) else None)}
    )
