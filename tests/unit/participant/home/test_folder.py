"""An identity's folder: nobody else reads it, and nothing in it is half written."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from participant.home import dataset_list, policy, secret_file
from participant.home.folder import BusyError, Home
from participant.protocol.consent import PinRule, Policy
from participant.protocol.identity import Pin
from participant.protocol.model import Ending, PartyJob, Stage
from shared.errors import ConfigError, FailureCode
from shared.messages import Outcome
from shared.names import Duty, Io, Principal, Role
from tests.participant_world import Case, World

KEY_HASH = "ab" * 32


def test_a_home_and_its_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """0700 and 0600, whatever the umask says."""
    home = Home(tmp_path / "home")
    home.key_file(None).save(World().join("MPC_server_001", Role.MPCS).identity)

    assert home.path.stat().st_mode & 0o777 == 0o700
    assert home.key_path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.path.iterdir() if path.name[0] == "."] == []


def test_39_files_that_others_can_read_are_refused(tmp_path: Path) -> None:
    """What somebody else may have read is no secret."""
    home = Home(tmp_path / "home")
    home.key_file(None).save(World().join("MPC_server_001", Role.MPCS).identity)
    home.key_path.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read"):
        home.key_file(None).load()
    home.path.chmod(0o750)
    with pytest.raises(ConfigError, match="others can look into"):
        Home(home.path)


def test_an_identity_comes_back_as_it_was(tmp_path: Path) -> None:
    """Keys, certificate, realm, login and pins."""
    identity = World().join("Liberty001", Role.CLIENT, Io.BOTH).identity
    pins = (
        Pin(Principal("Analytics001"), bytes(32)),
        Pin(Principal("MPC_server_001"), bytes(32), is_listed=True),
    )
    identity = replace(identity, pins=pins)
    file = Home(tmp_path / "home").key_file(None)
    file.save(identity)
    kept = file.load()

    assert kept.signing.seed == identity.signing.seed
    assert kept.kem.secret == identity.kem.secret
    assert (kept.principal, kept.role, kept.io) == ("Liberty001", Role.CLIENT, Io.BOTH)
    assert kept.pins == pins
    assert kept.broker == identity.broker
    assert kept.realm == identity.realm
    assert kept.journal_key == identity.journal_key


def test_38_a_password_seals_the_key_file(tmp_path: Path) -> None:
    """Wrong ones and damaged files are refused, and nothing is shown."""
    home = Home(tmp_path / "home")
    home.key_file(b"right").save(World().join("MPC_server_001", Role.MPCS).identity)
    flipped = bytearray(home.key_path.read_bytes())
    with pytest.raises(ConfigError):
        home.key_file(b"wrong").load()
    with pytest.raises(ConfigError, match="password"):
        home.key_file(None).load()
    flipped[-1] ^= 1
    secret_file.write(home.key_path, bytes(flipped))
    with pytest.raises(ConfigError):
        home.key_file(b"right").load()

    assert home.needs_password
    assert "right" not in repr(home.key_file(b"right"))


def test_something_else_is_no_key_file(tmp_path: Path) -> None:
    """The user reads which file it is."""
    home = Home(tmp_path / "home")
    secret_file.write(home.key_path, b"something else")
    with pytest.raises(ConfigError, match=r"identity\.key"):
        home.key_file(None).load()


def test_one_process_works_in_a_home(tmp_path: Path) -> None:
    """Two would number the same session's messages alike."""
    home = Home(tmp_path / "home")
    with home.lock(), pytest.raises(BusyError), home.lock():
        pass
    with home.lock():
        pass


def kept_job(case: Case) -> PartyJob:
    """Return a consumer's job with everything that is kept."""
    side = case.side(case.consumer)
    side.feed(case.asked)
    side.hear(case.offer(side.member))
    side.hear(case.start(side))
    ending = Ending(Outcome.FAILED, FailureCode.ENGINE, "MPC_server_001", "why")
    return replace(side.job, ending=ending)


def test_the_journal_gives_a_job_back_and_hides_its_keys(tmp_path: Path) -> None:
    """A result key on disk is sealed under the journal's key."""
    case = Case()
    home = Home(tmp_path / "home")
    journal = home.journal(case.consumer.identity)
    job = kept_job(case)
    journal.write(job)
    [path] = home.jobs.iterdir()
    [kept] = journal.read()
    key = job.result_key
    assert key is not None
    assert kept.result_key is not None

    assert key.secret not in path.read_bytes()
    assert kept.result_key.secret == key.secret
    assert replace(kept, result_key=key) == job


