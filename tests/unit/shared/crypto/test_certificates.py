"""The authority sets every field; every check refuses what is not expected."""

import contextlib
import copy
import pickle  # noqa: TID251 - to show that it is refused
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.clock import SystemClock
from shared.crypto import x509_parts
from shared.crypto.certificates import (
    CertificateAuthority,
    LeafInfo,
    TlsKey,
    check_leaf,
    der_to_pem,
    read_csr,
    read_leaf,
    spiffe_id,
    spki_hash,
    spki_hash_of_certificate,
)
from shared.crypto.derivation import sha256
from shared.crypto.keys import kid
from shared.errors import CryptoError
from shared.names import Principal, Realm, Role

REALM = Realm("clinic")
PRINCIPAL = Principal("Liberty001")
URI = "spiffe://clinic/client/Liberty001"
NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = TlsKey.generate()
CA = CertificateAuthority.create(REALM, NOW - DAY, NOW + 90 * DAY)
P256 = ec.generate_private_key(ec.SECP256R1())


def issue(
    authority: CertificateAuthority = CA,
    start: datetime = NOW - timedelta(hours=1),
    end: datetime = NOW + timedelta(hours=12),
) -> bytes:
    """Return a leaf for KEY."""
    return authority.issue_leaf(KEY.spki, REALM, Role.CLIENT, PRINCIPAL, start, end)


