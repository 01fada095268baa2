"""What ``store_url`` may say of a PostgreSQL database; no database is needed."""

import pytest

from manager.store.postgresql import DRIVER, parse_url
from shared.errors import ConfigError

LOCAL = (
    "postgresql://mpc@127.0.0.1:5432/realm",
    "postgresql://mpc@localhost/realm",
    "postgresql://mpc@[::1]/realm",
    "postgresql://mpc@/realm",
    "postgresql://mpc@/realm?host=/run/postgresql",
    "postgresql:///?service=realm",
)
REMOTE = (
    "postgresql://mpc@db.example.org/realm",
    "postgresql+psycopg://mpc@192.0.2.1:5432/realm",
    "postgresql://mpc@/realm?host=127.0.0.1:5432&host=192.0.2.1:5432",
    "postgresql://mpc@/realm?host=db1.example.org,db2.example.org",
    "postgresql://mpc@[2001:db8::1]/realm",
)


@pytest.mark.parametrize("text", LOCAL)
def test_a_database_on_this_host_is_taken_as_it_is(text: str) -> None:
    """Nobody listens in between."""
    database = parse_url(text, "secret")

    assert database.url.drivername == DRIVER
    assert database.url.password == "secret"
    assert "sslmode" not in database.url.query


@pytest.mark.parametrize("text", REMOTE)
def test_a_database_elsewhere_has_to_prove_who_it_is(text: str) -> None:
    """Unless the URL says otherwise: somebody might stand in between."""
    loose = parse_url(f"{text}{'&' if '?' in text else '?'}sslmode=require")

    assert parse_url(text).url.query["sslmode"] == "verify-full"
    assert loose.url.query["sslmode"] == "require"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://mpc:secret@127.0.0.1/realm",
        "postgresql://mpc@127.0.0.1/realm?password=secret",
    ],
)
def test_a_password_in_the_url_is_refused(text: str) -> None:
    """Settings may be in the environment, which others read; it is not repeated."""
    with pytest.raises(ConfigError, match="holds a password") as raised:
        parse_url(text)

    assert "store_password_file" in str(raised.value.hint)
    assert "secret" not in f"{raised.value} {raised.value.hint}"


def test_a_password_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Libpq would take it without a word."""
    monkeypatch.setenv("PGPASSWORD", "secret")
    with pytest.raises(ConfigError, match="PGPASSWORD"):
        parse_url(LOCAL[0])


@pytest.mark.parametrize(
    "text", ["", "manager.db", "mysql://a@b/c", "postgresql+asyncpg://a@b/c", "x://["]
)
def test_another_database_is_refused(text: str) -> None:
    """The hint says what may be written."""
    with pytest.raises(ConfigError, match="store_url") as raised:
        parse_url(text)

    assert "postgresql://" in str(raised.value.hint)


def test_a_parameter_that_does_not_exist_is_refused() -> None:
    """A slip of the pen is seen before anything is connected."""
    with pytest.raises(ConfigError, match="slmode") as raised:
        parse_url(f"{LOCAL[0]}?slmode=require")

    assert "libpq" in str(raised.value.hint)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra, which an operator may not have installed."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="psycopg") as raised:
        parse_url(LOCAL[0])

    assert "mpc-management[postgresql]" in str(raised.value.hint)


def test_a_database_is_shown_without_its_password() -> None:
    """Its name stands in errors."""
    database = parse_url(f"{LOCAL[0]}?sslmode=disable", "secret")

    assert str(database) == LOCAL[0]
    assert "secret" not in repr(database)