def test_a_journal_of_another_identity_is_left_alone(tmp_path: Path) -> None:
    """It may be a backup's; a swapped file is not taken for another job."""
    case = Case()
    home = Home(tmp_path / "home")
    journal = home.journal(case.consumer.identity)
    job = kept_job(case)
    journal.write(job)
    [path] = home.jobs.iterdir()

    assert home.journal(case.sources[0].identity).read() == []
    path.rename(path.with_name(f"{bytes(16).hex()}.job"))
    assert journal.read() == []
    journal.write(job)
    journal.remove(job)
    journal.remove(job)
    assert len(list(home.jobs.iterdir())) == 1


def test_a_servers_ticket_key_comes_back(tmp_path: Path) -> None:
    """With it a restarted server serves its result."""
    case = Case()
    side = case.side(case.servers[0])
    side.hear(case.offer(side.member))
    side.hear(case.start(side))
    journal = Home(tmp_path / "home").journal(side.member.identity)
    journal.write(side.job)
    [kept] = journal.read()

    assert kept.k_tkt == side.job.k_tkt
    assert (kept.duties, kept.party) == ((Duty.COMPUTE,), 0)
    assert kept.stage is Stage.STARTED


def test_datasets_are_listed_by_name(tmp_path: Path) -> None:
    """A path may hold anything; a name may not."""
    path = tmp_path / "datasets.toml"
    strange = tmp_path / 'a "quoted" näme.csv'
    dataset_list.add(path, "visits", strange)
    dataset_list.add(path, "claims.2024", tmp_path / "claims.npz")
    dataset_list.remove(path, "claims.2024")

    assert dataset_list.load(path) == {"visits": strange}
    with pytest.raises(ConfigError, match="cannot name"):
        dataset_list.add(path, "my visits", strange)
    with pytest.raises(ConfigError, match="there is no dataset"):
        dataset_list.remove(path, "nosuch")


def test_at_most_64_datasets_are_offered(tmp_path: Path) -> None:
    """So many fit into a status."""
    path = tmp_path / "datasets.toml"
    path.write_text("".join(f'd{n} = "/data/{n}.csv"\n' for n in range(64)))
    with pytest.raises(ConfigError, match="at most 64"):
        dataset_list.add(path, "another", tmp_path / "x.csv")


@pytest.mark.parametrize("text", ["visits", "visits = 3", '"a b" = "x"'])
def test_a_malformed_list_is_refused(tmp_path: Path, text: str) -> None:
    """Better than to offer less than the owner thinks."""
    path = tmp_path / "datasets.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        dataset_list.load(path)


def test_without_a_file_the_policy_is_open_to_the_realm(tmp_path: Path) -> None:
    """Two servers at least; keys are pinned at first use."""
    assert policy.load(tmp_path / "policy.toml", frozenset()) == Policy()


def test_a_policy_says_what_its_owner_wrote(tmp_path: Path) -> None:
    """Every rule."""
    path = tmp_path / "policy.toml"
    path.write_text(
        'accept = "none"\nconsumers = ["Analytics001"]\nstatistics = ["mean"]\n'
        'min_servers = 3\nrequired_servers = ["MPC_server_001"]\n'
        f'denied_servers = ["MPC_server_002"]\npins = "listed"\n'
        f'[keys]\nAnalytics001 = "{KEY_HASH}"\n'
    )

    assert policy.load(path, frozenset({"mean"})) == Policy(
        accepts=False,
        consumers=frozenset({"Analytics001"}),
        statistics=frozenset({"mean"}),
        required=frozenset({"MPC_server_001"}),
        denied=frozenset({"MPC_server_002"}),
        min_servers=3,
        pins=PinRule.LISTED,
        listed=(
            Pin(Principal("Analytics001"), bytes.fromhex(KEY_HASH), is_listed=True),
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "accept",
        'accept = "some"',
        'axcept = "all"',
        "min_servers = 1",
        'statistics = ["meen"]',
        '[keys]\nAnalytics001 = "00"',
        f'[keys]\nnobody = "{KEY_HASH}"',
        '[keys]\nAnalytics001 = "zz"',
    ],
)
def test_a_policy_with_a_slip_of_the_pen_is_refused(tmp_path: Path, text: str) -> None:
    """The owner thinks that it holds."""
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        policy.load(path, frozenset({"mean"}))

    assert "policy.toml" in str(caught.value)
    assert caught.value.hint


def test_a_write_that_fails_leaves_the_older_file(tmp_path: Path) -> None:
    """And no remains beside it."""
    path = tmp_path / "folder" / "file"
    with pytest.raises(ConfigError, match="cannot write"):
        secret_file.write(path, b"x")
    with pytest.raises(ConfigError, match="cannot read"):
        secret_file.read(path)
    (tmp_path / "file").write_bytes(b"old")
    os.chmod(tmp_path / "file", 0o600)  # noqa: PTH101 - the mode is the point

    assert secret_file.read(tmp_path / "file") == b"old"
