"""The AP exchange as a bounded model, and every order in which it can be attacked.

Three tries of client A with one ticket, three of server S, and the corrupt client I
that has a ticket of its own and A's stolen one. The attacker may repeat and reorder
what is on the data links of one leaf, across links too: more than TLS lets anybody do,
so the tries at S are links of their own as well as jobs on one. What the parties do is
in docs/protocol.md, section "AP exchange".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum, unique
from typing import TypeAlias

from tests.models.dolev_yao import (
    Binding,
    Knowledge,
    Term,
    can_build,
    close,
    deliveries,
    pair,
    substitute,
)

TRIES = (1, 2, 3)
STATE_LIMIT = 2_000_000

Event: TypeAlias = tuple[Term, ...]
Events: TypeAlias = frozenset[Event]
Goal: TypeAlias = Callable[[Events, Knowledge], str | None]


@unique
class Mutant(StrEnum):
    """One rule of the protocol that is left out."""

    NONE = "none"
    TICKET_IN_CLEAR = "the ticket is not sealed under the server's ticket key"
    NO_CONFIRMATION = "the ticket's leaf is not compared, and there is no MAC"
    NO_SERVER_NONCE = "the server's nonce is not in the MAC of ap.req"
    ONE_NONCE = "the server keeps the nonce of link.hello for the next job"
    NEVER_SPENT = "a ticket is not spent by the data under it"
    OLD_LINK_STAYS = "a client that is admitted again keeps its older link"
    NO_NONCES_IN_REPLY = "ap.rep covers no nonce"


@dataclass(frozen=True, slots=True)
class Choose:
    """The attacker connects: which leaf the TLS client shows."""

    variable: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Receive:
    """The role waits for a term of this form."""

    pattern: Term


@dataclass(frozen=True, slots=True)
class Send:
    """The role puts a term on the network."""

    term: Term


@dataclass(frozen=True, slots=True)
class Happen:
    """The role believes something; the goals are about what was believed."""

    event: Event


Step: TypeAlias = Choose | Receive | Send | Happen
Role: TypeAlias = tuple[Step, ...]


def ticket(client: Term, leaf: Term, key: Term) -> Term:
    """Return a ticket for S; its id is named by its key."""
    return ("senc", "kTicket", pair("t-ticket", client, "pS", "j", "m", leaf, key))


def request_mac(
    mutant: Mutant, key: Term, client: Term, leaf: Term, server_nonce: Term, nonce: Term
) -> Term:
    """Return the MAC of an ap.req; the leaf stands for the channel binding."""
    fields = ("t-apreq", client, "pS", "j", "m", leaf)
    if mutant is Mutant.NO_SERVER_NONCE:
        return ("mac", key, pair(*fields, nonce))
    return ("mac", key, pair(*fields, server_nonce, nonce))


def reply(
    mutant: Mutant,
    key: Term,
    client: Term,
    leaf: Term,
    server_nonce: Term,
    nonce: Term,
    following: Term,
) -> Term:
    """Return an ap.rep: the nonce for the next job, and the MAC."""
    fields = ("t-aprep", "pS", client, "j", "m", leaf)
    nonces = () if mutant is Mutant.NO_NONCES_IN_REPLY else (server_nonce, nonce)
    return pair(following, ("mac", key, pair(*fields, *nonces, following)))


def client_role(mutant: Mutant, number: int) -> Role:
    """Return one try of A: a link, its ticket, its data."""
    server_nonce, nonce, following = f"?nS@A{number}", f"nA{number}", f"?nN@A{number}"
    link: Term = ("tls", "lA")
    mac = request_mac(mutant, "kA", "pA", "lA", server_nonce, nonce)
    answer = reply(mutant, "kA", "pA", "lA", server_nonce, nonce, following)
    return (
        Receive(("senc", link, pair("t-hello", server_nonce))),
        Happen(("init", "pA", server_nonce, nonce)),
        Send(("senc", link, pair("t-req", ticket("pA", "lA", "kA"), nonce, mac))),
        Receive(("senc", link, answer)),
        Happen(("done", "pA", server_nonce, nonce)),
        # The nonce stands for the place of the data in the link.
        Send(("senc", link, pair("t-data", server_nonce, "dA"))),
    )


def server_role(mutant: Mutant, number: int) -> Role:
    """Return one try at S: a link or the next job on one."""
    nonce = "nS" if mutant is Mutant.ONE_NONCE else f"nS{number}"
    leaf, client, key, client_nonce, data = (
        f"?{name}@S{number}" for name in ("leaf", "party", "key", "nA", "data")
    )
    link: Term = ("tls", leaf)
    confirmed = f"?lC@S{number}" if mutant is Mutant.NO_CONFIRMATION else leaf
    if mutant is Mutant.TICKET_IN_CLEAR:
        shown = pair("t-ticket", client, "pS", "j", "m", confirmed, key)
    else:
        shown = ticket(client, confirmed, key)
    asked = [shown, client_nonce]
    if mutant is not Mutant.NO_CONFIRMATION:
        asked.append(request_mac(mutant, key, client, leaf, nonce, client_nonce))
    answer = reply(mutant, key, client, leaf, nonce, client_nonce, f"nN{number}")
    return (
        Choose(leaf, ("lA", "lI")),
        Send(("senc", link, pair("t-hello", nonce))),
        Receive(("senc", link, pair("t-req", *asked))),
        Happen(("accept", client, nonce, key, client_nonce, str(number))),
        Send(("senc", link, answer)),
        Receive(("senc", link, pair("t-data", nonce, data))),
        Happen(("take", client, nonce, key, data, str(number))),
    )


def start_knowledge() -> Knowledge:
    """Return what the attacker has: names, tags, all that I has, A's ticket."""
    names = {"pA", "pS", "pI", "lA", "j", "m"}
    tags = {"t-ticket", "t-apreq", "t-aprep", "t-hello", "t-req", "t-data"}
    own: set[Term] = {"kI", "lI", ("tls", "lI"), "nI", "dI"}
    tickets = {ticket("pI", "lI", "kI"), ticket("pA", "lA", "kA")}
    return close(frozenset(names | tags | own | tickets))


