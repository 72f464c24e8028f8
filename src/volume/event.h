/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * event: what happened to regions, in order, for readers of .ctl/events.
 *
 * Events are records of the journal, in a ring of EVENT_RING.  An event is written in the
 * transaction of the change itself; so it is reported if, and only if, the change has happened,
 * even if a process dies in between.  Each reader keeps a sequence number.  A reader that is slower
 * than the ring is told how many events it missed.
 *
 * A line is `NUMBER KIND NAME [KEY=VALUE ...]`.  The name is relative to the reader's directory and
 * escaped as in command.h; it is "-" where there is none.  Each reader's lines are numbered from 1,
 * so that the numbers reveal nothing about events that the reader may not see.
 *
 * A reader gets only what `ls -lR` of its directory could have shown it when it happened.  So an
 * event records which directories above it not everybody may list, and who may list them.
 *
 * Owns the event records.  Never: wakes readers.
 */

#include <sys/types.h>
#include "tree/tree.h"

struct caller;

enum { EVENT_LINE_MAX = 2048 }; /* bytes, enough for any line */

enum event_kind {
        EVENT_CREATE,     /* size=, uid=, pid= */
        EVENT_RESIZE,     /* size= */
        EVENT_SEAL,       /* seals= the F_SEAL_… bits as a number */
        EVENT_RENAME,     /* the new name; the old one is not reported */
        EVENT_REMOVE,     /* one line for each name */
        EVENT_LAST_CLOSE, /* nobody has the region open through the mount any more */
        EVENT_RESTART,    /* a new worker serves; no event was lost */
        EVENT_CUT_BACK,   /* told as a resize, with cut=1: it had grown beyond what was left */
        _EVENT_N,
};

/* Writes the event of a change, in its transaction.  dir and name: the name that it is about. */
void event_add(struct tree *tree, enum event_kind kind, const struct node *node,
               const struct node *dir, const char *name, size_t length,
               const struct caller *caller);
/* The same for one of the node's names; does nothing if it has none. */
void event_add_node(struct tree *tree, enum event_kind kind, struct node *node,
                    const struct caller *caller);
void event_add_restart(struct tree *tree);

/* Sequence number of the next event. */
uint64_t event_next(const struct tree *tree);

/* Moves the cursor to the end, so that it sees only events that happen later. */
void event_seek_end(const struct tree *tree, struct event_cursor *cursor);
/* Finds the directories whose readers may have something to read since `from`: calls fn for each
 * event's directory and all above it, and with NULL if it concerns all readers. */
void event_scopes(const struct tree *tree, uint64_t from,
                  void (*fn)(void *userdata, const struct node *dir), void *userdata);

/* A reader, and the directory that it reads. */
struct event_reader {
        const struct node *dir;
        struct caller *caller;
        /* Number of records that may still be visited; each visit takes 1 off.  A reader that
         * begins with more than 0 always gets one step further, however deep its directory is. */
        int *budget;
};

/*
 * Writes the lines of events below the reader's directory, from the cursor on, to buffer: as many
 * as fit.  Moves the cursor, which the caller must have logged.  Returns the bytes written; 0 if
 * nothing happened there, or if the budget is used up.
 */
size_t event_read(const struct tree *tree, const struct event_reader *reader,
                  struct event_cursor *cursor, char *buffer, size_t size);
/* Whether event_read() would write something.  Moves the cursor over events that are not for the
 * reader. */
bool event_waits(const struct tree *tree, const struct event_reader *reader,
                 struct event_cursor *cursor);
/* Whether the cursor is at the end. */
bool event_is_at_end(const struct tree *tree, const struct event_cursor *cursor);
