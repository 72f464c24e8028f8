/* SPDX-License-Identifier: MIT */

/*
 * replay: no request is lost or carried out twice, whoever dies.
 *
 * A model, in Promela, of how the kernel, the keeper and the worker work together.  spin visits
 * every state that it can reach; README.md beside this file says what is checked, what is left out
 * and how to run it.  The comments name the function that a step stands for:
 *
 *   fuse/channel      reading, handling, answering
 *   process/recovery, fuse/replay    what a new worker does first
 *   records/journal   the undo log, the commit, the outcome
 *   volume/invalidation, fuse/fs_ctl    requests that are answered later
 *   process/keeper, process/worker, records/blame    who starts whom, and who is to blame
 *
 * Each statement, and each d_step block, is one step: between any two, anybody may die.
 *
 * The macros in capitals that begin with BREAK_ take one piece of the mechanism away.  Each must
 * make the check fail; that is how we know that it can.
 */

#ifndef CALLS
#define CALLS 2 /* requests; every one has a unique and a caller of its own */
#endif
#ifndef WORKER_DEATHS
#define WORKER_DEATHS 2 /* by SIGKILL; deaths by an own fault come on top */
#endif
#ifndef KEEPER_DEATHS
#define KEEPER_DEATHS 1
#endif

#define EIO 255        /* an answer; others are the number of the change */
#define NONE CALLS     /* no call */
#define SUSPECT_DEATHS 2 /* blame.c: DEATHS_MAX */

mtype = { absent, queued, given, ended, withdrawn };  /* state of a call */
mtype = { change, control, poison };                  /* what it asks for */
mtype = { nothing, request, forget };                   /* what is in the scratch area */
mtype = { untold, told };                             /* of an invalidation record */

/* --- The kernel --------------------------------------------------------------------------- */

byte i; /* of the loops in d_steps: 0 outside of them */

bool connected = true;
mtype state[CALLS] = absent;
mtype kind[CALLS] = change;
bool resent[CALLS];   /* the mark in the unique (bit 63): a reply must carry the same */
byte reply[CALLS];    /* what the caller was answered */
byte kernel_lookups;  /* the kernel's lookup count of the one node that there is */
byte kernel_forgets;  /* lookups that it has dropped, and not told us yet */

/* Whoever holds /dev/fuse is gone: all calls end with ENOTCONN, and the mount with them. */
inline kernel_abort() {
        d_step {
                connected = false;
                i = 0;
                do
                :: i < CALLS && (state[i] == queued || state[i] == given) ->
                        state[i] = withdrawn; i++
                :: i < CALLS && state[i] != queued && state[i] != given -> i++
                :: i == CALLS -> break
                od;
                i = 0
        }
}

/* fuse_dev_do_write(): a reply for a request that nobody waits for is ENOENT, and changes nothing. */
inline kernel_reply(id, mark, answer) {
        d_step {
                if
                :: id != NONE && state[id] == given && resent[id] == mark ->
                        state[id] = ended;
                        resent[id] = false;
                        reply[id] = answer;
                        if
                        :: answer != EIO && kind[id] == change -> kernel_lookups++
                        :: else
                        fi
                :: else
                fi
        }
}

/* fuse_resend(): what was given out and not answered is in the queue again, under a marked unique. */
inline kernel_resend() {
        d_step {
                i = 0;
                do
                :: i < CALLS && state[i] == given -> state[i] = queued; resent[i] = true; i++
                :: i < CALLS && state[i] != given -> i++
                :: i == CALLS -> break
                od;
                i = 0
        }
}

/* Resent requests are at the head of the queue. */
#if CALLS == 2
#define RESENT_QUEUED ((state[0] == queued && resent[0]) || (state[1] == queued && resent[1]))
#else
#define RESENT_QUEUED ((state[0] == queued && resent[0]) || (state[1] == queued && resent[1]) || \
                       (state[2] == queued && resent[2]))