def violation(events: Events, known: Knowledge) -> str | None:
    """Return which property is broken, if one is."""
    accepts = [event for event in events if event[0] == "accept"]
    takes = [event for event in events if event[0] == "take"]
    for _, client, nonce, key, client_nonce, _ in accepts:
        if (client, key) not in {("pA", "kA"), ("pI", "kI")}:
            return "S accepts a ticket that M did not make"
        if client == "pA" and ("init", "pA", nonce, client_nonce) not in events:
            return "S accepts A where A did not ask"
    asked = [event[4] for event in accepts if event[1] == "pA"]
    if len(set(asked)) < len(asked):
        return "S accepts one ap.req of A twice"
    if len({event[3] for event in takes}) < len(takes):
        return "S takes data twice under one ticket"
    if any(event[1] == "pA" and event[4] != "dA" for event in takes):
        return "S takes data of another for A's"
    agreed = {(event[1], event[2], event[4]) for event in accepts}
    if any(event[0] == "done" and event[1:] not in agreed for event in events):
        return "A ends with a server that did not accept this try"
    if can_build("kA", known) or can_build("dA", known):
        return "the attacker learns k_cs or the data of A"
    return None


def finished(events: Events, _known: Knowledge) -> str | None:
    """Say so when S has A's data after both have agreed."""
    return "finished" if any(e[0] == "take" and e[1] == "pA" for e in events) else None


def finished_by_a_later_try(events: Events, known: Knowledge) -> str | None:
    """Say so when A was let in more than once, with the same ticket."""
    tries = sum(event[0] == "accept" and event[1] == "pA" for event in events)
    return finished(events, known) if tries > 1 else None


@dataclass(frozen=True, slots=True)
class _State:
    """``roles``: what each has still to do; ``binding``: what their variables are."""

    roles: tuple[Role, ...]
    binding: Binding
    known: Knowledge
    events: Events

    def key(self) -> object:
        """Return what tells it from every other state."""
        lengths = tuple(map(len, self.roles))
        return lengths, frozenset(self.binding.items()), self.known, self.events


@dataclass
class Search:
    """Looks at every state that can be reached until the goal says what it found."""

    mutant: Mutant
    goal: Goal
    seen: set[object] = field(default_factory=set)

    def run(self) -> str | None:
        """Return the finding, or None after everything was looked at.

        Raises:
            RuntimeError: there are more states than the limit: nothing is shown.
        """
        roles = (
            *(client_role(self.mutant, number) for number in TRIES),
            *(server_role(self.mutant, number) for number in TRIES),
        )
        waiting = [_State(roles, {}, start_knowledge(), frozenset())]
        while waiting:
            state = self._settled(waiting.pop())
            key = state.key()
            if key in self.seen:
                continue
            self.seen.add(key)
            if len(self.seen) > STATE_LIMIT:
                raise RuntimeError("too many states: the result would say nothing")
            found = self.goal(state.events, state.known)
            if found is not None:
                return found
            waiting.extend(_successors(state))
        return None

    def _settled(self, state: _State) -> _State:
        """Return the state after sends and beliefs, which wait for nobody."""
        for index, role in enumerate(state.roles):
            if not role:
                continue
            rest = replace(state, roles=_with(state.roles, index, role[1:]))
            match role[0]:
                case Send(term):
                    heard = substitute(term, state.binding)
                    known = close(state.known | {heard})
                    return self._settled(replace(rest, known=known))
                case Happen(event):
                    happened = tuple(substitute(part, state.binding) for part in event)
                    return self._settled(self._after(rest, index, happened))
                case _:
                    continue
        return state

    def _after(self, state: _State, index: int, event: Event) -> _State:
        """Return the state after an event; S refuses a ticket that was spent."""
        roles = state.roles
        if event[0] == "accept":
            is_spent = any(e[0] == "take" and e[3] == event[3] for e in state.events)
            if is_spent and self.mutant is not Mutant.NEVER_SPENT:
                return replace(state, roles=_with(roles, index, ()))
            for older in state.events:
                if (
                    older[:2] == event[:2]
                    and self.mutant is not Mutant.OLD_LINK_STAYS
                    and isinstance(older[-1], str)
                ):
                    roles = _with(roles, len(TRIES) + int(older[-1]) - 1, ())
        return replace(state, roles=roles, events=state.events | {event})


def _successors(state: _State) -> Iterator[_State]:
    """Yield what every choice and delivery of the attacker leads to."""
    for index, role in enumerate(state.roles):
        if not role:
            continue
        rest = replace(state, roles=_with(state.roles, index, role[1:]))
        match role[0]:
            case Choose(variable, options):
                for option in options:
                    yield replace(rest, binding={**state.binding, variable: option})
            case Receive(pattern):
                for binding in deliveries(pattern, state.known, state.binding):
                    yield replace(rest, binding=binding)
            case Send() | Happen():
                raise RuntimeError("a state that was not settled")


def _with(roles: tuple[Role, ...], index: int, role: Role) -> tuple[Role, ...]:
    return (*roles[:index], role, *roles[index + 1 :])
