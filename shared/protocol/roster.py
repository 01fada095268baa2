"""What must hold of a manifest's roster, whoever is in it.

Source: docs/protocol.md, "Job". ``shared.protocol.manifest`` is the way in.
"""

from shared.errors import RefusalCode, RefusedError
from shared.messages import (
    CertificateBody,
    Endorsement,
    Manifest,
    ManifestParty,
    Spec,
)
from shared.names import Duty, Principal, Role, duties_allowed

_SERVER_DUTIES = frozenset({Duty.COMPUTE})
_CLIENT_DUTIES = frozenset({Duty.INPUT, Duty.OUTPUT})


def invalid(text: str) -> RefusedError:
    """Return the refusal of a manifest."""
    return RefusedError(text, RefusalCode.MANIFEST_INVALID)


def check_roster(manifest: Manifest, spec: Spec) -> None:
    """Refuse a roster that cannot do this spec, whoever is in it."""
    entries = manifest.parties
    if len({entry.p for entry in entries}) != len(entries):
        raise invalid("a principal is twice in the manifest")
    for entry in entries:
        permitted = _SERVER_DUTIES if entry.role is Role.MPCS else _CLIENT_DUTIES
        if len(set(entry.duties)) != len(entry.duties) or set(entry.duties) - permitted:
            raise invalid(f"{entry.p}: duties that a {entry.role} cannot have")
        if (entry.party is None) is (entry.role is Role.MPCS):
            raise invalid(f"{entry.p}: MPC servers alone have a party index")
    indexes = sorted(entry.party for entry in entries if entry.party is not None)
    if indexes != list(range(spec.servers)):
        raise invalid(f"the manifest has not {spec.servers} numbered MPC servers")
    consumers = [entry.p for entry in entries if Duty.OUTPUT in entry.duties]
    if consumers != [spec.consumer]:
        raise invalid(f"{spec.consumer} is not the manifest's one consumer")
    sources = sum(Duty.INPUT in entry.duties for entry in entries)
    if sources < max(1, spec.min_sources):
        raise invalid(
            f"{sources} of {max(1, spec.min_sources)} needed sources are there"
        )


def own_entry(
    manifest: Manifest, me: Principal, duties: tuple[Duty, ...], party: int | None
) -> ManifestParty:
    """Return this party's entry, if it says what was accepted."""
    for entry in manifest.parties:
        if entry.p == me:
            if (set(entry.duties), entry.party) != (set(duties), party):
                raise invalid(f"{entry.p}: other duties than were accepted")
            return entry
    raise invalid(f"{me} is not in the manifest")


def talks_to(own: ManifestParty, entry: ManifestParty) -> bool:
    """Say whether a party must know who this entry is."""
    return (
        own.role is Role.MPCS
        or entry.role is Role.MPCS
        or Duty.OUTPUT in entry.duties
        or entry.p == own.p
    )


def check_entry(
    entry: ManifestParty,
    cert: CertificateBody,
    endorsement: Endorsement,
    deadline: int,
) -> None:
    """Refuse an entry that says more than its proven certificate and endorsement."""
    if cert.principal != entry.p:
        raise invalid(f"the certificate is that of {cert.principal}")
    if cert.role is not entry.role:
        raise invalid(f"the certificate is that of a {cert.role}")
    if not set(entry.duties) <= duties_allowed(cert.role, cert.io):
        raise invalid("the certificate does not permit these duties")
    if endorsement.exp < deadline:
        raise invalid("the endorsement ends before the job's deadline")
    if entry.role is Role.MPCS and not endorsement.addrs:
        raise invalid("the endorsement of an MPC server names no address")
