"""One sample of every message and signed structure, the same bytes on every machine."""

import hashlib

from shared import messages as m
from shared.errors import ErrorCode, FailureCode, RefusalCode
from shared.messages.link import EndOfData, Limits
from shared.names import (
    Duty,
    Io,
    JobId,
    KeyId,
    MessageId,
    Principal,
    Role,
    SessionId,
    TokenId,
)

NOW = 1_790_000_000_000
SERVER = Principal("MPC_server_001")
SOURCE = Principal("Liberty001")
CONSUMER = Principal("Analytics001")


def octets(label: str, length: int) -> bytes:
    """Return bytes that depend on the label alone."""
    return hashlib.shake_128(label.encode()).digest(length)


JOB = JobId(octets("job", 16))
FINGERPRINT = octets("fingerprint", 32)

CERTIFICATE = m.CertificateBody(
    v=1,
    realm=FINGERPRINT,
    serial=7,
    principal=SOURCE,
    role=Role.CLIENT,
    io=Io.INPUT,
    sig_pk=octets("sig", 32),
    kem_pk=octets("kem", 32),
    nbf=NOW,
    exp=NOW + 1000,
    iss=KeyId(octets("iss", 8)),
)
SIGNED_CERTIFICATE = m.SignedCertificate(c=CERTIFICATE.pack(), sig=octets("csig", 64))
ENDORSEMENT = m.Endorsement(
    v=1,
    realm=FINGERPRINT,
    p=SERVER,
    role=Role.MPCS,
    spki=octets("spki", 32),
    addrs=("192.0.2.1:1270", "[2001:db8::1]:1270"),
    nbf=NOW,
    exp=NOW + 1000,
)
REALM = m.RealmDescription(
    v=1,
    realm="health",
    epoch=1,
    root=octets("root", 32),
    keys=(
        m.RealmKey(
            kid=KeyId(octets("kid", 8)),
            use=m.KeyUse.SIG,
            pk=octets("pk", 32),
            nbf=NOW,
            exp=NOW + 1000,
        ),
    ),
    suites=(1,),
    min_ver=1,
)
SIGNED_REALM = m.SignedRealm(rd=REALM.pack(), sig=octets("rsig", 64))
SPEC = m.Spec(
    v=1,
    realm=FINGERPRINT,
    consumer=CONSUMER,
    id=octets("id", 16),
    engine="additive",
    protocol="additive",
    program_hash=octets("program", 32),
    params={"statistic": "mean", "columns": ["mdvis"], "fixp": 12},
    threshold=2,
    servers=3,
    requires=m.Requirements(location="miami", cpus=4, ram=8),
    datasets=("visits",),
    min_sources=0,
    az=m.Authorisation(cols=("mdvis",), max_bytes=4096),
    purpose="mean of mdvis",
    deadline=NOW + 60_000,
    attempts=1,
    result_exp=NOW + 86_400_000,
    res=octets("res", 32),
)
MANIFEST = m.Manifest(
    v=1,
    realm=FINGERPRINT,
    job=JOB,
    number=1,
    epoch=1,
    spec=SPEC.pack(),
    spec_sig=octets("ssig", 64),
    parties=(
        m.ManifestParty(
            p=SERVER,
            role=Role.MPCS,
            duties=(Duty.COMPUTE,),
            party=0,
            cert=SIGNED_CERTIFICATE,
            endorse=ENDORSEMENT.pack(),
            endorse_sig=octets("esig", 64),
        ),
    ),
    nbf=NOW,
    exp=NOW + 60_000,
)
TICKET = m.TicketBody(
    tid=octets("tid", 16),
    mh=octets("mh", 32),
    c=SOURCE,
    role="client",
    cnf_c=octets("cnf_c", 32),
    cnf_s=octets("cnf_s", 32),
    k_cs=octets("k_cs", 32),
    az=m.TicketAuthorisation(dir="in", cols=("mdvis",), max_bytes=4096),
    nbf=NOW,
    exp=NOW + 60_000,
)

STRUCTURES: dict[str, m.Structure] = {
    "certificate": CERTIFICATE,
    "endorsement": ENDORSEMENT,
    "realm": REALM,
    "spec": SPEC,
    "manifest": MANIFEST,
    "ticket": TICKET,
    "link.hello": m.LinkHello(v=1, n_s=octets("nS", 16)),
    "ap.req": m.ApRequest(
        job=JOB,
        epoch=1,
        ticket=octets("ticket", 300),
        n_a=octets("nA", 16),
        mac=octets("mac", 32),
    ),
    "ap.rep": m.ApReply(
        lim=Limits(max_frame=1 << 20, max_bytes=1 << 30),
        n_s=octets("nS2", 16),
        mac=octets("mac2", 32),
    ),
    "peer.hello": m.PeerHello(job=JOB, epoch=1, mh=octets("mh", 32), party=0, peer=1),
    "end": EndOfData(count=192),
    "as.rep core": m.AsReplyCore(
        p=SERVER,
        nonce=octets("nonce", 16),
        e=octets("e", 32),
        sid=SessionId(octets("sid", 16)),
        exp=NOW + 1000,
        now=NOW,
        ver=1,
        suite=1,
        vers_seen=(1,),
        suites_seen=(1,),
        leaf=octets("leaf", 400),
        cas=(octets("ca", 400),),
    ),
}

