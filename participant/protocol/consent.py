"""Consent: whether this participant takes part in a job, by its own rules.

Nothing here trusts the manager's word for what is asked or by whom: the spec is
signed by its consumer, whose certificate is checked and, where its key is pinned,
compared with the pin. Source: docs/protocol.md, sections "Job" and "Pins".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum, unique

from participant.protocol.identity import MAX_PINS, Identity, Pin, key_hash
from shared.crypto.derivation import equal, job_id
from shared.crypto.keys import check_kem_key
from shared.errors import CryptoError, RefusalCode, RefusedError
from shared.messages import CertificateBody, JobOffer, KeyUse, Spec
from shared.names import Duty, Fingerprint, Principal
from shared.protocol.manifest import check_certificate, check_spec

MAX_RESULT_LIFE_MS = 7 * 24 * 3_600_000
"""A result can be fetched at most that long after the job's deadline."""
MAX_DEADLINE_MS = 24 * 3_600_000
"""A job's deadline is at most that far away."""


@unique
class PinRule(StrEnum):
    """Whose identity keys are accepted."""

    FIRST_USE = "first-use"
    """The first key seen under a name is the one that it must have from then on."""
    LISTED = "listed"
    """Only keys that the owner listed."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The owner's rules; ``None`` in a set's place means whatever.

    ``accepts``: False refuses every job. ``min_servers``: fewer are refused.
    ``required``, ``denied``: MPC servers that must or must not be in the roster.
    ``listed``: keys that the owner listed; they win over those seen at first use.
    """

    accepts: bool = True
    consumers: frozenset[str] | None = None
    statistics: frozenset[str] | None = None
    required: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    min_servers: int = 2
    pins: PinRule = PinRule.FIRST_USE
    listed: tuple[Pin, ...] = ()

    def pinned(self, identity: Identity) -> dict[Principal, bytes]:
        """Return the key hash that each known principal must have."""
        pins = {pin.principal: pin.key_hash for pin in identity.pins}
        return pins | {pin.principal: pin.key_hash for pin in self.listed}

    def lists(self, principal: Principal, identity: Identity) -> bool:
        """Say whether the owner named a principal's key, here or by command."""
        by_command = (pin for pin in identity.pins if pin.is_listed)
        return any(pin.principal == principal for pin in (*self.listed, *by_command))


@dataclass(frozen=True, slots=True)
class Rules:
    """What this participant goes by when it is asked.

    ``check_statistic``: refuses a spec whose statistic, parameters, engine or
    program hash are not what this release computes. ``datasets``: the names of what
    a source offers.
    """

    identity: Identity
    policy: Policy
    check_statistic: Callable[[Spec], None]
    datasets: frozenset[str] = frozenset()


def check_offer(offer: JobOffer, rules: Rules, now_ms: int) -> Spec:
    """Return the spec of an offer that this participant agrees to.

    Raises:
        RefusedError: with the code that the manager is told.
    """
    identity = rules.identity
    consumer = check_certificate(
        offer.consumer_cert,
        signing_keys(identity, now_ms),
        identity.realm.fingerprint,
        now_ms,
        RefusalCode.SPEC_INVALID,
    )
    spec = check_spec(offer.spec, offer.spec_sig, consumer)
    _check_bounds(offer, spec, now_ms)
    check_pin(rules, consumer)
    _check_duties(offer, identity, spec)
    rules.check_statistic(spec)
    # The consumer made the request itself; its own policy is for others' requests.
    if consumer.principal != identity.principal:
        check_policy(rules.policy, spec)
    servers = [e.p for e in offer.roster if Duty.COMPUTE in e.duties]
    check_servers(rules.policy, servers)
    if Duty.INPUT in offer.duties:
        missing = [name for name in spec.datasets if name not in rules.datasets]
        if missing:
            raise RefusedError(
                f"no dataset {missing[0]!r} here", RefusalCode.UNKNOWN_DATASET
            )
        if len(spec.datasets) > 1:
            raise RefusedError(
                "a job reads one dataset a source", RefusalCode.UNSUPPORTED
            )
    return spec


def signing_keys(identity: Identity, now_ms: int) -> tuple[bytes, ...]:
    """Return the manager's signing keys in time, newest first.

    Raises:
        RefusedError: none is in time by this machine's clock.
    """
    keys = identity.realm.in_time(KeyUse.SIG, now_ms)
    if not keys:
        raise RefusedError(
            "no key of the manager is in time by this party's clock",
            RefusalCode.INTERNAL,
        )
    return tuple(key.pk for key in keys)


def check_policy(policy: Policy, spec: Spec) -> None:
    """Check a spec against the owner's rules.

    Raises:
        RefusedError: the owner does not want it.
    """
    if not policy.accepts:
        raise _unwanted("this party accepts no jobs now")
    if policy.consumers is not None and spec.consumer not in policy.consumers:
        raise _unwanted(f"this party gives nothing to {spec.consumer}")
    statistic = spec.params.get("statistic")
    if policy.statistics is not None and statistic not in policy.statistics:
        raise _unwanted(f"this party takes no part in {statistic!r}")


