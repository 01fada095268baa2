"""Who is meant: one identity alone, several by name or number, a named home."""

from pathlib import Path

import pytest

from participant.home.folder import Home
from participant.home.identities import Known, Place
from shared.errors import ConfigError
from shared.names import Io, Role
from tests.participant_world import REALM, World


def join(world: World, path: Path, name: str, io: Io = Io.OUTPUT) -> Path:
    """Put an identity into a home, as a registration does."""
    home = Home(path)
    identity = world.join(name, Role.CLIENT, io).identity
    home.write_card(identity)
    home.key_file(None).save(identity)
    return home.path


@pytest.fixture
def several(tmp_path: Path) -> Place:
    """A default home with an analyst in it and two identities beside it."""
    world = World()
    join(world, tmp_path / "mpc", "Analytics001")
    join(world, tmp_path / "mpc" / "2", "Liberty001", Io.INPUT)
    join(World("another"), tmp_path / "mpc" / "10", "Analytics001")
    return Place(tmp_path / "mpc", is_named=False)


def test_nobody_is_registered_in_an_empty_home(tmp_path: Path) -> None:
    """What is asked of it then concerns the folder itself."""
    place = Place(tmp_path / "mpc", is_named=False)

    assert place.identities() == ()
    assert place.choose(None) == tmp_path / "mpc"
    assert place.place_for_new() == tmp_path / "mpc"


@pytest.mark.parametrize("folder", ["mpc", "mpc/2"])
def test_the_only_identity_needs_no_name(tmp_path: Path, folder: str) -> None:
    """Wherever it lies in the default home."""
    path = join(World(), tmp_path / folder, "Analytics001")

    assert Place(tmp_path / "mpc", is_named=False).choose(None) == path


def test_identities_are_listed_by_number(several: Place) -> None:
    """As numbers, not as texts: 2 stands before 10."""
    realm = str(REALM)

    assert several.identities() == (
        Known(1, several.root, "Analytics001", "client", "output", realm),
        Known(2, several.root / "2", "Liberty001", "client", "input", realm),
        Known(10, several.root / "10", "Analytics001", "client", "output", realm),
    )


@pytest.mark.parametrize(
    ("wanted", "folder"), [("1", ""), ("2", "2"), ("Liberty001", "2"), ("10", "10")]
)
def test_an_identity_is_chosen_by_name_or_number(
    several: Place, wanted: str, folder: str
) -> None:
    """Its number is the name of its folder and never changes."""
    assert several.choose(wanted) == several.root / folder


def test_several_without_a_choice_are_listed(several: Place) -> None:
    """Taking any of them would be a guess."""
    with pytest.raises(ConfigError) as raised:
        several.choose(None)

    listed = "1: Analytics001 (demo), 2: Liberty001 (demo), 10: Analytics001 (demo)"
    assert f"3 identities are registered here; {listed}" == str(raised.value)
    assert "--identity" in str(raised.value.hint)


def test_a_name_in_two_realms_is_not_a_choice(several: Place) -> None:
    """Every realm counts its participants from 001."""
    with pytest.raises(ConfigError, match="the name of 2 identities") as raised:
        several.choose("Analytics001")

    assert raised.value.hint == "choose one by its number"


@pytest.mark.parametrize("wanted", ["3", "0", "01", "analytics001", "jobs", ""])
def test_an_identity_that_there_is_not_is_refused(several: Place, wanted: str) -> None:
    """Names are as they were given, numbers as they are listed."""
    with pytest.raises(ConfigError, match="there is no identity") as raised:
        several.choose(wanted)

    assert "2: Liberty001 (demo)" in str(raised.value.hint)


def test_a_named_home_is_the_one_that_is_meant(several: Place) -> None:
    """``--home`` says which folder; what lies beside it does not matter."""
    named = Place(several.root, is_named=True)

    assert named.choose(None) == several.root
    assert named.choose("2") == several.root / "2"
    assert named.place_for_new() == several.root


def test_a_new_identity_takes_the_first_free_place(several: Place) -> None:
    """An interrupted registration has no identity yet, so it is found again."""
    Home(several.root / "3").enrolment_path.touch(0o600)

    assert several.place_for_new() == several.root / "3"
    assert several.number_of(several.root / "3") == 3
    assert several.number_of(several.root) == 1


@pytest.mark.parametrize("card", [None, "", "[]", '{"principal": 1}'])
def test_an_identity_without_a_card_has_its_number(
    several: Place, card: str | None
) -> None:
    """A damaged card is no reason not to work."""
    path = several.root / "2" / "identity.json"
    path.unlink()
    if card is not None:
        path.write_text(card)

    assert several.identities()[1].label == "2: without a name"
    assert several.choose("2") == several.root / "2"


def test_a_card_is_for_its_owner_only(several: Place) -> None:
    """It holds no secret, and is nobody else's business."""
    path = several.root / "2" / "identity.json"

    assert path.stat().st_mode & 0o777 == 0o600