#endif
#define IS_NEXT(id) (state[id] == queued && (resent[id] || !RESENT_QUEUED))

/* --- The records, which outlive the worker ------------------------------------------------ */

/* The tables. */
byte lookups;                /* our lookup count of the node */
byte changes;                /* how many changes there were */
byte changed[CALLS];         /* the number of the change that a call has made, 0: none */
mtype invalidation[CALLS];   /* 0: no record */
byte forget_done;            /* root->forget_done */

/* The undo log: what the tables were.  Not empty: journal_dirty(). */
bool dirty;
byte old_lookups, old_changes, old_changed[CALLS], old_forget_done;
mtype old_invalidation[CALLS];

/* The two outcomes; the journal's state says in one word which is valid and that the log is empty. */
byte outcome_key[2] = NONE;
bool outcome_mark[2];
byte outcome_answer[2];
bit valid;

/* What a change has become of, once it was committed; for the checks only. */
byte committed[CALLS];

/* Unlogged: the scratch area, into which the kernel writes a request. */
mtype scratch = nothing;
byte scratch_id;    /* of a request */
bool scratch_mark;
byte scratch_count; /* of a FORGET */

/* Unlogged: records/blame. */
byte current = NONE;        /* root->current */
byte deaths[CALLS];         /* root->suspects */

/* journal_touch(): the first one of a transaction saves everything; that is all one here. */
inline journal_touch() {
        d_step {
                if
                :: !dirty ->
                        dirty = true;
                        old_lookups = lookups;
                        old_changes = changes;
                        old_forget_done = forget_done;
                        i = 0;
                        do
                        :: i < CALLS ->
                                old_changed[i] = changed[i];
                                old_invalidation[i] = invalidation[i];
                                i++
                        :: i == CALLS -> break
                        od;
                        i = 0
                :: else
                fi
        }
}

inline log_clear() {
        dirty = false;
        old_lookups = 0;
        old_changes = 0;
        old_forget_done = 0;
        i = 0;
        do
        :: i < CALLS ->
                old_changed[i] = 0;
                old_invalidation[i] = 0;
                i++
        :: i == CALLS -> break
        od;
        i = 0
}

/* journal_rollback(): can be repeated, so that a death in it is a death before it. */
inline journal_rollback() {
        d_step {
                if
                :: dirty ->
#ifndef BREAK_ROLLBACK
                        lookups = old_lookups;
                        changes = old_changes;
                        forget_done = old_forget_done;
                        i = 0;
                        do
                        :: i < CALLS ->
                                changed[i] = old_changed[i];
                                invalidation[i] = old_invalidation[i];
                                i++
                        :: i == CALLS -> break
                        od;
                        i = 0;
#endif
                        log_clear()
                :: else
                fi
        }
}

/* Part of a commit: it is for good now.  NEVER TWICE: what was committed before is no other change. */
inline settled() {
        i = 0;
        do
        :: i < CALLS ->
                assert(committed[i] == 0 || committed[i] == changed[i]);
                committed[i] = changed[i];
                i++
        :: i == CALLS -> break
        od;
        i = 0;
        log_clear()
}

/* journal_commit(): one store. */
inline journal_commit() {
        d_step { settled() }
}

/* journal_commit_outcome(): fills the outcome that is not valid, then makes it so with one store. */
inline journal_commit_outcome(id, mark, answer) {
#ifdef BREAK_OUTCOME_SLOTS
        d_step { outcome_key[valid] = id; outcome_mark[valid] = mark; outcome_answer[valid] = answer };
        journal_commit()
#else
#ifdef BREAK_OUTCOME_ATOMIC
        journal_commit();
        d_step { outcome_key[valid] = id; outcome_mark[valid] = mark; outcome_answer[valid] = answer }
#else
        d_step {
                outcome_key[1 - valid] = id;
                outcome_mark[1 - valid] = mark;
                outcome_answer[1 - valid] = answer
        };
        d_step {
                outcome_key[valid] = NONE; /* as good as: it is filled before it is valid again */
                outcome_mark[valid] = false;
                outcome_answer[valid] = 0;
                valid = 1 - valid;
                settled()
        }
#endif
#endif
}

