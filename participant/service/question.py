"""What a consumer asks: made into a spec here, and checked by every party.

The spec's program hash names statistic, engine and the version of what this release
computes for them; a party that would compute something else refuses.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from participant.engines.base import Plan
from participant.engines.registry import engine, is_plugin
from participant.protocol.consent import MAX_DEADLINE_MS, MAX_RESULT_LIFE_MS
from participant.protocol.identity import Identity
from participant.protocol.model import Asked
from participant.statistics.params import Params, parse_params
from participant.statistics.registry import checked, statistic
from shared import codec
from shared.crypto.derivation import equal, job_id, sha256
from shared.crypto.keys import KemKey
from shared.errors import ConfigError, DecodeError, RefusalCode, RefusedError
from shared.messages import Authorisation, Requirements, Spec
from shared.messages.wire import validate
from shared.names import JobId
from shared.protocol.machine import Context
from shared.protocol.manifest import SPEC_LABEL

PROGRAM_VERSION = 1
"""Raised with every change of what a statistic's vector or an engine's share is."""
DEFAULT_DEADLINE = timedelta(seconds=60)
DEFAULT_RESULT_LIFE = timedelta(hours=24)
DEFAULT_SERVERS = 3
DEFAULT_ENGINE = "additive"
MIN_SERVERS = 2
MAX_SERVERS = 64

_MILLISECOND = timedelta(milliseconds=1)
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Question:
    """A job as its user words it.

    ``min_sources``: 0 means that every source that is asked has to accept.
    ``requires``: what each MPC server must have; empty means any.
    ``threshold``: how many servers may pool what they see and learn nothing; None
    means as many as the engine withstands.
    """

    params: Params
    dataset: str
    servers: int = DEFAULT_SERVERS
    engine: str = DEFAULT_ENGINE
    threshold: int | None = None
    requires: Requirements = field(default_factory=Requirements)
    min_sources: int = 0
    purpose: str | None = None
    deadline: timedelta = DEFAULT_DEADLINE
    result_life: timedelta = DEFAULT_RESULT_LIFE


def default_engine(params: Params) -> str:
    """Return the engine that serves a request unless its user names another.

    Where there is no such statistic, ``check_question`` says so.
    """
    try:
        engines = statistic(params.statistic, params.reveal).engines
    except RefusedError:
        return DEFAULT_ENGINE
    return DEFAULT_ENGINE if DEFAULT_ENGINE in engines else min(engines)


def consumer_learns(spec: Spec) -> str | None:
    """Return a sentence on what a job's consumer will learn; None if nobody knows."""
    try:
        return checked(parse_params(spec.params)).learns
    except RefusedError:
        return None


def program_hash(statistic_name: str, engine_name: str, protocol: str) -> bytes:
    """Return the hash that names what is computed, and in which versions.

    Raises:
        RefusedError: there is no such engine.
    """
    version = engine(engine_name).version
    return sha256(
        b"MPX1-program\0",
        codec.encode([statistic_name, engine_name, protocol, PROGRAM_VERSION, version]),
    )


def check_question(question: Question) -> None:
    """Check that a question can be asked.

    Raises:
        RefusedError: it cannot be asked so; the text names the bounds.
        ConfigError: servers, deadline or the result's life are out of bounds.
    """
    if not MIN_SERVERS <= question.servers <= MAX_SERVERS:
        raise ConfigError(
            f"{question.servers} MPC servers",
            f"ask for {MIN_SERVERS} to {MAX_SERVERS}",
        )
    if not timedelta(seconds=1) <= question.deadline <= MAX_DEADLINE_MS * _MILLISECOND:
        raise ConfigError("the deadline is out of bounds", "give 1s to 24h")
    if not timedelta() <= question.result_life <= MAX_RESULT_LIFE_MS * _MILLISECOND:
        raise ConfigError("the result's life is out of bounds", "give at most 7d")
    _computation(question)


