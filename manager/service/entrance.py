"""Carries out what the registration and AS machines wish."""

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Final, assert_never

from manager.protocol import as_exchange, registration
from manager.protocol.as_exchange import Account, AsState, Authority, EndSession, Grant
from manager.protocol.registration import (
    Activate,
    Alarm,
    Answer,
    Desk,
    Enrol,
    Provision,
    Refuse,
    RegistrationEffect,
    RegistrationEvent,
    RetireToken,
    TokenRevoked,
    TokenState,
)
from manager.service.postman import Postman
from manager.service.work import Office, Work, issuer_of
from manager.store.people import SERIALS
from manager.store.records import (
    PrincipalRecord,
    SessionRecord,
    SessionStanding,
    Standing,
    Task,
    TaskKind,
    TimerRecord,
)
from shared.clock import from_ms
from shared.messages import CertificateBody, RegistrationDone, SignedRealm, unpack
from shared.names import ENROL_PREFIX, Principal, SessionId, TokenId
from shared.protocol.machine import Received
from shared.protocol.window import Window

TOKEN_TIMERS: Final = "enrolment"  # noqa: S105 - the name of a machine
_BEFORE: Final = timedelta(minutes=2)
_NONCE_BYTES: Final = 24

_log = logging.getLogger(__name__)


