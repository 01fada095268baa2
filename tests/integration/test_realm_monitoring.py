"""A realm at work as its operator sees it: figures, rules, dashboard, check, logs."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manager.broker.files import broker_config
from shared.cli import ExitCode
from shared.names import JobId
from tests.integration.pages import free_port, page, sample, served
from tests.integration.realm_fixture import (
    ANALYST,
    HERE,
    SERVERS,
    SOURCES,
    VISITOR,
    Json,
    LiveRealm,
    until,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ALERTS = broker_config("prometheus/alerts.yml")
PROMETHEUS = broker_config("prometheus/prometheus.yml")
DASHBOARD = broker_config("grafana/dashboard.json")
DETAILED = (
    "/metrics/detailed?family=queue_coarse_metrics&family=queue_consumer_count"
    "&vhost=live"
)
_NAME = re.compile(r"\b(?:mpc|rabbitmq|process)_[a-z0-9_]+")


def expressions() -> list[str]:
    """Return what rules and dashboard ask Prometheus."""
    panels = json.loads(DASHBOARD)["panels"]
    return [
        *re.split(r"- alert: ", ALERTS)[1:],
        *(target["expr"] for panel in panels for target in panel.get("targets", ())),
    ]


def closed(live: LiveRealm, job: Json) -> JobId:
    """Wait until the manager has closed a job; return its id."""
    name = JobId(bytes.fromhex(job["id"]))
    until(lambda: live.state(name).is_closed, "the manager closes the job")
    return name


def test_every_figure_of_rules_and_dashboard_is_served(live: LiveRealm) -> None:
    """A rule about a name that nobody serves would be silent for ever."""
    closed(live, live.mean(ANALYST, *HERE))
    port = live.broker["ports"]["prometheus"]
    names = served(live.page("manager")) | served(live.page(SERVERS[0]))
    names |= served(page(port)) | served(page(port, DETAILED))
    asked = {name for text in expressions() for name in _NAME.findall(text)}

    assert len(asked) > 20
    assert asked - names == set()


def test_a_job_moves_the_figures_of_everybody_in_it(live: LiveRealm) -> None:
    """One more that is done, with its phases; data in at servers and out of sources."""
    done = 'mpc_manager_jobs_ended_total{code="done"}'
    setups = 'mpc_manager_job_phase_seconds_count{phase="setup"}'
    bytes_in = 'mpc_participant_data_bytes_total{direction="in"}'
    bytes_out = 'mpc_participant_data_bytes_total{direction="out"}'
    here = 'mpc_participant_jobs_ended_total{code="done"}'
    names = ("manager", SERVERS[0], SOURCES[0], ANALYST)
    before = {name: live.page(name) for name in names}
    closed(live, live.mean(ANALYST, *HERE))
    ended = [name for name in names if name != "manager"]
    until(
        lambda: all(
            sample(live.page(name), here) == sample(before[name], here) + 1
            for name in ended
        ),
        "everybody has ended the job",
    )
    after = {name: live.page(name) for name in names}

    def growth(name: str, series: str) -> float:
        return sample(after[name], series) - sample(before[name], series)

    assert growth("manager", done) == growth("manager", setups) == 1
    assert growth(SERVERS[0], bytes_in) > 0
    assert growth(SOURCES[0], bytes_out) >= growth(SERVERS[0], bytes_in) / len(SOURCES)
    assert growth(ANALYST, bytes_in) > 0
    online = 'mpc_manager_participants_online{kind="input"}'
    assert sample(after["manager"], online) == len(SOURCES)


def test_the_broker_is_found_in_order_while_the_realm_works(live: LiveRealm) -> None:
    """And a participant that is gone without a word has nobody at its inbox."""
    inbox = f"mpcs.{live.principals[SERVERS[0]]}"

    def check() -> tuple[int, Json]:
        done = live.manage("broker", "check", "--dead-letters", "10000", "--json")
        return done.code, done.json()

    def is_well() -> Json | None:
        code, found = check()
        return found if found["is_well"] and code == 0 else None

    def nobody() -> Json | None:
        code, found = check()
        wrong = [each for each in found["findings"] if not each["is_well"]]
        return found if code == 1 and [w["subject"] for w in wrong] == [inbox] else None

    found = until(is_well, "the broker is in order")
    live.kill(SERVERS[0])
    try:
        until(nobody, "nobody reads the inbox of who is online")
    finally:
        live.restart(SERVERS[0])

    assert {each["check"] for each in found["findings"]} == {
        "node",
        "reader",
        "backlog",
        "dead letters",
        "standstill",
    }


def test_the_logs_of_all_parties_join(live: LiveRealm) -> None:
    """By the job's id; and each envelope's line of who sent it by that of who got it."""
    job = closed(live, live.mean(ANALYST, *HERE)).hex()
    parties = (*SERVERS, *SOURCES, ANALYST)

    def story(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {"published": set(), "delivery": set()}
        for line in live.lines(name):
            if line.get("job_id") == job and line["event"] in found:
                found[line["event"]].add(f"{line['message_type']} {line['message_id']}")
        return found

    def is_whole() -> bool:
        stories = [story(name) for name in parties]
        up = set().union(*(each["published"] for each in stories))
        down = set().union(*(each["delivery"] for each in stories))
        manager = story("manager")
        return up == manager["delivery"] and down == manager["published"]

    until(is_whole, "every envelope of the job has both its lines")
    types = {
        name: {m.split(" ")[0] for m in story(name)["published"]} for name in parties
    }
    asked = {m.split(" ")[0] for m in story("manager")["published"]}

    assert {"job.offer", "job.start", "job.closed"} <= asked
    assert "job.request" in types[ANALYST]
    assert all({"job.accept", "job.report"} <= types[name] for name in parties)


def test_a_port_for_figures_that_is_taken_is_said(live: LiveRealm) -> None:
    """The participant ends at once, with the setting's name in the hint."""
    settings = live.home(VISITOR) / "participant.toml"
    before = settings.read_text() if settings.exists() else ""
    settings.write_text(f"{before}metrics_port = {live.metrics_ports['manager']}\n")
    try:
        done = live.run(VISITOR, "run")
    finally:
        settings.write_text(before)

    assert done.code == ExitCode.CONFIGURATION
    assert "address already in use" in done.err
    assert "metrics_port" in done.err
    assert "Traceback" not in done.err


