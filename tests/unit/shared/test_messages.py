"""Messages refuse what is not exactly theirs."""

import pytest

from shared import codec, messages
from shared.errors import DecodeError
from shared.messages import JobRefuse, RosterEntry
from tests.vectors.samples import MESSAGES


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_an_unknown_field_is_refused(name: str) -> None:
    """A changed or added field is a new version of the protocol."""
    value = codec.decode_map(MESSAGES[name].pack()) | {"extra": 1}

    with pytest.raises(DecodeError):
        messages.read(name, codec.encode(value))


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_message_is_not_read_under_another_name(name: str) -> None:
    """The payload says what it is, and so does the header."""
    other = "log.off" if name != "log.off" else "job.query"

    with pytest.raises(DecodeError, match="differ"):
        messages.read(other, MESSAGES[name].pack())


def test_a_message_that_does_not_exist_is_refused() -> None:
    """What is not in the catalogue is not read."""
    with pytest.raises(DecodeError, match=r"no message 'key\.roll'"):
        messages.read("key.roll", codec.encode({"type": "key.roll"}))


@pytest.mark.parametrize(
    ("structure", "changes"),
    [
        (RosterEntry, {"p": "no principal", "role": "mpcs", "duties": ["compute"]}),
        (RosterEntry, {"p": "MPC_server_001", "role": "king", "duties": ["compute"]}),
        (RosterEntry, {"p": "MPC_server_001", "role": "mpcs", "duties": []}),
    ],
)
def test_names_and_enums_are_checked(
    structure: type[messages.Structure], changes: dict[str, codec.Value]
) -> None:
    """Names have one form, enums their own words."""
    with pytest.raises(DecodeError):
        messages.validate(structure, changes)


@pytest.mark.parametrize(
    "changes",
    [{"name": "not a label!", "cols": []}, {"name": "visits", "cols": ["a\x07b"]}],
)
def test_labels_and_texts_are_checked(changes: dict[str, codec.Value]) -> None:
    """A dataset's name may become part of a file name or a log line."""
    with pytest.raises(DecodeError):
        messages.validate(messages.DatasetNotice, changes)


def test_an_error_about_input_does_not_show_it() -> None:
    """Rejected input may be a secret."""
    value = codec.decode_map(MESSAGES["job.refuse"].pack()) | {"code": "s3cret"}

    with pytest.raises(DecodeError) as caught:
        messages.validate(JobRefuse, value)
    assert "s3cret" not in str(caught.value)