/* --- Who lives ---------------------------------------------------------------------------- */

mtype = { none, starting, alive }; /* the worker */
mtype worker = starting;
bool struck;  /* it is about to die */
bool faulted; /* by its own fault, not by a SIGKILL */
bool keeper = true;

/* --- What must hold ----------------------------------------------------------------------- */

/* NEVER TWICE is the assertion in settled(), above. */

#define WAITS(id) (state[id] == queued || state[id] == given)
#if CALLS == 2
#define ANY_WAITS (WAITS(0) || WAITS(1))
#define ANY_UNTOLD (invalidation[0] == untold || invalidation[1] == untold)
#else
#define ANY_WAITS (WAITS(0) || WAITS(1) || WAITS(2))
#define ANY_UNTOLD (invalidation[0] == untold || invalidation[1] == untold || \
                    invalidation[2] == untold)
#endif
/* Nothing is under way. */
#define QUIET (connected && !ANY_WAITS && kernel_forgets == 0 && scratch == nothing && \
               !dirty && !ANY_UNTOLD)

/* The books of both sides, part of each step after which nothing may be under way. */
inline audit() {
        if
        :: QUIET ->
                assert(lookups == kernel_lookups); /* NO DRIFT */
                i = 0;
                do
                :: i < CALLS ->
                        /* TRUE ANSWERS.  (EIO says nothing of a control write.) */
                        assert(state[i] != ended || reply[i] != 0);
                        assert(state[i] != ended || reply[i] == committed[i] ||
                               (reply[i] == EIO && (committed[i] == 0 || kind[i] == control)));
                        /* NOTHING IS LEFT OVER, but of callers that gave up in the meantime. */
                        assert(invalidation[i] == 0 || state[i] == withdrawn || reply[i] == EIO);
                        i++
                :: i == CALLS -> break
                od;
                i = 0
        :: else
        fi
}

/*
 * NOBODY WAITS FOR EVER, AND THE KEEPER IS REPLACED.  At the end no process can go on.  Then all is
 * quiet and a keeper lives, or the mount is gone, since worker and keeper were dead at the same
 * time.  There is always such an end: no run comes back to a state in which it was before (README.md).
 */
active proctype Auditor() {
        timeout ->
        d_step {
                assert(!connected || (QUIET && keeper && worker == alive));
                audit()
        }
}

/* --- The worker --------------------------------------------------------------------------- */

/* Its memory, gone with it: requests that it has read and answers later; fs->waiting. */
bool at_hand[CALLS];
bool at_hand_mark[CALLS];

/* channel_reply(): the reply is the commit. */
inline channel_reply(id, mark, answer) {
#ifdef BREAK_REPLY_ORDER
        kernel_reply(id, mark, answer);
        journal_commit_outcome(id, mark, answer)
#else
#ifdef BREAK_MARK
        journal_commit_outcome(id, false, answer);
#else
        journal_commit_outcome(id, mark, answer);
#endif
        kernel_reply(id, mark, answer)
#endif
}

/* A name is looked up or made: a change of the tree, and a lookup that the reply brings. */
inline handle_change(id) {
        journal_touch();
        d_step { changes++; changed[id] = changes };
        lookups++;
        channel_reply(id, scratch_mark, changes)
}

/* fs_write_ctl(): the change is made; the answer waits until the kernel was told of it. */
inline handle_control(id) {
        if
        :: invalidation[id] == 0 -> /* INVALIDATIONS_NONE */
                journal_touch();
                d_step { changes++; changed[id] = changes };
                invalidation[id] = untold;
                journal_commit(); /* fs_begin_write(): the change stands */
                d_step { at_hand[id] = true; at_hand_mark[id] = scratch_mark } /* channel_defer() */
        :: invalidation[id] == untold -> /* INVALIDATIONS_WAITING */
                d_step { at_hand[id] = true; at_hand_mark[id] = scratch_mark }
        :: invalidation[id] == told -> /* INVALIDATIONS_DONE */
                journal_touch();
                invalidation[id] = 0;
                channel_reply(id, scratch_mark, changed[id])
        fi
}

