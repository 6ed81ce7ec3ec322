"""Boards that QEMU lacks, on a CPU emulator: their memory, and a model of the one UART.

The models are written from the reference manuals beside the drivers, not from the drivers. All
other registers hold what was written to them; one that the set-up waits for shows what it waits
for once the set-up has come there, in the order of the board's file.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

import unicorn
from unicorn import arm_const, riscv_const

from tinymill.boards import Board

PAGE = 0x1000
PRIVATE = 0xE000_0000
"""Cortex-M's private peripherals."""
CORES = {
    "cortex-m0plus": arm_const.UC_CPU_ARM_CORTEX_M0,
    "cortex-m4": arm_const.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm_const.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm_const.UC_CPU_ARM_CORTEX_M33,
}
UART_BYTES = 0x600
"""Of registers, at most."""
CYCCNT, SYST_CVR, STIM0 = 0xE000_1004, 0xE000_E018, 0xE000_0000
TICKS = 1000
SLICE = 200_000
"""Instructions between two looks at the stream."""
MOST_SLICES = 500


class Uart:
    """What every UART has: bytes that came in, bytes that went out, and what was written."""

    def __init__(self, board: Board) -> None:
        assert board.firmware is not None
        self.firmware = board.firmware
        self.come: deque[int] = deque()
        self.gone = bytearray()
        self.written: dict[int, int] = {}

    def read(self, offset: int) -> int:
        return self.written.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        self.written[offset] = value

    def send(self, value: int) -> None:
        assert self.ready(), "a byte is sent before the UART is set up"
        self.gone.append(value & 0xFF)

    def take(self) -> int:
        assert self.ready(), "a byte is taken before the UART is set up"
        return self.come.popleft() if self.come else 0

    def ready(self) -> bool:
        """Whether both directions are on and the baud rate is right within 1 %."""
        baud = self.baud()
        return self.on() and abs(baud - self.firmware.baud) < self.firmware.baud * 0.01

    def on(self) -> bool:
        raise NotImplementedError

    def baud(self) -> float:
        raise NotImplementedError


class Stm32V1(Uart):
    """RM0368, 19.6: SR 00, DR 04, BRR 08, CR1 0C."""

    def read(self, offset: int) -> int:
        if offset == 0x00:
            return 0xC0 | (0x20 if self.come else 0)
        return self.take() if offset == 0x04 else super().read(offset)

    def write(self, offset: int, value: int) -> None:
        super().write(offset, value)
        if offset == 0x04:
            self.send(value)

    def on(self) -> bool:
        return self.written.get(0x0C, 0) & 0x200C == 0x200C

    def baud(self) -> float:
        return self.firmware.clock_hz / max(1, self.written.get(0x08, 0))


class Stm32V2(Uart):
    """RM0385, 31.8: CR1 00, BRR 0C, ISR 1C, RDR 24, TDR 28."""

    def read(self, offset: int) -> int:
        if offset == 0x1C:
            return 0xC0 | (0x20 if self.come else 0)
        return self.take() if offset == 0x24 else super().read(offset)

    def write(self, offset: int, value: int) -> None:
        super().write(offset, value)
        if offset == 0x28:
            self.send(value)

    def on(self) -> bool:
        return self.written.get(0x00, 0) & 0xD == 0xD

    def baud(self) -> float:
        return self.firmware.clock_hz / max(1, self.written.get(0x0C, 0))


class Nrf(Uart):
    """nRF52840 PS, 6.33: events are set by the UART and cleared by writing 0."""

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        self.sent = False

    def read(self, offset: int) -> int:
        if offset == 0x108:
            return int(bool(self.come))
        if offset == 0x11C:
            return int(self.sent)
        return self.take() if offset == 0x518 else super().read(offset)

    def write(self, offset: int, value: int) -> None:
        super().write(offset, value)
        if offset == 0x51C:
            self.send(value)
            self.sent = True
        elif offset == 0x11C:
            self.sent = value != 0

    def on(self) -> bool:
        pins = self.written.get(0x50C, 1 << 31) | self.written.get(0x514, 1 << 31)
        started = self.written.get(0x000) == self.written.get(0x008) == 1
        return self.written.get(0x500) == 4 and started and not pins >> 31

    def baud(self) -> float:
        return self.written.get(0x524, 0) * 16e6 / 2**32


