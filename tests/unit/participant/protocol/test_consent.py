"""Consent: nothing is given that the owner's rules, or a signature, do not cover."""

from dataclasses import replace

import pytest

from participant.protocol.consent import PinRule, Policy
from participant.protocol.identity import MAX_PINS, Pin, key_hash
from participant.protocol.model import DataReady, RecordPins, Run
from shared.crypto.keys import SigningKey
from shared.errors import RefusalCode
from shared.messages import Endorsement, JobRefuse, RosterEntry, Spec, unpack
from shared.names import Duty, Io, Principal, Role
from shared.protocol.manifest import ENDORSEMENT_LABEL, SPEC_LABEL
from tests.participant_world import (
    NOW_MS,
    Case,
    Member,
    Side,
    sent,
    wished,
    with_pin_of,
)


def refused_offer(side: Side, case: Case, **changes: object) -> JobRefuse:
    """Return the refusal of an offer."""
    effects = side.hear(case.offer(side.member, **changes))
    [refuse] = sent(effects, JobRefuse)
    return refuse


def refused_start(side: Side, case: Case, changed: Member | None = None) -> JobRefuse:
    """Return the refusal of a start in which one member is another."""
    manifest = case.manifest()
    if changed is not None:
        parties = tuple(
            case.entry(changed) if entry.p == changed.name else entry
            for entry in manifest.parties
        )
        manifest = case.manifest(parties=parties)
    effects = side.hear(case.start(side, manifest))
    [refuse] = sent(effects, JobRefuse)

    assert wished(effects, Run) == []
    assert wished(effects, RecordPins) == []
    return refuse


def accepted(case: Case, policy: Policy | None = None) -> Side:
    """Return an MPC server that accepted."""
    side = case.side(case.servers[0], policy=policy or Policy())
    side.hear(case.offer(side.member))
    return side


def signed_by_consumer(case: Case, **changes: object) -> dict[str, object]:
    """Return what an offer of a changed spec, honestly signed, differs in."""
    spec = unpack(Spec, case.spec).model_copy(update=changes).pack()
    signature = case.consumer.identity.signing.sign(SPEC_LABEL, spec)
    return {"spec": spec, "spec_sig": signature}


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(accepts=False), "accepts no jobs"),
        (Policy(consumers=frozenset({"Other001"})), "gives nothing to Analytics001"),
        (Policy(statistics=frozenset({"count"})), "takes no part in 'mean'"),
        (Policy(min_servers=4), "at least 4 MPC servers"),
        (Policy(denied=frozenset({"MPC_server_002"})), "does not trust MPC_server_002"),
        (Policy(required=frozenset({"MPC_server_009"})), "insists on MPC_server_009"),
    ],
)
def test_47_a_policy_is_the_last_word(policy: Policy, words: str) -> None:
    """Unknown or too few servers, other consumers, other statistics: no data."""
    case = Case()
    refuse = refused_offer(case.side(case.sources[0], policy=policy), case)

    assert refuse.code is RefusalCode.POLICY
    assert words in (refuse.reason or "")


def test_a_fitting_policy_lets_the_job_through() -> None:
    """All rules at once."""
    case = Case()
    policy = Policy(
        consumers=frozenset({"Analytics001"}),
        statistics=frozenset({"mean"}),
        required=frozenset({"MPC_server_001"}),
        min_servers=3,
    )
    side = accepted(case, policy)

    assert len(wished(side.hear(case.start(side)), Run)) == 1


def test_a_consumers_own_policy_is_for_the_requests_of_others() -> None:
    """It asked itself; which servers compute is still its business."""
    case = Case()
    own = case.side(case.consumer, policy=Policy(accepts=False))
    own.feed(case.asked)
    wary = case.side(case.consumer, policy=Policy(min_servers=5))
    wary.feed(case.asked)

    assert sent(own.hear(case.offer(own.member)), JobRefuse) == []
    assert refused_offer(wary, case).code is RefusalCode.POLICY