def hostile(change: str) -> bytes:
    """Return a leaf signed by CA's own key that differs in what is named."""
    signer = serialization.load_pem_private_key(CA.key_pem, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    authority = x509.load_der_x509_certificate(CA.certificate_der)
    common = x509.NameAttribute(NameOID.COMMON_NAME, PRINCIPAL)
    names = {
        "two names": [common, common],
        "no name": [x509.NameAttribute(NameOID.ORGANIZATION_NAME, PRINCIPAL)],
    }.get(change, [common])
    uri, dns = x509.UniformResourceIdentifier(URI), x509.DNSName("Liberty002")
    sans: dict[str, list[x509.GeneralName]] = {"dns": [dns], "second san": [uri, dns]}
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    usages = {
        "server only": [server],
        "any usage": [server, client, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
    }.get(change, [server, client])
    keys: dict[str, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey] = {
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "p384": ec.generate_private_key(ec.SECP384R1()),
    }
    extensions: dict[str, x509.ExtensionType] = {
        "no usage": x509_parts.key_usage(is_authority=change == "signs certificates"),
        "no extended usage": x509.ExtendedKeyUsage(usages),
        "no san": x509.SubjectAlternativeName(sans.get(change, [uri])),
        "no constraints": x509.BasicConstraints(change == "ca", None),
    }
    builder = x509.CertificateBuilder(
        authority.subject,
        x509.Name([x509.RelativeDistinguishedName([name]) for name in names]),
        keys.get(change, P256).public_key(),
        x509.random_serial_number(),
        NOW - DAY,
        NOW + DAY,
    )
    for left_out, extension in extensions.items():
        if left_out != change:
            builder = builder.add_extension(extension, critical=True)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


def request(
    extensions: list[x509.ExtensionType] | None = None,
    key: ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | rsa.RSAPrivateKey = P256,
) -> bytes:
    """Return a request that asks for extensions or has another key."""
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    for extension in extensions or []:
        builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def test_a_request_proves_its_key() -> None:
    """What comes back is what the participant endorsed."""
    spki = read_csr(KEY.csr("Liberty001"))

    assert KEY.spki == spki
    assert KEY.spki_hash == spki_hash(spki) == sha256(spki)


@pytest.mark.parametrize(
    "csr",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30\x00", id="empty sequence"),
        pytest.param(KEY.csr("a")[:-1], id="truncated"),
        pytest.param(KEY.csr("a") + b"\0", id="trailing"),
        pytest.param(request([x509.BasicConstraints(True, None)]), id="CA:TRUE"),
        pytest.param(request([x509.BasicConstraints(False, None)]), id="CA:FALSE"),
        pytest.param(
            request([x509.SubjectAlternativeName([x509.DNSName("Liberty002")])]),
            id="SAN",
        ),
        pytest.param(request(key=ed25519.Ed25519PrivateKey.generate()), id="Ed25519"),
        pytest.param(request(key=ec.generate_private_key(ec.SECP384R1())), id="P-384"),
        pytest.param(request(key=rsa.generate_private_key(65537, 2048)), id="RSA"),
    ],
)
def test_a_request_that_asks_for_more_or_less_is_refused(csr: bytes) -> None:
    """A participant chooses its key and nothing else."""
    with pytest.raises(CryptoError):
        read_csr(csr)


def test_a_request_with_any_bit_altered_never_shows_another_key() -> None:
    """Damage outside what is signed is harmless, and never another exception."""
    csr = KEY.csr("Liberty001")
    accepted = set()
    for bit in range(len(csr) * 8):
        altered = bytearray(csr)
        altered[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(CryptoError):
            accepted.add(read_csr(bytes(altered)))

    assert accepted <= {KEY.spki}


@pytest.mark.filterwarnings("ignore")  # the library warns of odd serial numbers
def test_a_leaf_with_any_bit_altered_never_says_anything_else() -> None:
    """The only bits that do not count pad the end of the signature."""
    leaf = issue()
    accepted = set()
    for bit in range(len(leaf) * 8):
        altered = bytearray(leaf)
        altered[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(CryptoError):
            spki_hash_of_certificate(bytes(altered))
            check_leaf(bytes(altered), [CA.certificate_der], NOW, URI, KEY.spki_hash)
            accepted.add(read_leaf(bytes(altered)))

    assert accepted <= {read_leaf(leaf)}


@pytest.mark.filterwarnings("ignore")  # as above
def test_an_authority_with_any_bit_altered_raises_nothing_else() -> None:
    """Its own signature is not looked at: the realm's descriptor vouches for it."""
    leaf, ca = issue(), CA.certificate_der
    for bit in range(len(ca) * 8):
        altered = bytearray(ca)
        altered[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(CryptoError):
            check_leaf(leaf, [bytes(altered)], NOW, URI, KEY.spki_hash)
        with contextlib.suppress(CryptoError):
            CertificateAuthority.from_pem(CA.key_pem, bytes(altered))


def test_a_request_signed_by_another_key_is_refused() -> None:
    """Nobody gets a leaf for a key that it does not hold."""
    own, other = request(), request(key=ec.generate_private_key(ec.SECP256R1()))
    spki = P256.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    foreign = x509.load_der_x509_csr(other).public_key()
    foreign_spki = foreign.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(CryptoError, match="not signed by its own key"):
        read_csr(own.replace(spki, foreign_spki))


def test_the_authority_sets_every_field_of_a_leaf() -> None:
    """A reviewer finds all that a leaf says in this test."""
    der = issue()
    leaf = x509.load_der_x509_certificate(der)
    critical = {e.oid._name: e.critical for e in leaf.extensions}
    sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    expected = LeafInfo(
        "Liberty001",
        URI,
        KEY.spki_hash,
        NOW - timedelta(hours=1),
        NOW + timedelta(hours=12),
    )

    assert expected == read_leaf(der)
    assert spiffe_id(REALM, Role.CLIENT, PRINCIPAL) == URI
    assert [x509.UniformResourceIdentifier(URI)] == list(sans)
    assert critical == {
        "basicConstraints": True,
        "keyUsage": True,
        "extendedKeyUsage": False,
        "subjectAltName": False,
        "authorityKeyIdentifier": False,
    }
    assert KEY.spki_hash == spki_hash_of_certificate(der)
    assert leaf.serial_number != x509.load_der_x509_certificate(issue()).serial_number
    check_leaf(der, [CA.certificate_der], NOW, URI, KEY.spki_hash)


def test_the_authority_is_good_for_leaves_alone() -> None:
    """Path length 0 and one usage; its id is over its SPKI."""
    ca = x509.load_der_x509_certificate(CA.certificate_der)
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)

    assert x509.BasicConstraints(True, 0) == constraints.value
    assert constraints.critical
    assert x509_parts.key_usage(is_authority=True) == usage.value
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    assert kid(CA.spki) == CA.kid
    assert (
        ca.not_valid_before_utc,
        ca.not_valid_after_utc,
    ) == (NOW - DAY, NOW + 90 * DAY)
    ca.verify_directly_issued_by(ca)


def test_an_authority_comes_back_from_its_file() -> None:
    """A restarted manager issues under the same certificate."""
    again = CertificateAuthority.from_pem(CA.key_pem, CA.certificate_der)

    assert CA.certificate_der == again.certificate_der
    check_leaf(issue(again), [CA.certificate_der], NOW, URI, KEY.spki_hash)


@pytest.mark.parametrize(
    ("key_pem", "certificate"),
    [
        pytest.param(b"no key", CA.certificate_der, id="no key"),
        pytest.param(CA.key_pem, b"no certificate", id="no certificate"),
        pytest.param(KEY.private_pem, CA.certificate_der, id="another key"),
        pytest.param(
            rsa.generate_private_key(65537, 2048).private_bytes(
                Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            CA.certificate_der,
            id="RSA",
        ),
        pytest.param(
            P256.private_bytes(
                Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"password"),
            ),
            CA.certificate_der,
            id="encrypted",
        ),
    ],
)
def test_an_authority_needs_its_own_key(key_pem: bytes, certificate: bytes) -> None:
    """A mix-up in the key file shows at the start, not at the first link."""
    with pytest.raises(CryptoError):
        CertificateAuthority.from_pem(key_pem, certificate)


@pytest.mark.parametrize(
    ("start", "end"),
    [(NOW, NOW), (NOW, NOW - DAY), (NOW, NOW + 90 * DAY + timedelta(seconds=1))],
)
def test_a_leaf_ends_after_it_begins_and_before_its_authority(
    start: datetime, end: datetime
) -> None:
    """A certificate never lives longer than its issuer."""
    with pytest.raises(CryptoError):
        issue(start=start, end=end)


@pytest.mark.parametrize(
    "spki",
    [
        b"no key",
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_a_leaf_is_for_a_p256_key(spki: bytes) -> None:
    """The one curve that every peer's TLS speaks."""
    with pytest.raises(CryptoError):
        CA.issue_leaf(spki, REALM, Role.CLIENT, PRINCIPAL, NOW, NOW + DAY)


def test_a_leaf_of_another_name_key_time_or_realm_is_refused() -> None:
    """Each of them alone is reason enough."""
    der = issue()
    cas = [CA.certificate_der]
    other = CertificateAuthority.create(REALM, NOW - DAY, NOW + DAY)
    wrong = [
        (b"no certificate", cas, NOW, URI, KEY.spki_hash),
        (der, cas, NOW, "spiffe://clinic/mpcs/Liberty001", KEY.spki_hash),
        (der, cas, NOW, URI, bytes(32)),
        (der, cas, NOW - timedelta(hours=1, seconds=1), URI, KEY.spki_hash),
        (der, cas, NOW + timedelta(hours=12, seconds=1), URI, KEY.spki_hash),
        (der, [], NOW, URI, KEY.spki_hash),
        (der, [other.certificate_der], NOW, URI, KEY.spki_hash),
        (der, [b"no certificate"], NOW, URI, KEY.spki_hash),
        (der, [der], NOW, URI, KEY.spki_hash),
    ]
    for leaf, authorities, now, uri, key in wrong:
        with pytest.raises(CryptoError):
            check_leaf(leaf, authorities, now, uri, key)


def test_two_authorities_overlap_and_each_counts_in_its_time() -> None:
    """At a rotation leaves of both are in use; an ended authority is none."""
    old = CertificateAuthority.create(REALM, NOW - DAY, NOW + timedelta(hours=12))
    cas = [CA.certificate_der, old.certificate_der]
    check_leaf(issue(old), cas, NOW, URI, KEY.spki_hash)
    check_leaf(issue(), cas, NOW, URI, KEY.spki_hash)
    late = CertificateAuthority.create(REALM, NOW + timedelta(hours=1), NOW + DAY)
    with pytest.raises(CryptoError):
        check_leaf(issue(late), [late.certificate_der], NOW, URI, KEY.spki_hash)


def test_an_authority_of_the_same_name_with_another_key_is_refused() -> None:
    """The signature decides, not the name."""
    ca = x509.load_der_x509_certificate(CA.certificate_der)
    forged = (
        x509.CertificateBuilder(
            ca.issuer, ca.subject, P256.public_key(), 1, NOW - DAY, NOW + DAY
        )
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .sign(P256, hashes.SHA256())
    )
    with pytest.raises(CryptoError):
        check_leaf(
            issue(), [forged.public_bytes(Encoding.DER)], NOW, URI, KEY.spki_hash
        )


def test_the_hostile_leaf_is_refused_for_its_change_alone() -> None:
    """Without a change it is a leaf, so the next test proves something."""
    assert read_leaf(hostile("nothing")).spiffe == URI


@pytest.mark.parametrize(
    "change",
    [
        "ca",
        "no constraints",
        "signs certificates",
        "no usage",
        "no extended usage",
        "server only",
        "any usage",
        "no san",
        "dns",
        "second san",
        "two names",
        "no name",
        "ed25519",
        "p384",
    ],
)
def test_a_certificate_of_another_shape_is_no_leaf(change: str) -> None:
    """Even signed by the authority: we never issue such a one."""
    with pytest.raises(CryptoError):
        read_leaf(hostile(change))


def test_an_authority_is_no_leaf() -> None:
    """Its holder could otherwise speak as anybody."""
    with pytest.raises(CryptoError):
        read_leaf(CA.certificate_der)


def test_pem_is_what_ssl_loads() -> None:
    """The data process hands it to the standard library."""
    pem = der_to_pem(CA.certificate_der)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)

    assert [CA.certificate_der] == context.get_ca_certs(binary_form=True)
    assert CA.certificate_der == ssl.PEM_cert_to_DER_cert(pem)
    with pytest.raises(CryptoError):
        der_to_pem(b"no certificate")


@pytest.mark.parametrize("secret", [KEY, CA])
def test_keys_do_not_show_themselves_and_cannot_be_pickled(
    secret: TlsKey | CertificateAuthority,
) -> None:
    """A key must not reach a log, a trace or another process by accident."""
    assert f"{type(secret).__name__}(<redacted>)" == repr(secret)
    for copier in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            copier(secret)


def test_a_leaf_serves_both_ends_of_mutual_tls(tmp_path: Path) -> None:
    """OpenSSL in its strict mode accepts what the authority issues."""
    (tmp_path / "leaf.pem").write_text(der_to_pem(issue_now()))
    (tmp_path / "key.pem").write_bytes(KEY.private_pem)
    ends = []
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
        is_server = protocol is ssl.PROTOCOL_TLS_SERVER
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=der_to_pem(CA_NOW.certificate_der))
        context.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "key.pem")
        bios = (to_server, to_client) if is_server else (to_client, to_server)
        ends.append(context.wrap_bio(*bios, server_side=is_server))
    for _ in range(3):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()

    for end in ends:
        leaf = end.getpeercert(binary_form=True)

        assert leaf is not None
        assert spki_hash_of_certificate(leaf) == KEY.spki_hash


CA_NOW = CertificateAuthority.create(
    REALM, SystemClock().now() - DAY, SystemClock().now() + DAY
)


def issue_now() -> bytes:
    """Return a leaf for KEY that is in time by the machine's clock."""
    now = SystemClock().now()
    return issue(CA_NOW, now - timedelta(hours=1), now + timedelta(hours=1))