/* invalidation_told(): the kernel was told. */
inline invalidation_told(id) {
        journal_touch();
        if
        :: at_hand[id] ->
                invalidation[id] = 0;
                channel_reply(id, at_hand_mark[id], changed[id]);
                d_step { at_hand[id] = false; at_hand_mark[id] = false; audit() }
        :: else ->
#ifdef BREAK_TOLD
                invalidation[id] = 0;
#else
                invalidation[id] = told;
#endif
                journal_commit();
                d_step { audit() }
        fi
}

/* channel_forget(): each commit counts what was dropped; here one lookup a commit. */
inline channel_forget() {
        do
        :: forget_done < scratch_count ->
                journal_touch();
                lookups--;
#ifndef BREAK_FORGET_COUNT
                forget_done++;
                journal_commit()
#else
                journal_commit();
                forget_done++
#endif
        :: else -> break
        od
}

/* The worker dies of what it was asked: in the middle of a change. */
inline handle_poison() {
        journal_touch();
        changes++;
        d_step { struck = true; faulted = true };
        false /* not reached: struck is looked at before each step */
}

inline channel_handle() {
        current = (scratch == request -> scratch_id : NONE); /* blame_enter() */
        if
        :: scratch == forget -> channel_forget()
        :: scratch == request && kind[scratch_id] == change -> handle_change(scratch_id)
        :: scratch == request && kind[scratch_id] == control -> handle_control(scratch_id)
        :: scratch == request && kind[scratch_id] == poison -> handle_poison()
        fi;
        current = NONE /* blame_leave() */
}

#ifdef BREAK_POISON
#define IS_POISON(id) false
#else
#define IS_POISON(id) (scratch_mark && deaths[id] >= SUSPECT_DEATHS)
#endif

/* request_prepare(): done with the request; the order of the two steps matters. */
inline request_prepare() {
#ifdef BREAK_PREPARE_ORDER
        forget_done = 0;
        d_step { scratch = nothing; scratch_id = 0; scratch_mark = false; scratch_count = 0 }
#else
        d_step { scratch = nothing; scratch_id = 0; scratch_mark = false; scratch_count = 0 };
        d_step { forget_done = 0; audit() }
#endif
}

/* read(2) of /dev/fuse, as one step: what is given out is in the scratch area. */
inline kernel_give(id) {
        state[id] = given;
        scratch = request;
        scratch_id = id;
        scratch_mark = resent[id]
}
inline kernel_give_forget() {
        scratch = forget;
        scratch_count = kernel_forgets;
        kernel_forgets = 0
}

/* channel_dispatch(), after the read. */
inline channel_dispatch() {
        if
        :: scratch == request && IS_POISON(scratch_id) ->
                kernel_reply(scratch_id, scratch_mark, EIO) /* channel_refuse() */
        :: else -> channel_handle()
        fi;
        request_prepare()
}

/* recovery_run(); those of its steps that matter here. */
inline recovery_run() {
        journal_rollback(); /* 1 */
#ifdef BREAK_RESUME_ORDER
        kernel_resend();
#endif
#ifndef BREAK_RESUME_OUTCOME
        /* 5: replay_outcome() */
        kernel_reply(outcome_key[valid], outcome_mark[valid], outcome_answer[valid]);
#endif
#ifndef BREAK_RESUME_FORGET
        if /* 7: channel_finish_forget() */
        :: scratch == forget -> channel_handle()
        :: else
        fi;
#endif
#ifndef BREAK_RESEND
        kernel_resend(); /* 10: replay_requests() */
#endif
        request_prepare();
        worker = alive
}

