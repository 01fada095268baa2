"""Terms of a protocol, and an attacker who owns the network and takes them apart.

An atom is a string whose first letter is its sort, everything else a tuple of a tag
and its parts::

    ("pair", ...)   ("senc", key, plaintext)   ("mac", key, text)   ("tls", leaf)

A string that starts with ``?`` is a variable of a role; the letter after it is the
sort of the atoms that it can stand for, as strict messages give it. ``("tls", leaf)``
is the key of a data link whose client holds ``leaf``; TLS itself is taken as secure.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

Term: TypeAlias = "str | tuple[Term, ...]"
Binding: TypeAlias = Mapping[str, Term]
Knowledge: TypeAlias = frozenset[Term]


def pair(*parts: Term) -> Term:
    """Return a message of several parts, which anybody can take apart."""
    return ("pair", *parts)


def substitute(term: Term, binding: Binding) -> Term:
    """Return a term with the variables that are known replaced."""
    if isinstance(term, str):
        return binding.get(term, term)
    return (term[0], *(substitute(part, binding) for part in term[1:]))


def can_build(term: Term, known: Knowledge) -> bool:
    """Say whether the attacker can compose a term without variables."""
    if term in known:
        return True
    if isinstance(term, str) or term[0] == "tls":
        return False
    return all(can_build(part, known) for part in term[1:])


def close(terms: Knowledge) -> Knowledge:
    """Return everything that can be read out of these terms."""
    known = set(terms)
    grew = True
    while grew:
        grew = False
        for term in tuple(known):
            fresh = set(_parts(term, frozenset(known))) - known
            known |= fresh
            grew = grew or bool(fresh)
    return frozenset(known)


def deliveries(pattern: Term, known: Knowledge, binding: Binding) -> Iterator[Binding]:
    """Yield every binding under which the attacker can send what a role waits for.

    It sends a term that it has heard, or builds one part by part.
    """
    pattern = substitute(pattern, binding)
    if not _has_variables(pattern):
        if can_build(pattern, known):
            yield binding
        return
    seen = set()
    for term in known:
        extended = _unify(pattern, term, binding)
        if extended is not None and (key := frozenset(extended.items())) not in seen:
            seen.add(key)
            yield extended
    if not isinstance(pattern, str) and pattern[0] != "tls":
        yield from _of_parts(pattern[1:], known, binding)


def _of_parts(
    parts: tuple[Term, ...], known: Knowledge, binding: Binding
) -> Iterator[Binding]:
    if not parts:
        yield binding
        return
    for extended in deliveries(parts[0], known, binding):
        yield from _of_parts(parts[1:], known, extended)


def _parts(term: Term, known: Knowledge) -> tuple[Term, ...]:
    """Return what the attacker reads out of one term."""
    if isinstance(term, str):
        return ()
    if term[0] == "pair":
        return term[1:]
    if term[0] == "senc" and can_build(term[1], known):
        return (term[2],)
    return ()


def _has_variables(term: Term) -> bool:
    if isinstance(term, str):
        return term.startswith("?")
    return any(_has_variables(part) for part in term[1:])


def _unify(pattern: Term, term: Term, binding: Binding) -> Binding | None:
    """Return the binding extended so that the pattern equals the term, if it can."""
    if isinstance(pattern, str):
        if not pattern.startswith("?"):
            return binding if pattern == term else None
        if pattern in binding:
            return binding if binding[pattern] == term else None
        fits = isinstance(term, str) and term[0] == pattern[1]
        return {**binding, pattern: term} if fits else None
    if isinstance(term, str) or pattern[0] != term[0] or len(pattern) != len(term):
        return None
    for sub_pattern, sub_term in zip(pattern[1:], term[1:], strict=True):
        extended = _unify(sub_pattern, sub_term, binding)
        if extended is None:
            return None
        binding = extended
    return binding