@contextmanager
def prometheus(live: LiveRealm, folder: Path) -> Iterator[str]:
    """Run a real Prometheus with the shipped files on this realm; yield its url."""
    broker = live.broker["ports"]["prometheus"]
    parties = ", ".join(
        f'"127.0.0.1:{port}"'
        for name, port in live.running_pages.items()
        if name != "manager"
    )
    config = (
        PROMETHEUS.replace("127.0.0.1:15692", f"127.0.0.1:{broker}")
        .replace("127.0.0.1:9400", f"127.0.0.1:{live.metrics_ports['manager']}")
        .replace('"127.0.0.1:9401"', parties)
        .replace("_interval: 15s", "_interval: 1s")
    )
    (folder / "prometheus.yml").write_text(config)
    (folder / "alerts.yml").write_text(ALERTS)
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=folder,  # its pages then show no path
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def ask(url: str) -> Json | None:
    """Return what Prometheus answers, if it does."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: Json = json.loads(answer.read())["data"]
            return found
    except OSError:
        return None


def test_prometheus_takes_rules_and_pages(live: LiveRealm, tmp_path: Path) -> None:
    """The shipped files as they are, but for the ports of this realm."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("no Prometheus here: apt-get install prometheus")
    for name, text in (("prometheus.yml", PROMETHEUS), ("alerts.yml", ALERTS)):
        (tmp_path / name).write_text(text)
    checked = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    with prometheus(live, tmp_path) as url:

        def targets() -> list[Json] | None:
            active = (ask(f"{url}/api/v1/targets") or {}).get("activeTargets", [])
            is_up = active and all(each["health"] == "up" for each in active)
            return active if is_up else None

        def rules() -> list[Json] | None:
            groups = (ask(f"{url}/api/v1/rules") or {}).get("groups", [])
            found = [rule for group in groups for rule in group["rules"]]
            is_judged = found and all(rule["health"] == "ok" for rule in found)
            return found if is_judged else None

        scraped = until(targets, "every target is scraped")
        judged = until(rules, "every rule is judged")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert len(scraped) == len(live.running_pages) + 2
    assert len(judged) == ALERTS.count("- alert:")
    assert not [rule["name"] for rule in judged if rule["state"] == "firing"]


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    """Panels with ids of their own, queries of the one data source, no overlap."""
    board = json.loads(DASHBOARD)
    [variable] = board["templating"]["list"]
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    ids = [panel["id"] for panel in board["panels"]]
    taken = [
        (x, y)
        for panel in board["panels"]
        for x in range(
            panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"]
        )
        for y in range(
            panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"]
        )
    ]
    sources = {
        (used["type"], used["uid"])
        for panel in panels
        for used in (panel["datasource"], *(t["datasource"] for t in panel["targets"]))
    }

    assert len(set(ids)) == len(ids)
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert sources == {("prometheus", f"${{{variable['name']}}}")}
    assert all(panel["targets"] and panel["title"] for panel in panels)
