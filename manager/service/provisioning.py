"""Does at the broker what committed transactions ask for: users and queues."""

import asyncio
import logging
from typing import Protocol, assert_never

from manager.store.records import Task, TaskKind
from manager.store.store import Store
from shared.errors import TransportError
from shared.names import Principal, Role, TokenId

_log = logging.getLogger(__name__)


class Provisioner(Protocol):
    """Makes and removes users and queues; each call may be repeated, and blocks."""

    def create_enrolment(self, token_id: TokenId, password_hash: str) -> None:
        """Let the holder of a token in."""
        ...

    def delete_enrolment(self, token_id: TokenId) -> None:
        """Remove a token's user and queue."""
        ...

    def create_participant(
        self, principal: Principal, role: Role, password_hash: str
    ) -> None:
        """Give a participant its inbox and its broker user."""
        ...

    def delete_participant(self, principal: Principal, role: Role) -> None:
        """Remove a participant's user and inbox."""
        ...


class Provisioning:
    """The tasks of the store, done in order.

    Args:
        store: of the realm.
        provisioner: does them.
        in_thread: whether it blocks for long.
    """

    def __init__(
        self, store: Store, provisioner: Provisioner, *, in_thread: bool
    ) -> None:
        self._store = store
        self._provisioner = provisioner
        self._in_thread = in_thread
        self._turn = asyncio.Lock()

    async def run_once(self) -> list[int]:
        """Do what is to be done; return the tasks that are done.

        The first one that fails stops the rest: they are tried again next time.
        """
        done: list[int] = []
        async with self._turn:
            with self._store.transaction() as unit:
                tasks = unit.orders.tasks()
            for number, task in tasks:
                try:
                    if self._in_thread:
                        await asyncio.to_thread(self._do, task)
                    else:
                        self._do(task)
                except TransportError as error:
                    _log.warning(
                        "broker administration failed",
                        extra={"task": task.kind.value, "reason": str(error)},
                    )
                    break
                with self._store.transaction() as unit:
                    unit.orders.finish_task(number)
                done.append(number)
        return done

    def _do(self, task: Task) -> None:
        match task.kind:
            case TaskKind.CREATE_PARTICIPANT:
                self._provisioner.create_participant(
                    Principal(task.principal), Role(task.role), task.password_hash
                )
            case TaskKind.DELETE_PARTICIPANT:
                self._provisioner.delete_participant(
                    Principal(task.principal), Role(task.role)
                )
            case TaskKind.DELETE_ENROLMENT:
                self._provisioner.delete_enrolment(TokenId(task.token_id))
            case _:
                assert_never(task.kind)