def test_47_a_server_added_after_the_offer_is_refused_at_the_start() -> None:
    """The final roster is what counts."""
    case = Case()
    side = accepted(case, Policy(denied=frozenset({"MPC_server_009"})))
    case.servers[2] = case.world.join("MPC_server_009", Role.MPCS)

    assert refused_start(side, case).code is RefusalCode.POLICY


@pytest.mark.parametrize("field", ["threshold", "program_hash", "consumer", "res"])
def test_47_64_a_spec_that_the_manager_altered_is_refused(field: str) -> None:
    """The consumer's signature covers every byte of it."""
    case = Case()
    other: dict[str, object] = {
        "threshold": 1,
        "program_hash": bytes(32),
        "consumer": Principal("Liberty001"),
        "res": bytes(31) + b"\x09",
    }
    spec = unpack(Spec, case.spec).model_copy(update={field: other[field]}).pack()
    for member in (*case.servers, *case.sources):
        refuse = refused_offer(case.side(member), case, spec=spec)

        assert refuse.code is RefusalCode.SPEC_INVALID


def test_64_a_spec_of_another_consumer_or_signature_is_refused() -> None:
    """Whoever signed must be the consumer that the certificate names."""
    case = Case()
    side = case.side(case.sources[0])
    manager_made = case.world.manager.sign(SPEC_LABEL, case.spec)
    thief = case.sources[1].identity
    stolen = signed_by_consumer(case, consumer=thief.principal)

    assert refused_offer(side, case, spec_sig=manager_made).code is (
        RefusalCode.SPEC_INVALID
    )
    assert refused_offer(side, case, epoch=2, consumer_cert=thief.cert).code is (
        RefusalCode.SPEC_INVALID
    )
    assert refused_offer(side, case, epoch=3, **stolen).code is (
        RefusalCode.SPEC_INVALID
    )


def test_64_a_certificate_by_somebody_else_is_refused() -> None:
    """Only the realm's manager certifies."""
    case = Case()
    case.world.manager = SigningKey.from_seed(bytes(32))
    identity = case.consumer.identity
    foreign = case.world.certify(
        identity.principal, identity.role, identity.io, identity.signing, identity.kem
    )
    refuse = refused_offer(case.side(case.sources[0]), case, consumer_cert=foreign)

    assert refuse.code is RefusalCode.SPEC_INVALID


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"attempts": 2}, RefusalCode.PARAMETERS),
        ({"threshold": 0}, RefusalCode.PARAMETERS),
        ({"threshold": 3}, RefusalCode.PARAMETERS),
        ({"program_hash": bytes(32)}, RefusalCode.UNSUPPORTED),
        ({"engine": "other"}, RefusalCode.UNSUPPORTED),
        ({"protocol": "other"}, RefusalCode.UNSUPPORTED),
        ({"res": bytes(32)}, RefusalCode.SPEC_INVALID),
        ({"res": b"\x01" + bytes(31)}, RefusalCode.SPEC_INVALID),
        ({"result_exp": 1}, RefusalCode.PARAMETERS),
        ({"result_exp": 1_900_000_000_000 * 2}, RefusalCode.PARAMETERS),
        ({"datasets": ("visits", "claims")}, RefusalCode.UNKNOWN_DATASET),
        (
            {"params": {"statistic": "mean", "columns": ["mdvis"], "fixp": 99}},
            RefusalCode.PARAMETERS,
        ),
        (
            {"params": {"statistic": "mean", "columns": ["other"]}},
            RefusalCode.PARAMETERS,
        ),
    ],
)
def test_49_what_this_release_would_not_compute_is_refused(
    changes: dict[str, object], code: RefusalCode
) -> None:
    """Even if its consumer signed it."""
    case = Case()
    side = case.side(case.sources[0])

    assert refused_offer(side, case, **signed_by_consumer(case, **changes)).code is code


def test_a_job_with_two_datasets_is_refused_by_a_source_that_has_both() -> None:
    """One table a source and job."""
    case = Case()
    side = case.side(case.sources[0], datasets=frozenset({"visits", "claims"}))
    both = signed_by_consumer(case, datasets=("visits", "claims"))

    assert refused_offer(side, case, **both).code is RefusalCode.UNSUPPORTED


