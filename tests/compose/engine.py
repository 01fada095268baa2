"""A container engine of the test's own, with images that stand for the public ones.

``prepare_engine`` has fetched what it is made of. The daemon changes neither the
machine's packet filter nor its forwarding: ports are published by its proxy.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PREPARED = ROOT / ".engine"
PREPARE = "make compose-test prepares and runs it"
DAEMON = Path("/usr/sbin/dockerd")
START_SECONDS = 60.0
STOP_SECONDS = 30.0
COMMAND_SECONDS = 900.0

RABBITMQ = """
FROM base
RUN groupmod -g 999 rabbitmq && usermod -u 999 rabbitmq \\
    && rm -rf /var/lib/rabbitmq && install -d -o 999 -g 999 /var/lib/rabbitmq
ENV PATH=/usr/lib/rabbitmq/bin:/usr/local/bin:/usr/bin:/bin
VOLUME /var/lib/rabbitmq
CMD ["rabbitmq-server"]
"""
POSTGRES = """
FROM base
RUN groupmod -g 999 postgres && usermod -u 999 postgres \\
    && install -d -o 999 -g 999 -m 0700 /var/lib/postgresql/data
COPY entrypoint /usr/local/bin/
RUN chmod 0755 /usr/local/bin/entrypoint
ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/bin:/usr/bin:/bin \\
    PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["entrypoint"]
CMD ["postgres"]
"""
ENTRYPOINT = """#!/bin/sh
# What the public image does with these variables before its first start.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \\
        --auth-local=trust --auth-host=scram-sha-256 --locale=C.UTF-8
    pg_ctl --wait start --options="-c listen_addresses=''"
    psql --dbname=postgres --username="$POSTGRES_USER" \\
        --command="CREATE DATABASE $POSTGRES_DB"
    pg_ctl --wait --mode=fast stop
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
fi
exec "$@" -c listen_addresses='*'
"""
PYTHON = """
FROM base
COPY authorities.pem /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
"""
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


class NoEngineError(Exception):
    """No engine runs on this machine; the text says why."""


def missing() -> str | None:
    """Return what keeps this machine from running an engine, if something does."""
    if os.getuid() != 0:
        return "a container engine is started by root only"
    if shutil.which("docker") is None:
        return f"the docker client is not there; {PREPARE}"
    for path in (DAEMON, PREPARED / "docker-compose", PREPARED / "base.tar"):
        if not path.exists():
            return f"{path.name} is not there; {PREPARE}"
    return None


class Engine:
    """A running daemon, with its client's environment.

    Raises:
        NoEngineError: the daemon does not come up here.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mpc-"))
        plugins = self._folder / "client" / "cli-plugins"
        plugins.mkdir(parents=True)
        (plugins / "docker-compose").symlink_to(PREPARED / "docker-compose")
        self.environment: Mapping[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            "DOCKER_HOST": f"unix://{self._folder / 'docker.sock'}",
            "DOCKER_CONFIG": str(self._folder / "client"),
            "DOCKER_BUILDKIT": "0",
        }
        self._log = self._folder / "dockerd.log"
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(
                [
                    # What it mounts is gone when it is, however it ends.
                    *("unshare", "--mount", str(DAEMON)),
                    *("--host", self.environment["DOCKER_HOST"]),
                    *("--data-root", str(PREPARED / "data")),
                    *("--exec-root", str(self._folder / "exec")),
                    *("--pidfile", str(self._folder / "dockerd.pid")),
                    *("--iptables=false", "--ip-forward=false", "--ip-masq=false"),
                    "--bridge=none",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(
            ["docker", "info"], env=self.environment, capture_output=True, check=False
        ).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace").strip().splitlines()
                self.stop()
                raise NoEngineError(f"dockerd does not run here: {said[-1:]}")
            time.sleep(0.1)

    def docker(self, *arguments: str) -> str:
        """Run one command of the client and return what it printed."""
        return self.run(["docker", *arguments], ROOT)

    def run(self, command: Sequence[str], folder: Path) -> str:
        """Run a command in a folder and return its stdout; it must succeed."""
        done = subprocess.run(
            command,
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        said = "\n".join([*done.stdout.splitlines(), *done.stderr.splitlines()][-60:])
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{said}"
        return done.stdout

    def make_images(self) -> None:
        """Make the base images under their public names, and the project's own."""
        if not self.docker("images", "--quiet", "base"):
            self.docker("import", str(PREPARED / "base.tar"), "base")
        for name, text in (
            ("rabbitmq:4-management", RABBITMQ),
            ("postgres:17", POSTGRES),
            ("python:3.12-slim-bookworm", PYTHON),
        ):
            folder = self._folder / name.partition(":")[0]
            folder.mkdir()
            (folder / "Dockerfile").write_text(text)
            (folder / "entrypoint").write_text(ENTRYPOINT)
            shutil.copy(AUTHORITIES, folder / "authorities.pem")
            self.docker("build", "--network=host", "--tag", name, str(folder))
        self.docker("build", "--network=host", "--tag", "mpc-management", str(ROOT))

    def stop(self) -> None:
        """End the daemon; its images stay for the next time."""
        self._daemon.terminate()
        try:
            self._daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        shutil.rmtree(self._folder)
