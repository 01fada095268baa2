"""New keys beside old ones, and how managers get them from one another."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from manager.realm.founding import ROOT_FILE, descriptor_of, init_realm, set_up_store
from manager.realm.keys import (
    ManagerKeys,
    describe,
    load_keys,
    make_keys,
    pack_keys,
    save_keys,
    unpack_keys,
)
from manager.realm.rotation import (
    HANDED_OVER,
    MAX_KEYS,
    OVERLAP,
    ROTATED,
    SESSION_SLOT,
    Rotated,
    follow_session_key,
    forget_handed_over,
    has_newer_keys,
    newest_keys,
    open_root,
    publish,
    rotated,
)
from manager.service.rotating import Rotation, rotate_keys
from manager.store.sqlite import IN_MEMORY
from manager.store.store import Store
from participant.protocol.trust import check_descriptor
from shared import codec
from shared.clock import to_ms
from shared.crypto.keys import SigningKey
from shared.errors import ConfigError, CryptoError, StoreError
from shared.messages import KeyUse, RealmDescription, SignedRealm, unpack
from tests.manager_realm import REALM, START, stream
from tests.unit.manager.realm.test_keys import CHEAP

ALL = frozenset(Rotated)
ROOT = SigningKey.from_seed(bytes(32))
NOW = to_ms(START)


def fresh() -> ManagerKeys:
    """Return keys of a realm under ``ROOT``."""
    return make_keys(REALM, ROOT.public, START, stream("k"))


def _rotate(keys: ManagerKeys, kinds: frozenset[Rotated] = ALL) -> ManagerKeys:
    return rotated(keys, kinds, START, OVERLAP, stream("r"))


def _store(keys: ManagerKeys) -> Store:
    store = Store.create(IN_MEMORY)
    set_up_store(store, describe(keys, ROOT, 1))
    return store


def _published(store: Store, before: ManagerKeys, *, is_handed_over: bool) -> None:
    with store.transaction() as unit:
        publish(
            *(unit, before, _rotate(before), ROOT, START, stream("p")),
            is_handed_over=is_handed_over,
        )


def test_new_keys_stand_before_old_ones_that_end_with_their_overlap() -> None:
    """The old ones are the same keys; the session key is not derived from its last."""
    before = fresh()
    after = _rotate(before)
    last = to_ms(START + OVERLAP)

    assert after.generation == 1
    assert after.pairs[1] == replace(before.pairs[0], ends=last)
    assert after.authorities[1] == replace(before.authorities[0], ends=last)
    assert after.ends == before.ends
    assert after.signer.kid != before.signer.kid
    assert after.kem.kid != before.kem.kid
    assert after.authority.kid != before.authority.kid
    assert after.slot == before.slot + 1
    assert after.session_key(before.slot) == before.session_key(before.slot)
    assert after.session_key(after.slot) != before.advanced(after.slot).session_key(
        after.slot
    )


@pytest.mark.parametrize("kind", Rotated)
def test_what_is_not_rotated_stays(kind: Rotated) -> None:
    """One kind at a time."""
    before = fresh()
    after = _rotate(before, frozenset({kind}))

    assert (after.pairs == before.pairs) is (kind is not Rotated.MANAGER)
    assert (after.authorities == before.authorities) is (kind is not Rotated.CA)
    assert (after.session_keys == before.session_keys) is (kind is not Rotated.SESSIONS)


def test_old_keys_are_gone_when_their_overlap_is_over() -> None:
    """Until then they count; the ones in use stay, whatever the time."""
    keys = _rotate(fresh())
    last = to_ms(START + OVERLAP)
    after = keys.without_ended(last + 1)

    assert keys.without_ended(last) is keys
    assert [kem.kid for kem in keys.kems(last)] == [p.kem.kid for p in keys.pairs]
    assert len(keys.certificates(last)) == 2
    assert [kem.kid for kem in keys.kems(last + 1)] == [keys.kem.kid]
    assert keys.certificates(last + 1) == (keys.authority.certificate_der,)
    assert after.pairs == keys.pairs[:1]
    assert after.authorities == keys.authorities[:1]
    assert len(after.without_ended(keys.ends + 1).pairs) == 1


@pytest.mark.parametrize("overlap", [timedelta(hours=23), timedelta(days=15)])
def test_an_overlap_has_bounds(overlap: timedelta) -> None:
    """Every session must have ended by then, and the old keys some day."""
    with pytest.raises(ConfigError, match="overlap"):
        rotated(fresh(), ALL, START, overlap, stream("r"))


def test_too_many_keys_of_a_kind_are_refused() -> None:
    """An as.rep has room for eight authorities."""
    keys = fresh()
    for _ in range(MAX_KEYS - 1):
        keys = _rotate(keys, frozenset({Rotated.CA}))

    assert len(keys.authorities) == MAX_KEYS
    with pytest.raises(ConfigError, match="in time already"):
        _rotate(keys, frozenset({Rotated.MANAGER}))


def test_a_descriptor_names_new_and_old_keys() -> None:
    """A participant seals to the new one and takes what the old one signed."""
    before = fresh()
    after = _rotate(before)
    descriptor = describe(after, ROOT, 2)
    realm = check_descriptor(
        SignedRealm(rd=descriptor.rd, sig=descriptor.sig), after.fingerprint, 1
    )
    last = to_ms(START + OVERLAP)

    assert realm.epoch == 2
    assert realm.kem_key(NOW) == after.kem.public
    assert realm.signing_key(before.signer.kid, last) == before.signer.public
    assert realm.signing_key(before.signer.kid, last + 1) is None
    assert realm.signing_key(after.signer.kid, last + 1) == after.signer.public
    assert [key.pk for key in realm.in_time(KeyUse.CA, NOW)] == [
        each.authority.certificate_der for each in after.authorities
    ]


def test_rotated_keys_survive_their_file(tmp_path: Path) -> None:
    """With all that overlaps."""
    keys = _rotate(fresh())
    save_keys(tmp_path / "k", keys, stream("s"))

    assert pack_keys(load_keys(tmp_path / "k")) == pack_keys(keys)


def test_a_key_file_of_an_earlier_release_is_read() -> None:
    """It held one key of each kind."""
    keys = fresh()
    [pair], [authority] = keys.pairs, keys.authorities
    old: dict[str, codec.Value] = {
        "v": 1,
        "realm": keys.realm,
        "root": keys.root_public,
        "sig_seed": pair.signer.seed,
        "kem_sk": pair.kem.secret,
        "ca_key": authority.authority.key_pem,
        "ca": authority.authority.certificate_der,
        "nbf": pair.begins,
        "exp": pair.ends,
        "sess": [list(entry) for entry in keys.session_keys],
    }

    assert pack_keys(unpack_keys(codec.encode(old))) == pack_keys(keys)


@pytest.mark.parametrize("field", ["pairs", "cas", "sess"])
def test_damaged_keys_are_refused(field: str) -> None:
    """An entry of another shape."""
    content = codec.decode_map(pack_keys(fresh()))
    content[field] = [[b"x"]]
    with pytest.raises(CryptoError, match="malformed"):
        unpack_keys(codec.encode(content))


def test_another_manager_takes_the_keys_from_the_store() -> None:
    """Also if its session key is an older one; nothing in the store is in clear."""
    before = fresh()
    turned = before.advanced(before.slot + 3).without_old()
    store = _store(before)
    _published(store, turned, is_handed_over=True)
    with store.reading() as unit:
        taken = newest_keys(unit, before)
        kept = unit.journal.fact(ROTATED) or b""
        is_newer = has_newer_keys(unit, before), has_newer_keys(unit, taken)

    assert taken.signer.kid == _rotate(turned).signer.kid
    assert taken.session_keys == _rotate(turned).session_keys
    assert is_newer == (True, False)
    assert taken.signer.seed not in kept
    with store.reading() as unit:
        assert newest_keys(unit, taken) is taken


def test_who_has_another_session_key_opens_nothing() -> None:
    """The store alone is worth nothing, nor is the key of another realm."""
    before = fresh()
    store = _store(before)
    _published(store, before, is_handed_over=True)
    stranger = make_keys(REALM, ROOT.public, START, stream("stranger"))
    later = before.advanced(before.slot + 1).without_old()
    for keys in (stranger, later):
        with store.reading() as unit, pytest.raises(ConfigError, match="elsewhere"):
            newest_keys(unit, keys)


def test_several_rotations_are_taken_in_order() -> None:
    """Each is wrapped under the session key that the one before may have brought."""
    before = fresh()
    store = _store(before)
    first = _rotate(before)
    second = rotated(first, ALL, START, OVERLAP, stream("r2"))
    later = START + timedelta(hours=1)
    with store.transaction() as unit:
        publish(unit, before, first, ROOT, START, stream("p"), is_handed_over=True)
        publish(unit, first, second, ROOT, later, stream("q"), is_handed_over=True)
        taken = newest_keys(unit, before)
        # A key file that has the first needs the second alone.
        forget_handed_over(unit, to_ms(START + HANDED_OVER))
        followed = newest_keys(unit, first)
        with pytest.raises(ConfigError, match="elsewhere"):
            newest_keys(unit, before)

    assert pack_keys(taken) == pack_keys(followed) == pack_keys(second)


def test_wrapped_keys_are_erased_after_a_day() -> None:
    """Who comes later is told to copy the file."""
    before = fresh()
    store = _store(before)
    _published(store, before, is_handed_over=True)
    end = to_ms(START + HANDED_OVER)
    with store.transaction() as unit:
        forget_handed_over(unit, end - 1)
        newest_keys(unit, before)
        forget_handed_over(unit, end)
        forget_handed_over(unit, end)
        with pytest.raises(ConfigError, match="not handed over any more"):
            newest_keys(unit, before)


def test_a_store_without_rotations_has_nothing_to_forget() -> None:
    """And the keys are as they are."""
    keys = fresh()
    store = _store(keys)
    with store.transaction() as unit:
        forget_handed_over(unit, NOW)

        assert newest_keys(unit, keys) is keys
        forms: list[codec.Value] = [[1], 1]
        for damaged in forms:
            unit.journal.set_fact(ROTATED, codec.encode(damaged))
            with pytest.raises(StoreError):
                newest_keys(unit, keys)


def test_a_manager_that_was_away_follows_the_session_key_too() -> None:
    """A key made by hand, then one that is derived from it."""
    before = fresh()
    store = _store(before)
    _published(store, before, is_handed_over=True)
    active = _rotate(before)
    active = active.advanced(active.slot + 1).without_old()
    with store.transaction() as unit:
        unit.journal.set_fact(SESSION_SLOT, str(active.slot).encode())
        followed = newest_keys(unit, before)
    half = _rotate(before)

    assert followed.session_keys == active.session_keys
    assert follow_session_key(half, half.slot).session_keys == half.session_keys[1:]


def test_a_root_key_opens_with_its_password_and_for_its_realm(tmp_path: Path) -> None:
    """Nobody else signs a descriptor."""
    home, other = tmp_path / "home", tmp_path / "other"
    for folder in (home, other):
        place = folder / "manager.db"
        entropy = stream(folder.name)
        init_realm(folder, place, REALM, b"pw", START, entropy, CHEAP)
    keys = load_keys(home / "manager.key")
    root = open_root(home / ROOT_FILE, keys, b"pw")

    assert root.public == keys.root_public
    with pytest.raises(ConfigError, match="password"):
        open_root(home / ROOT_FILE, keys, b"wrong")
    with pytest.raises(ConfigError, match="another realm"):
        open_root(other / ROOT_FILE, keys, b"pw")
    with pytest.raises(ConfigError):
        open_root(home / "manager.key", keys, b"pw")


def test_without_a_manager_the_new_keys_are_in_the_file_only(tmp_path: Path) -> None:
    """And the store names their epoch; nothing is handed over."""
    home = tmp_path / "home"
    place = home / "manager.db"
    init_realm(home, place, REALM, b"pw", START, stream("i"), CHEAP)
    store = Store.open(place)
    root = open_root(home / ROOT_FILE, load_keys(home / "manager.key"), b"pw")
    made = rotate_keys(home, store, Rotation(ALL, root), START, stream("r"))
    keys = load_keys(home / "manager.key")
    body = unpack(RealmDescription, descriptor_of(store).rd)
    with store.reading() as unit:
        kept = unit.journal.fact(ROTATED) or b""
    with pytest.raises(ConfigError):
        rotate_keys(
            *(home, store, Rotation(ALL, root, timedelta(0)), START, stream("x"))
        )

    assert made == keys.generation == 1
    assert body.epoch == 2
    assert keys.signer.kid in {key.kid for key in body.keys}
    assert len(kept) < 32
    assert pack_keys(load_keys(home / "manager.key")) == pack_keys(keys)
    store.close()