def test_12_deadlines_out_of_reach_are_refused() -> None:
    """By this party's clock."""
    case = Case()
    late = case.side(case.sources[0])
    [passed] = sent(late.hear(case.offer(late.member), minutes=2), JobRefuse)
    moment = NOW_MS + 25 * 3_600_000
    later = signed_by_consumer(case, deadline=moment, result_exp=moment)
    far = refused_offer(case.side(case.sources[0]), case, deadline=moment, **later)
    other = refused_offer(case.side(case.sources[0]), case, deadline=1)

    assert passed.code is far.code is RefusalCode.PARAMETERS
    assert other.code is RefusalCode.SPEC_INVALID


def test_a_job_id_that_does_not_follow_from_the_spec_is_refused() -> None:
    """So nobody squats another's job."""
    case = Case()
    refuse = refused_offer(case.side(case.sources[0]), case, job=bytes(16))

    assert refuse.code is RefusalCode.SPEC_INVALID


@pytest.mark.parametrize(
    "changes",
    [
        {"duties": (Duty.INPUT, Duty.INPUT)},
        {"duties": (Duty.OUTPUT,)},
        {"duties": (Duty.COMPUTE,), "party": 0},
        {"party": 0},
        {"roster": ()},
        {"duties": ()},
    ],
)
def test_duties_beyond_certificate_or_roster_are_refused(
    changes: dict[str, object],
) -> None:
    """The certificate says what a party may do."""
    case = Case()
    refuse = refused_offer(case.side(case.sources[0]), case, **changes)

    assert refuse.code is RefusalCode.SPEC_INVALID


def test_a_roster_with_too_few_servers_or_a_strange_index_is_refused() -> None:
    """The spec says how many compute."""
    case = Case()
    offer = case.offer(case.sources[0])
    fewer = tuple(entry for entry in offer.roster if entry.p != case.servers[2].name)
    more: tuple[RosterEntry, ...] = offer.roster
    short = refused_offer(case.side(case.sources[0]), case, roster=fewer)
    beyond = refused_offer(case.side(case.servers[0]), case, party=3, roster=more)

    assert short.code is beyond.code is RefusalCode.SPEC_INVALID


def test_46_a_swapped_key_or_endorsement_is_refused_before_connecting() -> None:
    """A TLS key counts only with its owner's own word for it."""
    case = Case()
    server = case.servers[1]
    thief = case.sources[1]
    endorse = (
        unpack(Endorsement, server.endorse)
        .model_copy(update={"spki": bytes(32)})
        .pack()
    )
    by_thief = thief.identity.signing.sign(ENDORSEMENT_LABEL, endorse)
    for changed in (
        replace(server, endorse=endorse),
        replace(server, endorse=endorse, endorse_sig=by_thief),
    ):
        for member in (case.sources[0], case.servers[0]):
            side = case.side(member)
            side.hear(case.offer(member))
            side.feed(DataReady(1, 1, 1))

            assert refused_start(side, case, changed).code is (
                RefusalCode.MANIFEST_INVALID
            )


def test_60_another_key_under_a_pinned_name_is_refused() -> None:
    """Even with a certificate by the manager."""
    case = Case()
    honest = case.servers[1]
    me = with_pin_of(case.servers[0], honest)
    side = case.side(me)
    side.hear(case.offer(me))
    impostor = case.world.join(honest.name, Role.MPCS)

    assert refused_start(side, case, impostor).code is RefusalCode.PIN_MISMATCH


def test_60_another_consumer_key_under_a_pinned_name_is_refused_at_the_offer() -> None:
    """A job in a pinned consumer's name needs the pinned key."""
    case = Case()
    me = with_pin_of(case.sources[0], case.consumer)
    old = case.consumer.identity
    case.consumer = case.world.join(old.principal, old.role, old.io)
    signature = case.consumer.identity.signing.sign(SPEC_LABEL, case.spec)
    refuse = refused_offer(case.side(me), case, spec_sig=signature)

    assert refuse.code is RefusalCode.PIN_MISMATCH


