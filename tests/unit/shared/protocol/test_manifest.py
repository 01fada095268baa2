"""What a party checks before it acts on a ``job.start``."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from manager.protocol.job_state import JobState
from manager.protocol.tickets import start_messages
from shared.crypto.derivation import manifest_hash, sha256, spec_hash
from shared.crypto.keys import SigningKey
from shared.errors import RefusalCode, RefusedError
from shared.messages import (
    JobStart,
    Manifest,
    ManifestParty,
    SignedCertificate,
    Spec,
    unpack,
)
from shared.names import Duty, Fingerprint, Io, JobId, Principal, Role
from shared.protocol.manifest import (
    CLOCK_SKEW_MS,
    ENDORSEMENT_LABEL,
    MANIFEST_LABEL,
    SPEC_LABEL,
    AcceptedOffer,
    CheckedManifest,
    OwnSide,
    check_certificate,
    check_endorsement,
    check_manifest,
    check_spec,
    check_start,
    pin_of,
)
from tests.job_realm import (
    ANNE,
    BERT,
    CONSUMER,
    DAY,
    DEADLINE,
    FINGERPRINT,
    HOUR,
    MANAGER_KEY,
    NOW,
    S1,
    S2,
    S3,
    certificate,
    context,
    endorsement,
    identity,
    octets,
    signed_certificate,
    spec,
    started_desk,
)

JOB_STATE: JobState = started_desk(wanted=spec(min_sources=2)).job
ISSUED = start_messages(
    JOB_STATE, [p.p for p in JOB_STATE.parties], MANAGER_KEY, FINGERPRINT, context(1), 0
)
MANIFEST = unpack(Manifest, ISSUED.manifest)
CONSUMER_CERT = check_certificate(
    certificate(CONSUMER, Role.CLIENT, Io.OUTPUT),
    (MANAGER_KEY.public,),
    FINGERPRINT,
    NOW,
)


def _start_of(principal: Principal) -> JobStart:
    sends = [send for send in ISSUED.sends if send.recipient == principal]
    message = sends[0].message
    assert isinstance(message, JobStart)
    return message


@dataclass(frozen=True, slots=True)
class Party:
    """A party with a ``job.start`` in its hand."""

    name: Principal
    start: JobStart
    offer: AcceptedOffer
    me: OwnSide
    pins: dict[Principal, bytes] = field(default_factory=dict)
    keys: tuple[bytes, ...] = (MANAGER_KEY.public,)

    def check(self) -> CheckedManifest:
        """Check the start."""
        return check_start(
            self.start,
            manager_keys=self.keys,
            fingerprint=FINGERPRINT,
            me=self.me,
            accepted=self.offer,
            pins=self.pins,
            now_ms=NOW + 2000,
        )

    def check_changed(self, manifest: Manifest | bytes) -> CheckedManifest:
        """Check another manifest, signed by the manager too."""
        packed = manifest if isinstance(manifest, bytes) else manifest.pack()
        signature = MANAGER_KEY.sign(MANIFEST_LABEL, packed)
        changes = {"manifest": packed, "manifest_sig": signature}
        return replace(self, start=self.start.model_copy(update=changes)).check()


def party(name: Principal) -> Party:
    """Return a party that accepted, with the start that answers it."""
    entry = JOB_STATE.find(name)
    assert entry is not None
    assert entry.nonce is not None
    offer = AcceptedOffer(
        JOB_STATE.job,
        JOB_STATE.epoch,
        spec_hash(JOB_STATE.spec),
        entry.nonce,
        unpack(Spec, JOB_STATE.spec),
        entry.duties,
        entry.party,
    )
    me = OwnSide(name, identity(name).public, frozenset({sha256(name.encode())}))
    return Party(name, _start_of(name), offer, me)


def refusal(check: Callable[[], object]) -> tuple[RefusalCode, str]:
    """Return how a check refuses."""
    with pytest.raises(RefusedError) as caught:
        check()
    return caught.value.code, str(caught.value)


def invalid(text: str) -> tuple[RefusalCode, str]:
    """Return the refusal of a manifest with this text."""
    return RefusalCode.MANIFEST_INVALID, text


def with_entry(principal: Principal, **changes: object) -> Manifest:
    """Return the manifest with one entry changed."""
    parties = tuple(
        e.model_copy(update=changes) if e.p == principal else e
        for e in MANIFEST.parties
    )
    return MANIFEST.model_copy(update={"parties": parties})


def with_endorsement(principal: Principal, role: Role, **changes: object) -> Manifest:
    """Return the manifest with another endorsement, signed by its principal."""
    endorse = endorsement(principal, role, **changes)
    signature = identity(principal).sign(ENDORSEMENT_LABEL, endorse)
    return with_entry(principal, endorse=endorse, endorse_sig=signature)


# What holds


@pytest.mark.parametrize("name", [S1, S2, S3])
def test_a_server_proves_everybody(name: Principal) -> None:
    """It talks to all of them."""
    checked = party(name).check()

    assert set(checked.certs) == {S1, S2, S3, ANNE, BERT, CONSUMER}
    assert checked.spki[ANNE] == sha256(ANNE.encode())
    assert checked.endorsements[S1].addrs == ("127.0.0.1:1270",)
    assert checked.mh == manifest_hash(ISSUED.manifest)
    assert checked.spec == unpack(Spec, JOB_STATE.spec)
    assert checked.manifest == MANIFEST


@pytest.mark.parametrize(
    ("name", "proven"),
    [(ANNE, {S1, S2, S3, ANNE, CONSUMER}), (CONSUMER, {S1, S2, S3, CONSUMER})],
)
def test_a_client_proves_servers_consumer_and_itself(
    name: Principal, proven: set[Principal]
) -> None:
    """The other sources are none of its business."""
    checked = party(name).check()

    assert set(checked.certs) == set(checked.spki) == proven


def test_a_pinned_key_that_is_the_same_holds() -> None:
    """The pin is a hash of the identity key."""
    pins = {S1: sha256(identity(S1).public), CONSUMER: pin_of(CONSUMER_CERT)}

    checked = replace(party(ANNE), pins=pins).check()

    assert checked.certs[S1].principal == S1


def test_an_older_tls_key_that_is_still_held_holds() -> None:
    """A session may have been renewed between accept and start."""
    anne = party(ANNE)
    both = frozenset({octets("newer", 32), *anne.me.spkis})

    checked = replace(anne, me=replace(anne.me, spkis=both)).check()

    assert checked.spki[ANNE] in anne.me.spkis


# What a start must be


def test_a_start_must_answer_the_accept() -> None:
    """Job, epoch and nonce are the accepted ones."""
    anne = party(ANNE)
    for changes in ({"job": JobId(bytes(16))}, {"epoch": 2}):
        other = replace(anne, start=anne.start.model_copy(update=changes))
        assert refusal(other.check) == invalid(
            "the start is for another job or epoch than was accepted"
        )
    replayed = anne.start.model_copy(update={"nonce": bytes(16)})
    assert refusal(replace(anne, start=replayed).check) == invalid(
        "the start does not answer this party's accept"
    )


@pytest.mark.parametrize("changes", [{"k_tkt": None}, {"t": _start_of(ANNE).t}])
def test_a_server_gets_a_ticket_key_and_no_tickets(changes: dict[str, object]) -> None:
    """It opens tickets; it shows none."""
    server = party(S1)
    start = server.start.model_copy(update=changes)

    assert refusal(replace(server, start=start).check) == invalid(
        "the start of an MPC server holds no ticket key alone"
    )


@pytest.mark.parametrize(
    "changes",
    [{"k_tkt": bytes(32)}, {"t": None}, {"t": (_start_of(ANNE).t or ())[:2]}],
)
def test_a_client_gets_a_ticket_for_each_server(changes: dict[str, object]) -> None:
    """And no ticket key."""
    anne = party(ANNE)
    start = anne.start.model_copy(update=changes)

    assert refusal(replace(anne, start=start).check) == invalid(
        "the start of a client holds no ticket for each MPC server"
    )


# What a manifest must be


def test_a_manifest_is_the_managers() -> None:
    """Another's signature, or one for another purpose, does not do."""
    anne = party(ANNE)
    for key, label in (
        (SigningKey.from_seed(bytes(32)), MANIFEST_LABEL),
        (MANAGER_KEY, SPEC_LABEL),
    ):
        signature = key.sign(label, anne.start.manifest)
        start = anne.start.model_copy(update={"manifest_sig": signature})
        assert refusal(replace(anne, start=start).check) == invalid(
            "the manifest is not signed by the manager"
        )


