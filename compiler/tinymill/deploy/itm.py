"""Takes the bytes of one stimulus port out of a trace stream, as a debugger passes it on from SWO.

The packets are those of the Armv7-M and Armv8-M Architecture Reference Manuals, appendix "DWT and
ITM packet protocol"; the trace port's own frames (TPIU formatter) must be off, as SWO has them.
"""

from __future__ import annotations

SYNC = bytes(5) + b"\x80"
"""At least 47 bits of 0 and a 1. No other packet has as many zeros, so it is found anywhere."""
OVERFLOW = 0x70
CONTINUES = 0x80
MOST_CONTINUED = 7
"""Bytes of the longest packet whose bytes say whether another follows: a global time stamp."""
SIZES = (0, 1, 2, 4)
"""Payload bytes of a source packet, by the two low bits of its header."""


class ItmDecoder:
    """Finds what was written to a stimulus port (0 to 31); packets may come in any pieces.

    ``overflows`` counts the packets that say that the core wrote faster than the pin sends.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.overflows = 0
        self._page = 0
        self._header = 0
        self._left = 0  # payload bytes that a source packet still has
        self._continued = 0  # bytes so far of a packet whose bytes continue; 0: none
        self._tail = b""  # the last bytes, in which a synchronisation may begin

    def feed(self, data: bytes) -> bytes:
        """The port's bytes in ``data``, the stream's next."""
        found = bytearray()
        for byte in data:
            self._tail = (self._tail + bytes([byte]))[-len(SYNC) :]
            if self._tail == SYNC:
                self._left = self._continued = self._page = 0
            elif self._left:
                self._left -= 1
                if self._page * 32 + (self._header >> 3) == self.port and not self._header & 4:
                    found.append(byte)
            elif self._continued:
                self._continued += 1
                if not byte & CONTINUES or self._continued == MOST_CONTINUED:
                    self._continued = 0
            else:
                self._begin(byte)
        return bytes(found)

    def _begin(self, header: int) -> None:
        if header & 3:  # instrumentation, or with bit 2 the DWT's
            self._header = header
            self._left = SIZES[header & 3]
        elif header == OVERFLOW:
            self.overflows += 1
        elif header & 0xF == 8 and not header & CONTINUES:
            self._page = header >> 4 & 7  # of stimulus ports
        elif header & CONTINUES:  # time stamps, and extensions of several bytes
            self._continued = 1
        # else a time stamp of one byte, a byte of 0 of a synchronisation, or reserved
