"""The store in a PostgreSQL database, which several managers may share."""

import importlib.util
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError

from shared.errors import ConfigError

DRIVER: Final = "postgresql+psycopg"
CONNECT_TIMEOUT: Final = timedelta(seconds=5)
LOCK_TIMEOUT: Final = timedelta(seconds=5)
"""How long a transaction waits for another one."""
IDLE_TIMEOUT: Final = timedelta(seconds=2)
"""After so long between two statements of a transaction the database ends it: a
process that was stopped in the middle of one must not keep others from writing."""
STATEMENT_TIMEOUT: Final = timedelta(seconds=10)
"""How long one statement may take: the transaction keeps others from writing
meanwhile. An upgrade has no such limit."""
_MILLISECOND: Final = timedelta(milliseconds=1)
_SESSION: Final = (
    f"-c lock_timeout={LOCK_TIMEOUT // _MILLISECOND}"
    f" -c idle_in_transaction_session_timeout={IDLE_TIMEOUT // _MILLISECOND}"
    f" -c statement_timeout={STATEMENT_TIMEOUT // _MILLISECOND}"
)
# A database host that is gone says nothing: ask it, and give up on it in time.
_CONNECTION: Final = {
    "connect_timeout": int(CONNECT_TIMEOUT.total_seconds()),
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": CONNECT_TIMEOUT // _MILLISECOND,
    "application_name": "mpc-manager",
    # Whatever the database's own: texts of one that has none would come as bytes.
    "client_encoding": "utf8",
}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HINT: Final = "write postgresql://user@host:5432/database"


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """A database; made by ``parse_url``, shown without its password."""

    url: URL

    def __str__(self) -> str:
        """Return where it is."""
        url = self.url
        where = URL.create(
            "postgresql",
            url.username,
            host=url.host,
            port=url.port,
            database=url.database,
            query={k: v for k, v in url.query.items() if k in {"host", "service"}},
        )
        return where.render_as_string()


def parse_url(text: str, password: str | None = None) -> PostgresDatabase:
    """Return the database that a URL names.

    Args:
        text: ``postgresql://``, with libpq's parameters after ``?``, no password.
        password: from a file; without one libpq looks into its password file.

    Raises:
        ConfigError: it is malformed, holds a password, or the driver is missing.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ConfigError("store_url is not a URL", _HINT) from error
    if url.drivername not in {"postgresql", DRIVER}:
        raise ConfigError(
            "store_url names a database that is not supported",
            f"{_HINT}, sqlite:////absolute/path, or leave it unset",
        )
    if url.password is not None or "password" in url.query:
        raise ConfigError(
            "store_url holds a password",
            "take it out of the URL: name a file in store_password_file, or use"
            " libpq's own .pgpass",
        )
    if "PGPASSWORD" in os.environ:
        raise ConfigError(
            "PGPASSWORD is set: other processes may read the environment",
            "unset it and name a file in store_password_file",
        )
    if importlib.util.find_spec("psycopg") is None:
        raise ConfigError(
            "PostgreSQL needs the package psycopg",
            "install it: pip install 'mpc-management[postgresql]'",
        )
    _check_parameters(url)
    if "sslmode" not in url.query and "service" not in url.query and _is_remote(url):
        url = url.update_query_dict({"sslmode": "verify-full"})
    return PostgresDatabase(url.set(drivername=DRIVER, password=password))


def _check_parameters(url: URL) -> None:
    from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 - an extra

    try:
        conninfo.make_conninfo(**{name: str(url.query[name]) for name in url.query})
    except ProgrammingError as error:
        raise ConfigError(
            f"store_url: {str(error).strip()}",
            "what stands after ? are parameters of libpq",
        ) from error


def engine_of(database: PostgresDatabase) -> Engine:
    """Return the engine of a database: one connection, made when it is needed."""
    given = database.url.query
    own = given.get("options", "")
    options = f"{own} {_SESSION}" if isinstance(own, str) else _SESSION
    return create_engine(
        database.url,
        pool_size=1,
        max_overflow=0,
        connect_args={
            **{name: value for name, value in _CONNECTION.items() if name not in given},
            "options": options.strip(),
        },
    )


def _is_remote(url: URL) -> bool:
    named = url.query.get("host", ())
    listed = [named] if isinstance(named, str) else [*named]
    hosts = [host for entry in [url.host or "", *listed] for host in entry.split(",")]
    return any(host and host[0] != "/" and not _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    name = host[: -len(host.rpartition(":")[2]) - 1] if host.count(":") == 1 else host
    return name.strip("[]") in _LOOPBACK