/* The loop; between two requests the worker looks at the keeper, too. */
inline worker_loop() {
        do
        :: d_step { IS_NEXT(0) -> kernel_give(0) }; channel_dispatch()
        :: d_step { IS_NEXT(1) -> kernel_give(1) }; channel_dispatch()
#if CALLS > 2
        :: d_step { IS_NEXT(2) -> kernel_give(2) }; channel_dispatch()
#endif
        :: d_step { kernel_forgets > 0 -> kernel_give_forget() }; channel_dispatch()
        :: invalidation[0] == untold -> invalidation_told(0)
        :: invalidation[1] == untold -> invalidation_told(1)
#if CALLS > 2
        :: invalidation[2] == untold -> invalidation_told(2)
#endif
        /* worker_succeed(): it executes the program anew, which is the keeper and has no worker. */
#ifndef BREAK_TAKEOVER
        :: d_step { !keeper -> keeper = true; struck = true }; false
#endif
        od
}

/* Its memory goes with it; the records, the scratch area and the outcomes stay. */
inline worker_end() {
        d_step {
                worker = none;
                struck = false;
                i = 0;
                do
                :: i < CALLS -> at_hand[i] = false; at_hand_mark[i] = false; i++
                :: i == CALLS -> break
                od;
                i = 0
        }
}

active proctype Worker() {
        do
        :: worker == starting ->
                {
                        recovery_run();
                        worker_loop()
                } unless {
                        struck -> worker_end()
                }
        od
}

/* --- The keeper --------------------------------------------------------------------------- */

/* keeper_after_death(): who is to blame?  A worker that somebody killed proves nothing. */
inline keeper_after_death() {
        d_step {
                if
                :: faulted && current != NONE && deaths[current] < SUSPECT_DEATHS ->
                        deaths[current]++ /* blame_assign() */
                :: else
                fi;
                current = NONE;
                faulted = false
        }
}

active proctype Keeper() {
        do
        :: keeper && worker == none ->
                { keeper_after_death(); worker = starting } unless { !keeper }
        :: !keeper && worker == none -> kernel_abort(); break /* /dev/fuse is closed */
        od
}

/* --- Who asks, who kills ------------------------------------------------------------------ */

/* Programs make calls, each at any time, and each of any kind. */
active proctype Programs() {
        byte id;

        do
        :: id < CALLS && connected ->
                if
                :: d_step { state[id] = (connected -> queued : withdrawn); kind[id] = change; id++ }
                :: d_step { state[id] = (connected -> queued : withdrawn); kind[id] = control; id++ }
                :: d_step { state[id] = (connected -> queued : withdrawn); kind[id] = poison; id++ }
                fi
        :: id == CALLS || !connected -> break
        od
}

/* The kernel drops the node from its caches, whenever it likes: a FORGET of all its lookups. */
active proctype Cache() {
        do
        :: d_step { kernel_lookups > 0 ->
                kernel_forgets = kernel_forgets + kernel_lookups;
                kernel_lookups = 0
           }
        od
}

/*
 * Somebody kills, as often as the limits allow; or stops killing.  A caller that is killed while its
 * request is queued takes it back; if the request was given out it waits for the reply all the same
 * (request_wait_answer()), so that nothing changes.
 */
active proctype Killer() {
        byte workers, keepers;

        do
        :: d_step { workers < WORKER_DEATHS && worker != none && !struck ->
                workers++; struck = true }
        :: d_step { workers < WORKER_DEATHS && worker != none && !struck ->
                workers++; struck = true; faulted = true }
        :: d_step { keepers < KEEPER_DEATHS && keeper -> keepers++; keeper = false }
        :: d_step { state[0] == queued -> state[0] = withdrawn }
        :: d_step { state[CALLS - 1] == queued -> state[CALLS - 1] = withdrawn }
        :: break
        od
}
