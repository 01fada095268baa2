"""The realm as a picture."""

from xml.etree import ElementTree as ET

import pytest

from manager.cli.outputs import Attributes, Dataset, Participant
from manager.cli.realm_map import LinkUse, links, picture
from manager.protocol.job_state import Moment
from manager.store.records import Standing
from shared.names import Io, Role
from tests.unit.manager.cli.jobs_shown import DONE, START, job

STARTED = {moment: at for moment, at in DONE.items() if at <= DONE[Moment.STARTED]}


def member(name: str, io: Io | None, *, online: bool = True) -> Participant:
    """Return a participant; without io an MPC server."""
    return Participant(
        principal=name,
        role=Role.CLIENT if io else Role.MPCS,
        io=io,
        standing=Standing.REGISTERED,
        online=online,
        seen=START,
        slots=0 if io else 2,
        slots_free=0,
        load=0,
        datasets=(Dataset(name="visits", columns=()),) if io else (),
        attributes=Attributes(
            location="<here>", cpus=1, ram=1, csp=None, operator="a & b"
        ),
        registered=START,
        serial=1,
        certificate_ends=START,
    )


EVERYBODY = (
    member("Liberty001", Io.INPUT),
    member("MPC_server_001", None),
    member("MPC_server_002", None, online=False),
    member("Analytics001", Io.OUTPUT),
    member("Both001", Io.BOTH),
)
ENDS = (
    ("Analytics001", "MPC_server_001"),
    ("Analytics001", "MPC_server_002"),
    ("Liberty001", "MPC_server_001"),
    ("Liberty001", "MPC_server_002"),
    ("MPC_server_001", "MPC_server_002"),
)


def test_clients_have_links_to_servers_and_servers_to_each_other() -> None:
    """Two clients never; a job that did not start opened none."""
    never = job({Moment.REQUESTED: 0, Moment.CLOSED: 9}, number="J002")

    assert dict(links([never, job()])) == dict.fromkeys(ENDS, LinkUse("J001", False))


def test_a_link_in_use_is_told_before_its_last_use() -> None:
    """Jobs come newest first; an older one may still run."""
    older = job(STARTED, outcome=None, number="J001")
    newer = job(number="J002")

    assert set(links([newer, older]).values()) == {LinkUse("J001", True)}
    assert set(links([newer, job()]).values()) == {LinkUse("J002", False)}


@pytest.mark.parametrize("everybody", [EVERYBODY, EVERYBODY[:1], ()])
def test_every_map_is_xml_and_the_same_every_time(
    everybody: tuple[Participant, ...],
) -> None:
    """Attributes are what participants say; a link of nobody is not drawn."""
    jobs = [job(STARTED, outcome=None, number="J002"), job()]
    drawn = picture("demo", everybody, jobs)
    root = ET.fromstring(drawn)
    tips = [tip.text or "" for tip in root.findall(".//{*}path/{*}title")]
    shown = [words.text for words in root.findall(".//{*}text")]

    assert drawn == picture("demo", everybody, jobs)
    assert len(tips) == (len(ENDS) if everybody == EVERYBODY else 0)
    assert all(tip.endswith("in use by J002") for tip in tips)
    assert {each.principal for each in everybody} <= set(shown)
