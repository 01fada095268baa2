"""Checks the test vectors of the protocol without any code of the project.

Written from docs/protocol.md alone, as a second implementation's first steps would be:
docs/vectors.md says what is in the files. Needs msgpack, PyNaCl and cryptography.

    python examples/verify_vectors.py [FOLDER]

FOLDER holds envelopes.json, structures.json and refusals.json; tests/vectors unless
given. Exit code 0: all as expected; 1: some are not; 2: the folder cannot be read.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import sys
import unicodedata
from pathlib import Path

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
SKEW_MS = 120_000
WINDOW = 4096
INTEGER = 2**62
FOLDER = Path(__file__).resolve().parents[1] / "tests" / "vectors"

UP, DOWN, BOTH = "P to M", "M to P", "both"
EVERYBODY, CONSUMERS = "all", "client with output"
CATALOGUE = {
    "realm.descriptor": (DOWN, {3}, EVERYBODY),
    "reg.req": (UP, {1}, EVERYBODY),
    "reg.rep": (DOWN, {1}, EVERYBODY),
    "reg.done": (UP, {1}, EVERYBODY),
    "as.req": (UP, {1}, EVERYBODY),
    "as.rep": (DOWN, {1}, EVERYBODY),
    "status": (UP, {2}, EVERYBODY),
    "log.off": (UP, {2}, EVERYBODY),
    "revoked": (DOWN, {2}, EVERYBODY),
    "err": (BOTH, {2, 3}, EVERYBODY),
    "job.request": (UP, {2}, CONSUMERS),
    "job.cancel": (UP, {2}, CONSUMERS),
    "job.collect": (UP, {2}, CONSUMERS),
    "job.query": (UP, {2}, CONSUMERS),
    "job.state": (DOWN, {2}, CONSUMERS),
    "job.tickets": (DOWN, {2}, CONSUMERS),
    "job.offer": (DOWN, {2}, EVERYBODY),
    "job.start": (DOWN, {2}, EVERYBODY),
    "job.abort": (DOWN, {2}, EVERYBODY),
    "job.closed": (DOWN, {2}, EVERYBODY),
    "job.accept": (UP, {2}, EVERYBODY),
    "job.refuse": (UP, {2}, EVERYBODY),
    "job.report": (UP, {2}, EVERYBODY),
}
"""Section 3.6: way, suites, who may send or get it."""

HEADER = {
    "t": str,
    "s": str,
    "r": str,
    "kid": 8,
    "sid": (16, None),
    "mid": 16,
    "seq": int,
    "ts": int,
    "exp": int,
    "job": (16, None),
    "re": (16, None),
}
STATUS = {"type", "slots_free", "slots", "load"}
"""Keys of a status; ``datasets`` may be there too."""
DUTIES = {"in": {"input"}, "out": {"output"}, "both": {"input", "output"}}
KINDS = {1, 2, 3, 4}


class RefusedError(Exception):
    """A receiver stops here, for this reason."""


class MalformedError(Exception):
    """Bytes that are no msgpack as section 3.3 has it."""


# ---- section 3.3 ----


def unpack(data):
    """Return the one value in the bytes."""
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_ext_len=0,
            max_map_len=256,
            max_array_len=4096,
            object_pairs_hook=_unique,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedError(str(error)) from error
    _check(value, 1)
    return value


def pack(value):
    """Return the canonical bytes of a value."""
    return msgpack.packb(_sorted(value), use_bin_type=True)


def _unique(pairs):
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def _check(value, depth):
    if isinstance(value, float) or depth > 8 + 1:
        raise MalformedError("a float, or nested too deep")
    if isinstance(value, str) and unicodedata.normalize("NFC", value) != value:
        raise MalformedError("a text that is not in normal form C")
    if isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth + 1)
            _check(item, depth + 1)


def _sorted(value):
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


# ---- sections 3.1 and 3.2 ----


def split(data):
    """Return suite, header, ``A`` and body: steps 1 and 2."""
    if not 12 <= len(data) <= 12 + 1024 + 256 * 1024:
        raise RefusedError("size")
    if data[:3] != b"MPX" or data[3] != 1 or data[5] != 0:
        raise RefusedError("version")
    n, body = int.from_bytes(data[6:8], "big"), int.from_bytes(data[8:12], "big")
    if n > 1024 or body > 256 * 1024 or len(data) != 12 + n + body:
        raise RefusedError("size")
    if data[4] not in {1, 2, 3}:
        raise RefusedError("version")
    try:
        header = unpack(data[12 : 12 + n])
    except MalformedError as error:
        raise RefusedError("header") from error
    if not isinstance(header, dict) or set(header) != set(HEADER):
        raise RefusedError("header")
    if not all(_fits(header[name], kind) for name, kind in HEADER.items()):
        raise RefusedError("header")
    if header["t"] not in CATALOGUE:
        raise RefusedError("header")
    return data[4], header, data[: 12 + n], data[12 + n :]


def _fits(value, kind):
    if isinstance(kind, tuple):
        return value is None or _fits(value, kind[0])
    if kind is str:
        return isinstance(value, str) and 1 <= len(value) <= 64
    if kind is int:
        return type(value) is int and 0 <= value <= INTEGER
    return isinstance(value, bytes) and len(value) == kind


def opened(body, suite, associated, header, sessions, kem_secrets):
    """Return the plaintext: steps 5 and 6."""
    if suite == 3:
        return body
    if suite == 2:
        key = sessions.get(header["sid"].hex())
        if key is None:
            raise RefusedError("session")
        try:
            return crypto_aead_xchacha20poly1305_ietf_decrypt(
                body[24:], associated, body[:24], bytes.fromhex(key)
            )
        except (CryptoError, ValueError) as error:
            raise RefusedError("unseal") from error
    for secret in kem_secrets:
        private = X25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
        try:
            return HPKE.decrypt(body, private, info=b"MPX1-seal\0" + associated)
        except (InvalidTag, ValueError):
            continue
    raise RefusedError("unseal")


def verified(plaintext, associated, fingerprint, key):
    """Return the payload: step 7."""
    if len(plaintext) < 64:
        raise RefusedError("unseal")
    signature, payload = plaintext[:64], plaintext[64:]
    signed = b"MPX1-env\0" + fingerprint + hashlib.sha512(associated).digest() + payload
    try:
        VerifyKey(key).verify(signed, signature)
    except (CryptoError, ValueError) as error:
        raise RefusedError("signature") from error
    return payload


def envelope_refusal(vector):
    """Walk the whole pipeline."""
    state = vector["receiver"]
    data, me, now = bytes.fromhex(vector["envelope"]), state["me"], state["now_ms"]
    suite, header, associated, body = split(data)
    way, suites, allowed = CATALOGUE[header["t"]]
    mine = UP if me == "manager" else DOWN
    if header["s"] == me or way not in {mine, BOTH}:
        raise RefusedError("reflection")
    if header["r"] != me:
        raise RefusedError("recipient")
    if suite not in suites or (suite == 2) != (header["sid"] is not None):
        raise RefusedError("suite")
    sender = state["senders"].get(header["s"])
    if sender is None:
        raise RefusedError("sender")
    if header["exp"] < now:
        raise RefusedError("expired")
    if header["ts"] > now + SKEW_MS:
        raise RefusedError("clock_skew")
    plaintext = opened(
        body, suite, associated, header, state["sessions"], state["kem_secrets"]
    )
    fingerprint = bytes.fromhex(state["fingerprint"])
    payload = verified(plaintext, associated, fingerprint, bytes.fromhex(sender["key"]))
    if suite == 2:
        replayed(state, header, hashlib.sha256(data).hexdigest())
    message(header["t"], payload)
    is_consumer = sender["role"] == "client" and sender["io"] in {"output", "in/output"}
    if allowed == CONSUMERS and not is_consumer:
        raise RefusedError("forbidden")
    return "ok"


def replayed(state, header, digest):
    """Section 3.4."""
    handled = state["handled"].get(header["mid"].hex())
    if handled is not None:
        raise RefusedError("dup" if handled == digest else "equivocation")
    highest, number = state["window"]["highest"], header["seq"]
    if number < 1 or highest - number >= WINDOW:
        raise RefusedError("stale")
    if number in state["window"]["seen"]:
        raise RefusedError("equivocation")


def message(name, payload):
    """Return the message of a payload: steps 9 and 10, closed for a status."""
    try:
        value = unpack(payload)
    except MalformedError as error:
        raise RefusedError("payload") from error
    if not isinstance(value, dict) or value.get("type") != name:
        raise RefusedError("payload")
    if name == "status" and set(value) - {"datasets"} != STATUS:
        raise RefusedError("payload")
    return value


# ---- sections 2.5 and 2.6 ----


def request_refusal(vector):
    """Decide on an ap.req as an MPC server does."""
    state, body = vector["server"], bytes.fromhex(vector["body"])
    octets = {
        name: bytes.fromhex(value)
        for name, value in state.items()
        if isinstance(value, str) and name not in {"server", "realm", "peer_name"}
    }
    epoch, server, now = state["epoch"], state["server"], state["now_ms"]
    if len(body) > 8 * 1024:
        raise RefusedError("closed")
    try:
        asked = unpack(body)
        if (asked["job"], asked["epoch"]) != (octets["job"], epoch):
            raise RefusedError("closed")
        bound = pack([octets["fingerprint"], octets["job"], epoch, server])
        ticket = unpack(
            crypto_aead_xchacha20poly1305_ietf_decrypt(
                asked["ticket"][24:],
                b"MPX1-ticket\0" + bound,
                asked["ticket"][:24],
                octets["ticket_key"],
            )
        )
    except (MalformedError, CryptoError, KeyError, TypeError, ValueError) as error:
        raise RefusedError("closed") from error
    client = state["clients"].get(ticket["c"])
    leaf = f"spiffe://{state['realm']}/client/{ticket['c']}"
    checks = (
        lambda: ticket["nbf"] - SKEW_MS <= now < ticket["exp"],
        lambda: ticket["mh"] == octets["manifest_hash"],
        lambda: ticket["cnf_s"] == octets["own_spki"],
        lambda: client is not None,
        lambda: ticket["cnf_c"] == octets["peer_spki"],
        lambda: _is_endorsed(asked, ticket, client, octets, now),
        lambda: state["peer_name"] == leaf,
        lambda: DUTIES[ticket["az"]["dir"]] <= set(client["duties"]),
        lambda: hmac.compare_digest(
            _mac(ticket, asked, octets, server, epoch), asked["mac"]
        ),
        lambda: ticket["tid"].hex() not in state["spent"],
    )
    if not all(check() for check in checks):
        raise RefusedError("closed")
    return "admitted"


def _is_endorsed(asked, ticket, client, octets, now):
    if bytes.fromhex(client["spki"]) == octets["peer_spki"]:
        return True
    if "endorse" not in asked or "endorse_sig" not in asked:
        return False
    try:
        VerifyKey(bytes.fromhex(client["key"])).verify(
            b"MPX1-endorse\0" + asked["endorse"], asked["endorse_sig"]
        )
    except (CryptoError, ValueError):
        return False
    endorsed = unpack(asked["endorse"])
    return (
        (endorsed["realm"], endorsed["p"], endorsed["role"])
        == (octets["fingerprint"], ticket["c"], "client")
        and endorsed["nbf"] - SKEW_MS <= now < endorsed["exp"]
        and endorsed["spki"] == octets["peer_spki"]
    )


def _mac(ticket, asked, octets, server, epoch):
    leaves = (octets["peer_leaf"], octets["own_leaf"])
    hashes = b"".join(hashlib.sha256(leaf).digest() for leaf in leaves)
    binding = hashlib.sha256(b"MPX1-cb\0" + hashes).digest()
    fields = pack(
        [
            ticket["c"],
            server,
            octets["job"],
            epoch,
            octets["manifest_hash"],
            binding,
            octets["server_nonce"],
            asked["n_a"],
        ]
    )
    return hmac.digest(ticket["k_cs"], b"MPX1-apreq\0" + fields, "sha256")


# ---- section 1.2 ----


def token_refusal(vector):
    """Read an enrolment token."""
    parts = vector["token"].split(".")
    if len(vector["token"]) > 1024 or len(parts) != 5 or parts[0] != "mpxe1":
        raise RefusedError("refused")
    secret, realm, url, authority = (_base64(part) for part in parts[1:])
    if len(secret) != 24 or len(realm) not in {36, 37} or not url:
        raise RefusedError("refused")
    if realm[36:] and realm[36] not in KINDS:
        raise RefusedError("refused")
    if len(authority) not in {0, 32}:
        raise RefusedError("refused")
    return "ok"


def _base64(text):
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise RefusedError("refused")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise RefusedError("refused") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise RefusedError("refused")
    return data


# ---- the files ----

REPLAYS = {
    "envelope": envelope_refusal,
    "ap.req": request_refusal,
    "token": token_refusal,
}


def refusal_seen(vector):
    """Return what this receiver makes of a vector of refusals.json."""
    try:
        return REPLAYS[vector["kind"]](vector)
    except RefusedError as error:
        return str(error)


def envelope_seen(name, vector):
    """Return whether an envelope of envelopes.json opens to its payload."""
    fingerprint = bytes.fromhex(vector["fingerprint"])
    public = bytes.fromhex(vector["signing_public"])
    try:
        suite, header, associated, body = split(bytes.fromhex(vector["envelope"]))
        session = header["sid"].hex() if header["sid"] else ""
        plaintext = opened(
            body,
            suite,
            associated,
            header,
            {session: vector["session_key"]},
            [vector["kem_secret"]],
        )
        payload = verified(plaintext, associated, fingerprint, public)
        message(name, payload)
    except RefusedError as error:
        return str(error)
    kid = hashlib.sha256(b"MPX1-kid\0" + public).digest()[:8]
    is_same = payload.hex() == vector["payload"] and header["kid"] == kid
    return vector["expected"] if is_same else "another payload or key id"


def structure_seen(vector):
    """Return whether a structure is packed as section 3.3 has it."""
    data = bytes.fromhex(vector["packed"])
    try:
        return "ok" if pack(unpack(data)) == data else "not canonical"
    except MalformedError as error:
        return str(error)


def main(arguments):
    """Check all vectors and return the exit code."""
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print(__doc__.strip())
        return 0 if arguments[0] in {"-h", "--help"} else 2
    folder = Path(arguments[0]) if arguments else FOLDER
    try:
        files = [
            json.loads((folder / f"{name}.json").read_text())
            for name in ("structures", "envelopes", "refusals")
        ]
        structures, envelopes, refusals = files
        seen = [
            ("structures", name, "ok", structure_seen(each))
            for name, each in structures.items()
        ]
        seen += [
            ("envelopes", name, each["expected"], envelope_seen(name, each))
            for name, each in envelopes.items()
        ]
        seen += [
            (f"refusals, {each['kind']}", name, each["expected"], refusal_seen(each))
            for name, each in refusals.items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(
            f"verify_vectors: cannot read the vectors in {folder}: {error!r}",
            file=sys.stderr,
        )
        return 2
    for kind in dict.fromkeys(kind for kind, *_ in seen):
        results = [expected == saw for of, _, expected, saw in seen if of == kind]
        print(f"{kind:<22} {sum(results):>4} of {len(results)} as expected")
    wrong = [each for each in seen if each[2] != each[3]]
    for kind, name, expected, saw in wrong:
        print(
            f"WRONG: {kind}: {name}: expected {expected}, seen {saw}", file=sys.stderr
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
