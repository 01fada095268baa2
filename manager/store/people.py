"""Tokens, principals and the numbers that are given out once."""

from sqlalchemy import Connection, bindparam, insert, select, update

from manager.protocol.registration import TokenState
from manager.store import schema
from manager.store.records import PrincipalRecord
from manager.store.statements import put
from manager.store.states import Packer
from shared.names import Principal, TokenId

SERIALS = "serial"
"""The sequence of certificates' serial numbers."""
JOB_NUMBERS = "job"
"""The sequence of jobs' display numbers."""

_FIRST = "*"
"""The sequence whose next number is where a new sequence begins; no name has it."""

_NEXT_NUMBER = select(schema.sequences.c.next).where(
    schema.sequences.c.name == bindparam("name")
)
_TAKE_NUMBER = put(schema.sequences, "name")
_SAVE_PRINCIPAL = put(schema.principals, "principal")

_TOKENS = Packer(TokenState)
_PRINCIPALS = Packer(PrincipalRecord)


class People:
    """Who may come, and who came.

    Args:
        connection: inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_token(self, token: TokenState, created: int) -> None:
        """Keep a new token; ``created`` in ms."""
        self._connection.execute(
            insert(schema.tokens).values(
                token_id=token.token_id, created=created, **_token_values(token)
            )
        )

    def save_token(self, token: TokenState) -> None:
        """Keep what became of a token."""
        self._connection.execute(
            update(schema.tokens)
            .where(schema.tokens.c.token_id == token.token_id)
            .values(**_token_values(token))
        )

    def token(self, token_id: TokenId) -> TokenState | None:
        """Return a token."""
        return self._one_token(
            self._connection.execute(
                select(schema.tokens.c.blob).where(schema.tokens.c.token_id == token_id)
            ).scalar_one_or_none()
        )

    def token_of(self, principal: Principal) -> TokenState | None:
        """Return the token with which a principal registered."""
        return self._one_token(
            self._connection.execute(
                select(schema.tokens.c.blob).where(
                    schema.tokens.c.principal == principal
                )
            ).scalar_one_or_none()
        )

    def tokens(self) -> list[tuple[TokenState, int]]:
        """Return every token and when it was made (ms), oldest first."""
        rows = self._connection.execute(
            select(schema.tokens.c.blob, schema.tokens.c.created).order_by(
                schema.tokens.c.created
            )
        )
        return [(_TOKENS.unpack(blob), created) for blob, created in rows]

    def next_number(self, sequence: str) -> int:
        """Return the number that is given out next, from 1; it is not taken yet."""
        found = self._number(sequence) or self._number(_FIRST)
        return 1 if found is None else found

    def take_number(self, sequence: str) -> int:
        """Take the next number; it never comes again."""
        number = self.next_number(sequence)
        row = {"name": sequence, "next": number + 1}
        self._connection.execute(_TAKE_NUMBER.on(self._connection), row)
        return number

    def skip_numbers(self, count: int) -> None:
        """Go on that much higher in every sequence, also in those that begin later."""
        row = {"name": _FIRST, "next": self.next_number(_FIRST)}
        self._connection.execute(_TAKE_NUMBER.on(self._connection), row)
        self._connection.execute(
            update(schema.sequences).values(next=schema.sequences.c.next + count)
        )

    def save_principal(self, record: PrincipalRecord) -> None:
        """Keep a principal, new or changed."""
        row = {
            "principal": record.principal,
            "role": record.role.value,
            "io": record.io.value if record.io else None,
            "standing": record.standing.value,
            "serial": record.serial,
            "created": record.created,
            "blob": _PRINCIPALS.pack(record),
        }
        self._connection.execute(_SAVE_PRINCIPAL.on(self._connection), row)

    def principals(self) -> list[PrincipalRecord]:
        """Return everybody who ever registered, in the order of registration."""
        rows = self._connection.execute(
            select(schema.principals.c.blob).order_by(
                schema.principals.c.created, schema.principals.c.serial
            )
        )
        return [_PRINCIPALS.unpack(row[0]) for row in rows]

    def _number(self, sequence: str) -> int | None:
        found = self._connection.execute(
            _NEXT_NUMBER, {"name": sequence}
        ).scalar_one_or_none()
        return None if found is None else int(found)

    def _one_token(self, blob: bytes | None) -> TokenState | None:
        return None if blob is None else _TOKENS.unpack(blob)


def _token_values(token: TokenState) -> dict[str, object]:
    return {
        "stage": token.stage.value,
        "expires": token.expires,
        "principal": token.claim.principal if token.claim else None,
        "blob": _TOKENS.pack(token),
    }