def test_signed_bytes_that_are_no_manifest_are_refused() -> None:
    """Even the manager's."""
    assert refusal(lambda: party(ANNE).check_changed(b"\x80")) == invalid(
        "the manifest is malformed"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"realm": bytes(32)}, "the manifest is of another realm"),
        (
            {"job": bytes(16)},
            "the manifest is for another job or epoch than was accepted",
        ),
        (
            {"epoch": 2},
            "the manifest is for another job or epoch than was accepted",
        ),
        (
            {"spec": spec(servers=2).pack()},
            "the manifest holds another spec than was accepted",
        ),
        ({"nbf": NOW + HOUR}, "the manifest is not yet valid"),
        ({"exp": NOW}, "the manifest has expired"),
        (
            {"parties": (*MANIFEST.parties, MANIFEST.parties[0])},
            "a principal is twice in the manifest",
        ),
        (
            {"parties": MANIFEST.parties[1:]},
            "the manifest has not 3 numbered MPC servers",
        ),
        (
            {"parties": MANIFEST.parties[:-1]},
            "Consumer001 is not the manifest's one consumer",
        ),
        (
            {"parties": (*MANIFEST.parties[:3], *MANIFEST.parties[4:])},
            "1 of 2 needed sources are there",
        ),
    ],
)
def test_a_manifest_is_the_accepted_one(changes: dict[str, object], text: str) -> None:
    """Realm, job, epoch, spec, time and a roster that can do it."""
    changed = MANIFEST.model_copy(update=changes)

    assert refusal(lambda: party(S2).check_changed(changed)) == invalid(text)


