/* What a kernel or a model answers. */
#ifndef TM_STATUS_H
#define TM_STATUS_H

typedef enum {
  TM_OK = 0,           /* done */
  TM_ARENA_TOO_SMALL,  /* init got fewer bytes than the plan needs */
  TM_ARENA_MISALIGNED, /* init got an arena that is not aligned as the plan needs */
  TM_NOT_READY,        /* run before init */
  TM_BAD_ARGUMENT      /* a kernel got parameters outside its contract */
} tm_status;

#endif
