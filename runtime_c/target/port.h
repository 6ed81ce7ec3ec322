/* What the harness needs of the place it runs in. One implementation a place: port_host.c,
 * port_semihosting.c. All calls end the program with a line "error ..." when the place fails. */
#ifndef TM_TARGET_PORT_H
#define TM_TARGET_PORT_H

#include <stddef.h>

/* Makes tm_port_print work, for programs without input and output. */
void tm_port_open_console(void);

/* The same, and opens input.bin for reading and output.bin for writing, in the current folder. */
void tm_port_open(void);

/* Reads up to `bytes` bytes of the input; returns how many there were. */
size_t tm_port_read(void *to, size_t bytes);

/* Appends `bytes` bytes to the output. */
void tm_port_write(const void *from, size_t bytes);

/* Prints text on stdout. */
void tm_port_print(const char *text);

/* Closes the files and ends the program. */
_Noreturn void tm_port_exit(int code);

#endif
