"""The cycle estimate: what QEMU's plugin counts is exact, what it is priced at is published."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from test_deploy import KEEP, need, nops, write_toy

import tinymill
from conftest import ROOT, need_tool
from tinymill.boards import load_board
from tinymill.cli import main
from tinymill.deploy import measure
from tinymill.deploy.cycles import Count, estimate, plugin_argv, plugin_option, read_listing
from tinymill.deploy.pipelines import (
    KINDS,
    PIPELINES,
    Instruction,
    Run,
    m4_cycles,
    m7_cycles,
)
from tinymill.errors import BoardError, ToolFailed, ToolMissing

MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"
TARGETS = ("mps2-an386", "mps2-an500", "netduinoplus2")


def code(text: str) -> list[Instruction]:
    """Instructions written one after the other, as objdump shows them; all 16 bits wide."""
    found = []
    for line in text.split(";"):
        mnemonic, _, operands = line.strip().partition(" ")
        found.append(Instruction(2 * len(found), 2, mnemonic, operands.strip()))
    return found


def m4(text: str) -> int:
    listed = code(text)
    return sum(m4_cycles(i, b) for b, i in zip((None, *listed), listed, strict=False))


# The count -------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_the_plugin_counts_what_the_timer_counts(target: str, tmp_path: Path) -> None:
    need(load_board(target))
    tinymill.compile(MODEL, target=target, output=tmp_path / "project")
    plain = tinymill.run(tmp_path / "project")
    found = tinymill.run(tmp_path / "project", cycles=True)
    assert found.instructions == plain.instructions
    assert found.instruction_classes is not None
    assert sum(found.instruction_classes.values()) == found.instructions
    assert set(found.instruction_classes) <= set(KINDS)
    assert found.output_crc32 == plain.output_crc32
    assert found.ram == plain.ram and found.flash == plain.flash
    assert [layer.instructions for layer in found.layers] == [
        layer.instructions for layer in plain.layers
    ]
    assert plain.cycles_estimate is None and plain.instruction_classes is None
    # two builds: the one with hooks may be compiled otherwise
    layers = [layer.cycles_estimate or 0 for layer in found.layers]
    assert min(layers) > 0
    assert sum(layers) == pytest.approx(found.cycles_estimate, rel=0.03)


@pytest.mark.parametrize("stream", [False, True])
def test_turns_belong_to_their_layers(stream: bool, tmp_path: Path) -> None:
    need(load_board("mps2-an386"))
    whole = tinymill.run(MODEL, target="mps2-an386", cycles=True)
    found = tinymill.run(
        MODEL, target="mps2-an386", plan="min-ram", stream_input=stream, cycles=True
    )
    assert found.output_crc32 == whole.output_crc32
    for layer, alone in zip(found.layers, whole.layers, strict=True):
        assert layer.instructions is not None and alone.cycles_estimate is not None
        assert layer.cycles_estimate is not None
        # less at once costs more, but not another layer's part
        assert 0.9 * alone.cycles_estimate < layer.cycles_estimate < 2.5 * alone.cycles_estimate
        # no instruction of an M4 takes less than a cycle
        assert 1.0 < layer.cycles_estimate / layer.instructions < 2.2
    layers = [layer.cycles_estimate or 0 for layer in found.layers]
    assert sum(layers) == pytest.approx(found.cycles_estimate, rel=0.03)


def test_only_the_first_inference_counts(tmp_path: Path) -> None:
    board = load_board("mps2-an386")
    need(board)
    project = write_toy(tmp_path / "toy", board, nops(100) + KEEP)
    once = measure(project, board, bytes(16), model="toy", cycles=True)
    thrice = measure(project, board, bytes(48), model="toy", cycles=True)
    assert once.instructions == thrice.instructions
    assert once.cycles == thrice.cycles
    assert once.instruction_classes == thrice.instruction_classes


def loop(rounds: int, offset: int) -> str:
    """A load at ``offset`` from an aligned address, ``rounds`` times."""
    return (
        "    (void)toy_weights;\n"
        f"    uint32_t left = {rounds}u;\n"
        f"    const int8_t *from = context->arena + {offset};\n"
        "    uint32_t word;\n"
        '    __asm__ volatile(".syntax unified\\n\\t.balign 4\\n1:\\n\\tldr %0, [%2]\\n\\t"\n'
        '        "nop\\n\\tsubs %1, %1, #1\\n\\tbne 1b"\n'
        '        : "=&l"(word), "+l"(left) : "l"(from) : "cc", "memory");\n'
        "    return left == 0 ? TM_OK : TM_ERROR_TOY;\n"
    )


@pytest.mark.parametrize(("offset", "penalty"), [(0, 0), (1, 2), (2, 1), (3, 2)])
def test_branches_and_unaligned_loads_are_counted(
    tmp_path: Path, offset: int, penalty: int
) -> None:
    board = load_board("mps2-an386")
    need(board)
    cycles = []
    for rounds in (100, 200):
        project = write_toy(tmp_path / str(rounds), board, loop(rounds, offset))
        found = measure(project, board, bytes(16), model="toy", cycles=True).cycles
        assert found is not None
        cycles.append(found)
    # load 2, nop 1, subs 1, bne 1 and its refill 1
    assert cycles[1] - cycles[0] == 100 * (6 + penalty)


# The price -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cycles"),
    [
        # the examples of the Technical Reference Manual
        ("ldr r0, [r1]; ldr r1, [r2]", 3),
        ("ldr r0, [r1, r2]; str r0, [r3, #20]", 3),
        ("ldr r0, [r1, r2]; str r1, [r3, r2]", 3),
        ("ldr r0, [r1, r5]; ldr r1, [r2]; ldr r2, [r3, #4]", 4),
        ("ldr r0, [r1]; ldr r2, [r0]", 4),
        ("str r0, [r1, #4]; str r0, [r1, r2]", 3),
        ("ldrd r0, r1, [r2]", 3),
        ("ldmia.w r0!, {r1, r2, r3}", 4),
        ("push {r4, r5, r6, lr}", 5),
        ("pop {r4-r7}", 5),
        ("smlad r0, r1, r2, r0; smlad r0, r1, r2, r0", 2),
        ("sxtb16 r0, r1; smull r0, r1, r2, r3; ssat r0, #8, r1", 3),
        ("adds r0, #4; ldr r1, [r0]", 4),
        ("adds r0, #4; ldr r1, [r2]", 3),
        ("vmul.f32 s0, s1, s2; vcvtr.s32.f32 s0, s0", 3),
        ("vmul.f32 s0, s1, s2; vcvtr.s32.f32 s3, s3", 2),
        ("vmla.f32 s0, s1, s2", 3),
        ("vdiv.f32 s0, s1, s2", 14),
        ("vldr s0, [r0]", 2),
        ("vldmia r0!, {s0, s1, s2}", 4),
        ("bne.n 1234 <f>", 1),
        ("cmp r0, #1; it eq; moveq r0, #2", 3),
    ],
)
def test_m4_costs(text: str, cycles: int) -> None:
    assert m4(text) == cycles


@pytest.mark.parametrize(
    ("text", "cycles"),
    [
        ("add r0, r1, r2; add r3, r4, r5", 1),
        ("add r0, r1, r2; add r3, r0, r5", 2),
        ("ldr r0, [r1]; ldr r2, [r3]", 1),
        ("ldr r0, [r1]; ldr r2, [r3]; ldr r4, [r5]", 2),
        ("str r0, [r1]; str r2, [r3]", 2),
        ("ldr r0, [r1]; smlad r2, r3, r4, r2", 1),
        ("smlad r0, r1, r2, r0; smlad r3, r1, r2, r3", 2),
        ("smlad r0, r1, r2, r0; smlad r0, r1, r2, r0", 2),
        ("mul r0, r1, r2; add r3, r0, r4", 3),
        ("ldrb r0, [r1]; add r2, r0, r3", 3),
        ("add r0, r1, r2; ldr r3, [r0]", 3),
        ("ldr r1, [r0], #4; ldr r2, [r0], #4", 2),
        ("sxtb16 r0, r1; sxtb16 r2, r3", 2),
        ("ldmia r0!, {r1, r2, r3}; add r4, r5, r6", 3),
        ("subs r0, #1; bne.n 1234 <f>", 1),
        ("udiv r0, r1, r2; add r3, r4, r5", 8),
    ],
)
def test_m7_pairs(text: str, cycles: int) -> None:
    assert m7_cycles(code(text)) == cycles


def test_refills_and_mispredictions() -> None:
    body = code("nop ; subs r0, #1; bne.n 0 <f>")
    wide = {0: Instruction(2, 4, "nop.w", "")}
    m4_price, m7_price = (PIPELINES[name].cycles for name in ("cortex-m4", "cortex-m7"))
    assert m4_price(Run(body, 10, 9, 5), {0: body[0]}) == 3 * 10 + 9 + 5
    assert m4_price(Run(body, 10, 9, 0), wide) == 3 * 10 + 2 * 9
    assert m4_price(Run(code("bx lr"), 10, 10, 0), {}) == (1 + 3) * 10
    assert m4_price(Run(code("pop {r4, pc}"), 1, 1, 0), {}) == 1 + 2 + 3
    rare = m7_price(Run(body, 10, 9, 0), {}) - m7_price(Run(body, 10, 10, 0), {})
    assert rare == m7_price(Run(body, 10, 1, 0), {}) - m7_price(Run(body, 10, 0, 0), {}) == 6


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("b.n 12 <f>", "branch"), ("ble.n 12 <f>", "branch"), ("bls.n 12 <f>", "branch"),
        ("bl 12 <f>", "branch"), ("blx r3", "branch"), ("bxeq lr", "branch"),
        ("cbnz r0, 12 <f>", "branch"), ("tbb [pc, r0]", "branch"), ("bic.w r0, r1", "arithmetic"),
        ("bfi r0, r1, #2, #3", "arithmetic"), ("sdivne r0, r1, r2", "divide"),
        ("smulbb r0, r1, r2", "multiply"), ("umaal r0, r1, r2, r3", "multiply"),
        ("smmlar r0, r1, r2, r3", "multiply"), ("uxtab16 r0, r1, r2", "simd"),
        ("pkhbt r0, r1, r2, lsl #16", "simd"), ("uxtb r0, r1", "arithmetic"),
        ("vmov s0, r0", "float move"), ("vstr s0, [r0]", "float store"),
        ("vrintx.f32 s0, s0", "float arithmetic"), ("vselge.f32 s0, s1, s2", "float move"),
        ("strex r0, r1, [r2]", "store"), ("subs r0, r0, #1", "arithmetic"),
        ("sbfx r0, r1, #2, #3", "arithmetic"), ("mls r0, r1, r2, r3", "multiply"),
    ],
)  # fmt: skip
def test_kinds(text: str, kind: str) -> None:
    (instruction,) = code(text)
    assert instruction.kind == kind


# Listings and calls ----------------------------------------------------------------------

LISTING = """
main:     file format elf32-littlearm

