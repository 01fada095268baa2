"""Requests as they are made, checked, sent over the socket and shown."""

from dataclasses import replace
from datetime import timedelta

import pytest

from participant.protocol.model import Ending, PartyJob, Stage
from participant.service.control import find_job, read_question, request_of
from participant.service.presence import attributes, reached_at
from participant.service.question import (
    Question,
    check_question,
    check_spec,
    consumer_learns,
    default_engine,
    make_request,
)
from participant.service.summary import is_over, summary
from participant.statistics.params import Params, Reveal
from shared.crypto.derivation import job_id
from shared.errors import ConfigError, FailureCode, RefusedError
from shared.messages import Endorsement, Outcome, Requirements, Spec, unpack
from tests.participant_world import NOW_MS, Case

QUESTION = Question(
    params=Params("histogram", ("mdvis",), edges=("0", "1.5")),
    dataset="visits",
    servers=4,
    requires=Requirements(csp="aws", cpus=4),
    min_sources=2,
    purpose="why",
    deadline=timedelta(seconds=30),
    result_life=timedelta(hours=2),
)


def test_a_question_becomes_a_spec_that_every_party_agrees_to() -> None:
    """With a result key and an id of its own each time."""
    case = Case()
    identity = case.consumer.identity
    asked = make_request(QUESTION, identity, case.world.context())
    again = make_request(QUESTION, identity, case.world.context())
    spec = unpack(Spec, asked.spec)
    check_spec(spec)

    assert asked.job == job_id(identity.realm.fingerprint, identity.principal, spec.id)
    assert asked.job != again.job
    assert asked.result_key.public == spec.res != again.result_key.public
    assert (spec.servers, spec.threshold, spec.attempts) == (4, 3, 1)
    assert spec.deadline == NOW_MS + 30_000
    assert spec.result_exp == spec.deadline + 7_200_000
    assert spec.requires == QUESTION.requires


def test_a_threshold_below_the_engines_best_may_be_asked() -> None:
    """An engine may gain by it; every party checks that it is one it can have."""
    case = Case()
    identity = case.consumer.identity
    asked = make_request(replace(QUESTION, threshold=2), identity, case.world.context())
    spec = unpack(Spec, asked.spec)
    check_spec(spec)

    assert spec.threshold == 2

    with pytest.raises(RefusedError, match="1 to 3 of 4"):
        check_spec(spec.model_copy(update={"threshold": 4}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"servers": 1}, "1 MPC servers"),
        ({"servers": 65}, "65 MPC servers"),
        ({"deadline": timedelta(0)}, "deadline"),
        ({"deadline": timedelta(days=2)}, "deadline"),
        ({"result_life": timedelta(days=8)}, "life"),
        ({"params": Params("meen", ("x",))}, "no statistic 'meen'"),
        ({"params": Params("mean", ())}, "1 to 32"),
        ({"engine": "mpyc"}, "additive"),
        ({"threshold": 0}, "1 to 3 of 4"),
        ({"threshold": 4}, "1 to 3 of 4"),
    ],
)
def test_bounds_are_named_before_anything_is_sent(
    changes: dict[str, object], words: str
) -> None:
    """The user corrects the command line."""
    question = replace(QUESTION, **changes)  # type: ignore[arg-type]  # by field
    with pytest.raises((ConfigError, RefusedError)) as caught:
        check_question(question)

    assert words in str(caught.value)


def test_a_dataset_name_that_cannot_travel_is_refused() -> None:
    """Names are labels."""
    case = Case()
    with pytest.raises(ConfigError, match="cannot be sent"):
        make_request(
            replace(QUESTION, dataset="my visits"),
            case.consumer.identity,
            case.world.context(),
        )


def test_a_question_travels_over_the_local_socket() -> None:
    """As it was."""
    for question in (QUESTION, replace(QUESTION, threshold=2)):
        assert read_question(request_of(question)) == question

    with pytest.raises(ConfigError):
        read_question({"op": "submit"})
    with pytest.raises(ConfigError):
        read_question({**request_of(QUESTION), "servers": "3"})


def consumer_job(case: Case) -> PartyJob:
    """Return a started job."""
    side = case.side(case.consumer)
    side.feed(case.asked)
    side.hear(case.offer(side.member))
    side.hear(case.start(side))
    return side.job


def test_a_summary_tells_a_jobs_story_in_milliseconds() -> None:
    """Relative to the request."""
    job = consumer_job(Case())
    linked = (*job.times, ("linked", NOW_MS + 40), ("delivered", NOW_MS + 50))
    done = summary(replace(job, times=linked, stage=Stage.DELIVERED, result="r.json"))

    assert done["times_ms"] == {
        "offered": 0,
        "started": 0,
        "linked": 40,
        "result": 50,
        "total": 50,
    }
    assert (done["job"], done["state"], done["is_over"]) == ("J001", "done", True)
    assert (done["servers"], done["sources"]) == (3, 2)


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_has_words(stage: Stage) -> None:
    """A person can always find out why something waits."""
    job = replace(consumer_job(Case()), stage=stage)
    shown = summary(job)

    assert is_over(job) == (shown["waiting"] is None)


