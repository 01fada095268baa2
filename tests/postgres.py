"""A private PostgreSQL for the tests, made of the distribution's package.

It listens on a socket in a folder of its own and on the loopback address, runs as an
ordinary user also where the tests are root, and is gone with its folder.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from manager.store.postgresql import PostgresDatabase, parse_url
from shared.clock import SystemClock

USER = "mpc"
_PACKAGED = Path("/usr/lib/postgresql")
_SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
ssl = on
fsync = off
max_connections = 50
"""


def programs() -> Path | None:
    """Return the folder with PostgreSQL's programs, the newest, if it is installed."""
    packaged = _PACKAGED.glob("*/bin/initdb")
    found = sorted(packaged, key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    return None if path is None else Path(path).resolve().parent


class PostgresCluster:
    """A server with the user ``mpc``, who has a password and may make databases.

    Args:
        folder: of its own, empty; its path is short, as sockets need.
        bin_folder: PostgreSQL's programs.
    """

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self._bin = bin_folder
        self._data = folder / "data"
        self.folder = folder
        self.password = secrets.token_urlsafe(24)
        self._databases = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self) -> None:
        """Make the cluster and start it."""
        word = self.folder / "password"
        word.touch(mode=0o600)
        word.write_text(self.password)
        _give_away(self.folder, word)
        self._run(
            "initdb",
            *("-D", str(self._data), "-U", USER, "--pwfile", str(word)),
            *("-A", "scram-sha-256", "--no-locale", "-E", "UTF8", "-N"),
        )
        self._make_certificates()
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS.format(port=self.port, folder=self.folder))
        self.start_again()

    def _make_certificates(self) -> None:
        """Let the server show a certificate for 127.0.0.1, signed by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "postgres")])
        now = SystemClock().now()
        address = x509.IPAddress(IPv4Address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.authority.write_bytes(certificate)
        for file, content in (("server.key", secret), ("server.crt", certificate)):
            path = self._data / file
            path.touch(mode=0o600)
            path.write_bytes(content)
            _give_away(path)

    @property
    def authority(self) -> Path:
        """PEM of whom the server's certificate is signed by."""
        return self.folder / "authority.pem"

    def start_again(self) -> None:
        """Start a cluster that was made and does not run."""
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-w", "start")

    def stop(self) -> None:
        """Stop it at once, if it runs; its folder is the caller's to remove."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def new_url(self, options: str = "") -> str:
        """Make an empty database and return its URL."""
        self._databases += 1
        name = f"realm{self._databases}"
        self.execute("postgres", f"CREATE DATABASE {name} {options}")
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def new_database(self) -> PostgresDatabase:
        """Make an empty database."""
        return parse_url(self.new_url(), self.password)

    def execute(self, database: str, statement: str) -> None:
        """Run one statement, outside of any transaction."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=self.password,
            dbname=database,
            autocommit=True,
        ) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        command = [*_as_somebody(), str(self._bin / program), *arguments]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            log = self.folder / "log"
            said = done.stdout or (log.read_text() if log.exists() else "")
            raise AssertionError(f"{program} ended with {done.returncode}: {said}")


def _account() -> str:
    """Return an account that is not root: PostgreSQL refuses to run as root."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _give_away(*paths: Path) -> None:
    if os.geteuid() == 0:
        account = pwd.getpwnam(_account())
        for path in paths:
            os.chown(path, account.pw_uid, account.pw_gid)


def _as_somebody() -> Sequence[str]:
    if os.geteuid() != 0:
        return ()
    account = pwd.getpwnam(_account())
    return (
        "setpriv",
        f"--reuid={account.pw_uid}",
        f"--regid={account.pw_gid}",
        "--clear-groups",
        "--",
    )