def make_request(question: Question, identity: Identity, context: Context) -> Asked:
    """Return a question as a signed spec with a result key of its own.

    Raises:
        RefusedError: it cannot be asked so.
        ConfigError: a bound is broken, or a text cannot travel.
    """
    check_question(question)
    asked = _computation(question)
    params = question.params
    result_key = KemKey.from_bytes(context.entropy(32))
    chosen = context.entropy(_ID_BYTES)
    # The manager's clock may be behind: a little less than its limit is left.
    deadline = context.now_ms + question.deadline // _MILLISECOND
    try:
        spec = validate(
            Spec,
            {
                "v": 1,
                "realm": identity.realm.fingerprint,
                "consumer": identity.principal,
                "id": chosen,
                "engine": question.engine,
                "protocol": question.engine,
                "program_hash": program_hash(
                    params.statistic, question.engine, question.engine
                ),
                "params": params.to_mapping(),
                "threshold": asked.threshold,
                "servers": question.servers,
                "requires": question.requires.model_dump(exclude_none=True),
                "datasets": [question.dataset],
                "min_sources": question.min_sources,
                "az": Authorisation(
                    cols=params.used(), max_bytes=asked.block_bytes
                ).model_dump(),
                "purpose": question.purpose,
                "deadline": deadline,
                "attempts": 1,
                "result_exp": deadline + question.result_life // _MILLISECOND,
                "res": result_key.public,
            },
        ).pack()
    except DecodeError as error:
        raise ConfigError(
            f"the request cannot be sent: {error}",
            "use letters, digits, '_', '.' and '-' in names",
        ) from error
    return Asked(
        job=job_id(identity.realm.fingerprint, identity.principal, chosen),
        spec=spec,
        spec_sig=identity.signing.sign(SPEC_LABEL, spec),
        result_key=result_key,
        deadline=deadline,
        result_exp=deadline + question.result_life // _MILLISECOND,
    )


def check_spec(spec: Spec) -> None:
    """Check that this release computes what a spec names, and nothing else.

    Raises:
        RefusedError: another program, engine, threshold or parameters.
    """
    params = parse_params(spec.params)
    expected = program_hash(params.statistic, spec.engine, spec.protocol)
    if not equal(spec.program_hash, expected):
        raise RefusedError(
            "the program hash is not that of this release's"
            f" {params.statistic!r} with engine {spec.engine!r}",
            RefusalCode.UNSUPPORTED,
        )
    if spec.protocol != spec.engine:
        raise RefusedError(
            f"engine {spec.engine!r} has no protocol {spec.protocol!r}",
            RefusalCode.UNSUPPORTED,
        )
    asked = _checked(params, spec.engine, spec.servers, spec.threshold)
    if set(spec.az.cols) != set(params.used()):
        raise RefusedError(
            "the columns that may be sent are not those that are asked for",
            RefusalCode.PARAMETERS,
        )
    if spec.az.max_bytes < asked.block_bytes:
        raise RefusedError(
            "fewer bytes may be sent than a share of this statistic has",
            RefusalCode.PARAMETERS,
        )


@dataclass(frozen=True, slots=True)
class _Computation:
    """What follows from a question that every party agrees to.

    ``block_bytes``: the most that a source sends to one server.
    """

    threshold: int
    block_bytes: int


def _computation(question: Question) -> _Computation:
    return _checked(
        question.params, question.engine, question.servers, question.threshold
    )


def _checked(
    params: Params, engine_name: str, servers: int, threshold: int | None
) -> _Computation:
    """Check statistic, engine and threshold against each other.

    Raises:
        RefusedError: they do not fit, with the bounds.
    """
    statistic = checked(params)
    # What a plugin's engine can run it says itself, when it checks the plan.
    if engine_name not in statistic.engines and not is_plugin(engine_name):
        raise RefusedError(
            f"{statistic.name} is served by engine"
            f" {' or '.join(sorted(statistic.engines))}, not {engine_name!r}",
            RefusalCode.UNSUPPORTED,
        )
    serving = engine(engine_name)
    most = serving.max_threshold(servers)
    if most < 1:
        raise RefusedError(
            f"engine {engine_name!r} protects nothing among {servers} servers;"
            " ask for more",
            RefusalCode.UNSUPPORTED,
        )
    if threshold is not None and not 1 <= threshold <= most:
        raise RefusedError(
            f"engine {engine_name!r} withstands 1 to {most} of {servers} servers"
            f" together, not {threshold}",
            RefusalCode.PARAMETERS,
        )
    plan = Plan(
        job=JobId(bytes(_ID_BYTES)),
        parties=servers,
        party=None,
        sources=1,
        threshold=most if threshold is None else threshold,
        width=statistic.width(params),
        program=statistic.program(params),
    )
    serving.check(plan)
    return _Computation(plan.threshold, serving.max_block_bytes(plan))
