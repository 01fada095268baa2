"""What is to be done: tasks at the broker, commands of the operator."""

from sqlalchemy import Connection, delete, insert, select

from manager.store import schema
from manager.store.records import CommandKind, Task
from manager.store.states import Packer

_TASKS = Packer(Task)

_OPEN_TASKS = select(schema.tasks.c.id, schema.tasks.c.argument).order_by(
    schema.tasks.c.id
)
_COMMANDS = select(schema.commands).order_by(schema.commands.c.id)


class Orders:
    """Tasks and commands.

    Args:
        connection: inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_task(self, task: Task) -> int:
        """Keep something to do at the broker; return its id."""
        result = self._connection.execute(
            insert(schema.tasks).values(
                kind=task.kind.value, argument=_TASKS.pack(task)
            )
        )
        number = result.inserted_primary_key
        return int(number[0]) if number else 0

    def tasks(self) -> list[tuple[int, Task]]:
        """Return what is to be done at the broker, in order."""
        rows = self._connection.execute(_OPEN_TASKS)
        return [(row[0], _TASKS.unpack(row[1])) for row in rows]

    def finish_task(self, number: int) -> None:
        """Note that a task is done."""
        self._connection.execute(
            delete(schema.tasks).where(schema.tasks.c.id == number)
        )

    def add_command(self, kind: CommandKind, argument: bytes, created: int) -> None:
        """Ask something of the running manager; ``created`` in ms."""
        self._connection.execute(
            insert(schema.commands).values(
                kind=kind.value, argument=argument, created=created
            )
        )

    def take_commands(self) -> list[tuple[CommandKind, bytes]]:
        """Return what the operator asked for, in order, and forget it."""
        rows = self._connection.execute(_COMMANDS).mappings()
        commands = [(CommandKind(row["kind"]), row["argument"]) for row in rows]
        if commands:
            self._connection.execute(delete(schema.commands))
        return commands
