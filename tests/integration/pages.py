"""Pages of figures as Prometheus reads them."""

import re
import secrets
import urllib.request

from manager.broker.ports import FIRST_PORT, is_free

_TYPE = re.compile(r"^# TYPE (\S+) (\S+)$", re.MULTILINE)
_PARTS = ("_bucket", "_sum", "_count")


def page(port: int, path: str = "/metrics") -> str:
    """Return a page of figures that is served on the loopback address."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def free_port() -> int:
    """Return a port below those of outgoing connections, so that it stays free."""
    while True:
        port = FIRST_PORT - 1 - secrets.randbelow(8000)
        if is_free(port):
            return port


def served(text: str) -> set[str]:
    """Return the names of all series on a page."""
    names = set()
    for name, kind in _TYPE.findall(text):
        parts = _PARTS if kind in {"histogram", "summary"} else ("",)
        names |= {f"{name}{part}" for part in parts}
    return names


def sample(text: str, series: str) -> float:
    """Return the value of one series on a page."""
    found = re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert len(found) == 1, series
    return float(found[0])
