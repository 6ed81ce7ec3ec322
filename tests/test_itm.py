"""The decoder of trace packets, on streams made by hand from the Armv7-M manual's appendix."""

from __future__ import annotations

import random

import pytest

from tinymill.deploy.itm import ItmDecoder

SYNC = bytes(5) + b"\x80"


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        ("01 41", "41"),
        ("02 41 42", "41 42"),
        ("03 41 42 43 44 01 45", "41 42 43 44 45"),
        ("09 41 01 42 f9 43", "42"),  # ports 1 and 31
        ("05 41 0e 42 43 17 44 45 46 47 01 48", "48"),  # the DWT's: events, exceptions, a PC
        ("00 00 00 00 00 80 01 41", "41"),
        ("01 41 00 00 00 00 00 00 00 80 01 42", "41 42"),  # a longer synchronisation
        ("01 41 70 01 42", "41 42"),  # overflow
        ("01 41 10 60 01 42", "41 42"),  # local time stamps of one byte
        ("01 41 c0 91 90 90 05 01 42", "41 42"),  # of five
        ("01 41 94 81 82 83 04 01 42", "41 42"),  # global time stamps: low
        ("01 41 b4 81 82 83 84 85 06 01 42", "41 42"),  # and high, of 64 bits
        ("01 41 88 81 02 01 42", "41 42"),  # an extension of several bytes
        ("18 01 41 08 01 42", "42"),  # page 1 of stimulus ports, and back
        ("03 41 42", "41 42"),  # ends in the middle of a packet
        ("", ""),
    ],
)
def test_what_is_on_the_port(stream: str, found: str) -> None:
    data, wanted = bytes.fromhex(stream), bytes.fromhex(found)
    assert ItmDecoder().feed(data) == wanted
    decoder = ItmDecoder()
    assert b"".join(decoder.feed(bytes([byte])) for byte in data) == wanted


@pytest.mark.parametrize(
    "stream",
    [
        "07 01 00 01 00 01 00 01 00 01 41",  # the filler of firmware brings it back
        "43 54 01 47 00 00 00 00 00 80 01 41",  # or a synchronisation
        "94 81 00 00 00 00 00 80 01 41",  # cut off in a time stamp
    ],
)
def test_a_stream_may_begin_inside_a_packet(stream: str) -> None:
    assert ItmDecoder().feed(bytes.fromhex(stream))[-1:] == b"A"


def test_other_ports_and_overflows() -> None:
    decoder = ItmDecoder(port=31)
    assert decoder.feed(bytes.fromhex("01 41 70 f9 42 70")) == b"\x42"
    assert decoder.overflows == 2


def test_any_bytes_are_survived_and_a_synchronisation_ends_them() -> None:
    rng = random.Random(1)
    for length in range(200):
        decoder = ItmDecoder()
        decoder.feed(rng.randbytes(length))
        decoder.feed(SYNC)
        assert decoder.feed(b"\x01\x41\x02\x42\x43") == b"ABC"