def check_servers(policy: Policy, servers: Iterable[Principal]) -> None:
    """Check a roster's MPC servers against the owner's rules.

    Raises:
        RefusedError: too few, one is denied, or one is missing.
    """
    names = set(servers)
    if len(names) < policy.min_servers:
        raise _unwanted(
            f"this party asks for at least {policy.min_servers} MPC servers,"
            f" not {len(names)}"
        )
    denied = sorted(names & policy.denied)
    if denied:
        raise _unwanted(f"this party does not trust {denied[0]}")
    missing = sorted(policy.required - names)
    if missing:
        raise _unwanted(f"this party insists on {missing[0]}")


def check_pin(rules: Rules, cert: CertificateBody) -> None:
    """Check a certificate's key against what is pinned for its principal.

    Raises:
        RefusedError: another key, or none is listed and only listed ones count.
    """
    identity, policy = rules.identity, rules.policy
    must_be_listed = (
        policy.pins is PinRule.LISTED and cert.principal != identity.principal
    )
    if must_be_listed and not policy.lists(cert.principal, identity):
        raise RefusedError(
            f"the key of {cert.principal} is not listed at this party",
            RefusalCode.PIN_MISMATCH,
        )
    pinned = policy.pinned(identity).get(cert.principal)
    if pinned is not None and not equal(pinned, key_hash(cert.sig_pk)):
        raise RefusedError(
            f"{cert.principal}: another identity key than the pinned one",
            RefusalCode.PIN_MISMATCH,
        )


def new_pins(rules: Rules, certs: Iterable[CertificateBody]) -> tuple[Pin, ...]:
    """Return the pins that a first use of these certificates makes.

    Raises:
        RefusedError: there is no room for them.
    """
    if rules.policy.pins is not PinRule.FIRST_USE:
        return ()
    known = rules.policy.pinned(rules.identity)
    pins = tuple(
        Pin(cert.principal, key_hash(cert.sig_pk))
        for cert in certs
        if cert.principal not in known and cert.principal != rules.identity.principal
    )
    if len(rules.identity.pins) + len(pins) > MAX_PINS:
        raise RefusedError(
            f"{MAX_PINS} keys are pinned at this party, and no more can be",
            RefusalCode.PIN_MISMATCH,
        )
    return pins


def _check_bounds(offer: JobOffer, spec: Spec, now_ms: int) -> None:
    """Check what must hold of every spec."""
    if offer.job != job_id(_fingerprint(spec), spec.consumer, spec.id):
        raise _invalid("the job's id does not follow from the spec")
    if offer.deadline != spec.deadline:
        raise _invalid("the offer's deadline is not the spec's")
    if spec.attempts != 1:
        raise RefusedError(
            "a job is tried once; ask with attempts 1", RefusalCode.PARAMETERS
        )
    if spec.deadline <= now_ms:
        raise RefusedError(
            "the deadline has passed by this party's clock", RefusalCode.PARAMETERS
        )
    if spec.deadline > now_ms + MAX_DEADLINE_MS:
        raise RefusedError(
            "the deadline is more than 24 h away", RefusalCode.PARAMETERS
        )
    if not spec.deadline <= spec.result_exp <= spec.deadline + MAX_RESULT_LIFE_MS:
        raise RefusedError(
            "the result's expiry is before the deadline or more than 7 d after it",
            RefusalCode.PARAMETERS,
        )
    try:
        check_kem_key(spec.res)
    except CryptoError as error:
        raise _invalid("the result key is not a sound X25519 key") from error


def _check_duties(offer: JobOffer, identity: Identity, spec: Spec) -> None:
    """Check what this party is to do."""
    duties = frozenset(offer.duties)
    if len(duties) != len(offer.duties) or not duties <= identity.duties:
        raise _invalid("duties that this party's certificate does not permit")
    if (Duty.COMPUTE in duties) != (offer.party is not None):
        raise _invalid("MPC servers, and only they, have a party index")
    if offer.party is not None and offer.party >= spec.servers:
        raise _invalid("a party index outside the roster")
    if (Duty.OUTPUT in duties) != (spec.consumer == identity.principal):
        raise _invalid("the result goes to the spec's consumer and nobody else")
    own = [entry for entry in offer.roster if entry.p == identity.principal]
    if len(own) != 1 or frozenset(own[0].duties) != duties:
        raise _invalid("the roster says something else of this party")
    servers = {e.p for e in offer.roster if Duty.COMPUTE in e.duties}
    if len(servers) != spec.servers:
        raise _invalid("the roster has another number of MPC servers than asked for")


def _fingerprint(spec: Spec) -> Fingerprint:
    return Fingerprint(spec.realm)


def _invalid(message: str) -> RefusedError:
    return RefusedError(message, RefusalCode.SPEC_INVALID)


def _unwanted(message: str) -> RefusedError:
    return RefusedError(message, RefusalCode.POLICY)
