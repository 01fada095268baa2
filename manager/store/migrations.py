"""How a store of an earlier release becomes one of this release; never backwards.

A change of ``manager.store.schema`` raises ``SCHEMA_VERSION`` and adds one step here.
A step is written in SQL and never changed: what tables are called later does not
matter to it. A dump of each earlier schema is in ``tests/unit/manager/store``.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, inspect

from manager.protocol.lease import withdrawn
from manager.store import schema
from manager.store.journal import Journal
from manager.store.leases import Leases
from shared.errors import ConfigError

STEPS: Final[Mapping[int, Sequence[str]]] = {
    1: (
        """CREATE TABLE lease (
            id INTEGER NOT NULL CHECK (id = 1),
            epoch BIGINT NOT NULL,
            holder VARCHAR NOT NULL,
            since BIGINT NOT NULL,
            expires BIGINT NOT NULL,
            PRIMARY KEY (id)
        )""",
        "INSERT INTO lease VALUES (1, 0, '', 0, 0)",
    ),
}
"""By the version that a step begins with; each leads to the next version."""


def version_of(connection: Connection) -> int | None:
    """Return which schema a store has, ``None`` if there is no store."""
    if not inspect(connection).has_table(schema.meta.name):
        return None
    return Journal(connection).version()


def upgrade(connection: Connection) -> None:
    """Bring a store to this release's schema, in the transaction at hand.

    A manager of an earlier release that runs on it has lost its lease then.

    Raises:
        ConfigError: a later release wrote it.
    """
    version = version_of(connection)
    if version in {None, schema.SCHEMA_VERSION}:
        return
    while version in STEPS:
        for statement in STEPS[version]:
            connection.exec_driver_sql(statement)
        version += 1
    check_version(version)
    Journal(connection).set_version(version)
    leases = Leases(connection)
    leases.put(withdrawn(leases.get()))


def check_version(version: int | None) -> None:
    """Check that this release can use a store.

    Raises:
        ConfigError: it has another schema.
    """
    ours = schema.SCHEMA_VERSION
    if version is None or version == ours:
        return
    if version > ours:
        raise ConfigError(
            f"the store has schema {version}, this release knows {ours} at most",
            "install the release that the newest manager of the realm runs",
        )
    raise ConfigError(
        f"the store has schema {version}, this release uses {ours}",
        "back it up; 'mpc-manager run' then brings it to this release's form",
    )
