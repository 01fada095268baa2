"""Between the job machine and the data process: orders one way, events the other."""

from typing import assert_never

from participant.dataplane import ipc
from participant.protocol.model import (
    Broke,
    DataReady,
    DataRefused,
    JobEvent,
    Party,
    Reached,
    Run,
    Stage,
)
from shared.names import JobId


def event_of(event: ipc.ToControl) -> tuple[JobId, JobEvent] | None:
    """Return what an event of the data process means to which job, if to any."""
    match event:
        case ipc.Prepared():
            return event.job, DataReady(event.epoch, event.rows, event.bytes)
        case ipc.PrepareFailed():
            return event.job, DataRefused(event.epoch, event.code, event.reason)
        case ipc.JobProgress():
            return event.job, Reached(
                epoch=event.epoch,
                stage=Stage(event.phase),
                at=event.at,
                elapsed_ms=event.ms,
                bytes_in=event.bytes_in,
                bytes_out=event.bytes_out,
                result=event.result,
            )
        case ipc.JobFailed():
            return event.job, Broke(
                event.epoch, event.at, event.code, event.peer, event.reason
            )
        case ipc.Configured() | ipc.ConfigureFailed() | ipc.TlsKeyMade():
            return None
        case _:
            assert_never(event)


def start_order(run: Run, party: Party) -> ipc.StartJob:
    """Return what the data process is told to do."""
    state, identity = run.state, party.rules.identity
    return ipc.StartJob(
        me=identity.principal,
        realm=identity.realm.name,
        fingerprint=identity.realm.fingerprint,
        job=state.job,
        number=state.number,
        epoch=state.epoch,
        manifest_hash=run.manifest_hash,
        spec=state.spec,
        party=state.party,
        parties=tuple(
            ipc.Peer(
                p=peer.principal,
                role=peer.role,
                party=peer.party,
                duties=tuple(duty.value for duty in peer.duties),
                spki=peer.spki,
                sig_pk=peer.sig_pk,
                addrs=peer.addresses,
            )
            for peer in run.peers
        ),
        sources=run.sources,
        own_spki=run.own_spki,
        deadline=state.deadline,
        result_exp=state.result_exp,
        k_tkt=state.k_tkt,
        tickets=run.tickets,
        result_key=state.result_key.secret if state.result_key else None,
        endorse=run.endorse,
        endorse_sig=run.endorse_sig,
        fetch_only=run.fetch_only,
    )
