"""Which MPC servers and sources a job is offered to."""

import pytest

from manager.protocol.selection import Selection, Shortage, choose, find_sources
from shared.messages import Requirements
from shared.names import Principal, Role
from tests.job_realm import (
    ANNE,
    BERT,
    DEADLINE,
    S1,
    S2,
    S3,
    S4,
    Listed,
    member,
    pool,
    server,
    source,
    spec,
)


def _names(choice: Selection | Shortage) -> tuple[Principal, ...]:
    assert isinstance(choice, Selection)
    return tuple(m.principal for m in choice.servers)


def _reason(choice: Selection | Shortage) -> str:
    assert isinstance(choice, Shortage)
    return choice.reason


@pytest.mark.parametrize(
    ("attributes", "fits"),
    [
        ({"location": "BERLIN", "csp": "Aws", "cpus": 4, "ram": 16}, True),
        ({"location": "Berlin", "csp": "aws", "cpus": 8, "ram": 64}, True),
        ({"location": "Bonn", "csp": "aws", "cpus": 4, "ram": 16}, False),
        ({"location": "Berlin", "csp": "gcp", "cpus": 4, "ram": 16}, False),
        ({"location": "Berlin", "csp": "aws", "cpus": 3, "ram": 16}, False),
        ({"location": "Berlin", "csp": "aws", "cpus": 4, "ram": 15}, False),
        ({}, False),
    ],
)
def test_a_server_matches_only_if_it_has_all_that_is_required(
    attributes: dict[str, str | int], fits: bool
) -> None:
    """Texts equal in any case, numbers at least; what is unknown does not match."""
    requires = Requirements(location="Berlin", csp="aws", cpus=4, ram=16)
    candidate = server(S1, **attributes)  # type: ignore[arg-type]  # one case each

    choice = choose([candidate], requires, 1, DEADLINE)

    assert isinstance(choice, Selection) is fits


def test_nothing_required_means_any_server() -> None:
    """A server that says nothing of itself serves a job that asks for nothing."""
    choice = choose([server(S1)], Requirements(cpus=0), 1, DEADLINE)

    assert _names(choice) == (S1,)


def test_more_free_slots_come_first_then_less_load() -> None:
    """Jobs go to where there is room."""
    candidates = [
        server(S1, slots_free=1),
        server(S2, slots_free=2, load=180),
        server(S3, slots_free=2, load=90),
        server(S4, slots_free=3, load=400),
    ]

    choice = choose(candidates, Requirements(), 3, DEADLINE)

    assert _names(choice) == (S4, S3, S2)


def test_servers_of_different_owners_are_preferred() -> None:
    """Servers of one operator, or at one provider, can collude."""
    candidates = [
        server(S1, operator="Acme", csp="aws"),
        server(S2, operator="acme", csp="gcp", load=3),
        server(S3, operator="Bolt", csp="AWS"),
        server(S4, operator="Core", csp="gcp"),
    ]

    choice = choose(candidates, Requirements(), 3, DEADLINE)

    assert _names(choice) == (S1, S4, S3)


def test_different_owners_matter_more_than_free_slots() -> None:
    """A large operator must not fill a roster because it has the most room."""
    candidates = [
        server(S1, slots_free=3, operator="Acme", csp="aws"),
        server(S2, slots_free=4, operator="Acme", csp="gcp"),
        server(S3, slots_free=1, operator="Bolt", csp="aws"),
        server(S4, slots_free=1, operator="Core", csp="gcp"),
    ]

    choice = choose(candidates, Requirements(), 3, DEADLINE)

    assert _names(choice) == (S2, S3, S4)


def test_a_replacement_differs_from_the_servers_that_are_kept() -> None:
    """Who stays in the roster counts for the spread too, and is not chosen again."""
    kept = server(S1, operator="Acme")
    candidates = [kept, server(S2, operator="Acme"), server(S3, operator="Bolt")]

    choice = choose(candidates, Requirements(), 1, DEADLINE, excluded={S1}, kept=[kept])

    assert _names(choice) == (S3,)


def test_the_choice_does_not_depend_on_the_order_of_candidates() -> None:
    """The name decides last."""
    candidates = [server(S2), server(S3), server(S1)]

    choice = choose(candidates, Requirements(), 2, DEADLINE)

    assert _names(choice) == (S1, S2)


def test_a_shortage_says_what_the_others_lack() -> None:
    """A person reads how many match and which requirement keeps the others out."""
    candidates = [
        server(S1, csp="aws", cpus=8),
        server(S2, csp="gcp", cpus=8),
        server(S3, csp="gcp", cpus=2),
    ]

    choice = choose(candidates, Requirements(csp="aws", cpus=4), 3, DEADLINE)

    assert choice == Shortage(
        "3 MPC servers needed with csp=aws, cpus>=4: 1 online,"
        " 0 of 2 others have csp=aws, 1 of 2 others have cpus>=4",
        waits=False,
    )


def test_a_shortage_without_requirements_counts_who_is_online() -> None:
    """The text names no requirement that nobody made."""
    choice = choose([], Requirements(), 1, DEADLINE)

    assert _reason(choice) == "1 MPC server needed: 0 online"


def test_a_session_that_ends_before_the_deadline_does_not_serve() -> None:
    """Its endorsement would not hold until the job's end."""
    short = member(S1, Role.MPCS, endorse_exp=DEADLINE - 1)

    choice = choose([short], Requirements(), 1, DEADLINE)

    assert _reason(choice) == (
        "1 MPC server needed: 0 online, 0 of 1 other has a session until the deadline"
    )


def test_a_job_waits_where_enough_match_but_are_busy() -> None:
    """The reason says how many slots are missing."""
    candidates = [server(S1), server(S2, slots_free=0)]

    choice = choose(candidates, Requirements(), 2, DEADLINE)

    assert choice == Shortage(
        "waiting for a free MPC server: 2 needed, 1 of 2 that match have a free slot",
        waits=True,
    )


def test_all_sources_of_the_dataset_are_found_by_name() -> None:
    """Every online client that offers it is asked."""
    found = find_sources(Listed((source(BERT), source(ANNE))), spec())

    assert not isinstance(found, str)
    assert [m.principal for m in found] == [ANNE, BERT]


def test_a_source_of_two_datasets_is_found_once() -> None:
    """A principal is in a roster once."""
    both = member(ANNE, Role.CLIENT, datasets=("survey", "census"))

    found = find_sources(Listed((both,)), spec(datasets=("survey", "census")))

    assert found == (both,)


def test_a_dataset_without_source_is_named() -> None:
    """The consumer can tell a typing error from an absent source."""
    found = find_sources(pool(), spec(datasets=("survey", "census")))

    assert found == "no source that is online offers the dataset census"


def test_too_few_sources_are_counted() -> None:
    """``min_sources`` cannot be met by those who are online."""
    found = find_sources(pool(), spec(min_sources=3))

    assert found == "3 sources needed, 2 online with the dataset survey"
