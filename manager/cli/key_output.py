"""What ``mpc-manager keys list`` prints for machines."""

from typing import Final

from manager.realm.keys import ManagerKeys
from shared.clock import from_ms
from shared.crypto.keys import kid
from shared.messages import KeyUse, RealmDescription, RealmDescriptor, unpack
from shared.names import KeyId
from shared.output import Output, Time

_IN_USE: Final = "in use"


class Key(Output):
    """A key of the realm or its manager.

    Attributes:
        kind: root, sig and kem (both ``manager``), ca or session.
        id: of the public key, in hexadecimal; a session key's slot.
        begins: from when it counts.
        ends: until when.
        state: in use, former (others may still use it) or ended.
    """

    kind: str
    id: str
    begins: Time | None
    ends: Time | None
    state: str


def keys_output(
    descriptor: RealmDescriptor, keys: ManagerKeys, now: int
) -> tuple[Key, ...]:
    """Return the keys that a descriptor names, and the session keys."""
    body = unpack(RealmDescription, descriptor.rd)
    root = Key(
        kind="root", id=kid(body.root).hex(), begins=None, ends=None, state=_IN_USE
    )
    named = sorted(body.keys, key=lambda key: (list(KeyUse).index(key.use), -key.nbf))
    newest: dict[KeyUse, KeyId] = {}
    found = [root]
    for key in named:
        is_newest = newest.setdefault(key.use, key.kid) == key.kid
        found.append(
            Key(
                kind=key.use,
                id=key.kid.hex(),
                begins=from_ms(key.nbf),
                ends=from_ms(key.exp),
                state="ended" if key.exp < now else _state(is_newest),
            )
        )
    for slot, _ in sorted(keys.session_keys, reverse=True):
        state = _state(slot == keys.slot)
        found.append(
            Key(kind="session", id=str(slot), begins=None, ends=None, state=state)
        )
    return tuple(found)


def _state(is_newest: bool) -> str:
    return _IN_USE if is_newest else "former"
