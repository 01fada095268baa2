"""Takes the screenshots of docs/monitoring.md from a realm at work.

``make screenshots`` runs it. It needs Chromium and its driver, and Prometheus (Debian:
``apt-get install chromium chromium-driver prometheus``). No password is in a process's
arguments: it is typed into the page.
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as seen
from selenium.webdriver.support.ui import WebDriverWait

from manager.broker.credentials import load_monitor
from tests.integration.realm_fixture import ANALYST, HERE, LiveRealm, parties
from tests.integration.test_realm_monitoring import prometheus

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
PATIENCE = 60
SAMPLES_SECONDS = 75
"""How long jobs run before anything is looked at: charts show a minute."""
MAX_BYTES = 200_000
"""Of one image in the repository."""
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
MANAGEMENT = {
    "overview": ("#/", "div.chart canvas", (1240, 780)),
    "connections": ("#/connections", "table.list tbody tr", (1240, 860)),
    "queues": ("#/queues", "table.list tbody tr", (1240, 900)),
    "queue": ("#/queues/live/manager.jobs", "div.chart canvas", (1240, 900)),
}
"""Image of the management UI: page, what is waited for on it, width and height."""
ALERTS = ("/classic/alerts", "tr.alert", (1000, 860))
"""Likewise, of Prometheus as Debian builds it."""
_LOGIN = "input[name=username]"


class Browser:
    """Chromium without a window."""

    def __init__(self, folder: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*_FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        service = webdriver.ChromeService("/usr/bin/chromedriver")
        self._driver = webdriver.Chrome(options=options, service=service)
        self._wait = WebDriverWait(self._driver, PATIENCE)

    def close(self) -> None:
        """End it."""
        self._driver.quit()

    def log_in(self, url: str, user: str, password: str) -> None:
        """Log in to the management UI."""
        self._driver.get(url)
        self._until(_LOGIN)
        for name, text in (("username", user), ("password", password)):
            self._driver.find_element(By.NAME, name).send_keys(text)
        self._driver.find_element(By.CSS_SELECTOR, "input[type=submit]").click()
        self._until("#logout")

    def take(self, url: str, awaited: str, size: tuple[int, int], path: Path) -> None:
        """Open a page and keep a picture of its upper part.

        Raises:
            AssertionError: the picture is too large for the repository.
        """
        self._driver.set_window_size(*size)
        self._driver.get("about:blank")  # so that a fragment alone loads anew
        self._driver.get(url)
        self._until(awaited)
        threading.Event().wait(6)  # a page draws its charts with its next samples
        self._driver.save_screenshot(str(path))
        if path.stat().st_size > MAX_BYTES:
            raise AssertionError(f"{path} is too large")

    def _until(self, selector: str) -> None:
        self._wait.until(seen.presence_of_element_located((By.CSS_SELECTOR, selector)))


@contextmanager
def realm() -> Iterator[LiveRealm]:
    """Start a whole realm of real processes."""
    live = LiveRealm(note=print)
    try:
        live.start_realm("live")
        live.add(parties())
        yield live
    finally:
        live.stop()


@contextmanager
def jobs(live: LiveRealm) -> Iterator[None]:
    """Let the analyst ask one question after the other; wait until charts show it."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            live.mean(ANALYST, *HERE)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        over.wait(SAMPLES_SECONDS)
        yield
    finally:
        over.set()
        asking.join()


def main() -> None:
    """Take every picture."""
    IMAGES.mkdir(exist_ok=True)
    with realm() as live, tempfile.TemporaryDirectory() as folder:
        found = Path(folder)
        browser = Browser(str(found / "chromium"))
        try:
            with prometheus(live, found) as scraping, jobs(live):
                url = live.broker["management_url"]
                watching = load_monitor(live.home("manager") / "broker")
                browser.log_in(url, watching.user, watching.password)
                for base, pages in (
                    (f"{url}/", MANAGEMENT),
                    (scraping, {"alerts": ALERTS}),
                ):
                    for name, (page, awaited, size) in pages.items():
                        path = IMAGES / f"monitoring-{name}.png"
                        browser.take(f"{base}{page}", awaited, size, path)
                        live.note(str(path))
        finally:
            browser.close()


if __name__ == "__main__":
    main()
