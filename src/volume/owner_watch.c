/* SPDX-License-Identifier: MIT */
#include "volume/owner_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/users.h"
#include "records/chain.h"

#define uthash_nonfatal_oom(element) ((element)->failed = true)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum {
        WATCHES_MAX = 4096,
        WATCHES_OF_DESCRIPTORS = 16, /* watches take one descriptor of so many */
        WATCHES_RESERVE = 8,         /* one part of so many is for root */
        SHARE = 4,
        PAUSE_MS = 250,        /* between looks at owners without a watch */
        GROUP_PAUSE_MS = 1000, /* the same while there are only watched groups */
        GROUP_RECORDS = 16,    /* a reading of cgroup.events takes as long as so many records */
        LOOKS_MAX = 256,       /* in one job */
        TRIES_MAX = 64,        /* owners that may get a watch in one turn of the loop */
        RECORDS_MAX = 4096,    /* records that are visited in one turn */
};

struct owner_watch {
        uint32_t owner;
        struct owner_watches *watches;
        struct owner_key key;
        int fd;
        struct loop_source *source;
        unsigned int *of_user; /* entry of its user: the number of watches */
        bool failed;           /* there was no memory for the index */
        UT_hash_handle hh;
};

/* An owner that is being looked at, away from the records. */
struct look {
        uint32_t owner;
        struct owner_key key;
        char *path;
        bool ended;
};

struct looks {
        struct job job;
        struct owner_watches *watches;
        unsigned int n;
        struct look looks[LOOKS_MAX];
};

struct owner_watches {
        struct loop *loop;
        struct journal *journal;
        struct job_queue *queue;
        owner_ended_fn ended;
        void *userdata;
        struct owner_watch *index;
        struct users *users; /* the number of watches of each */
        unsigned int n, max;
        struct loop_source *timer;
        uint32_t at;     /* the last record that was visited */
        bool is_armed;   /* the timer */
        uint64_t pause;  /* milliseconds that it was armed for */
        bool more;       /* an owner without a watch was seen in this round */
        bool groups;     /* a group with a watch was seen in this round */
        bool is_looking; /* a job is under way */
};

struct owner_key owner_record_key(const struct owner *owner) {
        return (struct owner_key){
                .kind = owner->kind,
                .version = owner->version,
                .pid = owner->pid,
                .start = owner->start,
                .inode = owner->inode,
        };
}

char *owner_record_path(const struct journal *journal, const struct owner *owner) {
        char *path = calloc(1, owner->path_length + 1);

        if (path)
                chain_load(journal, owner->path, 0, path, owner->path_length);
        return path;
}

/* A live record of an owner that has not ended. */
static const struct owner *owner_get(const struct owner_watches *watches, uint32_t id) {
        const struct owner *owner = journal_get(watches->journal, TABLE_OWNER, id);

        return owner && owner->id == id && !owner->ended ? owner : NULL;
}

/* Watches */

static struct owner_watch *watch_find(const struct owner_watches *watches, uint32_t owner) {
        struct owner_watch *watch;

        HASH_FIND(hh, watches->index, &owner, sizeof(owner), watch);
        return watch;
}

static void watch_free(struct owner_watch *watch) {
        struct owner_watches *watches = watch->watches;

        HASH_DELETE(hh, watches->index, watch);
        watches->n--;
        if (--*watch->of_user == 0)
                users_remove(watches->users, watch->of_user);
        loop_remove(watch->source);
        close(watch->fd);
        free(watch);
}

static void watch_on_event(void *userdata, uint32_t events) {
        const struct owner_watch *watch = userdata;
        struct owner_watches *watches = watch->watches;

        (void)events;
        if (owner_is_told(&watch->key, watch->fd))
                watches->ended(watches->userdata, watch->owner);
}

/* Whether the user may have one more. */
static bool user_may_watch(const struct owner_watches *watches, uid_t uid) {
        unsigned int max = uid == 0 ? watches->max : watches->max - watches->max / WATCHES_RESERVE;
        const unsigned int *used = users_find(watches->users, uid);

        if (watches->n >= max)
                return false;
        return uid == 0 || (used ? *used : 0) < (max - watches->n + SHARE - 1) / SHARE;
}

