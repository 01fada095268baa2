"""What goes between the data process and a worker."""

from collections.abc import Mapping

import pytest

from participant.engines.base import Plan
from participant.engines.worker.messages import (
    MAX_TEXT,
    Answer,
    bounded,
    decode_answer,
    decode_plan,
    encode_answer,
    encode_plan,
    framed,
    read_length,
)
from shared import codec
from shared.errors import DecodeError, FailureCode, JobAbortedError
from shared.names import JobId

PLAN = Plan(JobId(bytes(16)), 3, 0, 2, 1, 2)


def test_plans_and_answers_travel_as_they_are() -> None:
    """Also without a width, and with a program."""
    given = Plan(JobId(b"j" * 16), 5, 4, 3, 2, None, b"\x93")

    assert decode_plan(encode_plan(given, 3)) == (given, 3)
    assert decode_answer(encode_answer(Answer())) == Answer()
    assert decode_answer(encode_answer(Answer(FailureCode.ENGINE, "why"))) == Answer(
        FailureCode.ENGINE, "why"
    )
    assert bounded("two\nlines" + "x" * 300) == ("two lines" + "x" * 300)[:MAX_TEXT]


@pytest.mark.parametrize(
    "changes",
    [{"party": None}, {"party": -1}, {"job": "text"}, {"program": 7}, {"width": "1"},
     {"blocks": None}, {"blocks": -1}, {"blocks": 1 << 40}, {"parties": "3"}],
)  # fmt: skip
def test_a_plan_that_is_none_is_refused(changes: Mapping[str, codec.Value]) -> None:
    """A worker computes on what was agreed and on nothing else."""
    fields = codec.decode_map(encode_plan(PLAN, 2))
    with pytest.raises(DecodeError):
        decode_plan(codec.encode({**fields, **changes}))


@pytest.mark.parametrize(
    "changes", [{"code": 7}, {"code": "magic"}, {"text": None}, {"text": b""}]
)
def test_an_answer_that_is_none_is_refused(changes: Mapping[str, codec.Value]) -> None:
    """A worker's memory may be damaged."""
    fields = codec.decode_map(encode_answer(Answer(FailureCode.ENGINE, "why")))
    with pytest.raises(DecodeError):
        decode_answer(codec.encode({**fields, **changes}))


def test_a_length_is_judged_before_anything_is_read() -> None:
    """Nobody takes memory for what will be refused."""
    length, block = framed([b"block"])

    assert block == b"block"
    assert read_length(length, 5) == 5

    with pytest.raises(JobAbortedError) as caught:
        read_length(length, 4)

    assert caught.value.code is FailureCode.ENGINE
