"""Hosts in networks of their own: Linux namespaces, a router with NAT, firewalls."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

HOSTS_FOLDER = Path("/etc/netns")
"""Where ``ip netns exec`` takes a namespace's ``/etc/hosts`` from."""
_NFT_PACKAGES = (
    *("nftables", "libnftables1", "libnftnl11", "libmnl0", "libxtables12"),
    *("libjansson4", "libgmp10", "libedit2", "libbsd0", "libmd0"),
)
"""Debian's, with what a bare system may lack."""

_TRANSLATION = """
table ip nat {
  chain out {
    type nat hook postrouting priority 100;
    ct status dnat masquerade
  }
}
"""
"""The most that a kernel is asked for."""


class NotHereError(Exception):
    """Why this machine cannot have such networks."""


@dataclass(frozen=True, slots=True)
class Nft:
    """The program ``nft``, installed or unpacked."""

    program: Path
    libraries: str = ""

    def environment(self) -> Mapping[str, str]:
        """Return what it needs."""
        return {"LD_LIBRARY_PATH": self.libraries, "PATH": os.environ["PATH"]}


def find_nft(folder: Path) -> Nft:
    """Return ``nft``: the system's, else one unpacked into a folder.

    Raises:
        NotHereError: there is none, and none can be had.
    """
    installed = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if installed:
        return Nft(Path(installed))
    if shutil.which("apt-get") is None:
        raise NotHereError("nft is not installed")
    try:
        subprocess.run(
            ["apt-get", "download", "-q", *_NFT_PACKAGES],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=60,
        )
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder], check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotHereError("nft is not installed and cannot be downloaded") from error
    libraries = [str(path) for path in folder.glob("**/*-linux-gnu*") if path.is_dir()]
    return Nft(folder / "usr/sbin/nft", ":".join(libraries))


@dataclass
class Networks:
    """Namespaces on switches; nothing of it touches the machine's own network.

    Args:
        nft: makes firewalls.
        names: addresses by name, for every host.
    """

    nft: Nft
    names: Mapping[str, str]
    _hosts: list[str] = field(default_factory=list)
    _links: int = 0

    def add(self, host: str) -> None:
        """Make a host that is connected with nobody."""
        name = self.namespace(host)
        _run("ip", "netns", "add", name)
        self._hosts.append(host)
        folder = HOSTS_FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        known = {"localhost": "127.0.0.1"} | dict(self.names)
        (folder / "hosts").write_text(
            "".join(f"{address} {known_as}\n" for known_as, address in known.items())
        )
        self.ip(host, "link", "set", "lo", "up")

    def switch(self, host: str, bridge: str, address: str | None = None) -> None:
        """Make a switch in a host, which may have an address there."""
        self.ip(host, "link", "add", bridge, "type", "bridge")
        self.ip(host, "link", "set", bridge, "up")
        if address is not None:
            self.ip(host, "address", "add", address, "dev", bridge)

    def plug(
        self, host: str, address: str, where: tuple[str, str], route: str | None = None
    ) -> None:
        """Connect a host with a switch.

        Args:
            host: gets the interface ``net``.
            address: with its prefix length.
            where: a host and the switch in it.
            route: address of the router, if there is one.
        """
        self._links += 1
        end = f"port{self._links}"
        keeper, bridge = where
        self.ip(keeper, "link", "add", end, "type", "veth", "peer", "name", "net",
                "netns", self.namespace(host))  # fmt: skip
        self.ip(keeper, "link", "set", end, "master", bridge, "up")
        self.ip(host, "address", "add", address, "dev", "net")
        self.ip(host, "link", "set", "net", "up")
        if route is not None:
            self.ip(host, "route", "add", "default", "via", route)

    def ip(self, host: str, *arguments: str) -> None:
        """Run ``ip`` for a host."""
        _run("ip", "-netns", self.namespace(host), *arguments)

    def rules(self, host: str, text: str) -> None:
        """Replace a host's firewall."""
        subprocess.run(
            self.command(host, [str(self.nft.program), "-f", "-"]),
            input=f"flush ruleset\n{text}",
            text=True,
            check=True,
            capture_output=True,
            env=self.nft.environment(),
        )

    def command(self, host: str, arguments: Sequence[str]) -> list[str]:
        """Return a command that runs on a host."""
        return ["ip", "netns", "exec", self.namespace(host), *arguments]

    def namespace(self, host: str) -> str:
        """Return the name of a host's namespace; other runs have others."""
        return f"mpc-{os.getpid()}-{host}"

    def remove(self) -> None:
        """Remove every host."""
        for host in self._hosts:
            name = self.namespace(host)
            _run("ip", "netns", "delete", name)
            shutil.rmtree(HOSTS_FOLDER / name, ignore_errors=True)
        with suppress(OSError):
            HOSTS_FOLDER.rmdir()  # unless somebody else's are there


@contextmanager
def networks(folder: Path, names: Mapping[str, str]) -> Iterator[Networks]:
    """Have networks for a while.

    Args:
        folder: empty; for a program that is not installed.
        names: addresses by name, for every host.

    Raises:
        NotHereError: this machine cannot have them.
    """
    if os.geteuid() != 0:
        raise NotHereError("network namespaces of this kind take root")
    if shutil.which("ip") is None:
        raise NotHereError("iproute2 is not installed")
    made = Networks(find_nft(folder), names)
    try:
        _try_out(made)
        yield made
    finally:
        made.remove()


def _try_out(made: Networks) -> None:
    """See whether the kernel lets this user have what a test will need."""
    try:
        made.add("probe")
        made.switch("probe", "wan")
        made.rules("probe", _TRANSLATION)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise NotHereError(f"no network namespaces with nftables: {said}") from error


def firewall(inbound: Sequence[int], outbound: Sequence[int]) -> str:
    """Return the rules of a host that is open on these TCP ports and no others."""
    return f"""
table inet filter {{
  chain input {{
    type filter hook input priority 0; policy drop;
    iif lo accept
    ct state established,related accept
    {_ports(inbound)}
  }}
  chain output {{
    type filter hook output priority 0; policy drop;
    oif lo accept
    ct state established,related accept
    {_ports(outbound)}
  }}
}}
"""


def _ports(numbers: Sequence[int]) -> str:
    return f"tcp dport {{ {', '.join(map(str, numbers))} }} accept" if numbers else ""


def _run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, text=True)