class Entrance:
    """Where participants come in.

    Args:
        office: keys and memory.
        postman: sends the answers.
    """

    def __init__(self, office: Office, postman: Postman) -> None:
        self._office = office
        self._postman = postman

    def register(self, work: Work, received: Received) -> str:
        """Handle a proven ``reg.req`` or ``reg.done``; return what came of it."""
        people = work.unit.people
        if isinstance(received.message, RegistrationDone):
            token = people.token_of(received.sender)
        else:
            name = received.sender.removeprefix(ENROL_PREFIX)
            token = people.token(TokenId(bytes.fromhex(name)))
        return self.token_event(work, token, received, received.sender)

    def revoke(self, work: Work, principal: Principal) -> bool:
        """Take a principal's standing, its token and its broker user; once for all.

        Its jobs and sessions are the desk's. Returns whether there was one to revoke.
        """
        record = self._office.memory.principals.get(principal)
        if record is None or record.standing is Standing.REVOKED:
            return False
        now = work.context.now_ms
        self._keep(work, replace(record, standing=Standing.REVOKED, revoked=now))
        self.token_event(work, work.unit.people.token_of(principal), TokenRevoked())
        _keep_out(work, record)
        work.note("revoked", principal)
        _log.warning("participant revoked", extra={"principal": principal})
        return True

    def keep_revoked_out(self, work: Work) -> None:
        """Have the broker users of all who were revoked removed, once more.

        A manager that stood still may have made one anew after another deleted it.
        """
        for record in self._office.memory.all_revoked():
            _keep_out(work, record)

    def token_event(
        self,
        work: Work,
        token: TokenState | None,
        event: RegistrationEvent,
        sender: str = "",
    ) -> str:
        """Give an event to a token's machine; return what came of it."""
        number = 0
        if token is not None:
            sequence = registration.sequence_of(token.role, token.prefix)
            number = work.unit.people.next_number(sequence)
        descriptor = self._office.descriptor
        desk = Desk(
            self._office.keys.realm,
            issuer_of(self._office, work),
            number,
            SignedRealm(rd=descriptor.rd, sig=descriptor.sig),
        )
        after = registration.step(token, event, work.context, desk)
        if after.state is not None and after.state != token:
            work.unit.people.save_token(after.state)
        outcome = "handled"
        task: int | None = None
        for effect in after.effects:
            if isinstance(effect, Provision):
                self._keep_password(work, effect)
                task = work.unit.orders.add_task(
                    Task(
                        TaskKind.CREATE_PARTICIPANT,
                        effect.principal,
                        effect.role,
                        effect.password_hash,
                    )
                )
            elif isinstance(effect, Refuse):
                outcome = "refused"
                work.note("registration refused", sender)
                self._postman.refuse(work, sender, effect.code, effect.re, effect.now)
            else:
                self._carry_out(work, effect, task)
        return outcome

    def _carry_out(
        self, work: Work, effect: RegistrationEffect, task: int | None
    ) -> None:
        match effect:
            case Enrol():
                self._enrol(work, effect)
            case Answer():
                self._postman.answer_enrolment(
                    work,
                    effect.token_id,
                    effect.kem_pk,
                    effect.message,
                    effect.re,
                    task,
                )
            case Activate(principal=principal):
                record = self._office.memory.principals[principal]
                self._keep(work, replace(record, standing=Standing.REGISTERED))
                work.note("registered", principal)
                _log.info("participant registered", extra={"principal": principal})
            case RetireToken(token_id=token_id):
                work.unit.orders.add_task(
                    Task(TaskKind.DELETE_ENROLMENT, token_id=token_id)
                )
                work.unit.mail.cancel_timers(TOKEN_TIMERS, token_id)
            case Alarm(event=event, subject=subject):
                work.note(event, subject, "alarm")
                work.counts["alarm"] += 1
                _log.warning(event, extra={"subject": subject})
            case Provision() | Refuse():
                pass  # carried out where they are made
            case _:
                assert_never(effect)

    def _enrol(self, work: Work, effect: Enrol) -> None:
        people, now = work.unit.people, work.context.now_ms
        people.take_number(effect.sequence)
        people.take_number(SERIALS)
        body = unpack(CertificateBody, effect.cert.c)
        self._keep(
            work,
            PrincipalRecord(
                principal=effect.principal,
                role=effect.role,
                io=effect.io,
                standing=Standing.ENROLLING,
                serial=effect.serial,
                created=now,
                attributes=effect.attributes,
                sig_pk=effect.sig_pk,
                kem_pk=effect.kem_pk,
                cert=effect.cert,
                cert_begins=body.nbf,
                cert_ends=effect.cert_ends,
            ),
        )
        work.note("enrolled", effect.principal)

    def _keep_password(self, work: Work, effect: Provision) -> None:
        """Keep a hash with which the broker user can be made at another broker."""
        record = self._office.memory.principals[effect.principal]
        if record.password_hash != effect.password_hash:
            changed = replace(record, password_hash=effect.password_hash)
            self._keep(work, changed)

    def _keep(self, work: Work, record: PrincipalRecord) -> None:
        self._office.memory.principals[record.principal] = record
        work.unit.people.save_principal(record)

    def log_in(self, work: Work, received: Received, nonce: bytes) -> str:
        """Handle a proven ``as.req``; return what came of it."""
        memory, sessions = self._office.memory, work.unit.sessions
        now = work.context.now_ms
        sender = received.sender
        state = AsState(
            self._account(sender),
            memory.half_open(sender),
            sessions.nonce_is_spent(sender, nonce, now),
        )
        authority = Authority(
            issuer_of(self._office, work), self._office.keys.authorities[0].ends
        )
        after = as_exchange.step(state, received, work.context, authority)
        outcome = "handled"
        for effect in after.effects:
            match effect:
                case Refuse(code=code, re=re, now=told):
                    outcome = f"refused {code}"
                    self._postman.refuse(work, sender, code, re, told)
                case EndSession(sid=sid):
                    memory.end_session(sid, SessionStanding.ENDED, now)
                case as_exchange.Replayed():
                    outcome = "replay"
                    work.counts["replay"] += 1
                case Grant():
                    until = now + as_exchange.REPLAY_MEMORY // timedelta(milliseconds=1)
                    sessions.spend_nonce(sender, nonce, until)
                    self._open_session(work, effect)
                case _:
                    assert_never(effect)
        return outcome

    def _account(self, sender: Principal) -> Account | None:
        record = self._office.memory.principals.get(sender)
        if record is None:
            return None
        return Account(
            record.principal,
            record.role,
            record.io,
            record.sig_pk,
            record.kem_pk,
            record.standing is Standing.REGISTERED,
            record.cert_begins,
            record.cert_ends,
            unpack(CertificateBody, record.cert.c).iss,
        )

    def _open_session(self, work: Work, grant: Grant) -> None:
        office, now = self._office, work.context.now_ms
        account = grant.account
        earliest = from_ms(office.keys.authorities[0].begins)
        leaf = office.keys.authority.issue_leaf(
            grant.spki_der,
            office.keys.realm,
            account.role,
            account.principal,
            max(work.context.now - _BEFORE, earliest),
            from_ms(grant.exp),
        )
        authorities = office.keys.certificates(now)
        established = as_exchange.complete(grant, leaf, authorities, work.context)
        if grant.renewed is not None:
            work.unit.people.take_number(SERIALS)
            body = unpack(CertificateBody, grant.renewed.cert.c)
            record = office.memory.principals[account.principal]
            self._keep(
                work,
                replace(
                    record,
                    serial=grant.renewed.serial,
                    cert=grant.renewed.cert,
                    cert_begins=body.nbf,
                    cert_ends=grant.renewed.ends,
                ),
            )
        session = SessionRecord(
            sid=SessionId(grant.sid),
            principal=account.principal,
            standing=SessionStanding.HALF_OPEN,
            slot=office.keys.slot,
            wrapped=office.keys.wrap_session(
                grant.sid,
                established.up + established.down,
                office.entropy(_NONCE_BYTES),
            ),
            created=now,
            exp=grant.exp,
            ended=None,
            out_seq=0,
            window=Window(),
            endorse=grant.request.endorse,
            endorse_sig=grant.request.endorse_sig,
            endorse_exp=grant.endorsement.exp,
            spki=grant.endorsement.spki,
            leaf=leaf,
        )
        work.unit.sessions.add(session)
        office.memory.add_session(session, established.up, established.down)
        self._postman.answer_login(
            work, account.principal, established.reply, grant.mid
        )


def _keep_out(work: Work, record: PrincipalRecord) -> None:
    work.unit.orders.add_task(
        Task(TaskKind.DELETE_PARTICIPANT, record.principal, record.role)
    )


def expiry_timer(token: TokenState) -> TimerRecord:
    """Return the timer that ends a token; whoever makes a token sets it."""
    return TimerRecord(TOKEN_TIMERS, token.token_id, registration.EXPIRY, token.expires)
