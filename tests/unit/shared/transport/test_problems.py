"""Errors of the broker say what is wrong and what to do."""

from shared.transport import problems


def test_the_innermost_reason_is_the_one_that_is_told() -> None:
    """A library's wrapper says nothing to a person."""

    class WorkflowFailedError(Exception):
        """As pika's: keeps what it wraps in an attribute."""

        def __init__(self, *errors: BaseException) -> None:
            super().__init__()
            self.exceptions = errors

    refused = ConnectionRefusedError(111, "Connection refused")
    nested = RuntimeError(WorkflowFailedError(TimeoutError(), RuntimeError(refused)))

    assert problems.root_reason(nested) == "[Errno 111] Connection refused"


def test_an_error_without_words_is_told_by_its_name() -> None:
    """Never an empty message."""
    assert problems.root_reason(TimeoutError()) == "TimeoutError"


def test_every_problem_has_a_hint() -> None:
    """Every error that a user may meet says what to do."""
    found = [
        problems.vhost_refused("h:1", "r"),
        problems.login_refused("h:1"),
        problems.unreachable("h:1", OSError("x")),
        problems.operation_refused("NOT_FOUND"),
        problems.link_lost("x"),
    ]

    assert all(problem.hint for problem in found)
