"""The tables. A change here raises ``SCHEMA_VERSION`` and needs a decision record.

Times are milliseconds since the Unix epoch. ``blob`` columns of machines hold a
state as ``manager.store.states`` packs it.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

SCHEMA_VERSION: Final = 2
VERSION_KEY: Final = "schema_version"
"""The row of ``meta`` that says which schema a store has."""

metadata = MetaData()
_ROW_NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")
"""Of a key that the database counts up; SQLite does so in its integers alone."""

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", LargeBinary, primary_key=True),
    Column("stage", String, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("principal", String, unique=True),
    Column("blob", LargeBinary, nullable=False),
)

# Numbers are given out once: a row only ever counts up.
sequences = Table(
    "sequences",
    metadata,
    Column("name", String, primary_key=True),
    Column("next", BigInteger, nullable=False),
)

principals = Table(
    "principals",
    metadata,
    Column("principal", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("io", String),
    Column("standing", String, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("blob", LargeBinary, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("sid", LargeBinary, primary_key=True),
    Column("principal", String, nullable=False, index=True),
    Column("standing", String, nullable=False),
    Column("slot", BigInteger, nullable=False, index=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("exp", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("out_seq", BigInteger, nullable=False),
    Column("highest", BigInteger, nullable=False),
    Column("bits", LargeBinary, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("endorse", LargeBinary, nullable=False),
    Column("endorse_sig", LargeBinary, nullable=False),
    Column("endorse_exp", BigInteger, nullable=False),
    Column("spki", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
)

presences = Table(
    "presences",
    metadata,
    Column("principal", String, primary_key=True),
    Column("is_online", Boolean, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("blob", LargeBinary, nullable=False),
)

inbox = Table(
    "inbox",
    metadata,
    Column("sender", String, primary_key=True),
    Column("mid", LargeBinary, primary_key=True),
    Column("sid", LargeBinary),
    Column("seq", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("inbox_by_expiry", "expires"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("answers_sender", String),
    Column("answers_mid", LargeBinary),
    Column("recipient", String),
    Column("after_task", _ROW_NUMBER),
    Column("is_published", Boolean, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("exchange", String, nullable=False),
    Column("routing_key", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("message_id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("correlation_id", String),
    Column("expiration_ms", BigInteger),
    Column("timestamp", BigInteger, nullable=False),
    Index("outbox_open", "is_published", "id"),
    Index("outbox_by_answer", "answers_sender", "answers_mid"),
    Index("outbox_by_expiry", "expires"),
)

timers = Table(
    "timers",
    metadata,
    Column("machine", String, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("name", String, primary_key=True),
    Column("due", BigInteger, nullable=False, index=True),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job", LargeBinary, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("consumer", String, nullable=False, index=True),
    Column("stage", String, nullable=False),
    Column("is_open", Boolean, nullable=False, index=True),
    Column("closed", BigInteger, index=True),
    Column("blob", LargeBinary, nullable=False),
)

ticket_keys = Table(
    "ticket_keys",
    metadata,
    Column("job", LargeBinary, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("server", String, primary_key=True),
    Column("slot", BigInteger, nullable=False, index=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("expires", BigInteger, nullable=False),
)

replays = Table(
    "replays",
    metadata,
    Column("principal", String, primary_key=True),
    Column("nonce", LargeBinary, primary_key=True),
    Column("until", BigInteger, nullable=False, index=True),
)

# What is to be done at the broker, in order, before what waits for it goes out.
tasks = Table(
    "tasks",
    metadata,
    Column("id", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("argument", LargeBinary, nullable=False),
)

# What the command line asks of the running manager.
commands = Table(
    "commands",
    metadata,
    Column("id", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("argument", LargeBinary, nullable=False),
    Column("created", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("event", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", String, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# Which manager is active, in one row: see ``manager.protocol.lease``. Whoever writes
# to a database that managers share locks this row first.
lease = Table(
    "lease",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", String, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
)
