/* Second stage of RP2040's boot (RP2040 Datasheet, 2.8.1.3 and 4.10): the boot ROM copies these 256
 * bytes to SRAM and calls them if the CRC at their end is right. They let the core read flash in
 * place, with the plain read command 03h that all flash chips know and a slow clock, and start the
 * program behind them. Position-independent.
 *
 * The last word is CRC-32 (polynomial 04C11DB7, initially FFFFFFFF, not reflected, not inverted) of
 * the 252 bytes before it. */
    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .equ SSI_BASE, 0x18000000
    .equ SSI_CTRLR0, 0x00
    .equ SSI_CTRLR1, 0x04
    .equ SSI_SSIENR, 0x08
    .equ SSI_BAUDR, 0x14
    .equ SSI_SPI_CTRLR0, 0xF4
    .equ VTOR, 0xE000ED08
    .equ PROGRAM, 0x10000100

    .section .tm_boot.boot2, "ax", %progbits
    .globl tm_boot2
    .type tm_boot2, %function
    .thumb_func
tm_boot2:
    ldr r0, =SSI_BASE
    movs r1, #0
    str r1, [r0, #SSI_SSIENR]       /* its registers can be changed only while it is off */
    movs r2, #8
    str r2, [r0, #SSI_BAUDR]        /* an eighth of the system clock */
    ldr r2, =(31 << 16) | (3 << 8)  /* one data line, 32-bit frames, "EEPROM read" */
    str r2, [r0, #SSI_CTRLR0]
    str r1, [r0, #SSI_CTRLR1]       /* one frame a read */
    ldr r2, =(0x03 << 24) | (2 << 8) | (6 << 2) /* command 03h of 8 bits, address of 24 */
    movs r3, #SSI_SPI_CTRLR0
    str r2, [r0, r3]
    movs r2, #1
    str r2, [r0, #SSI_SSIENR]
    ldr r0, =PROGRAM
    ldr r1, =VTOR
    str r0, [r1]
    ldr r1, [r0]
    msr msp, r1
    ldr r0, [r0, #4]
    bx r0
    .align 2
    .ltorg
    .org tm_boot2 + 252
    .word 0x546A6524
