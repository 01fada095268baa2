"""A link driven frame by frame, for peers that do what ours never do."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from participant.dataplane.frames import (
    Frame,
    FrameDecoder,
    FrameType,
    data_frames,
    encode_frame,
)
from participant.dataplane.tls import server_name
from participant.protocol.ap_exchange import Answer, Call, check_reply, request
from participant.protocol.peer_hello import LinkFacts, read_link_hello
from shared.messages import ServerTicket
from tests.integration.dataplane_realm import Job, Party

CLIENT_NONCE = bytes(16)
WAIT_SECONDS = 5.0


@dataclass
class RawLink:
    """One end of a link; what it sends is up to the test."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    facts: LinkFacts
    nonce: bytes = b""
    decoder: FrameDecoder = field(default_factory=FrameDecoder)
    frames: list[Frame] = field(default_factory=list)

    def send(self, kind: FrameType, body: bytes = b"") -> None:
        """Send a frame."""
        self.writer.write(encode_frame(kind, body))

    def send_bytes(self, data: bytes) -> None:
        """Send anything."""
        self.writer.write(data)

    def send_block(self, block: bytes) -> None:
        """Send DATA and END."""
        for frame in data_frames(block):
            self.writer.writelines(frame)

    async def receive(self) -> Frame | None:
        """Return the next frame, or None when the other end has closed."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.frames:
                try:
                    data = await self.reader.read(1 << 16)
                except (ConnectionError, ssl.SSLError):
                    data = b""
                if not data:
                    return None
                self.frames += self.decoder.feed(data)
        return self.frames.pop(0)

    async def expect(self, kind: FrameType) -> Frame:
        """Return the next frame, which has to be of this kind."""
        frame = await self.receive()
        assert frame is not None
        assert kind is frame.type
        return frame

    async def is_refused(self) -> bool:
        """Say whether the other end closes, with no frame but one ABORT before."""
        frame = await self.receive()
        if frame is not None and frame.type is FrameType.ABORT:
            assert frame.body == b"link_failed"
            frame = await self.receive()
        return frame is None

    def call(self, job: Job, client: Party, ticket: ServerTicket) -> Call:
        """Return the AP exchange that this client would do."""
        return Call(
            client=client.name,
            server=ticket.s,
            job=job.id,
            epoch=job.epoch,
            manifest_hash=job.manifest_hash,
            ticket=ticket.ticket,
            key=ticket.k_cs,
        )

    def ask(self, call: Call) -> bytes:
        """Send an ap.req and return its body."""
        body = request(call, self.facts, self.nonce, CLIENT_NONCE)
        self.send(FrameType.AP_REQ, body)
        return body

    async def is_admitted(self, call: Call) -> Answer:
        """Do the AP exchange."""
        nonce = self.nonce
        self.ask(call)
        reply = await self.expect(FrameType.AP_REP)
        answer = check_reply(call, self.facts, nonce, CLIENT_NONCE, reply.body)
        self.nonce = answer.next_nonce
        return answer

    def close(self) -> None:
        """Drop the connection."""
        self.writer.transport.abort()


@asynccontextmanager
async def dialled(
    client: Party, server: Party, context: ssl.SSLContext | None = None
) -> AsyncIterator[RawLink]:
    """Give a link with a client's own leaf, after its link.hello."""
    identities = client.plane._identities
    identity = identities.of(client.spki)
    assert identity is not None
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        server.port,
        ssl=context or identity.dialler,
        server_hostname=server_name(server.spki),
    )
    tls = writer.get_extra_info("ssl_object")
    link = RawLink(reader, writer, identities.leaves(tls).facts)
    try:
        hello = await link.expect(FrameType.LINK_HELLO)
        link.nonce = read_link_hello(hello.body)
        yield link
    finally:
        link.close()
