"""The control process: the broker on one side, the data process on the other."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from participant.config import ParticipantSettings
from participant.dataplane import ipc
from participant.dataplane.client import DataProcess
from participant.home.folder import Home
from participant.home.identity_file import KeyFile
from participant.protocol.consent import Rules
from participant.protocol.identity import Identity, Pin
from participant.protocol.model import (
    Cancelled,
    DataProcessLost,
    Party,
    PartyJob,
    Revocations,
    SessionBegan,
)
from participant.protocol.trust import check_descriptor
from participant.service import presence
from participant.service.data_keeper import DataKeeper, configuration
from participant.service.figures import Figures
from participant.service.inbox import Inbox
from participant.service.jobs import Jobs
from participant.service.logon import Logon
from participant.service.offer import Offer
from participant.service.outbox import Letter, Outbox
from participant.service.question import Question, check_spec, make_request
from participant.service.reach import reach
from participant.service.registering import TransportFactory, complete
from participant.service.session import Mail
from shared.clock import Clock
from shared.errors import (
    ConfigError,
    FrameworkError,
    TransportError,
)
from shared.messages import (
    KeyUse,
    LogOff,
    RealmDescriptor,
    Revoked,
    SignedCertificate,
    SignedRealm,
)
from shared.names import Duty, JobId, Role
from shared.protocol.machine import Context, Send

LOG_OFF_TIMEOUT = timedelta(seconds=3)
"""How long the last words may take when the process ends."""

SLOTS_PAUSE = timedelta(seconds=1)
"""How long after a job took or freed a slot the manager is told how many are left."""

_log = logging.getLogger(__name__)


class ControlProcess:
    """One identity at work. The caller holds the home's lock.

    Args:
        home: the identity's folder.
        key_file: its key file, to be written again when pins change.
        identity: what the key file holds.
        settings: the owner's.
        connect: makes a transport for a broker user.
        start_data: makes a data process.
        clock: the time.

    Raises:
        ConfigError: policy or datasets are malformed.
    """

    def __init__(
        self,
        home: Home,
        key_file: KeyFile,
        identity: Identity,
        settings: ParticipantSettings,
        connect: TransportFactory,
        start_data: Callable[[], Awaitable[DataProcess]],
        clock: Clock,
    ) -> None:
        self._home = home
        self._key_file = key_file
        self._identity = identity
        self._changing = asyncio.Lock()
        self._settings = settings
        self._connect = connect
        self._clock = clock
        self._offer = Offer(home)
        self.transport = connect(identity.broker)
        self.figures = Figures()
        self.transport.watch(self.figures.mail.broker_changed)
        self.mail = Mail(self.identity, self.context, self.figures.mail)
        self._outbox = Outbox(self.transport, self.mail)
        self._data = DataKeeper(
            configuration(
                identity.role, settings.listen, settings.port_tries, home.data
            ),
            self,
            start_data,
        )
        self.logon = Logon(
            self.transport, self.mail, self._data, self, settings.reply_timeout
        )
        self.jobs = Jobs(home, home.journal(identity), self, self.figures)
        self._inbox = Inbox(self.transport, self.mail, self.logon, self.jobs, self)
        self._revocations = Revocations()
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None
        self.ready = asyncio.Event()
        """Set once there was a session."""

    # ---- life ----

    async def recover(self) -> None:
        """Take up the jobs of an earlier process; call it before ``run``."""
        await self.jobs.recover()

    async def run(self, patience: timedelta | None = None) -> None:
        """Work until ``stop``.

        Args:
            patience: how long the broker may be out of reach at the start; for ever
                unless given.

        Raises:
            TransportError: it was, or the broker refuses this participant's login.
            ConfigError: the addresses to listen on cannot be used.
            SupersededError: another process of this identity logged on.
        """
        tasks = [asyncio.create_task(self._data.run())]
        try:
            await self._until_stopped(tasks, self.reach(patience))
            if self.is_stopping:
                return
            tasks += [
                asyncio.create_task(work)
                for work in (
                    self._inbox.run(),
                    self._outbox.run(),
                    self.logon.run(),
                    self._say_status(),
                )
            ]
            await self._until_stopped(tasks, self._stopping.wait())
            await self._log_off()
        finally:
            self.jobs.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.transport.close()

    def stop(self) -> None:
        """Let ``run`` come to its end."""
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopping.is_set()

    async def _until_stopped(
        self, tasks: list[asyncio.Task[None]], work: Coroutine[object, object, object]
    ) -> None:
        """Wait for work or ``stop``; if a task ends before, it failed."""
        own = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            done, _ = await asyncio.wait(
                {own, stop, *tasks}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
        finally:
            for waiting in (own, stop):
                waiting.cancel()
            await asyncio.gather(own, stop, return_exceptions=True)

    async def reach(self, patience: timedelta | None) -> None:
        """Connect to the broker and read the inbox; try for ever unless impatient."""
        queue = self._identity.broker.queue
        await reach(self.transport, queue, patience, self._out_of_reach)

    def _out_of_reach(self, error: TransportError) -> None:
        self.logon.problem = error

    async def _log_off(self) -> None:
        if self.mail.sessions.current is None:
            return
        self._outbox.post(Letter(LogOff()))
        if not await self._outbox.drained(LOG_OFF_TIMEOUT):
            _log.warning("ended without logging off")

    # ---- what the parts ask of the whole ----

    async def take_descriptor(self, message: RealmDescriptor) -> None:
        """Keep a newer descriptor of the realm.

        Raises:
            RemoteProtocolError: it is not one of this realm, or an older one.
        """
        known = self._identity.realm
        realm = check_descriptor(
            SignedRealm(rd=message.rd, sig=message.sig), known.fingerprint, known.epoch
        )
        if realm.signed != known.signed:
            _log.info("realm descriptor", extra={"epoch": realm.epoch})
            await self.change(lambda now: replace(now, realm=realm))
            now = self.context().now_ms
            cas = tuple(key.pk for key in realm.in_time(KeyUse.CA, now))
            if cas:
                await self._data.order(ipc.TrustAuthorities(cas=cas))

    async def take_revoked(self, message: Revoked) -> None:
        """Have nothing to do any more with who was revoked."""
        self._revocations = Revocations(
            message.revocations, frozenset(message.principals)
        )
        _log.info("principals revoked", extra={"revoked": ",".join(message.principals)})
        await self._data.order(ipc.Revoke(principals=message.principals))

    def identity(self) -> Identity:
        """Return the identity as it is now."""
        return self._identity

    def context(self) -> Context:
        """Return time and entropy."""
        return Context(self._clock.now(), os.urandom)

    def addresses(self) -> tuple[str, ...]:
        """Return where an MPC server is reached."""
        if self._identity.role is not Role.MPCS or self._data.port is None:
            return ()
        broker = self._identity.broker
        return presence.reached_at(
            self._settings.advertise,
            self._settings.listen,
            self._data.port,
            broker.url,
            broker.vhost,
        )

    def party(self) -> Party:
        """Return this participant as the job machine sees it."""
        if self._offer.refresh():
            self._wake.set()
        sessions = self.mail.sessions
        current = sessions.current
        live = [s for s in (current, sessions.older) if s is not None]
        rules = Rules(
            self._identity,
            self._offer.policy,
            check_spec,
            frozenset(self._offer.files),
        )
        return Party(
            rules=rules,
            spkis=frozenset(session.spki for session in live),
            slots_free=self._settings.slots - self.jobs.slots_taken,
            spki=current.spki if current else b"",
            endorse=current.endorse if current else b"",
            endorse_sig=current.endorse_sig if current else b"",
            revocations=self._revocations,
        )

    def dataset(self, name: str) -> Path | None:
        """Return a dataset's file."""
        return self._offer.files.get(name)

    def post(self, send: Send, job: PartyJob | None) -> None:
        """Send a message about a job as soon as that is possible."""
        about: JobId | None = getattr(send.message, "job", None)
        if job is not None:
            about = job.job
        self._outbox.post(
            Letter(send.message, about, job.deadline if job else None, send.re)
        )

    async def order(self, order: ipc.ToData) -> None:
        """Give the data process an order."""
        await self._data.order(order)

    async def record_pins(self, pins: tuple[Pin, ...]) -> None:
        """Write pins into the key file, and show them."""
        for pin in pins:
            _log.info(
                "identity key pinned at first use",
                extra={"principal": pin.principal, "key_hash": pin.key_hash.hex()},
            )
        await self.change(lambda now: replace(now, pins=(*now.pins, *pins)))

    def slots_changed(self) -> None:
        """Tell the manager once things are quiet; it keeps books of its own jobs."""
        if self._soon is None:
            loop = asyncio.get_running_loop()
            self._soon = loop.call_later(SLOTS_PAUSE.total_seconds(), self._wake.set)

    async def data_said(self, event: ipc.ToControl) -> None:
        """Take an event of the data process."""
        try:
            await self.jobs.data_said(event)
        except FrameworkError as error:
            job: JobId | None = getattr(event, "job", None)
            about = {"job_id": job.hex() if job else None, "reason": str(error)}
            _log.error("data event not handled", extra=about)

    async def data_lost(self) -> None:
        """Fail what was in the data process, and get a new TLS key."""
        self.figures.data_process_lost()
        await self.jobs.handle_all(DataProcessLost())
        self.logon.again()

    async def not_known(self) -> None:
        """Complete a registration that was interrupted."""
        try:
            await complete(
                self._home,
                self._identity,
                self._key_file.password,
                self._connect,
                self.context,
            )
        except FrameworkError as error:
            _log.warning("registration not completed", extra={"reason": str(error)})

    async def logged_on(self, cert: SignedCertificate | None) -> None:
        """Say who is here, then go on with what is open."""
        if cert is not None:
            await self.change(lambda now: replace(now, cert=cert))
        await self._offer.read()
        self._offer.begin_session()
        self._outbox.post_first(self._status())
        self._outbox.session.set()
        self.ready.set()
        await self.jobs.handle_all(SessionBegan())

    # ---- presence ----

    async def _say_status(self) -> None:
        """Say how things are at every change, and as a sign of life."""
        while True:
            self._wake.clear()
            try:
                limit = self._settings.status_interval.total_seconds()
                async with asyncio.timeout(limit):
                    await self._wake.wait()
            except TimeoutError:
                pass
            if self._soon is not None:
                self._soon.cancel()
                self._soon = None
            await self._offer.read()
            if self.mail.sessions.current is not None and not self._outbox.is_behind:
                self._outbox.post(self._status())

    def _status(self) -> Letter:
        taken = self.jobs.slots_taken
        return Letter(self._offer.status(self._identity, self._settings.slots, taken))

    async def reload(self) -> tuple[str, ...]:
        """Read datasets and policy again; return the names of what is offered."""
        await self._offer.read(force=True)
        self._wake.set()
        return self.offered

    async def change(self, change: Callable[[Identity], Identity]) -> None:
        """Change the identity; it is on disk, and used, when this returns.

        Args:
            change: from how it is, once all changes before are done, to how it will be.
        """
        async with self._changing:
            identity = change(self._identity)
            await asyncio.to_thread(self._key_file.save, identity)
            self._identity = identity

    # ---- what the user asks ----

    @property
    def offered(self) -> tuple[str, ...]:
        """The names of the datasets that can be read."""
        return tuple(notice.name for notice in self._offer.notices)

    async def submit(self, question: Question) -> PartyJob:
        """Ask for a job.

        Raises:
            RefusedError: it cannot be asked so.
            ConfigError: this participant may not ask, or a bound is broken.
        """
        if Duty.OUTPUT not in self._identity.duties:
            raise ConfigError(
                f"{self._identity.principal} is not a consumer of results",
                "register one: mpc-manager token create --role client --io output",
            )
        asked = make_request(question, self._identity, self.context())
        state = await self.jobs.handle(asked.job, asked)
        if state is None:
            raise ConfigError("the job was not taken")
        return state

    async def cancel(self, job: JobId) -> None:
        """Give a job up."""
        await self.jobs.handle(job, Cancelled())