/* Puts a watch together over the descriptor, which it closes on failure. */
static int watch_new(struct owner_watches *watches, const struct owner *owner, int fd,
                     uint32_t events) {
        struct owner_watch *watch = calloc(1, sizeof(*watch));
        unsigned int *of_user = watch ? users_get(watches->users, owner->uid) : NULL;

        if (!of_user) {
                free(watch);
                close(fd);
                return -ENOMEM;
        }
        watch->owner = owner->id;
        watch->watches = watches;
        watch->key = owner_record_key(owner);
        watch->fd = fd;
        watch->of_user = of_user;
        ++*of_user;
        HASH_ADD(hh, watches->index, owner, sizeof(watch->owner), watch);
        if (watch->failed) {
                if (--*of_user == 0)
                        users_remove(watches->users, of_user);
                close(fd);
                free(watch);
                return -ENOMEM;
        }
        watches->n++;
        if (loop_add(watches->loop, &watch->source, fd, events, watch_on_event, watch) == 0)
                return 0;
        watch_free(watch);
        return -ENOMEM;
}

/* 0; -ESRCH: it has ended; other errors: it has to be looked at now and then. */
static int watch_try(struct owner_watches *watches, const struct owner *owner) {
        struct owner_key key = owner_record_key(owner);
        uint32_t events;
        char *path;
        int fd;

        if (!user_may_watch(watches, owner->uid))
                return -ENOSPC;
        path = owner_record_path(watches->journal, owner);
        if (!path)
                return -ENOMEM;
        fd = owner_open(&key, path, &events);
        free(path);
        return fd < 0 ? fd : watch_new(watches, owner, fd, events);
}

/* Looks */

static void looks_run(struct job *job) {
        struct looks *looks = (struct looks *)job;

        for (unsigned int i = 0; i < looks->n; i++)
                looks->looks[i].ended = owner_look(&looks->looks[i].key, looks->looks[i].path);
}

static void looks_free(struct looks *looks) {
        for (unsigned int i = 0; looks && i < looks->n; i++)
                free(looks->looks[i].path);
        free(looks);
}

/* If there is no memory for it, the next round is soon enough. */
static void looks_add(struct looks *looks, const struct journal *journal,
                      const struct owner *owner) {
        struct look *look = &looks->looks[looks->n];

        look->owner = owner->id;
        look->key = owner_record_key(owner);
        look->path = owner_record_path(journal, owner);
        if (look->path)
                looks->n++;
}

/* Visits records in so many milliseconds, or sooner if that is planned already. */
static void watches_arm(struct owner_watches *watches, uint64_t pause) {
        if (watches->is_looking || (watches->is_armed && pause >= watches->pause))
                return;
        watches->is_armed = true;
        watches->pause = pause;
        if (pause == 0)
                loop_arm_soon(watches->timer);
        else
                loop_arm(watches->timer, pause);
}

static void looks_done(struct job *job) {
        struct looks *looks = (struct looks *)job;
        struct owner_watches *watches = looks->watches;

        watches->is_looking = false;
        for (unsigned int i = 0; i < looks->n; i++) {
                const struct look *look = &looks->looks[i];
                const struct owner *owner = owner_get(watches, look->owner);
                struct owner_key key = owner ? owner_record_key(owner) : (struct owner_key){0};

                /* The record may be of another owner by now. */
                if (look->ended && owner_key_equal(&key, &look->key))
                        watches->ended(watches->userdata, look->owner);
        }
        watches_arm(watches, PAUSE_MS);
        looks_free(looks);
}

static void looks_begin(struct owner_watches *watches, struct looks *looks) {
        looks->watches = watches;
        looks->job.run = looks_run;
        looks->job.done = looks_done;
        watches->is_looking = true;
        if (watches->queue) {
                job_queue_submit(watches->queue, &looks->job);
                return;
        }
        looks_run(&looks->job);
        looks_done(&looks->job);
}

/* Rounds */

/* Between two events of a group the kernel waits for 10 ms.  If the group is removed in that time, the
 * second one never comes. */
static void visit_group(struct owner_watches *watches, const struct owner_watch *watch) {
        watches->groups = true;
        if (owner_is_told(&watch->key, watch->fd))
                watches->ended(watches->userdata, watch->owner);
}

/* Gives the owner a watch, or adds it to those that are looked at.  Returns the number of tries. */
static unsigned int visit_unwatched(struct owner_watches *watches, struct looks *looks,
                                    const struct owner *owner) {
        uint32_t id = owner->id;
        int r = watch_try(watches, owner);

        watches->groups |= owner->kind == NODE_OWNER_SERVICE;
        if (r == 0)
                return 1;
        if (r == -ESRCH) {
                watches->ended(watches->userdata, id);
                return 1;
        }
        watches->more = true;
        looks_add(looks, watches->journal, owner);
        return r == -ENOSPC ? 0 : 1;
}