@pytest.mark.parametrize(
    ("principal", "changes", "text"),
    [
        (
            ANNE,
            {"duties": (Duty.COMPUTE,)},
            "Anne001: duties that a client cannot have",
        ),
        (
            S1,
            {"duties": (Duty.INPUT,)},
            "MPC_server_001: duties that a mpcs cannot have",
        ),
        (
            ANNE,
            {"duties": (Duty.INPUT, Duty.INPUT)},
            "Anne001: duties that a client cannot have",
        ),
        (ANNE, {"party": 3}, "Anne001: MPC servers alone have a party index"),
        (S1, {"party": None}, "MPC_server_001: MPC servers alone have a party index"),
        (S1, {"party": 1}, "the manifest has not 3 numbered MPC servers"),
        (
            ANNE,
            {"duties": (Duty.INPUT, Duty.OUTPUT)},
            "Consumer001 is not the manifest's one consumer",
        ),
        (
            ANNE,
            {"cert": certificate(BERT, Role.CLIENT, Io.INPUT)},
            "Anne001: the endorsement is not signed by its principal",
        ),
        (
            ANNE,
            {"cert": SignedCertificate(c=b"\x80", sig=bytes(64))},
            "Anne001: the certificate is not signed by the manager",
        ),
        (
            ANNE,
            {"cert": certificate(ANNE, Role.CLIENT, Io.OUTPUT)},
            "Anne001: the certificate does not permit these duties",
        ),
    ],
)
def test_an_entry_says_no_more_than_its_proofs(
    principal: Principal, changes: dict[str, object], text: str
) -> None:
    """Duties by role, index by role, certificate and endorsement by one key."""
    changed = with_entry(principal, **changes)

    assert refusal(lambda: party(S2).check_changed(changed)) == invalid(text)


def _as(principal: Principal, role: Role, io: Io | None) -> Manifest:
    """Return the manifest with another principal's proofs in Anne's entry."""
    endorse = endorsement(principal, role)
    return with_entry(
        ANNE,
        cert=certificate(principal, role, io),
        endorse=endorse,
        endorse_sig=identity(principal).sign(ENDORSEMENT_LABEL, endorse),
    )


def test_an_entry_has_its_own_proofs() -> None:
    """Nobody stands in under another's name or in another role."""
    other = _as(Principal("Mala001"), Role.CLIENT, Io.INPUT)
    role = _as(ANNE, Role.MPCS, None)

    assert refusal(lambda: party(S2).check_changed(other)) == invalid(
        "Anne001: the certificate is that of Mala001"
    )
    assert refusal(lambda: party(S2).check_changed(role)) == invalid(
        "Anne001: the certificate is that of a mpcs"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"exp": DEADLINE - 1},
            "MPC_server_001: the endorsement ends before the job's deadline",
        ),
        (
            {"addrs": ()},
            "MPC_server_001: the endorsement of an MPC server names no address",
        ),
        ({"exp": NOW}, "MPC_server_001: the endorsement has expired"),
        (
            {"spki": sha256(ANNE.encode())},
            "Anne001: the same TLS key as MPC_server_001",
        ),
    ],
)
def test_an_endorsement_serves_the_whole_job(
    changes: dict[str, object], text: str
) -> None:
    """It lasts, says where to connect, and its key is nobody else's."""
    changed = with_endorsement(S1, Role.MPCS, **changes)

    assert refusal(lambda: party(ANNE).check_changed(changed)) == invalid(text)