class Pl011(Uart):
    """PL011 TRM, 3.3: DR 00, FR 18, IBRD 24, FBRD 28, LCR_H 2C, CR 30."""

    def read(self, offset: int) -> int:
        if offset == 0x18:
            return 0x80 | (0 if self.come else 0x10)
        return self.take() if offset == 0x00 else super().read(offset)

    def write(self, offset: int, value: int) -> None:
        super().write(offset, value)
        if offset == 0x00:
            self.send(value)

    def on(self) -> bool:
        words = self.written.get(0x2C, 0) & 0x60 == 0x60
        return words and self.written.get(0x30, 0) & 0x301 == 0x301

    def baud(self) -> float:
        divisor = self.written.get(0x24, 0) + self.written.get(0x28, 0) / 64
        return self.firmware.clock_hz / 16 / max(1, divisor)


class Lpuart(Uart):
    """IMXRT1060RM, 49.4: BAUD 10, STAT 14, CTRL 18, DATA 1C."""

    def read(self, offset: int) -> int:
        if offset == 0x14:
            return 0x00C0_0000 | (0x0020_0000 if self.come else 0)
        return self.take() if offset == 0x1C else super().read(offset)

    def write(self, offset: int, value: int) -> None:
        super().write(offset, value)
        if offset == 0x1C:
            self.send(value)

    def on(self) -> bool:
        return self.written.get(0x18, 0) & 0xC_0000 == 0xC_0000

    def baud(self) -> float:
        value = self.written.get(0x10, 0)
        return self.firmware.clock_hz / ((value >> 24 & 31) + 1) / max(1, value & 0x1FFF)


class Esp(Uart):
    """ESP32-C3 TRM, 26.5: FIFO 00, CLKDIV 14, STATUS 1C, ID 80."""

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        self.updated = 0.0

    def read(self, offset: int) -> int:
        if offset == 0x1C:
            return len(self.come) & 0x3FF
        return self.take() if offset == 0x00 else super().read(offset)

    def write(self, offset: int, value: int) -> None:
        super().write(offset, value)
        if offset == 0x00:
            self.send(value)
        elif offset == 0x80 and value >> 31:
            divisor = self.written.get(0x14, 0)
            whole = (divisor & 0xFFF) + (divisor >> 20 & 15) / 16
            self.updated = self.firmware.clock_hz / max(1, whole)
            self.written[0x80] = value & 0x7FFF_FFFF

    def on(self) -> bool:
        return True

    def baud(self) -> float:
        return self.updated


MODELS: dict[str, type[Uart]] = {
    "stm32_v1": Stm32V1, "stm32_v2": Stm32V2, "nrf": Nrf, "pl011": Pl011, "lpuart": Lpuart,
    "esp": Esp,
}  # fmt: skip