SYMBOL TABLE:
20000100 g     O .tm_harness_bss\t00000018 tm_layer_counts


Disassembly of section .tm_harness_text:

00000030 <tm_measure_end_frame>:
      30:\t4770      \tbx\tlr

00000040 <tm_call_on_stack>:
      40:\tb510      \tpush\t{r4, lr}
      42:\t4798      \tblx\tr3
      44:\tbd10      \tpop\t{r4, pc}

Disassembly of section .text:

00000100 <toy_run>:
     100:\tf8de e098 \tldr.w\tlr, [lr, #152]\t@ 0x98
     104:\tbd10      \tbx\tlr
"""


def test_listing() -> None:
    listing = read_listing(LISTING)
    assert listing.harness == (0x30, 0x46)
    assert listing.counts == (0x20000100, 0x20000118)
    assert listing.code[0x100] == Instruction(0x100, 4, "ldr.w", "lr, [lr, #152]")
    assert plugin_option(listing, "toy", "../blocks.so") == (
        "-plugin",
        "file=../blocks.so,start=100,stop=44,over=30,skip_low=30,skip_high=46,"
        "layers_low=20000100,layers_high=20000118,out=blocks.txt",
    )
    found = estimate([Count(0, 0x100, 2, 3, 3, 0)], listing, "cortex-m4")
    assert (found.cycles, found.instructions) == (3 * (2 + 1 + 3), 6)
    assert found.classes == {"load": 3, "branch": 3}
    with pytest.raises(ToolFailed, match="no other_run"):
        plugin_option(listing, "other", "x")
    with pytest.raises(ToolFailed, match="0x106"):
        estimate([Count(0, 0x100, 3, 1, 0, 0)], listing, "cortex-m4")


def test_plugin_argv() -> None:
    assert plugin_argv(("gcc", "-m64"), Path("/s/blocks.c"), Path("/b/blocks.so"), 2) == (
        "gcc", "-m64", "-std=c11", "-O2", "-fPIC", "-shared", "-DTM_PLUGIN_VERSION=2", "-o",
        "/b/blocks.so", "/s/blocks.c",
    )  # fmt: skip


# What can go wrong -----------------------------------------------------------------------


@pytest.mark.parametrize("target", ["host", "mps2-an385", "mps3-an547", "riscv32-virt"])
def test_other_cores_are_refused(
    target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BoardError, match="has no cycle estimate"):
        tinymill.run(MODEL, target=target, cycles=True)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(MODEL), "--target", target, "--input", "pattern", "--cycles"])
    assert ended.value.code == 2
    assert "Cortex-M4 and Cortex-M7" in capsys.readouterr().err


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_for_the_plugin(compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    need(load_board("mps2-an386"))
    monkeypatch.setenv("TINYMILL_CC", compiler)
    with pytest.raises(ToolMissing):
        tinymill.run(MODEL, target="mps2-an386", cycles=True)


def test_a_board_without_a_simulator_is_refused(tmp_path: Path) -> None:
    board = dataclasses.replace(load_board("mps2-an386"), simulator=None)
    with pytest.raises(BoardError):
        measure(tmp_path, board, b"", model="toy", cycles=True)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    need_tool("arm-none-eabi-gcc", "qemu-system-arm")
    call = ["run", str(MODEL), "--target", "mps2-an386", "--input", "pattern", "--json"]
    found = []
    for more in ([], ["--cycles"]):
        with pytest.raises(SystemExit) as ended:
            main([*call, *more])
        assert ended.value.code == 0
        found.append(json.loads(capsys.readouterr().out))
    plain, estimated = found
    assert estimated["cycles_estimate"] > 0
    assert sum(estimated["instruction_classes"].values()) == estimated["instructions"]
    assert all(layer["cycles_estimate"] > 0 for layer in estimated["layers"])
    assert "cycles_estimate" not in plain and "cycles_estimate" not in plain["layers"][0]