def test_a_source_looks_at_other_sources_tls_keys_only() -> None:
    """An unproven endorsement of one must be readable and not share a key."""
    anne = party(ANNE)
    shared_key = with_endorsement(BERT, Role.CLIENT, spki=sha256(S3.encode()))
    unreadable = with_entry(BERT, endorse=b"\x80")
    unsigned = with_entry(BERT, endorse_sig=bytes(64))

    assert refusal(lambda: anne.check_changed(shared_key)) == invalid(
        "Bert001: the same TLS key as MPC_server_003"
    )
    assert refusal(lambda: anne.check_changed(unreadable)) == invalid(
        "the endorsement of Bert001 is malformed"
    )
    assert BERT not in anne.check_changed(unsigned).spki


@pytest.mark.parametrize(
    "changes",
    [{"sig_pk": bytes(32)}, {"spkis": frozenset({bytes(32)})}],
)
def test_a_partys_own_entry_has_its_own_keys(changes: dict[str, object]) -> None:
    """Somebody else's would let the manager replace it."""
    anne = party(ANNE)
    me = OwnSide(
        ANNE,
        bytes(32) if "sig_pk" in changes else anne.me.sig_pk,
        frozenset({bytes(32)}) if "spkis" in changes else anne.me.spkis,
    )

    assert refusal(replace(anne, me=me).check) == invalid(
        "Anne001: not this party's own keys"
    )


def test_a_party_does_what_it_accepted() -> None:
    """No other duty, no other index, and it is in the roster at all."""
    server = party(S1)
    moved = replace(server, offer=replace(server.offer, party=1))
    anne = party(ANNE)
    promoted = replace(anne, offer=replace(anne.offer, duties=(Duty.OUTPUT,)))
    stranger = replace(anne, me=replace(anne.me, principal=Principal("Mala001")))

    assert refusal(moved.check) == invalid(
        "MPC_server_001: other duties than were accepted"
    )
    assert refusal(promoted.check) == invalid(
        "Anne001: other duties than were accepted"
    )
    assert refusal(stranger.check) == invalid("Mala001 is not in the manifest")


def test_another_key_under_a_pinned_name_is_refused() -> None:
    """The manager certified it, and that is not enough."""
    anne = replace(party(ANNE), pins={S2: bytes(32), BERT: bytes(32)})

    assert refusal(anne.check) == (
        RefusalCode.PIN_MISMATCH,
        "MPC_server_002: another identity key than the pinned one",
    )


def test_a_spec_that_the_manager_signed_is_refused() -> None:
    """The consumer's own signature counts."""
    signature = MANAGER_KEY.sign(SPEC_LABEL, MANIFEST.spec)
    changed = MANIFEST.model_copy(update={"spec_sig": signature})

    assert refusal(lambda: party(ANNE).check_changed(changed)) == (
        RefusalCode.SPEC_INVALID,
        "the spec is not signed by its consumer Consumer001",
    )


def test_a_manifest_can_be_checked_without_its_start() -> None:
    """As after a restart, from the journal."""
    anne = party(ANNE)

    checked = check_manifest(
        anne.start.manifest,
        anne.start.manifest_sig,
        manager_keys=(MANAGER_KEY.public,),
        fingerprint=FINGERPRINT,
        me=anne.me,
        accepted=anne.offer,
        pins={},
        now_ms=NOW,
    )

    assert checked == anne.check()


def test_a_manifest_has_one_entry_a_principal() -> None:
    """What the manager makes is what parties accept."""
    assert all(isinstance(entry, ManifestParty) for entry in MANIFEST.parties)
    assert len({entry.p for entry in MANIFEST.parties}) == len(MANIFEST.parties)


