"""The conformance checks: our engines pass, and each check can fail."""
# ruff: noqa: ARG002 - engines that do something wrong have the contract's arguments

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from participant.engines.additive import Additive
from participant.engines.base import Engine, Entropy, Plan, Values
from participant.engines.conformance import __main__ as program
from participant.engines.conformance import servers
from participant.engines.conformance.checks import CHECKS
from participant.engines.conformance.subject import NotConformingError, Subject
from participant.engines.mpyc_engine import Mpyc
from participant.engines.registry import engine
from tests.worker_engines import Talking, install, plugged_in, worker_engines

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _engines(tmp_path: Path) -> Iterator[None]:
    """All engines of the tests are installed."""
    with worker_engines(tmp_path):
        yield


@pytest.mark.parametrize("check", CHECKS)
def test_the_additive_engine_conforms(check: str) -> None:
    """For 2 to 7 servers, in the data process."""
    CHECKS[check](Subject(Additive()))


@pytest.mark.parametrize("check", CHECKS)
def test_the_mpyc_engine_conforms(check: str) -> None:
    """For 3 to 7 servers, in workers."""
    # So many values that the memory that a worker starts with is not enough.
    width = 2000 if check == "memory_bound" else 3
    CHECKS[check](Subject(Mpyc(), parties=(3, 4, 5, 6, 7), width=width))


@pytest.mark.parametrize("check", CHECKS)
def test_an_engine_whose_servers_talk_conforms(check: str) -> None:
    """In workers, with channels between them."""
    CHECKS[check](Subject(engine("talking"), parties=(2, 3, 4, 5, 6, 7)))


class Careless(Additive):
    """Serves whatever it is asked."""

    def check(self, plan: Plan) -> None:
        """Check nothing."""


class Boastful(Additive):
    """Withstands all servers together, it says."""

    def max_threshold(self, parties: int) -> int:
        """Return too much."""
        return parties


class Trusting(Additive):
    """Shares whatever number of values it gets."""

    def check_values(self, values: Values, plan: Plan) -> None:
        """Check nothing."""


class Wrong(Additive):
    """Adds wrongly."""

    def reconstruct(self, shares: Sequence[bytes], plan: Plan) -> list[int]:
        """Return one too much."""
        return [total + 1 for total in super().reconstruct(shares, plan)]


class Long(Additive):
    """Needs more room than it says."""

    def max_block_bytes(self, plan: Plan) -> int:
        """Return too little."""
        return super().max_block_bytes(plan) - 1


class Greedy(Additive):
    """Computes on any blocks."""

    def run(
        self, plan: Plan, blocks: Sequence[bytes], peers: Mapping[int, object]
    ) -> bytes:
        """Return the first block that there is."""
        return blocks[0] if blocks else b"nothing"


class Credulous(Additive):
    """Takes any output shares for a result."""

    def reconstruct(self, shares: Sequence[bytes], plan: Plan) -> list[int]:
        """Return anything."""
        return [0] * (plan.width or 1)


class Fragile(Additive):
    """Does not know what to do with other shares than its own."""

    def reconstruct(self, shares: Sequence[bytes], plan: Plan) -> list[int]:
        """Raise what Python raises."""
        if {len(share) for share in shares} != {self.max_block_bytes(plan)}:
            raise IndexError
        return super().reconstruct(shares, plan)


class Leaking(Additive):
    """Sends the values themselves to one server."""

    def share(self, values: Values, plan: Plan, entropy: Entropy) -> list[bytes]:
        """Return one block that is the values."""
        return super().share(values, plan, bytes)


class Sparing(Additive):
    """Shares among two servers only, whatever it says of the others."""

    def share(self, values: Values, plan: Plan, entropy: Entropy) -> list[bytes]:
        """Return two blocks with content, and empty sums."""
        size = self.max_block_bytes(plan)
        masks = iter([entropy(size), *[bytes(size)] * (plan.parties - 2)])
        blocks = super().share(values, plan, lambda _: next(masks))
        return [blocks[0], blocks[-1], *blocks[1:-1]]


