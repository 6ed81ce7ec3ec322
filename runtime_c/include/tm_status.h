/* What a kernel or a model answers. */
#ifndef TM_STATUS_H
#define TM_STATUS_H

typedef enum {
  TM_OK = 0,           /* done */
  TM_ARENA_TOO_SMALL,  /* init got fewer bytes than the plan needs */
  TM_ARENA_MISALIGNED, /* init got an arena that is not aligned as the plan needs */
  TM_NOT_READY,        /* run before init */
  TM_BAD_ARGUMENT,     /* a kernel got parameters outside its contract */
  TM_BAD_LABEL,        /* a step of training got a label that is none of the classes */
  TM_BAD_RATE,         /* a step of training got a rate that is infinite or no number */
  TM_BAD_IMAGE,        /* what was to be loaded is no whole image of this model's trained part */
  TM_STORE_FAILED      /* the store did not take, or not give back, what was written */
} tm_status;

#endif
