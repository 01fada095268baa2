"""What must hold of every history when it is over."""

from collections import Counter

from manager.protocol.job_state import JobState, reservations
from participant.protocol.model import OVER, Stage
from shared import topology
from shared.envelope import parse
from shared.messages import Outcome, Suite
from shared.names import Principal
from tests.simulation.history import History
from tests.simulation.party import SimParty

HARMLESS = frozenset({"dup", "stale", "session", "superseded", "sent_to_nobody"})
"""What a manager may count although nobody attacks."""

NOT_NEEDED = {("cancelled", "cancelled")}
"""What a server is told that accepts after it was replaced."""


def violations(history: History) -> list[str]:
    """Return what does not hold, for people; empty when all is well."""
    return [
        *_of_jobs(history),
        *_of_runs(history),
        *_of_envelopes(history),
        *_of_parties(history),
    ]


def _of_jobs(history: History) -> list[str]:
    states = {state.job: state for state in history.realm.states()}
    found = []
    for consumer, job in history.asked:
        state = states.get(job)
        if state is None:
            ending = consumer.jobs[job].ending
            found.append(f"{job.hex()[:8]}: never taken, consumer says {ending}")
            continue
        found += _of_job(state, consumer)
        found += _of_told(state, history)
    if reservations(states.values()):
        found.append("slots are still reserved")
    if len(states) != len(history.asked):
        found.append(f"{len(history.asked)} jobs asked for, {len(states)} taken")
    return found


def _of_job(state: JobState, consumer: SimParty) -> list[str]:
    name = f"{state.job.hex()[:8]} of {consumer.principal}"
    own = consumer.jobs[state.job]
    if not state.is_closed or state.outcome is None or state.code is None:
        return [f"{name}: {state.stage}, not closed"]
    is_done = state.outcome is Outcome.DONE
    found = []
    if not is_done and state.party is None and not state.reason:
        found.append(f"{name}: {state.outcome} without a party or a reason")
    if is_done and (own.stage is not Stage.DELIVERED or own.result is None):
        found.append(f"{name}: done, and the consumer has {own.stage}, {own.ending}")
    return found


def _of_told(state: JobState, history: History) -> list[str]:
    found = []
    name = state.job.hex()[:8]
    expected = {(str(state.outcome), str(state.code))}
    for party in history.realm.parties:
        told = party.closed.get(state.job, set())
        allowed = set(expected)
        is_replaced = state.find(party.principal) is None
        if is_replaced and party.principal != state.consumer:
            allowed |= NOT_NEEDED
        if told - allowed:
            found.append(f"{name}: {party.principal} was told {told}, not {expected}")
        if state.knows(party.principal) and party.is_up and not told & expected:
            own = party.jobs.get(state.job)
            found.append(f"{name}: {party.principal} was not told the end, has {own}")
    return found


def _of_runs(history: History) -> list[str]:
    found = []
    manifests: dict[tuple[bytes, int], set[bytes]] = {}
    starts: Counter[tuple[Principal, bytes, int]] = Counter()
    for principal, run in history.realm.plane.runs:
        key = (run.state.job, run.state.epoch)
        manifests.setdefault(key, set()).add(run.manifest_hash)
        starts[principal, *key] += not run.fetch_only
    for (job, epoch), hashes in manifests.items():
        if len(hashes) > 1:
            found.append(f"{job.hex()[:8]}: {len(hashes)} manifests in epoch {epoch}")
    for (principal, job, epoch), count in starts.items():
        if count > 1:
            found.append(
                f"{job.hex()[:8]}: {principal} ran epoch {epoch} {count} times"
            )
    for state in history.realm.states():
        count = starts[state.consumer, state.job, state.epoch]
        if state.outcome is Outcome.DONE and count != 1:
            found.append(f"{state.job.hex()[:8]}: done, {count} starts at the consumer")
    return found


def _of_envelopes(history: History) -> list[str]:
    found = []
    numbers: dict[tuple[str, object, int], set[bytes]] = {}
    for message in history.realm.broker.seen:
        sealed = parse(message.body)
        if sealed.suite is Suite.SESSION:
            header = sealed.header
            key = (header.s, header.sid, header.seq)
            numbers.setdefault(key, set()).add(message.body)
    for (sender, _, seq), bodies in numbers.items():
        if len(bodies) > 1:
            found.append(f"{sender} used the number {seq} for {len(bodies)} messages")
    counters = history.realm.counters()
    odd = {name: n for name, n in counters.items() if n and name not in HARMLESS}
    if odd:
        found.append(f"the manager counted {odd}")
    if any(history.realm.broker.depth(queue) for queue in topology.MANAGER_QUEUES):
        found.append("the manager has not acknowledged everything")
    return found


def _of_parties(history: History) -> list[str]:
    found = []
    pool = history.realm.pool()
    for party in history.realm.parties:
        found += [f"{party.principal}: {problem}" for problem in party.problems]
        if not party.is_up:
            continue
        for job in party.jobs.values():
            if job.stage not in OVER | {Stage.REFUSED}:
                found.append(f"{party.principal}: {job} is not over")
        if party.slots_taken:
            found.append(f"{party.principal}: {party.slots_taken} slots are taken")
        if party in history.realm.servers:
            seen = pool.get(party.principal)
            if seen is None or seen.slots_free != party.slots:
                found.append(f"{party.principal}: the manager sees {seen}")
    return found