class EmulatedBoard:
    """A board that starts as its chip does, from the raw image in its flash.

    It is the byte stream of its own UART: reading lets the core run until it has answered. What
    goes to the trace pin is in ``trace``. Counters of cycles move by ``TICKS`` a read, but for
    those in ``still``.
    """

    def __init__(self, board: Board, image: bytes, still: tuple[str, ...] = ()) -> None:
        assert board.firmware is not None
        self.board = board
        self.uart = MODELS[board.firmware.uart](board)
        self.registers: dict[int, int] = {}
        self.slices = 0
        self.trace = bytearray()
        self.still = still
        self.ticks = 0
        self.steps = deque(board.firmware.setup)
        arm = board.compiler.family == "arm-none-eabi"
        if arm:
            mode = unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
            self.core = unicorn.Uc(unicorn.UC_ARCH_ARM, mode)
            self.core.ctl_set_cpu_model(CORES[board.core])
        else:
            self.core = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
            image = _without_counter(image)
        self.counter = arm_const.UC_ARM_REG_PC if arm else riscv_const.UC_RISCV_REG_PC
        self._map_memory(image)
        self._map_registers(arm)
        self.next = self._start(image)

    def _map_memory(self, image: bytes) -> None:
        flash = self.board.flash[0]
        for address in {flash.address, flash.data_address or flash.address}:
            size = -(-len(image) // PAGE) * PAGE
            self.core.mem_map(address, size, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
            self.core.mem_write(address, image)
        for region in self.board.ram:
            self.core.mem_map(region.address, region.size)
            self.core.mem_write(region.address, b"\xa5" * region.size)

    def _map_registers(self, arm: bool) -> None:
        assert self.board.firmware is not None
        base = self.board.firmware.base
        pages = {base & -PAGE, *(step.address & -PAGE for step in self.steps)}
        if arm:
            pages |= {PRIVATE, PRIVATE + 0x1000, PRIVATE + 0xE000}
            if self.board.core == "cortex-m0plus":
                pages.add(0x1800_0000)  # RP2040's flash interface
        for page in pages:
            self.core.mmio_map(page, PAGE, self._reader(page), None, self._writer(page), None)

    def _reader(self, page: int) -> Callable[..., int]:
        def read(_core: object, offset: int, _size: int, _data: object) -> int:
            return self._read(page + offset)

        return read

    def _writer(self, page: int) -> Callable[..., None]:
        def write(_core: object, offset: int, _size: int, value: int, _data: object) -> None:
            self._write(page + offset, value)

        return write

    def _in_uart(self, address: int) -> bool:
        return (
            not self.steps and self.uart.firmware.base <= address < self.uart.firmware.base + 0x600
        )

    def _read(self, address: int) -> int:
        if self._in_uart(address):
            return self.uart.read(address - self.uart.firmware.base)
        if address in (CYCCNT, SYST_CVR):
            return self._count(address)
        if address == STIM0:
            return int(self._has(0xE000_0E80, 1) and self._has(0xE000_0E00, 1))
        if self.steps and self.steps[0].kind == "wait" and self.steps[0].address == address:
            step = self.steps.popleft()
            self.registers[address] = self.registers.get(address, 0) & ~step.mask | step.value
        return self.registers.get(address, 0)

    def _has(self, address: int, bits: int) -> bool:
        return self.registers.get(address, 0) & bits == bits

    def _count(self, address: int) -> int:
        """What a counter shows, if it is on: DDI0403E, C1.8 (DWT, which DEMCR powers and the M7
        locks), B3.3 (SysTick, on the core's clock, its exception on)."""
        if address == CYCCNT:
            unlocked = self.registers.get(0xE000_1FB0) == 0xC5AC_CE55
            on = self._has(0xE000_EDFC, 1 << 24) and self._has(0xE000_1000, 1) and unlocked
            self.ticks += TICKS if on and "dwt" not in self.still else 0
            return self.ticks & 0xFFFF_FFFF
        on = self._has(0xE000_E010, 7) and self.registers.get(0xE000_E014) == 0xFF_FFFF
        self.ticks += TICKS if on and "systick" not in self.still else 0
        return -self.ticks & 0xFF_FFFF

    def _write(self, address: int, value: int) -> None:
        if address == STIM0:
            self.trace += bytes([1, value])
            return
        if self._in_uart(address):
            self.uart.write(address - self.uart.firmware.base, value)
            return
        self.registers[address] = value
        if self.steps and self.steps[0].kind == "set" and self.steps[0].address == address:
            step = self.steps.popleft()
            assert value & step.mask == step.value, f"{address:#x} gets {value:#x}"
            offset = address - self.uart.firmware.base
            if 0 <= offset < UART_BYTES:
                self.uart.written[offset] = value

    def _start(self, image: bytes) -> int:
        """Where the core starts, by what the chip's boot ROM does with the image."""
        base = self.board.flash[0].address
        if self.board.compiler.family != "arm-none-eabi":
            assert image[:8] == bytes.fromhex("1d04dbae") * 2
            return base + 8
        if self.board.name.startswith("rp2040"):
            stage = 0x2004_1F00
            self.core.mem_write(stage, image[:256])
            self.core.reg_write(arm_const.UC_ARM_REG_SP, stage)
            return stage | 1
        table = 0
        if image[:4] == b"FCFB":
            (vectors,) = struct.unpack_from("<I", image, 0x1004)
            table = vectors - base
        stack, start = struct.unpack_from("<II", image, table)
        self.core.reg_write(arm_const.UC_ARM_REG_SP, stack)
        return start

    def write(self, data: bytes, /) -> int:
        for _ in range(20):  # as a board that has had time to start
            if not self.steps and self.uart.ready():
                break
            self.run()
        assert not self.steps, f"the set-up stops at {self.steps[0]}"
        assert self.uart.ready(), f"the UART is off or at {self.uart.baud():.0f} baud"
        self.uart.come.extend(data)
        return len(data)

    def read(self, size: int, /) -> bytes:
        if not self.uart.gone and self.uart.come:
            while self.uart.come:
                self.run()
        if not self.uart.gone:
            self.run()
        found = bytes(self.uart.gone[:size])
        del self.uart.gone[:size]
        return found

    def run(self) -> None:
        """Lets the core run for a while."""
        self.slices += 1
        assert self.slices < MOST_SLICES, "the firmware comes to no end"
        self.core.emu_start(self.next, 0xFFFF_FFFE, count=SLICE)
        self.next = self.core.reg_read(self.counter) | (
            1 if self.board.compiler.family == "arm-none-eabi" else 0
        )


def _without_counter(image: bytes) -> bytes:
    """Espressif's cycle counter reads 77, for the emulator does not know it."""
    for write in (0x7E00_D073, 0x7E10_D073):
        image = image.replace(struct.pack("<I", write), struct.pack("<I", 0x13))
    for register in range(32):
        read = struct.pack("<I", 0x7E20_2073 | register << 7)
        image = image.replace(read, struct.pack("<I", 77 << 20 | 0x13 | register << 7))
    return image