MESSAGES: dict[str, m.Message] = {
    "realm.descriptor": m.RealmDescriptor(rd=REALM.pack(), sig=octets("rsig", 64)),
    "reg.req": m.RegistrationRequest(
        token_id=TokenId(octets("token", 8)),
        secret=octets("secret", 16),
        role=Role.CLIENT,
        io=Io.INPUT,
        prefix="Liberty",
        sig_pk=octets("sig", 32),
        kem_pk=octets("kem", 32),
        attrs=m.Attributes(
            location="miami", cpus=8, ram=16, csp="aws", operator="Example"
        ),
        pwhash="A" * 48,
        nonce=octets("nonce", 16),
        vers=(1,),
    ),
    "reg.rep": m.RegistrationReply(
        nonce=octets("nonce", 16),
        principal=SOURCE,
        cert=SIGNED_CERTIFICATE,
        broker=m.BrokerAccess(user=SOURCE, vhost="health", queue="client.Liberty001"),
        realm_desc=SIGNED_REALM,
        now=NOW,
    ),
    "reg.done": m.RegistrationDone(
        principal=SOURCE, serial=7, nonce=octets("nonce", 16)
    ),
    "as.req": m.AsRequest(
        p=SERVER,
        m=FINGERPRINT,
        e=octets("e", 32),
        nonce=octets("nonce", 16),
        now=NOW,
        life=86_400_000,
        vers=(1,),
        suites=(1,),
        csr=octets("csr", 200),
        endorse=ENDORSEMENT.pack(),
        endorse_sig=octets("esig", 64),
    ),
    "as.rep": m.AsReply(
        core=STRUCTURES["as.rep core"].pack(), confirm=octets("confirm", 32)
    ),
    "status": m.Status(
        slots_free=2,
        slots=2,
        load=35,
        datasets=(m.DatasetNotice(name="visits", cols=("mdvis", "disea")),),
    ),
    "revoked": m.Revoked(revocations=2, principals=(SOURCE, SERVER)),
    "log.off": m.LogOff(),
    "err": m.ErrorNotice(
        code=ErrorCode.JOB_STATE, re=MessageId(octets("mid", 16)), retry_after=1000
    ),
    "job.request": m.JobRequest(spec=SPEC.pack(), spec_sig=octets("ssig", 64)),
    "job.offer": m.JobOffer(
        job=JOB,
        number=1,
        epoch=1,
        spec=SPEC.pack(),
        spec_sig=octets("ssig", 64),
        consumer_cert=SIGNED_CERTIFICATE,
        duties=(Duty.COMPUTE,),
        party=0,
        roster=(m.RosterEntry(p=SERVER, role=Role.MPCS, duties=(Duty.COMPUTE,)),),
        deadline=NOW + 60_000,
    ),
    "job.accept": m.JobAccept(
        job=JOB,
        epoch=1,
        spec_hash=octets("spec_hash", 32),
        nonce=octets("nonce", 16),
        rows=4127,
        bytes=151_825,
    ),
    "job.refuse": m.JobRefuse(
        job=JOB,
        epoch=1,
        stage="offer",
        code=RefusalCode.UNKNOWN_COLUMN,
        reason="no column 'x'",
    ),
    "job.start": m.JobStart(
        job=JOB,
        epoch=1,
        nonce=octets("nonce", 16),
        manifest=MANIFEST.pack(),
        manifest_sig=octets("msig", 64),
        t=(
            m.ServerTicket(
                s=SERVER, k_cs=octets("k_cs", 32), ticket=octets("ticket", 300)
            ),
        ),
        revocations=2,
    ),
    "job.report": m.JobReport(
        job=JOB, epoch=1, phase=m.JobPhase.COMPUTED, at=NOW, bytes_in=192, ms=3
    ),
    "job.abort": m.JobAbort(
        job=JOB,
        epoch=1,
        outcome=m.Outcome.FAILED,
        code=FailureCode.PARTY_LOST,
        party=SERVER,
    ),
    "job.closed": m.JobClosed(
        job=JOB,
        epoch=1,
        number=1,
        outcome=m.Outcome.FAILED,
        code=FailureCode.PARTY_LOST,
        party=SERVER,
        reason="MPC_server_001 was lost while it computed",
    ),
    "job.cancel": m.JobCancel(job=JOB),
    "job.collect": m.JobCollect(job=JOB),
    "job.tickets": m.JobTickets(
        job=JOB,
        epoch=1,
        t=(
            m.CollectTicket(
                s=SERVER,
                k_cs=octets("k_cs", 32),
                ticket=octets("ticket", 300),
                endorse=ENDORSEMENT.pack(),
                endorse_sig=octets("esig", 64),
            ),
        ),
    ),
    "job.query": m.JobQuery(),
    "job.state": m.JobState(
        jobs=(
            m.JobSummary(
                job=JOB,
                number=1,
                state=m.JobStage.CLOSED,
                outcome=m.Outcome.DONE,
                code=FailureCode.DONE,
                times={"requested": NOW, "done": NOW + 90},
            ),
        )
    ),
}