/* The owner's watch.  One that is left of an earlier owner of that record is freed. */
static struct owner_watch *watch_current(struct owner_watches *watches, uint32_t id,
                                         const struct owner *owner) {
        struct owner_watch *watch = watch_find(watches, id);
        struct owner_key key = owner ? owner_record_key(owner) : (struct owner_key){0};

        if (!watch || owner_key_equal(&watch->key, &key))
                return watch;
        watch_free(watch);
        return NULL;
}

/* Visits the next record. */
static void visit(struct owner_watches *watches, struct looks *looks, unsigned int *records,
                  unsigned int *tries) {
        const struct owner *owner = owner_get(watches, ++watches->at);
        const struct owner_watch *watch = watch_current(watches, watches->at, owner);

        ++*records;
        if (watch && watch->key.kind == NODE_OWNER_SERVICE) {
                visit_group(watches, watch);
                *records += GROUP_RECORDS;
        } else if (owner && !watch) {
                *tries += visit_unwatched(watches, looks, owner);
        }
}

/* The round is over: another one follows if some owners have no watch, or one that may fail. */
static void round_end(struct owner_watches *watches) {
        watches->at = 0;
        if (watches->more)
                watches_arm(watches, PAUSE_MS);
        else if (watches->groups)
                watches_arm(watches, GROUP_PAUSE_MS);
        watches->more = watches->groups = false;
}

static void watches_on_timer(void *userdata, uint32_t events) {
        struct owner_watches *watches = userdata;
        struct looks *looks;
        unsigned int records = 0, tries = 0;
        uint32_t high = journal_high(watches->journal, TABLE_OWNER);

        (void)events;
        watches->is_armed = false;
        if (watches->is_looking)
                return; /* the end of that goes on with the round */
        looks = calloc(1, sizeof(*looks));
        if (!looks) {
                watches_arm(watches, PAUSE_MS);
                return;
        }
        while (watches->at < high && records < RECORDS_MAX && tries < TRIES_MAX &&
               looks->n < LOOKS_MAX)
                visit(watches, looks, &records, &tries);
        if (watches->at >= high)
                round_end(watches);
        else if (looks->n == 0)
                watches_arm(watches, 0);
        if (looks->n > 0)
                looks_begin(watches, looks);
        else
                looks_free(looks);
}

void owner_watches_take_up(struct owner_watches *watches) {
        watches->at = 0;
        watches_arm(watches, 0);
}

/* Calls */

void owner_watch_update(struct owner_watches *watches, uint32_t id) {
        const struct owner *owner = owner_get(watches, id);
        const struct owner_watch *watch = watch_current(watches, id, owner);
        int r = owner && !watch ? watch_try(watches, owner) : 0;

        if (r == 0 && owner && owner->kind == NODE_OWNER_SERVICE)
                watches_arm(watches, GROUP_PAUSE_MS);
        if (r == 0)
                return;
        /* One that has ended already is visited next. */
        if (r == -ESRCH && !watches->is_looking && watches->at >= id)
                watches->at = id - 1;
        watches->more = true;
        watches_arm(watches, r == -ESRCH ? 0 : PAUSE_MS);
}

void owner_watch_remove(struct owner_watches *watches, uint32_t id) {
        struct owner_watch *watch = watch_find(watches, id);

        if (watch)
                watch_free(watch);
}

static unsigned int watches_max(void) {
        struct rlimit limit;
        rlim_t max;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return WATCHES_OF_DESCRIPTORS;
        max = limit.rlim_cur / WATCHES_OF_DESCRIPTORS;
        return max < WATCHES_MAX ? (unsigned int)max : WATCHES_MAX;
}

int owner_watches_new(struct owner_watches **out, struct loop *loop, struct journal *journal,
                      struct job_queue *queue, owner_ended_fn ended, void *userdata) {
        struct owner_watches *watches = calloc(1, sizeof(*watches));
        int r;

        if (!watches)
                return -ENOMEM;
        watches->loop = loop;
        watches->journal = journal;
        watches->queue = queue;
        watches->ended = ended;
        watches->userdata = userdata;
        watches->max = watches_max();
        r = users_new(&watches->users, sizeof(unsigned int));
        if (r == 0)
                r = loop_add_timer(loop, &watches->timer, watches_on_timer, watches);
        if (r < 0) {
                owner_watches_free(watches);
                return r;
        }
        *out = watches;
        return 0;
}

struct owner_watches *owner_watches_free(struct owner_watches *watches) {
        if (!watches)
                return NULL;
        while (watches->index)
                watch_free(watches->index);
        loop_remove(watches->timer);
        users_free(watches->users);
        free(watches);
        return NULL;
}
