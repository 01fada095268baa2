"""Append the vectors that are missing: ``python -m tests.vectors.generate``.

A vector is never rewritten: a wire format that changes is a new version.
"""

import json
from pathlib import Path

from shared.crypto.keys import KemKey, SigningKey
from shared.envelope import Addressing, Clear, KemSeal, SessionSeal, seal
from shared.messages import CATALOGUE, Suite, Way
from shared.names import MANAGER, Fingerprint, MessageId, SessionId
from tests.vectors.refusals import refusals
from tests.vectors.samples import (
    FINGERPRINT,
    JOB,
    MESSAGES,
    NOW,
    SOURCE,
    STRUCTURES,
    octets,
)

FOLDER = Path(__file__).parent


def _append(file: str, fresh: dict[str, dict[str, object]]) -> None:
    path = FOLDER / file
    known = json.loads(path.read_text()) if path.exists() else {}
    for name, vector in fresh.items():
        known.setdefault(name, vector)
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def _envelope(name: str) -> dict[str, object]:
    rule = CATALOGUE[name]
    up = rule.way is not Way.DOWN
    suite = min(rule.suites)
    signer = SigningKey.from_seed(octets("signer", 32))
    kem_secret = octets("kem secret", 32)
    addressing = Addressing(
        sender=SOURCE if up else MANAGER,
        recipient=MANAGER if up else SOURCE,
        mid=MessageId(octets(f"mid {name}", 16)),
        now_ms=NOW,
        lifetime_ms=60_000,
        job=JOB if name.startswith("job.") else None,
    )
    protection: SessionSeal | KemSeal | Clear = Clear()
    if suite is Suite.SESSION:
        protection = SessionSeal(
            SessionId(octets("sid", 16)), 5, octets("k", 32), octets("n " + name, 24)
        )
    elif suite is Suite.SEALED:
        protection = KemSeal(KemKey.from_bytes(kem_secret).public)
    envelope = seal(
        MESSAGES[name], addressing, protection, signer, Fingerprint(FINGERPRINT)
    )
    return {
        "suite": int(suite),
        "open_only": suite is Suite.SEALED,
        "fingerprint": FINGERPRINT.hex(),
        "signing_public": signer.public.hex(),
        "signing_seed": signer.seed.hex(),
        "session_key": octets("k", 32).hex(),
        "kem_secret": kem_secret.hex(),
        "me": str(addressing.recipient),
        "now_ms": NOW,
        "payload": MESSAGES[name].pack().hex(),
        "envelope": envelope.hex(),
        "expected": "ok",
    }


def main() -> None:
    """Append what is missing."""
    structures = {**STRUCTURES, **MESSAGES}
    _append(
        "structures.json",
        {name: {"packed": value.pack().hex()} for name, value in structures.items()},
    )
    _append("refusals.json", refusals())
    _append("envelopes.json", {name: _envelope(name) for name in MESSAGES})


if __name__ == "__main__":
    main()
