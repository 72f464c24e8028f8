/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * event: what happened to regions, in order, for those who read .ctl/events.
 *
 * Events are records of the journal, written in the transaction of the change itself, in a ring of
 * EVENT_RING: an event is told if, and only if, the change has happened, whatever dies in between.
 * Readers keep a sequence number each; one that is slower than the ring is told how many it missed.
 *
 * A line is `NUMBER KIND NAME [KEY=VALUE ...]`, the name relative to the reader's directory and
 * escaped as in command.h; "-" where there is none.  Each reader's lines are numbered from 1, so
 * that no number tells of what the reader may not see.
 *
 * A reader is told what `ls -lR` of its directory could have shown it when it happened: an event
 * keeps who may list the directories on its way, as far as that is not everybody.
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
        EVENT_SEAL,       /* seals= as numbers of F_SEAL_… */
        EVENT_RENAME,     /* the new name; from= the old one is not told */
        EVENT_REMOVE,     /* one line for each name */
        EVENT_LAST_CLOSE, /* nobody has it open through the mount any more */
        EVENT_RESTART,    /* a new worker serves; nothing was lost */
        _EVENT_N,
};

/* In the transaction of the change.  dir and name: the name that it is about. */
void event_add(struct tree *tree, enum event_kind kind, const struct node *node,
               const struct node *dir, const char *name, size_t length,
               const struct caller *caller);
/* The same for any name of the node; nothing if it has none. */
void event_add_node(struct tree *tree, enum event_kind kind, struct node *node,
                    const struct caller *caller);
void event_add_restart(struct tree *tree);

/* Sequence number of the next event. */
uint64_t event_next(const struct tree *tree);

/* At the end: the next event that happens. */
void event_seek_end(const struct tree *tree, struct event_cursor *cursor);
/* The directories whose readers may have something to read since `from`: calls fn for the event's
 * directory and all above it, and with NULL if anybody may. */
void event_scopes(const struct tree *tree, uint64_t from,
                  void (*fn)(void *userdata, const struct node *dir), void *userdata);

/* Who reads, and where. */
struct event_reader {
        const struct node *dir;
        struct caller *caller;
        /* Records that may be visited; each takes one off.  Whoever begins with some left gets a
         * step further, however long the way to its directory is. */
        int *budget;
};

/*
 * Writes the lines of events below the reader's directory from the cursor on to buffer, as much as
 * fits, and moves the cursor, which is the caller's to log.  Bytes written: 0 if nothing happened
 * there, or if the budget is used up.
 */
size_t event_read(const struct tree *tree, const struct event_reader *reader,
                  struct event_cursor *cursor, char *buffer, size_t size);
/* Whether event_read() would write something; moves the cursor over what is not to be told. */
bool event_waits(const struct tree *tree, const struct event_reader *reader,
                 struct event_cursor *cursor);
/* Whether all events have been looked at. */
bool event_is_at_end(const struct tree *tree, const struct event_cursor *cursor);
