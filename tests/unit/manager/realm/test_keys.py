"""The manager's keys and a new realm's home."""

from datetime import timedelta
from pathlib import Path

import pytest

from manager.realm.founding import (
    KEY_FILE,
    ROOT_FILE,
    PasswordCost,
    belongs_to,
    descriptor_of,
    epoch_of,
    init_realm,
)
from manager.realm.keys import SLOT, load_keys, make_keys, save_keys, slot_of
from manager.realm.private_files import HomeBusyError, locked
from manager.store.store import Store
from shared.crypto.keyfile import MIN_MEMORY_KIB, MIN_OPS, open_key_file
from shared.crypto.keys import SigningKey
from shared.errors import ConfigError, CryptoError, UnknownKeyError
from shared.names import Fingerprint, Principal, SessionId
from tests.manager_realm import REALM, START, stream

CHEAP = PasswordCost(MIN_OPS, MIN_MEMORY_KIB)
SID = SessionId(bytes(16))
NONCE = bytes(24)


def _init(home: Path) -> Fingerprint:
    return init_realm(
        home, home / "manager.db", REALM, b"pw", START, stream("init"), CHEAP
    )


def test_a_new_realm_is_whole_and_private(tmp_path: Path) -> None:
    """Home 0700, files 0600, the store holds the keys' own descriptor."""
    home = tmp_path / "home"
    fingerprint = _init(home)
    keys = load_keys(home / KEY_FILE)
    store = Store.open(home / "manager.db")
    modes = {path.name: path.stat().st_mode & 0o777 for path in home.iterdir()}

    assert keys.fingerprint == fingerprint
    assert home.stat().st_mode & 0o777 == 0o700
    assert modes[KEY_FILE] == modes[ROOT_FILE] == modes["manager.db"] == 0o600
    assert belongs_to(keys, descriptor_of(store))
    assert epoch_of(descriptor_of(store)) == 1
    assert keys.signer.seed not in (home / "manager.db").read_bytes()


def test_the_root_opens_with_its_password_only(tmp_path: Path) -> None:
    """Nobody else can sign a descriptor."""
    home = tmp_path / "home"
    _init(home)
    data = (home / ROOT_FILE).read_bytes()

    assert b"sig_seed" in open_key_file(data, b"pw")
    with pytest.raises(CryptoError):
        open_key_file(data, b"wrong")


def test_a_second_realm_in_a_home_is_refused(tmp_path: Path) -> None:
    """The first one is unchanged."""
    home = tmp_path / "home"
    _init(home)
    before = (home / KEY_FILE).read_bytes()
    with pytest.raises(ConfigError):
        _init(home)

    assert (home / KEY_FILE).read_bytes() == before


def test_keys_that_others_may_read_are_refused(tmp_path: Path) -> None:
    """Test 39."""
    home = tmp_path / "home"
    _init(home)
    (home / KEY_FILE).chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        load_keys(home / KEY_FILE)


def test_a_damaged_key_file_is_refused(tmp_path: Path) -> None:
    """One flipped bit anywhere."""
    home = tmp_path / "home"
    _init(home)
    path = home / KEY_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        load_keys(path)


def test_keys_survive_their_file(tmp_path: Path) -> None:
    """Also with two session keys, as in the middle of a turn."""
    keys = make_keys(REALM, bytes(32), START, stream("k"))
    turned = keys.advanced(keys.slot + 2)
    save_keys(tmp_path / "k", turned, stream("s"))
    again = load_keys(tmp_path / "k")

    assert again.session_keys == turned.session_keys
    assert again.signer.seed == keys.signer.seed
    assert again.kem.secret == keys.kem.secret
    assert again.authority.certificate_der == keys.authority.certificate_der


def test_a_session_opens_under_its_own_slot_and_name_only() -> None:
    """A copy of the store in another row opens nothing."""
    keys = make_keys(REALM, bytes(32), START, stream("k"))
    wrapped = keys.wrap_session(SID, bytes(64), NONCE)
    turned = keys.advanced(keys.slot + 1)

    assert turned.unwrap_session(keys.slot, SID, wrapped) == bytes(64)
    with pytest.raises(CryptoError):
        turned.unwrap_session(turned.slot, SID, wrapped)
    with pytest.raises(CryptoError):
        keys.unwrap_session(keys.slot, SessionId(b"x" * 16), wrapped)
    with pytest.raises(UnknownKeyError):
        turned.without_old().unwrap_session(keys.slot, SID, wrapped)


def test_a_ticket_key_opens_for_its_own_server_only() -> None:
    """Job, epoch and server are bound to it."""
    keys = make_keys(REALM, bytes(32), START, stream("k"))
    name = (bytes(16), 1, Principal("MPC_server_001"))
    wrapped = keys.wrap_ticket_key(name, bytes(32), NONCE)

    assert keys.unwrap_ticket_key(keys.slot, name, wrapped) == bytes(32)
    with pytest.raises(CryptoError):
        keys.unwrap_ticket_key(keys.slot, (bytes(16), 2, name[2]), wrapped)


def test_slots_change_twice_a_day() -> None:
    """At midnight and noon, UTC."""
    noon = 12 * 3600 * 1000

    assert [slot_of(noon - 1), slot_of(noon), slot_of(2 * noon)] == [0, 1, 2]
    assert timedelta(hours=12) == SLOT


def test_one_manager_runs_in_a_home(tmp_path: Path) -> None:
    """The second one is told so and may try again."""
    path = tmp_path / "lock"
    with locked(path), pytest.raises(HomeBusyError), locked(path):
        raise AssertionError("two hold the lock")
    with locked(path):
        pass


def test_secrets_do_not_show() -> None:
    """A printed key object says nothing."""
    keys = make_keys(REALM, bytes(32), START, stream("k"))

    assert repr(keys) == "ManagerKeys(<redacted>)"
    assert isinstance(keys.signer, SigningKey)