def test_a_failure_is_shown_with_code_party_and_reason() -> None:
    """Only once it is final."""
    ending = Ending(Outcome.FAILED, FailureCode.ENGINE, "MPC_server_001", "why")
    job = replace(consumer_job(Case()), ending=ending)
    tried, failed = summary(job), summary(replace(job, stage=Stage.CLOSED))

    assert tried["state"] == "started"
    assert (failed["state"], failed["code"]) == ("failed", "engine")
    assert (failed["party"], failed["reason"]) == ("MPC_server_001", "why")


def test_a_link_that_failed_is_shown_with_where_it_should_have_led() -> None:
    """Address and port, so that a firewall's keeper knows which."""
    case = Case()
    server = case.servers[0]
    job = replace(consumer_job(case), stage=Stage.CLOSED)

    def reason(party: str | None, text: str | None, kept: PartyJob = job) -> object:
        ending = Ending(Outcome.FAILED, FailureCode.LINK_FAILED, party, text)
        return summary(replace(kept, ending=ending))["reason"]

    where = f"{server.name} is to be reached at {', '.join(addresses_of(case))}"

    assert reason(server.name, "why") == f"why; {where}"
    assert reason(server.name, None) == where
    assert reason(case.consumer.name, "why") == "why"
    assert reason(None, "why") == "why"
    for damaged in (b"", b"damaged"):
        assert reason(server.name, "why", replace(job, manifest=damaged)) == "why"


def addresses_of(case: Case) -> tuple[str, ...]:
    """Return where the first MPC server of a job is dialled."""
    entry = case.entry(case.servers[0])
    return unpack(Endorsement, entry.endorse).addrs


def test_jobs_are_found_by_number_or_start_of_the_id() -> None:
    """As they are printed."""
    job = consumer_job(Case())

    assert find_job([job], "j001") is job
    assert find_job([job], job.job.hex()[:8]) is job
    for name in ("J002", job.job.hex()[:4], ""):
        with pytest.raises(RefusedError) as caught:
            find_job([job], name)

        assert caught.value.hint
    with pytest.raises(RefusedError, match="fits 2"):
        find_job([job, job], "J001")


def test_attributes_are_found_and_may_be_said() -> None:
    """The machine knows its processors and memory."""
    found = attributes({"location": "miami", "ram": "8"})

    assert found.cpus is not None
    assert (found.location, found.ram) == ("miami", 8)
    for wrong in ({"colour": "red"}, {"cpus": "0"}, {"ram": "much"}, {"csp": ""}):
        with pytest.raises(ConfigError):
            attributes(wrong)


def test_a_servers_addresses_are_as_said_or_as_listened_on() -> None:
    """The port is the one that was free."""
    broker = ("amqp://127.0.0.1:5672", "demo")

    assert reached_at((), ("127.0.0.1:1270",), 1271, *broker) == ("127.0.0.1:1271",)
    assert reached_at((), ("0.0.0.0:1270",), 1271, *broker) == ("127.0.0.1:1271",)
    assert reached_at(("mpc.example.org",), (), 1271, *broker) == (
        "mpc.example.org:1271",
    )
    assert reached_at(("mpc.example.org:80", "[::1]"), (), 1271, *broker) == (
        "mpc.example.org:80",
        "[::1]:1271",
    )


@pytest.mark.parametrize(
    ("params", "engine"),
    [
        (Params("mean", ("a",)), "additive"),
        (Params("variance", ("a",)), "additive"),
        (Params("variance", ("a",), reveal=Reveal.FINAL), "mpyc"),
        (Params("median", ("a",)), "mpyc"),
        (Params("nonsense", ("a",)), "additive"),
    ],
)
def test_a_statistic_finds_its_engine(params: Params, engine: str) -> None:
    """A user need not know which one serves what."""
    assert default_engine(params) == engine


def test_what_is_computed_in_secret_becomes_a_spec() -> None:
    """Fewer than half of the servers may pool what they see."""
    case = Case()
    for params in (
        Params("quantile", ("a",), q="0.25"),
        Params("argmax", ("a",), by="g", groups=("0", "1")),
        Params("stddev", ("a",), reveal=Reveal.FINAL),
    ):
        question = replace(QUESTION, params=params, engine="mpyc", servers=5)
        assert read_question(request_of(question)) == question

        asked = make_request(question, case.consumer.identity, case.world.context())
        spec = unpack(Spec, asked.spec)
        check_spec(spec)
        assert (spec.engine, spec.threshold) == ("mpyc", 2)
        assert set(spec.az.cols) == set(params.used())


def test_two_servers_cannot_compute_in_secret() -> None:
    """One of them would be half."""
    question = replace(
        QUESTION, params=Params("median", ("a",)), engine="mpyc", servers=2
    )
    with pytest.raises(RefusedError, match="among 2 servers; ask for more"):
        check_question(question)


def test_a_source_can_tell_what_the_consumer_will_learn() -> None:
    """From the spec alone; of one that nobody could answer nothing can be told."""
    case = Case()
    asked = make_request(QUESTION, case.consumer.identity, case.world.context())
    spec = unpack(Spec, asked.spec)

    assert "how many values" in str(consumer_learns(spec))
    assert consumer_learns(spec.model_copy(update={"params": {}})) is None
