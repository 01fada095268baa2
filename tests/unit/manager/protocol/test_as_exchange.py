"""The AS exchange at the manager: each thing that must hold, missing alone."""

from dataclasses import replace
from datetime import timedelta

import pytest

from manager.protocol.as_exchange import (
    Account,
    AsEffect,
    AsState,
    Authority,
    Grant,
    Replayed,
    step,
)
from manager.protocol.credentials import Issuer
from manager.protocol.registration import Refuse
from participant.protocol import as_exchange
from participant.protocol.as_exchange import TlsRequest
from shared.errors import ErrorCode
from shared.messages import AsRequest, Endorsement, LogOff, Message, unpack
from shared.names import Io, MessageId, Principal, Role
from shared.protocol.machine import Received
from shared.protocol.manifest import ENDORSEMENT_LABEL
from tests.participant_world import NOW_MS, World

MID = MessageId(bytes(16))
OTHER = Principal("Other001")
DAY_MS = timedelta(days=1) // timedelta(milliseconds=1)
UNAUTHENTICATED = (Refuse(ErrorCode.UNAUTHENTICATED, MID),)


class Desk:
    """The manager's half, and one honest client that asks."""

    def __init__(self) -> None:
        self.world = World()
        self.member = self.world.join("Liberty001", Role.CLIENT, Io.INPUT)
        identity = self.member.identity
        self.account = Account(
            identity.principal,
            identity.role,
            identity.io,
            identity.signing.public,
            identity.kem.public,
            is_active=True,
            cert_begins=NOW_MS - DAY_MS,
            cert_ends=NOW_MS + 300 * DAY_MS,
            issuer=self.world.manager.kid,
        )
        tls = self.member.tls
        self.request = as_exchange.ask(
            identity,
            TlsRequest(tls.csr(identity.principal), tls.spki_hash),
            (),
            self.world.context(),
        ).request

    def endorsed(self, **changes: object) -> AsRequest:
        """Return the request with another endorsement, signed by the client."""
        endorsement = unpack(Endorsement, self.request.endorse)
        body = endorsement.model_copy(update=changes).pack()
        signature = self.member.identity.signing.sign(ENDORSEMENT_LABEL, body)
        return self.request.model_copy(
            update={"endorse": body, "endorse_sig": signature}
        )

    def effects(
        self,
        request: Message | None = None,
        *,
        account: Account | None,
        sender: Principal | None = None,
        nonce_is_spent: bool = False,
    ) -> tuple[AsEffect, ...]:
        """Return what a request leads to."""
        issuer = Issuer(
            self.world.fingerprint, self.world.manager, NOW_MS + 400 * DAY_MS, 7
        )
        sender = sender or self.member.name
        received = Received(sender, request or self.request, MID, b"payload")
        return step(
            AsState(account, (), nonce_is_spent),
            received,
            self.world.context(),
            Authority(issuer, NOW_MS + 90 * DAY_MS),
        ).effects


def test_an_honest_request_is_granted_without_a_new_certificate() -> None:
    """Its own is good for long."""
    desk = Desk()
    [grant] = desk.effects(account=desk.account)

    assert isinstance(grant, Grant)
    assert grant.renewed is None


def test_a_certificate_that_ends_soon_is_renewed_if_that_makes_it_longer() -> None:
    """Not while the manager's own key ends first; by a former key always."""
    desk = Desk()
    soon = replace(
        desk.account,
        cert_begins=NOW_MS - 300 * DAY_MS,
        cert_ends=NOW_MS + 2 * DAY_MS,
    )
    last = replace(
        desk.account,
        cert_begins=NOW_MS - 3000 * DAY_MS,
        cert_ends=NOW_MS + 400 * DAY_MS,
    )
    grants = [
        desk.effects(account=account)[0]
        for account in (soon, last, replace(last, issuer=desk.member.identity.kem.kid))
    ]
    renewed = [isinstance(each, Grant) and each.renewed is not None for each in grants]

    assert renewed == [True, False, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"is_active": False},
        {"cert_begins": NOW_MS + 1},
        {"cert_ends": NOW_MS},
        {"principal": OTHER},
    ],
)
def test_an_account_that_is_not_in_order_gets_no_session(
    changes: dict[str, object],
) -> None:
    """Nobody is told what is wrong with it."""
    desk = Desk()
    account = replace(desk.account, **changes)  # type: ignore[arg-type]  # as above

    assert desk.effects(account=account) == UNAUTHENTICATED
    assert desk.effects(account=None) == UNAUTHENTICATED


def test_what_is_no_request_of_the_sender_gets_no_session() -> None:
    """Another message, or another's request."""
    desk = Desk()

    assert desk.effects(LogOff(), account=desk.account) == UNAUTHENTICATED
    assert desk.effects(account=desk.account, sender=OTHER) == UNAUTHENTICATED


@pytest.mark.parametrize(
    "changes",
    [
        {"p": OTHER},
        {"realm": bytes(32)},
        {"role": Role.MPCS},
        {"nbf": NOW_MS + 10 * 60_000},
        {"exp": NOW_MS},
        {"addrs": ("127.0.0.1:1270",)},
        {"spki": bytes(32)},
    ],
)
def test_an_endorsement_of_something_else_gets_no_session(
    changes: dict[str, object],
) -> None:
    """Even one that the client signed itself."""
    desk = Desk()

    assert desk.effects(desk.endorsed(**changes), account=desk.account) == (
        UNAUTHENTICATED
    )


def test_an_endorsement_that_ends_now_is_too_short_in_any_case() -> None:
    """A session lives for a minute at least."""
    desk = Desk()
    short = desk.endorsed(exp=NOW_MS + 59_000)
    enough = desk.endorsed(exp=NOW_MS + 61_000)

    assert desk.effects(short, account=desk.account) == UNAUTHENTICATED
    assert isinstance(desk.effects(enough, account=desk.account)[0], Grant)


def test_a_nonce_that_was_used_is_a_replay() -> None:
    """It is not answered."""
    desk = Desk()

    assert desk.effects(account=desk.account, nonce_is_spent=True) == (Replayed(),)
