"""An MPC engine as a package of its own: the servers open the sum of all values.

A value is split into numbers that are uniform modulo M but for their sum. Each server
adds up what it gets and tells the others; so every server learns the sum, and nothing
else, and the consumer sees whether they agree.
"""

from participant.engines.base import MAX_SOURCES
from shared.errors import FailureCode, JobAbortedError, RefusalCode, RefusedError

M = 2**521 - 1
SIZE = 66  # bytes of a number below M
LARGEST = M // 2 // MAX_SOURCES


class OpenSum:
    name = "open-sum"  # as in pyproject.toml
    version = "1"  # to be changed with the shares or the messages between servers
    in_worker = True  # servers talk with each other
    preload = ()  # modules that run() needs and that are slow to import

    def max_threshold(self, parties):
        return parties - 1

    def max_block_bytes(self, plan):
        self.check(plan)
        return plan.width * SIZE

    def check(self, plan):
        if plan.program or not plan.width or not 0 < plan.sources <= MAX_SOURCES:
            refuse("adds up one value or more of 1 to 65536 sources")
        if not 0 < plan.threshold < plan.parties:
            refuse(f"withstands 1 to {plan.parties - 1} of {plan.parties} servers")

    def check_values(self, values, plan):
        self.check(plan)
        if len(values) != plan.width:
            refuse(f"takes {plan.width} values", RefusalCode.INTERNAL)
        if any(abs(int(value)) > LARGEST for value in values):
            refuse("takes no values as large as these", RefusalCode.OVERFLOW)

    def share(self, values, plan, entropy):
        self.check_values(values, plan)
        # 16 bytes more than M has: the remainder is uniform but for 2**-128.
        masks = [
            [int.from_bytes(entropy(SIZE + 16), "big") % M for _ in values]
            for _ in range(plan.parties - 1)
        ]
        last = [int(v) - sum(m) for v, *m in zip(values, *masks, strict=True)]
        return [pack(numbers) for numbers in [*masks, last]]

    def run(self, plan, blocks, peers):
        if len(blocks) != plan.sources:
            fail("another number of blocks than of sources")
        own = added(blocks, plan)
        sums = [own]
        for party in sorted(peers):  # each pair in turn: whoever sends is read
            if plan.party < party:
                peers[party].sendall(own)
            sums.append(receive(peers[party], len(own)))
            if plan.party > party:
                peers[party].sendall(own)
        return added(sums, plan)

    def reconstruct(self, shares, plan):
        if len(shares) != plan.parties or len(set(shares)) != 1:
            fail("the servers do not agree on the sum")
        totals = unpack(shares[0], plan)
        return [total - M if total > M // 2 else total for total in totals]


def pack(numbers):
    return b"".join((number % M).to_bytes(SIZE, "big") for number in numbers)


def unpack(block, plan):
    if len(block) != plan.width * SIZE:
        fail("a block is not as long as the plan says")
    return [
        int.from_bytes(block[i : i + SIZE], "big") for i in range(0, len(block), SIZE)
    ]


def added(blocks, plan):
    return pack(map(sum, zip(*(unpack(block, plan) for block in blocks), strict=True)))


def receive(peer, count):
    data = b""
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            fail("a server ended in the middle")
        data += part
    return data


def refuse(what, code=RefusalCode.UNSUPPORTED):
    raise RefusedError(f"engine 'open-sum' {what}", code)


def fail(what):
    raise JobAbortedError(what, FailureCode.ENGINE)