class Few(Additive):
    """Forgets a server."""

    def share(self, values: Values, plan: Plan, entropy: Entropy) -> list[bytes]:
        """Return a block too few."""
        return super().share(values, plan, entropy)[1:]


@pytest.mark.parametrize(
    ("broken", "check", "words"),
    [
        (Careless(), "bounds", "it accepts threshold 0"),
        (Boastful(), "bounds", "a threshold of 2 of 2"),
        (Trusting(), "values", "accepts values that do not fit"),
        (Wrong(), "results", "a wrong result of 2 servers"),
        (Few(), "results", "1 blocks for 2 servers"),
        (Long(), "block_sizes", "above 191 bytes"),
        (Greedy(), "wrong_blocks", "computes on a truncated block"),
        (Credulous(), "wrong_shares", "takes a truncated block"),
        (Fragile(), "wrong_shares", "raises IndexError"),
        (Leaking(), "distribution", "6 of 7 servers see shares that differ"),
        (Sparing(), "distribution", "6 of 7 servers see shares that differ"),
        (Wrong(), "registration", "engine 'additive' is Additive"),
    ],
)
def test_a_check_finds_what_it_is_made_for(
    broken: Engine, check: str, words: str
) -> None:
    """Each names what is wrong."""
    with pytest.raises(NotConformingError, match=words):
        CHECKS[check](Subject(broken))


def test_a_number_of_servers_that_is_not_served_has_to_be_refused() -> None:
    """An engine's author says which it serves; the others must not slip through."""
    with pytest.raises(NotConformingError, match="it accepts 3 servers"):
        CHECKS["bounds"](Subject(Additive(), parties=(2, 4, 5, 6, 7)))


class Stubborn(Additive):
    """Takes its time."""

    def run(
        self, plan: Plan, blocks: Sequence[bytes], peers: Mapping[int, object]
    ) -> bytes:
        """Return late."""
        time.sleep(0.5)
        return super().run(plan, blocks, {})


def test_an_engine_that_does_not_end_does_not_conform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The checks end all the same."""
    monkeypatch.setattr(servers, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(NotConformingError, match="takes longer"):
        CHECKS["results"](Subject(Stubborn()))


@pytest.mark.parametrize(
    ("name", "words"),
    [("crashing", "was ended by a signal"), ("raising", "it raised ValueError")],
)
def test_a_worker_that_fails_does_not_conform(name: str, words: str) -> None:
    """Its author sees how."""
    with pytest.raises(NotConformingError, match=words):
        CHECKS["results"](Subject(engine(name), parties=(3,)))


class Deaf(Talking):
    """Makes results of what never came."""

    name = "deaf"

    def run(
        self, plan: Plan, blocks: Sequence[bytes], peers: Mapping[int, object]
    ) -> bytes:
        """Return this server's own sum."""
        return Additive().run(plan, blocks, {})

    def reconstruct(self, shares: Sequence[bytes], plan: Plan) -> list[int]:
        """Return the first one's."""
        return Additive().reconstruct([shares[0], *shares[:-1]], plan)


def test_a_result_without_a_lost_peers_part_does_not_conform(tmp_path: Path) -> None:
    """A wrong result is worse than none."""
    install(tmp_path / "deaf", [f"deaf = {Deaf.__module__}:Deaf"], "deaf")
    with (
        plugged_in(tmp_path / "deaf"),
        pytest.raises(NotConformingError, match="after a peer was lost"),
    ):
        CHECKS["lost_peer"](Subject(engine("deaf"), parties=(3,)))


def test_the_program_tells_what_conforms(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a check, for an engine that adds up."""
    code = program.main(["additive", "2", "3", "4", "5", "6", "7"])

    assert code == 0
    assert capsys.readouterr().out == "".join(f"{name}: ok\n" for name in CHECKS)


def test_the_program_fails_where_an_engine_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its exit code is for continuous integration."""
    assert program.main(["additive", "2", "3"]) == 1
    assert "bounds: it accepts 4 servers" in capsys.readouterr().out
    assert program.main(["magic"]) == 1
    assert program.main([]) == 2
