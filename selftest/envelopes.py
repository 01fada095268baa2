"""Attempts at the manager: envelopes that its receiver pipeline has to drop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from manager.store.store import Store
from selftest.attempt import Attempt, judged
from selftest.visitor import LOOK, Visitor, is_refusal, new_mid
from shared.crypto.keys import SigningKey
from shared.envelope import DropReason
from shared.envelope.layout import MAX_BODY_BYTES, PREFIX, SIGNATURE_BYTES
from shared.errors import TransportError
from shared.messages import (
    ErrorNotice,
    JobQuery,
    JobState,
    Message,
    Status,
)
from shared.names import Fingerprint, SessionId

AT: Final = "manager"
PATIENCE: Final = timedelta(seconds=10)
"""How long the manager may take to count what it dropped."""
_LATE_MS: Final = 10 * 60_000
_VERSION_AT: Final = 3
"""Where an envelope says its version."""
_THIEF: Final = SigningKey.from_seed(bytes(32))
_REPLAY: Final = "replay"
_UNAUTHENTICATED: Final = "err unauthenticated"

Act = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class EnvelopeAttempts:
    """What a registered participant may try at the manager.

    ``store``: where the running manager counts what it drops, and why. ``other``:
    somebody else's name.
    """

    visitor: Visitor
    store: Store
    other: str

    async def run(self) -> list[Attempt]:
        """Try everything; the manager goes on to serve."""
        attempts: Sequence[tuple[str, str, Act]] = (
            # First: whoever has no session is told so once in ten seconds.
            (
                "an AS exchange with an altered endorsement",
                _UNAUTHENTICATED,
                self._leaf,
            ),
            ("an envelope of another protocol", DropReason.VERSION, self._magic),
            ("an envelope of a later version", DropReason.VERSION, self._version),
            ("an envelope that ends too early", DropReason.SIZE, self._cut),
            ("an over-large envelope", DropReason.SIZE, self._large),
            ("a header that is no map", DropReason.HEADER, self._header),
            ("a message of no known type", DropReason.HEADER, self._type),
            ("a header with another id", DropReason.UNSEAL, self._field),
            ("a ciphertext with a bit altered", DropReason.UNSEAL, self._altered),
            ("a header over another ciphertext", DropReason.UNSEAL, self._spliced),
            ("a signature by another key", DropReason.SIGNATURE, self._signer),
            ("a signature for another realm", DropReason.SIGNATURE, self._realm),
            ("an envelope for somebody else", DropReason.RECIPIENT, self._recipient),
            ("an answer of the manager, sent to it", DropReason.REFLECTION, self._way),
            ("an envelope in another's name", DropReason.USER_ID, self._name),
            ("a session that there is not", DropReason.SESSION, self._session),
            ("an envelope after its time", DropReason.EXPIRED, self._late),
            ("an envelope before its time", DropReason.CLOCK_SKEW, self._early),
            ("the same envelope again", DropReason.DUPLICATE, self._again),
            (
                "another envelope of the same number",
                DropReason.EQUIVOCATION,
                self._twin,
            ),
            ("a payload of another type", DropReason.PAYLOAD, self._payload),
            ("an envelope without its user's name", DropReason.USER_ID, self._nameless),
            ("a copy under another routing key", DropReason.COPIES, self._copy),
            ("an AS exchange recorded before", _REPLAY, self._login_again),
            ("an AS exchange signed by another key", DropReason.SIGNATURE, self._login),
        )
        made = [
            judged(AT, tried, expected, await self._seen(expected, act))
            for tried, expected, act in attempts
        ]
        served = "answered" if await self.visitor.is_served() else "not answered"
        return [
            *made,
            judged(AT, "an honest question after all that", "answered", served),
        ]

    async def _seen(self, expected: str, act: Act) -> str:
        """Do it, and return how the manager took it."""
        await self.visitor.told()
        before = self._counted()
        try:
            await act()
        except TransportError as error:
            return f"the broker refused it: {error}"
        deadline = time.monotonic() + PATIENCE.total_seconds()
        risen: list[str] = []
        while time.monotonic() < deadline:
            told = await self.visitor.told()
            taken = [each for each in told if not is_refusal(each)]
            if any(isinstance(each, JobState) for each in taken):
                return "answered"
            said = _said(told)
            now = self._counted()
            risen = [name for name, count in now.items() if count > before.get(name, 0)]
            if expected in {*risen, *said}:
                return expected
            await asyncio.sleep(LOOK.total_seconds())
        return ", ".join(sorted(risen)) or "nothing"

    def _counted(self) -> dict[str, int]:
        with self.store.reading() as unit:
            return unit.journal.counters()

    async def _magic(self) -> None:
        body = self._honest()
        await self.visitor.post(b"GET" + body[_VERSION_AT:])

    async def _version(self) -> None:
        body = bytearray(self._honest())
        body[_VERSION_AT] += 1
        await self.visitor.post(bytes(body))

    async def _cut(self) -> None:
        await self.visitor.post(self._honest()[:-1])

    async def _large(self) -> None:
        await self.visitor.post(self._honest() + bytes(2 * MAX_BODY_BYTES))

    async def _header(self) -> None:
        body = bytearray(self._honest())
        body[PREFIX.size] = 0xC0
        await self.visitor.post(bytes(body))

    async def _type(self) -> None:
        body = self._honest()
        await self.visitor.post(body.replace(b"job.query", b"job.querz", 1))

    async def _field(self) -> None:
        mid = new_mid()
        body = self.visitor.sealed(JobQuery(), mid=mid)
        await self.visitor.post(body.replace(mid, new_mid(), 1))

    async def _altered(self) -> None:
        body = bytearray(self._honest())
        body[-1] ^= 1
        await self.visitor.post(bytes(body))

    async def _spliced(self) -> None:
        header = self._honest()
        other = self._honest()
        at = PREFIX.size + PREFIX.unpack_from(header)[4]
        await self.visitor.post(header[:at] + other[at:])

    async def _signer(self) -> None:
        await self.visitor.post(self.visitor.sealed(JobQuery(), signer=_THIEF))

    async def _realm(self) -> None:
        other = Fingerprint(bytes(32))
        await self.visitor.post(self.visitor.sealed(JobQuery(), fingerprint=other))

    async def _recipient(self) -> None:
        await self.visitor.post(self.visitor.sealed(JobQuery(), recipient=self.other))

    async def _way(self) -> None:
        await self.visitor.post(self.visitor.sealed(JobState(jobs=())))

    async def _name(self) -> None:
        await self.visitor.post(self.visitor.sealed(JobQuery(), sender=self.other))

    async def _session(self) -> None:
        sid = SessionId(bytes(16))
        await self.visitor.post(self.visitor.sealed(JobQuery(), sid=sid))

    async def _late(self) -> None:
        await self.visitor.post(self.visitor.sealed(JobQuery(), late_ms=_LATE_MS))

    async def _early(self) -> None:
        await self.visitor.post(self.visitor.sealed(JobQuery(), late_ms=-_LATE_MS))

    async def _again(self) -> None:
        body = self.visitor.sealed(Status(slots_free=0, slots=0, load=0))
        await self.visitor.post(body)
        await self.visitor.post(body)

    async def _twin(self) -> None:
        honest = self.visitor.sealed(Status(slots_free=0, slots=0, load=0))
        await self.visitor.post(honest)
        number = self.visitor.number
        await self.visitor.post(self.visitor.sealed(JobQuery(), number=number))

    async def _payload(self) -> None:
        other = Status(slots_free=0, slots=0, load=0).pack()
        await self.visitor.post(self.visitor.sealed(JobQuery(), payload=other))

    async def _nameless(self) -> None:
        await self.visitor.post(self._honest(), user_id=None)

    async def _copy(self) -> None:
        key = f"authentication.{self.visitor.identity.principal}"
        await self.visitor.post(self._honest(), routing_key=key)

    async def _login_again(self) -> None:
        await self.visitor.post(self.visitor.sealed_to_manager(self.visitor.request))

    async def _leaf(self) -> None:
        request = self.visitor.asking().request
        altered = request.model_copy(update={"endorse_sig": bytes(SIGNATURE_BYTES)})
        await self.visitor.post(self.visitor.sealed_to_manager(altered))

    async def _login(self) -> None:
        request = self.visitor.asking().request
        await self.visitor.post(self.visitor.sealed_to_manager(request, signer=_THIEF))

    def _honest(self) -> bytes:
        return self.visitor.sealed(JobQuery())


def _said(told: Sequence[Message]) -> list[str]:
    return [f"err {each.code}" for each in told if isinstance(each, ErrorNotice)]
