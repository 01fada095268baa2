"""The journal: what of a participant's jobs must outlive its process.

One file a job, sealed under the journal's key, which lies in the key file. A
consumer's request and result key are here before the request is sent; an MPC
server's ticket key and manifest until its result was fetched or has expired.
"""

import logging
import os
from pathlib import Path
from typing import Annotated

from annotated_types import Len
from pydantic import Strict

from participant.home import secret_file
from participant.protocol.model import Ending, PartyJob, Stage
from shared.crypto.keys import KemKey
from shared.crypto.sealing import NONCE_BYTES, open_with_nonce, seal_with_nonce
from shared.errors import CryptoError, DecodeError, FailureCode
from shared.messages import Outcome, unpack
from shared.messages.wire import (
    Bytes32,
    Duties,
    Job,
    SmallCount,
    Structure,
    TimeMs,
)

SUFFIX = ".job"
VERSION = 1

_LABEL = b"MPX1-journal\0"
_Path = Annotated[str, Len(1, 4096)]
_Sentence = Annotated[str, Len(0, 1000)]

_log = logging.getLogger(__name__)


class StoredTime(Structure):
    """When something happened, in milliseconds."""

    name: _Sentence
    at: TimeMs


class StoredEnding(Structure):
    """How the job ended."""

    outcome: Annotated[Outcome, Strict(strict=False)]
    code: Annotated[FailureCode, Strict(strict=False)]
    party: _Sentence | None = None
    reason: _Sentence | None = None


class StoredJob(Structure):
    """A job as it lies in the journal."""

    v: int
    job: Job
    spec: Annotated[bytes, Len(1, 32768)]
    spec_sig: Annotated[bytes, Len(64, 64)]
    stage: Annotated[Stage, Strict(strict=False)]
    deadline: TimeMs
    result_exp: TimeMs
    number: SmallCount
    epoch: SmallCount
    duties: Annotated[Duties, Len(0, 3)] | None = None
    party: SmallCount | None = None
    nonce: bytes
    manifest: bytes
    manifest_sig: bytes
    k_tkt: Bytes32 | None = None
    result_key: Bytes32 | None = None
    result: _Path | None = None
    ending: StoredEnding | None = None
    times: Annotated[tuple[StoredTime, ...], Strict(strict=False), Len(0, 64)]


class Journal:
    """The jobs in a folder.

    Args:
        folder: in the home; it is there.
        key: 32 bytes.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key

    def write(self, job: PartyJob) -> None:
        """Keep a job as it is now; on disk when this returns.

        Raises:
            ConfigError: it cannot be written.
        """
        path = self._path(job)
        data = seal_with_nonce(
            self._key,
            _LABEL + path.name.encode(),
            _stored(job).pack(),
            os.urandom(NONCE_BYTES),
        )
        secret_file.write(path, data)

    def remove(self, job: PartyJob) -> None:
        """Forget a job; harmless where it is not kept."""
        path = self._path(job)
        if path.exists():
            secret_file.remove(path)

    def read(self) -> list[PartyJob]:
        """Return every job that is kept, the oldest first.

        A file that does not open is left alone and logged: it may belong to an
        identity that was restored from a backup.
        """
        jobs = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                data = secret_file.read(path)
                label = _LABEL + path.name.encode()
                stored = unpack(StoredJob, open_with_nonce(self._key, label, data))
                jobs.append(_job(stored))
            except (CryptoError, DecodeError) as error:
                _log.warning(
                    "journal entry unreadable",
                    extra={"file": path.name, "reason": str(error)},
                )
        return sorted(jobs, key=lambda job: job.times[0][1] if job.times else 0)

    def _path(self, job: PartyJob) -> Path:
        return self._folder / f"{job.job.hex()}{SUFFIX}"


def _stored(job: PartyJob) -> StoredJob:
    ending = job.ending
    return StoredJob(
        v=VERSION,
        job=job.job,
        spec=job.spec,
        spec_sig=job.spec_sig,
        stage=job.stage,
        deadline=job.deadline,
        result_exp=job.result_exp,
        number=job.number,
        epoch=job.epoch,
        duties=job.duties or None,
        party=job.party,
        nonce=job.nonce,
        manifest=job.manifest,
        manifest_sig=job.manifest_sig,
        k_tkt=job.k_tkt,
        result_key=job.result_key.secret if job.result_key else None,
        result=job.result,
        ending=StoredEnding(
            outcome=ending.outcome,
            code=ending.code,
            party=ending.party,
            reason=ending.reason,
        )
        if ending
        else None,
        times=tuple(StoredTime(name=name, at=at) for name, at in job.times),
    )


def _job(stored: StoredJob) -> PartyJob:
    ending = stored.ending
    return PartyJob(
        job=stored.job,
        spec=stored.spec,
        spec_sig=stored.spec_sig,
        stage=stored.stage,
        deadline=stored.deadline,
        result_exp=stored.result_exp,
        number=stored.number,
        epoch=stored.epoch,
        duties=stored.duties or (),
        party=stored.party,
        nonce=stored.nonce,
        manifest=stored.manifest,
        manifest_sig=stored.manifest_sig,
        k_tkt=stored.k_tkt,
        result_key=KemKey.from_bytes(stored.result_key) if stored.result_key else None,
        result=stored.result,
        ending=Ending(ending.outcome, ending.code, ending.party, ending.reason)
        if ending
        else None,
        times=tuple((time.name, time.at) for time in stored.times),
    )
