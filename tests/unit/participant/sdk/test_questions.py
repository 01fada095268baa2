"""From plain values to a question: what is taken, and what is refused."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from participant.columns import Missing
from participant.sdk.questions import make_question
from participant.service.question import Question
from participant.statistics.params import Reveal
from shared.errors import ConfigError, RefusalCode, RefusedError


def ask(statistic: object = "mean", **options: Any) -> Question:
    """Make a question out of values of any type."""
    given = {"dataset": "visits", "columns": ["a"], **options}
    make: Any = make_question
    question: Question = make(statistic, **given)
    return question


def test_a_question_is_made_of_few_words() -> None:
    """Everything else has the defaults of the command line."""
    question = ask()

    assert question.params.columns == ("a",)
    assert question.params.missing is Missing.REFUSE
    assert (question.engine, question.servers) == ("additive", 3)
    assert question.deadline == timedelta(seconds=60)
    assert question.result_life == timedelta(hours=24)


def test_every_option_reaches_the_question() -> None:
    """None is dropped on the way."""
    question = ask(
        "linear-regression",
        columns=("a", "b"),
        target="c",
        reveal="final",
        missing="drop",
        fixp=20,
        servers=5,
        location="here",
        csp="metal",
        ncpus=2,
        ram=8,
        min_sources=2,
        engine="mpyc",
        threshold=1,
        purpose="study",
        deadline="5m",
        keep=timedelta(hours=1),
    )

    assert question.params.reveal is Reveal.FINAL
    assert question.params.used() == ("a", "b", "c")
    assert question.requires.model_dump() == {
        "location": "here",
        "csp": "metal",
        "cpus": 2,
        "ram": 8,
    }
    assert (question.engine, question.threshold, question.min_sources) == ("mpyc", 1, 2)
    assert (question.purpose, question.params.fixp) == ("study", 20)
    assert question.deadline == timedelta(minutes=5)
    assert question.result_life == timedelta(hours=1)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (7, "7"),
        (-0.5, "-0.5"),
        (1e-05, "0.00001"),
        (1e99, "1E+99"),
        (np.float64(0.1), "0.1"),
        (np.int64(-3), "-3"),
        (Decimal("2.50"), "2.50"),
        ("1e3", "1e3"),
    ],
)
def test_numbers_of_any_kind_are_decimal_texts(number: object, text: str) -> None:
    """They travel as texts, so that every party reads the same number."""
    edges = ask("histogram", edges=[-1000, number] if text[0] != "1" else [0, number])

    assert edges.params.edges[1] == text


def test_arrays_are_lists_too() -> None:
    """Edges often come from ``np.linspace``."""
    question = ask("histogram", edges=np.linspace(0, 1, 3))

    assert question.params.edges == ("0.0", "0.5", "1.0")
    assert ask("quantile", q=0.000001).params.q == "0.000001"
    assert ask(columns="b").params.columns == ("b",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"statistic": "mode"}, "no statistic 'mode'"),
        ({"statistic": None}, "'statistic' has to be a text"),
        ({"columns": []}, "takes 1 to 32 columns"),
        ({"columns": [1]}, "'columns' has to be a list of texts"),
        ({"columns": None}, "columns, edges and groups are lists"),
        ({"columns": b"a"}, "columns, edges and groups are lists"),
        ({"columns": "no way"}, "a column's name has"),
        ({"target": "b"}, "takes no target"),
        ({"statistic": "histogram", "edges": "0,1"}, "edges and groups are lists"),
        (
            {"statistic": "histogram", "edges": [0, float("nan")]},
            "not a decimal number",
        ),
        (
            {"statistic": "histogram", "edges": [False, True]},
            "'edges' has to be a list",
        ),
        ({"statistic": "quantile", "q": 1.5}, "q has to be a decimal number"),
        ({"statistic": "quantile", "q": [1]}, "'q' has to be a text"),
        ({"missing": "ignore"}, "'drop' or 'refuse'"),
        ({"reveal": "all"}, "'sums' or 'final'"),
        ({"fixp": 99}, "fixp is 99"),
        ({"fixp": 16.0}, "'fixp' has to be a whole number"),
        ({"servers": "3"}, "servers has to be a whole number"),
        ({"min_sources": True}, "min_sources has to be a whole number"),
        ({"threshold": 1.0}, "threshold has to be a whole number"),
        ({"threshold": 9}, "withstands 1 to 2 of 3"),
        ({"engine": "abacus"}, "abacus"),
        ({"engine": 1}, "engine has to be a text"),
        ({"purpose": 1}, "purpose has to be a text"),
        ({"dataset": None}, "dataset has to be a text"),
        ({"ncpus": -1}, "ncpus and ram"),
        ({"ram": "8"}, "ram has to be a whole number"),
        ({"location": ""}, "location and csp are 1 to"),
        ({"location": 7}, "location and csp are 1 to"),
        ({"deadline": 60}, "durations such as 90s"),
        ({"server": 3}, "there is no option 'server'; did you mean 'servers'?"),
        ({"zzz": 3}, "there is no option 'zzz'; there are target, edges"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(
    options: dict[str, object], said: str
) -> None:
    """Whatever type it has, and before anything is sent."""
    with pytest.raises(RefusedError) as caught:
        ask(**options)

    assert said in str(caught.value)
    assert caught.value.code in {RefusalCode.PARAMETERS, RefusalCode.UNSUPPORTED}


@pytest.mark.parametrize(
    "options",
    [{"servers": 1}, {"deadline": "soon"}, {"deadline": timedelta()}, {"keep": "30d"}],
)
def test_bounds_are_told(options: dict[str, object]) -> None:
    """As on the command line."""
    with pytest.raises(ConfigError):
        ask(**options)
