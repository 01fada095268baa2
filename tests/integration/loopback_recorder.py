"""Record what crosses the loopback interface: ``python loopback_recorder.py FILE``.

FILE gets one record a TCP segment with a payload: source port, destination port,
length (16, 16 and 32 bits, big-endian), payload. It ends with SIGTERM; then stdout
says how many packets the kernel had no room for. Needs the right to open packet
sockets, and exits with 77 without it.
"""

import signal
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

RECORD = struct.Struct("!HHI")
NO_RIGHT = 77
_ETHERNET_BYTES = 14
_TCP = 6
_IP_VERSION = 4
_BUFFER_BYTES = 64 << 20
_SO_RCVBUFFORCE = 33
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_ETH_P_IP = 0x0800


def payload(frame: memoryview) -> tuple[int, int, memoryview] | None:
    """Return the ports and the payload of an IPv4 TCP segment, if it has one."""
    packet = frame[_ETHERNET_BYTES:]
    if len(packet) < 40 or packet[0] >> 4 != _IP_VERSION or packet[9] != _TCP:
        return None
    header = (packet[0] & 15) * 4
    total = int.from_bytes(packet[2:4]) or len(packet)
    segment = packet[header:total]
    source, target = struct.unpack_from("!HH", segment)
    body = segment[(segment[12] >> 4) * 4 :]
    return (source, target, body) if len(body) else None


def flows(path: Path) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield every direction of every connection, by its ports, in one piece."""
    data = path.read_bytes()
    parts: dict[tuple[int, int], bytearray] = {}
    at = 0
    while at + RECORD.size <= len(data):
        source, target, length = RECORD.unpack_from(data, at)
        at += RECORD.size
        parts.setdefault((source, target), bytearray()).extend(data[at : at + length])
        at += length
    for ports, body in parts.items():
        yield ports, bytes(body)


def main(path: Path) -> int:
    """Record until SIGTERM."""
    try:
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP))
        tap.bind(("lo", _ETH_P_IP))
        tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    except PermissionError:
        return NO_RIGHT
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    tap.settimeout(0.2)
    buffer = memoryview(bytearray(1 << 17))
    with path.open("wb", buffering=1 << 20) as file:
        sys.stdout.write("recording\n")
        sys.stdout.flush()
        while True:
            try:
                size, address = tap.recvfrom_into(buffer)
            except TimeoutError:
                if ended:
                    break
                file.flush()
                continue
            # Every packet is seen twice on this interface: as it leaves and comes.
            if address[2] == socket.PACKET_OUTGOING:
                continue
            found = payload(buffer[:size])
            if found is not None:
                source, target, body = found
                file.write(RECORD.pack(source, target, len(body)))
                file.write(body)
    counted = tap.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    sys.stdout.write(f"{struct.unpack('II', counted)[1]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