def test_65_what_a_former_key_signed_counts_while_the_realm_names_it() -> None:
    """A rotation disturbs no job; once the key is over everything by it is refused."""
    successor = SigningKey.from_seed(b"n" * 32).public
    overlapping = replace(party(ANNE), keys=(successor, MANAGER_KEY.public))
    over = replace(party(ANNE), keys=(successor,))

    assert overlapping.check() == party(ANNE).check()
    assert refusal(over.check) == (
        RefusalCode.MANIFEST_INVALID,
        "the manifest is not signed by the manager",
    )
    assert refusal(
        lambda: check_certificate(
            certificate(S1, Role.MPCS), (successor,), FINGERPRINT, NOW
        )
    ) == (
        RefusalCode.MANIFEST_INVALID,
        "the certificate is not signed by the manager",
    )


# Certificates


@pytest.mark.parametrize(
    ("signed", "text"),
    [
        (
            SignedCertificate(c=certificate(S1, Role.MPCS).c, sig=bytes(64)),
            "the certificate is not signed by the manager",
        ),
        (signed_certificate(b"\x80"), "the certificate is malformed"),
        (
            certificate(S1, Role.MPCS, iss=bytes(8)),
            "the certificate names another issuer's key",
        ),
        (
            certificate(S1, Role.MPCS, realm=bytes(32)),
            "the certificate is of another realm",
        ),
        (certificate(ANNE, Role.CLIENT), "the certificate permits nothing"),
        (
            certificate(S1, Role.MPCS, nbf=NOW + CLOCK_SKEW_MS + 1),
            "the certificate is not yet valid",
        ),
        (certificate(S1, Role.MPCS, exp=NOW), "the certificate has expired"),
    ],
)
def test_a_certificate_that_does_not_hold_is_refused(
    signed: SignedCertificate, text: str
) -> None:
    """With the code that the caller names."""
    code = RefusalCode.SPEC_INVALID

    assert refusal(
        lambda: check_certificate(signed, (MANAGER_KEY.public,), FINGERPRINT, NOW, code)
    ) == (code, text)


def test_a_slow_clock_does_not_refuse_a_fresh_certificate() -> None:
    """Within the skew that envelopes allow."""
    signed = certificate(S1, Role.MPCS, nbf=NOW + CLOCK_SKEW_MS)

    cert = check_certificate(signed, (MANAGER_KEY.public,), FINGERPRINT, NOW)

    assert cert.principal == S1


# Endorsements


@pytest.mark.parametrize(
    ("endorse", "text"),
    [
        (b"\x80", "the endorsement is malformed"),
        (
            endorsement(CONSUMER, Role.CLIENT, realm=bytes(32)),
            "the endorsement is of another realm",
        ),
        (endorsement(ANNE, Role.CLIENT), "the endorsement is another principal's"),
        (endorsement(CONSUMER, Role.MPCS), "the endorsement is another principal's"),
        (
            endorsement(CONSUMER, Role.CLIENT, nbf=NOW + DAY),
            "the endorsement is not yet valid",
        ),
    ],
)
def test_an_endorsement_that_does_not_hold_is_refused(
    endorse: bytes, text: str
) -> None:
    """Though its principal signed it."""
    signature = identity(CONSUMER).sign(ENDORSEMENT_LABEL, endorse)

    assert refusal(
        lambda: check_endorsement(endorse, signature, CONSUMER_CERT, FINGERPRINT, NOW)
    ) == invalid(text)


# Specs


@pytest.mark.parametrize(
    ("packed", "io", "text"),
    [
        (b"\x80", Io.OUTPUT, "the spec is malformed"),
        (
            spec(consumer=ANNE).pack(),
            Io.OUTPUT,
            "the spec of Consumer001 names Anne001 as consumer",
        ),
        (
            spec(realm=Fingerprint(bytes(32))).pack(),
            Io.OUTPUT,
            "the spec is of another realm",
        ),
        (spec().pack(), Io.INPUT, "Consumer001 may not get results"),
    ],
)
def test_a_spec_that_does_not_hold_is_refused(packed: bytes, io: Io, text: str) -> None:
    """Though its consumer signed it."""
    cert = check_certificate(
        certificate(CONSUMER, Role.CLIENT, io), (MANAGER_KEY.public,), FINGERPRINT, NOW
    )
    signature = identity(CONSUMER).sign(SPEC_LABEL, packed)

    assert refusal(lambda: check_spec(packed, signature, cert)) == (
        RefusalCode.SPEC_INVALID,
        text,
    )
