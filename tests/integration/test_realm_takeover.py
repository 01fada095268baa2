"""Two managers with one PostgreSQL store: one dies or stands still, the other goes on.

Nobody logs in again: every test compares the sessions before and after.
"""

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence

import pytest

from manager.broker.node import PrivateNode
from manager.cli.demo_cluster import Party
from manager.protocol.lease import Lease
from manager.realm.founding import KEY_FILE, ROOT_FILE, init_realm
from manager.realm.keys import load_keys
from manager.store.postgresql import parse_url
from shared.clock import SystemClock
from shared.messages import JobStage
from shared.names import Realm
from tests.integration.realm_fixture import (
    ANALYST,
    EXAMPLES,
    Command,
    Json,
    LiveRealm,
    held,
    until,
)
from tests.integration.test_realm_kills import reached
from tests.postgres import PostgresCluster
from tests.unit.manager.realm.test_keys import CHEAP

pytestmark = [pytest.mark.broker, pytest.mark.slow]

SHARED = Realm("shared")
FIRST, SECOND = "manager", "manager2"
SERVERS, SOURCE = ("server1", "server2"), "insurer_a"
TWO = ("--servers", "2")


class SharedRealm(LiveRealm):
    """A realm with two managers; ``manager2`` has a home with copies of the keys."""

    def begin(self, postgres: PostgresCluster, node: PrivateNode) -> None:
        """Make the realm and both homes, as operators would; start both managers."""
        self.folder.chmod(0o700)
        (self.folder / "logs").mkdir()
        word = self.folder / "store.password"
        word.touch(mode=0o600)
        word.write_text(postgres.password + "\n")
        broker = node.status()
        assert broker is not None
        url = postgres.new_url()
        settings = {
            "realm": SHARED,
            "store_url": url,
            "store_password_file": word,
            "broker_url": broker.amqp_url,
            "broker_management_url": broker.administration_url,
            "broker_credentials_file": node.credentials_path,
            "broker_ca_file": broker.authority_path,
        }
        first, second = self.home(FIRST), self.home(SECOND)
        init_realm(
            *(first, parse_url(url, postgres.password), SHARED, b"pw"),
            *(SystemClock().now(), secrets.token_bytes, CHEAP),
        )
        second.mkdir(mode=0o700)
        shutil.copy2(first / KEY_FILE, second / KEY_FILE)
        text = "".join(f'{name} = "{value}"\n' for name, value in settings.items())
        for home in (first, second):
            (home / "manager.toml").write_text(text)
        self.manager("broker", "apply")
        for name in (FIRST, SECOND):
            self.start_manager(name)

    def start_manager(self, name: str) -> None:
        """Start a manager and wait until it is active or waits."""
        before = self.told(name)
        self._spawn("manager", name)
        until(lambda: self.told(name) > before, f"{name} has begun")

    def told(self, name: str) -> int:
        """Return how often a manager said that it is active, or waits."""
        if not (self.folder / "logs" / f"{name}.log").exists():
            return 0
        events = [line.get("event") for line in self.lines(name)]
        return events.count("manager ready") + events.count("manager waits")

    def stop(self) -> None:
        """End everything."""
        super().stop()
        self.look_anew()

    def look_anew(self) -> None:
        """Leave a connection to a database that was stopped."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def lease(self) -> Lease:
        """Return who is active."""
        with self.store.reading() as unit:
            return unit.leases.get()

    def active(self) -> str:
        """Return the home of the active manager."""
        until(lambda: self.lease().holder, "a manager holds the lease")
        pid = int(self.lease().holder.rpartition(":")[2])
        [name] = [
            n for n in (FIRST, SECOND) if n in self._running and self.pid(n) == pid
        ]
        return name

    def is_ready(self, name: str, after: int) -> bool:
        """Say whether a manager has begun to manage in a later epoch than this."""
        return any(
            line.get("event") == "manager ready" and line.get("epoch", 0) > after
            for line in self.lines(name)
        )

    def taken_over_from(self, name: str, epoch: int) -> str:
        """Wait until another manager is ready; return its home."""
        other = SECOND if name == FIRST else FIRST
        until(lambda: self.is_ready(other, epoch), f"{other} takes over from {name}")
        return other

    def waits(self, name: str, epoch: int) -> bool:
        """Say whether a manager has seen that it lost the lease to this epoch."""
        return any(
            line.get("event") == "manager waits" and line.get("epoch") == epoch
            for line in self.lines(name)
        )


def _parties() -> Sequence[Party]:
    """Return two MPC servers, one source and one analyst."""
    servers = [
        Party(name, ("--role", "mpcs"), ("--listen", "127.0.0.1:1270"))
        for name in SERVERS
    ]
    source = ("--role", "client", "--io", "input", "--prefix", "Liberty")
    analyst = ("--role", "client", "--io", "output", "--prefix", "Analytics")
    return (
        *servers,
        Party(SOURCE, source, (), EXAMPLES / f"{SOURCE}.csv"),
        Party(ANALYST, analyst),
    )


@pytest.fixture(scope="module")
def started(postgres: PostgresCluster, node: PrivateNode) -> Iterator[SharedRealm]:
    """Two managers, two servers, one source and one analyst."""
    realm = SharedRealm(note=lambda _: None)
    try:
        realm.begin(postgres, node)
        realm.add(_parties())
        yield realm
    finally:
        realm.stop()


@pytest.fixture
def live(started: SharedRealm) -> Iterator[SharedRealm]:
    """The realm with both managers running; everybody keeps its session."""
    for name in (FIRST, SECOND):
        if name not in started._running:
            started.start_manager(name)
    for party in _parties():
        until(
            lambda name=party.name: started.is_online(name),  # type: ignore[misc]  # a default as a closure
            f"{party.name} is online",
        )
    before = started.sessions()
    yield started
    assert started.sessions() <= before
    for name in (FIRST, SECOND):
        levels = {line.get("level") for line in started.lines(name)}
        assert levels <= {"info", "warning"}
        assert "Traceback" not in started.log(name)


def ended(asked: Command) -> Json:
    """Return a job that ended with its result or with a reason."""
    found = asked.wait().json()

    assert found["state"] == "done" or found["reason"]
    return found


def test_a_job_goes_on_when_the_active_manager_is_killed(live: SharedRealm) -> None:
    """It ends with its result or a reason, and the next one works."""
    before, epoch, name = live.newest(), live.lease().epoch, live.active()
    with held(live.data_pid(SERVERS[0])):
        asked = live.ask(ANALYST, "mean", "--column", "mdvis", *TWO)
        job = reached(live, live.next_job(before), JobStage.STARTED)
        live.kill(name)
    other = live.taken_over_from(name, epoch)
    ended(asked)
    after = live.mean(ANALYST, *TWO)

    assert reached(live, job, JobStage.CLOSED).outcome is not None
    assert after["state"] == "done"
    assert live.active() == other
    assert live.lease().epoch == epoch + 1


def test_a_manager_that_stood_still_does_nothing_when_it_goes_on(
    live: SharedRealm,
) -> None:
    """Jobs were done without it; it sees that it is out, and waits for its turn."""
    epoch, name = live.lease().epoch, live.active()
    with held(live.pid(name)):
        other = live.taken_over_from(name, epoch)
        during = live.mean(ANALYST, *TWO)
    until(lambda: live.waits(name, epoch + 1), f"{name} waits")
    after = live.mean(ANALYST, *TWO)
    status = json.loads(live.manager("status", "--json"))
    told = live.manager("status")
    watched = live.manager("watch", "--once", "--json")
    pid = live.pid(other)
    live.kill(other)
    again = live.taken_over_from(other, epoch + 1)
    last = live.mean(ANALYST, *TWO)

    assert [job["state"] for job in (during, after, last)] == ["done"] * 3
    assert status["active"]
    assert status["epoch"] == epoch + 1
    assert status["holder"].endswith(f":{pid}")
    assert live.principals[ANALYST] in watched
    assert f"{status['holder']}, epoch {epoch + 1}" in told
    assert again == name


def test_a_manager_that_ends_in_good_order_leaves_the_lease(live: SharedRealm) -> None:
    """And one that waits ends without having been active."""
    epoch, name = live.lease().epoch, live.active()
    code = live.end(name)
    other = live.taken_over_from(name, epoch)
    live.start_manager(name)
    idle = live.end(name)
    job = live.mean(ANALYST, *TWO)

    assert (code, idle) == (0, 0)
    assert live.active() == other
    assert live.lease().epoch == epoch + 1
    assert job["state"] == "done"


def test_both_managers_go_over_to_new_keys(live: SharedRealm) -> None:
    """Rotated from the home of the one that waits; the other one is killed then."""
    epoch, name = live.lease().epoch, live.active()
    [other] = {FIRST, SECOND} - {name}
    paths = [live.home(each) / KEY_FILE for each in (FIRST, SECOND)]
    old = load_keys(paths[0])
    word = live.folder / "root.password"
    word.write_text("pw\n")
    root = str(live.home(FIRST) / ROOT_FILE)
    rotate = ("keys", "rotate", "all", "--root", root)
    done = live._begin(
        "manager", other, (*rotate, "--root-password-file", str(word))
    ).wait()
    until(
        lambda: {load_keys(path).generation for path in paths} == {old.generation + 1},
        "both have the new keys",
    )
    during = live.mean(ANALYST, *TWO)
    live.kill(name)
    live.taken_over_from(name, epoch)
    after = live.mean(ANALYST, *TWO)
    first, second = map(load_keys, paths)

    assert done.code == 0
    assert first.signer.kid == second.signer.kid != old.signer.kid
    assert first.session_keys == second.session_keys != old.session_keys
    assert during["state"] == after["state"] == "done"


def test_a_restart_of_the_database_is_waited_for(
    live: SharedRealm, postgres: PostgresCluster
) -> None:
    """Both managers go on, one of them in a new epoch."""
    epoch = live.lease().epoch
    postgres.stop()
    for name in (FIRST, SECOND):
        until(
            lambda name=name: "does not answer" in live.log(name),  # type: ignore[misc]  # a default as a closure
            f"{name} misses the database",
        )
    postgres.start_again()
    live.look_anew()
    until(lambda: live.lease().epoch > epoch, "a new epoch")
    until(lambda: live.is_ready(live.active(), epoch), "a manager is ready")
    job = live.mean(ANALYST, *TWO)

    assert job["state"] == "done"