def test_listed_pins_let_nobody_else_in() -> None:
    """Unlisted servers, unlisted consumers."""
    case = Case()
    listed = tuple(
        Pin(m.name, key_hash(m.identity.signing.public))
        for m in (*case.servers[1:], *case.sources, case.consumer)
    )
    known = accepted(case, Policy(pins=PinRule.LISTED, listed=listed))
    effects = known.hear(case.start(known))
    only_consumer = accepted(case, Policy(pins=PinRule.LISTED, listed=listed[-1:]))
    nobody = case.side(case.servers[0], policy=Policy(pins=PinRule.LISTED))

    assert len(wished(effects, Run)) == 1
    assert wished(effects, RecordPins) == []
    assert refused_start(only_consumer, case).code is RefusalCode.PIN_MISMATCH
    assert refused_offer(nobody, case).code is RefusalCode.PIN_MISMATCH


def test_listed_pins_may_be_given_by_command() -> None:
    """A key that was merely seen before is not one that the owner listed."""
    case = Case()
    policy = Policy(pins=PinRule.LISTED)
    seen = with_pin_of(case.servers[0], case.consumer)
    pins = tuple(replace(pin, is_listed=True) for pin in seen.identity.pins)
    named = replace(seen, identity=replace(seen.identity, pins=pins))
    refuse = refused_offer(case.side(seen, policy=policy), case)

    assert refuse.code is RefusalCode.PIN_MISMATCH
    assert not sent(case.side(named, policy=policy).hear(case.offer(named)), JobRefuse)


def test_there_is_no_room_for_ever_more_pins() -> None:
    """A job whose parties could not be held to their keys later is refused."""
    case = Case()
    member = case.servers[0]
    pins = tuple(Pin(Principal(f"Gone{n:04d}"), bytes(32)) for n in range(MAX_PINS))
    full = replace(member, identity=replace(member.identity, pins=pins))
    side = case.side(full)
    side.hear(case.offer(full))

    assert refused_start(side, case).code is RefusalCode.PIN_MISMATCH


def test_without_a_manager_key_in_time_everything_is_refused() -> None:
    """The clock may be years ahead, for instance."""
    case = Case()
    side = case.side(case.sources[0])
    [refuse] = sent(side.hear(case.offer(side.member), weeks=200), JobRefuse)

    assert refuse.code is RefusalCode.INTERNAL


def test_duties_are_within_the_certificate_and_the_spec() -> None:
    """Whatever the manager says, and says to all alike."""
    case = Case()
    both = (Duty.INPUT, Duty.OUTPUT)
    other = case.world.join("Other001", Role.CLIENT, Io.BOTH)
    case.sources.append(other)
    asker = case.side(case.consumer)
    asker.feed(case.asked)
    deprived = Case()
    deprived.consumer.identity = replace(deprived.consumer.identity, io=Io.BOTH)
    own = deprived.side(deprived.consumer)
    own.feed(deprived.asked)
    codes = []
    for world, side, duties in (
        (case, asker, both),
        (case, case.side(other), both),
        (deprived, own, (Duty.INPUT,)),
    ):
        roster = tuple(
            entry.model_copy(update={"duties": duties})
            if entry.p == side.member.name
            else entry
            for entry in world.offer(side.member).roster
        )
        codes.append(refused_offer(side, world, duties=duties, roster=roster).code)

    assert codes == [RefusalCode.SPEC_INVALID] * 3


def test_the_result_goes_to_the_consumer_and_nobody_else() -> None:
    """Not to another party, and not to nobody."""
    case = Case()
    other = case.world.join("Other001", Role.CLIENT, Io.BOTH)
    case.sources.append(other)
    both = (Duty.INPUT, Duty.OUTPUT)
    stranger = refused_offer(case.side(other), case, duties=both)
    case.consumer.identity = replace(case.consumer.identity, io=Io.BOTH)
    own = case.side(case.consumer)
    own.feed(case.asked)
    deprived = refused_offer(own, case, duties=(Duty.INPUT,))

    assert stranger.code is deprived.code is RefusalCode.SPEC_INVALID
