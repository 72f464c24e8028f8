/* SPDX-License-Identifier: MIT */
#include "control/listing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "control/ctl.h"
#include "control/report_json.h"
#include "control/report_table.h"
#include "control/walk.h"
#include "tree/pending.h"

enum listing_phase {
        PHASE_START,
        PHASE_WALK,    /* regions below the directory */
        PHASE_NODES,   /* stats: all nodes */
        PHASE_PENDING, /* regions that are being populated */
        PHASE_LIMITS,  /* limits of directories below, once for each metric in stats */
        PHASE_END,
        PHASE_OVER,
};

enum { SKIP_MAX = 64 * 1024 }; /* bytes rendered at a time on the way to an offset */

/* The only sum of a listing of regions: names that are too long. */
enum { SUM_TOO_LONG = 0 };

struct listings {
        struct volume *volume;
        struct journal *journal;
        struct handles *handles;
        struct turns *turns;
        struct metrics_work *work;
        struct walk walk; /* of the current piece */
};

/* A piece that is being rendered. */
struct piece {
        struct listings *listings;
        struct handle *handle;
        struct listing_state *at; /* the handle's; logged */
        struct caller caller;
        FILE *stream;
        long want; /* bytes */
};

int listings_new(struct listings **out, struct volume *volume, struct handles *handles,
                 struct turns *turns, struct metrics_work *work) {
        struct listings *listings;

        listings = calloc(1, sizeof(*listings));
        if (!listings)
                return -ENOMEM;
        *listings = (struct listings){
                .volume = volume,
                .journal = volume->journal,
                .handles = handles,
                .turns = turns,
                .work = work,
        };
        *out = listings;
        return 0;
}

struct listings *listings_free(struct listings *listings) {
        free(listings);
        return NULL;
}

static const struct node *listing_top(const struct listings *listings,
                                      const struct handle *handle) {
        const struct node *dir = tree_node(listings->volume->tree, handle->dir);

        return dir && dir->generation == handle->dir_generation ? dir : NULL;
}

/* Rendering */

static void piece_phase(struct piece *piece, enum listing_phase phase) {
        piece->at->phase = phase;
        piece->at->position = 0;
        piece->at->items = 0;
}

static void piece_head(struct piece *piece) {
        switch (piece->handle->kind) {
        case CTL_REGIONS:
                report_table_head(piece->stream);
                break;
        case CTL_REGIONS_JSON:
                fputs("{\"regions\": [", piece->stream);
                break;
        case CTL_LIMITS_JSON:
                fputs("{\"limits\": [", piece->stream);
                break;
        default:
                break;
        }
}

/* Regions that are being populated form an array of their own, because nobody can open them. */
static void piece_between(struct piece *piece) {
        if (piece->handle->kind == CTL_REGIONS_JSON)
                fputs("\n],\n\"populating\": [", piece->stream);
}

static void piece_item(struct piece *piece, struct node *node) {
        const struct walk *walk = &piece->listings->walk;
        struct stat st;

        region_stat(piece->listings->volume->regions, node, &st);
        if (piece->handle->kind == CTL_REGIONS) {
                report_table_region(piece->stream, node, walk->path, walk->length);
                return;
        }
        fputs(piece->at->items++ ? ",\n" : "\n", piece->stream);
        report_json_region(piece->stream, node, walk->path, walk->length);
}

static void piece_stats(struct piece *piece) {
        const struct listings *listings = piece->listings;
        const struct handles *handles = listings->handles;
        const struct tree *tree = listings->volume->tree;

        metrics_common(piece->stream, tree, listings->volume->regions,
                       handles_used_by(handles, piece->handle->uid));
        if (listings->work) {
                listings->work->records = turns_visited(listings->turns);
                listings->work->most_records = turns_most(listings->turns);
        }
        if (handles_is_admin(handles, &piece->caller))
                metrics_all(piece->stream, tree, piece->at->sums, handles_used(handles),
                            listings->work);
}

static void piece_tail(struct piece *piece) {
        uint64_t too_long = piece->at->sums[SUM_TOO_LONG];

        switch (piece->handle->kind) {
        case CTL_REGIONS:
                report_table_too_long(piece->stream, too_long);
                break;
        case CTL_REGIONS_JSON:
                fprintf(piece->stream, "\n],\n\"too_long\": %llu}\n", (unsigned long long)too_long);
                break;
        case CTL_LIMITS_JSON:
                fputs("\n]}\n", piece->stream);
                break;
        default:
                piece_stats(piece);
                break;
        }
}

/* A directory, and the space that a file in it has. */
static void piece_limit(struct piece *piece, const struct node *dir, const char *path,
                        size_t length) {
        const struct volume *volume = piece->listings->volume;
        const struct limit *nodes = limit_of_nodes(volume->journal, dir->limit);
        struct space space;

        *turns_left(piece->listings->turns) -=
                (int)regions_look_at_asking(volume->regions, dir->limit);
        quota_space(regions_quota(volume->regions), dir->limit, &space);
        fputs(piece->at->items++ ? ",\n" : "\n", piece->stream);
        report_json_limit(piece->stream, path, length, &space, nodes);
}

/* Phases: each step visits only a few records */

static void step_start(struct piece *piece) {
        struct listings *listings = piece->listings;

        piece_head(piece);
        if (piece->handle->kind == CTL_LIMITS_JSON) {
                piece_limit(piece, listing_top(listings, piece->handle), ".", 1);
                piece_phase(piece, PHASE_LIMITS);
                piece->at->items = 1;
        } else if (piece->handle->kind != CTL_STATS) {
                walk_begin(&listings->walk, listing_top(listings, piece->handle));
                piece_phase(piece, PHASE_WALK);
        } else if (handles_is_admin(listings->handles, &piece->caller)) {
                piece_phase(piece, PHASE_NODES);
        } else {
                piece_phase(piece, PHASE_END);
        }
}

/* The next limit whose directory lies below the top and can be seen by the reader; its path is then
 * walk->path.  NULL: not this one, or there are no more (true). */
static const struct limit *next_limit(struct piece *piece, bool *over) {
        struct listings *listings = piece->listings;
        const struct node *top = listing_top(listings, piece->handle), *dir;
        const struct dentry *dentry;
        const struct limit *limit;
        int r = -ENOENT;

        *over = piece->at->position == journal_high(listings->journal, TABLE_LIMIT) || !top;
        if (*over)
                return NULL;
        --*turns_left(listings->turns);
        limit = limit_get(listings->journal, ++piece->at->position);
        if (!limit || limit->dir == top->id || limit->dir == LAYOUT_ROOT_ID)
                return NULL;
        dir = tree_node(listings->volume->tree, limit->dir);
        dentry = dir ? tree_name_of(listings->volume->tree, dir) : NULL;
        if (dentry)
                r = walk_path(&listings->walk, top,
                              tree_node(listings->volume->tree, dentry->parent), dentry->name,
                              dentry->length);
        return r == 0 ? limit : NULL;
}

/* Lists all limits, or a metric of each: then the number of items is that of the metric. */
static void step_limits(struct piece *piece) {
        const struct walk *walk = &piece->listings->walk;
        bool over, is_stats = piece->handle->kind == CTL_STATS;
        const struct limit *limit;

        if (is_stats && piece->at->position == 0)
                metrics_limit_head(piece->stream, piece->at->items);
        limit = next_limit(piece, &over);
        if (over && is_stats && metrics_limit_head(NULL, ++piece->at->items))
                piece->at->position = 0;
        else if (over)
                piece_phase(piece, is_stats ? PHASE_OVER : PHASE_END);
        else if (limit && is_stats)
                metrics_limit(piece->stream, piece->at->items, piece->listings->journal, limit,
                              regions_quota(piece->listings->volume->regions), walk->path,
                              walk->length);
        else if (limit)
                piece_limit(piece, tree_node(piece->listings->volume->tree, limit->dir), walk->path,
                            walk->length);
}

static void step_walk(struct piece *piece) {
        struct walk *walk = &piece->listings->walk;
        struct node *node = walk_next(walk);

        if (node) {
                piece_item(piece, node);
        } else if (walk_is_over(walk)) {
                piece_phase(piece, PHASE_PENDING);
                piece_between(piece);
        }
}

static void step_nodes(struct piece *piece) {
        const struct tree *tree = piece->listings->volume->tree;
        uint64_t *sums = piece->at->sums;
        const struct node *node;

        if (piece->at->position == journal_high(piece->listings->journal, TABLE_NODE)) {
                piece_phase(piece, PHASE_PENDING);
                return;
        }
        --*turns_left(piece->listings->turns);
        node = tree_node(tree, ++piece->at->position);
        if (!node)
                return;
        sums[METRICS_OPENS] += node->opens;
        if (node_is_region(node) && !(node->flags & NODE_DETACHED))
                sums[METRICS_REGIONS]++;
}

static void pending_count(struct piece *piece, struct node *node) {
        uint64_t *sums = piece->at->sums;
        struct stat st;

        sums[METRICS_POPULATING]++;
        if (region_stat(piece->listings->volume->regions, node, &st) == 0 &&
            node->blocks < node->size)
                sums[METRICS_LACK] += node->size - node->blocks;
}

/* Lists the region as if it had its name already. */
static void pending_list(struct piece *piece, const struct pending *record, struct node *node) {
        struct listings *listings = piece->listings;
        const struct node *dir = pending_dir(listings->volume->tree, record);
        const struct node *top = listing_top(listings, piece->handle);
        int r = -EACCES;

        if (dir && top)
                r = walk_path(&listings->walk, top, dir, record->name, record->length);
        if (r == 0)
                piece_item(piece, node);
        else if (r == -ENAMETOOLONG)
                piece->at->sums[SUM_TOO_LONG]++;
}

static void step_pending(struct piece *piece) {
        const struct tree *tree = piece->listings->volume->tree;
        const struct pending *record;
        struct node *node;

        if (piece->at->position == pending_high(tree)) {
                piece_phase(piece, PHASE_END);
                return;
        }
        --*turns_left(piece->listings->turns);
        record = pending_get(tree, ++piece->at->position);
        node = record ? tree_node(tree, record->node) : NULL;
        if (!node)
                return;
        if (piece->handle->kind == CTL_STATS)
                pending_count(piece, node);
        else
                pending_list(piece, record, node);
}

/* Whether stats go on with limits of directories. */
static bool piece_has_limits(const struct piece *piece) {
        return piece->handle->kind == CTL_STATS &&
               journal_used(piece->listings->journal, TABLE_LIMIT) > 1;
}

static void piece_step(struct piece *piece) {
        switch (piece->at->phase) {
        case PHASE_START:
                step_start(piece);
                break;
        case PHASE_WALK:
                step_walk(piece);
                break;
        case PHASE_NODES:
                step_nodes(piece);
                break;
        case PHASE_PENDING:
                step_pending(piece);
                break;
        case PHASE_LIMITS:
                step_limits(piece);
                break;
        default:
                piece_tail(piece);
                piece_phase(piece, piece_has_limits(piece) ? PHASE_LIMITS : PHASE_OVER);
                break;
        }
}

/* Conversion between the records and a walk */

static void piece_take_up(struct piece *piece) {
        struct listings *listings = piece->listings;
        struct walk *walk = &listings->walk;

        walk->tree = listings->volume->tree;
        walk->caller = &piece->caller;
        walk->budget = turns_left(listings->turns);
        walk->floor = 0;
        walk->too_long = 0;
        walk->depth = piece->at->depth;
        chain_load(listings->journal, piece->at->levels, 0, walk->levels,
                   walk->depth * sizeof(*walk->levels));
        if (piece->at->phase == PHASE_WALK)
                walk_resume(walk);
}

static int piece_put_down(struct piece *piece) {
        struct listings *listings = piece->listings;
        const struct walk *walk = &listings->walk;
        int r;

        piece->at->sums[SUM_TOO_LONG] += walk->too_long;
        r = handles_store(listings->handles, piece->handle, &piece->at->levels, walk->levels,
                          walk->depth * sizeof(*walk->levels));
        if (r == 0)
                piece->at->depth = walk->depth;
        return r;
}

static void piece_render(struct piece *piece) {
        const struct walk *walk = &piece->listings->walk;

        while (piece->at->phase != PHASE_OVER && *walk->budget > walk->floor &&
               ftell(piece->stream) < piece->want)
                piece_step(piece);
}

/* Reading */

static void listing_reset(struct listings *listings, struct handle *handle) {
        struct listing_state *at = &handle->listing;

        handles_store(listings->handles, handle, &at->levels, NULL, 0);
        handles_store(listings->handles, handle, &at->carry, NULL, 0);
        *at = (struct listing_state){0};
}

/* Puts text that was rendered but not read in front of the piece. */
static void piece_add_carry(struct piece *piece) {
        const struct listing_state *at = piece->at;
        char bytes[LAYOUT_TEXT_BYTES];

        for (uint32_t from = at->carry_at; from < at->carry_length;) {
                uint32_t n = at->carry_length - from;

                if (n > sizeof(bytes))
                        n = sizeof(bytes);
                chain_load(piece->listings->journal, at->carry, from, bytes, n);
                fwrite(bytes, 1, n, piece->stream);
                from += n;
        }
}

/* Replaces newlines by spaces, which mean the same in JSON, except the one at the end. */
static void make_one_line(const struct handle *handle, char *text, size_t length) {
        bool over = handle->listing.phase == PHASE_OVER;

        if (!(handle->flags & HANDLE_ONE_LINE))
                return;
        for (size_t i = 0; i < length; i++)
                if (text[i] == '\n' && !(over && i + 1 == length))
                        text[i] = ' ';
}

static int listing_keep(struct listings *listings, struct handle *handle, const char *bytes,
                        size_t length) {
        struct listing_state *at = &handle->listing;
        int r = handles_store(listings->handles, handle, &at->carry, bytes, length);

        at->carry_at = 0;
        at->carry_length = r == 0 ? (uint32_t)length : 0;
        return r;
}

/* Copies the text from the offset on to the reader, and keeps the rest. */
static ssize_t listing_deliver(struct listings *listings, struct handle *handle, const char *text,
                               size_t length, char *buffer, size_t size, uint64_t offset) {
        struct listing_state *at = &handle->listing;
        uint64_t skip = offset - at->at;
        int r;

        if (length <= skip) {
                r = listing_keep(listings, handle, NULL, 0);
                at->at += length;
                return r < 0 ? r : at->phase == PHASE_OVER ? 0 : -EINPROGRESS;
        }
        if (size > length - skip)
                size = length - skip;
        r = listing_keep(listings, handle, text + skip + size, length - skip - size);
        if (r < 0)
                return r;
        memcpy(buffer, text + skip, size);
        at->at = offset + size;
        return (ssize_t)size;
}

static ssize_t listing_render(struct listings *listings, struct handle *handle, char *buffer,
                              size_t size, uint64_t offset) {
        uint64_t skip = offset - handle->listing.at;
        struct piece piece = {
                .listings = listings,
                .handle = handle,
                .at = &handle->listing,
                .want = (long)((skip < SKIP_MAX ? skip : SKIP_MAX) + size),
        };
        char *text = NULL;
        size_t length = 0, carried = piece.at->carry_length - piece.at->carry_at;
        ssize_t n;

        piece.stream = open_memstream(&text, &length);
        if (!piece.stream)
                return -ENOMEM;
        piece.caller = handles_opener(listings->handles, handle, 0);
        piece_add_carry(&piece);
        piece_take_up(&piece);
        piece_render(&piece);
        n = piece_put_down(&piece);
        caller_clear(&piece.caller);
        if (fclose(piece.stream) != 0 && n == 0)
                n = -ENOMEM;
        if (n == 0) {
                make_one_line(handle, text + carried, length - carried);
                n = listing_deliver(listings, handle, text, length, buffer, size, offset);
        }
        free(text);
        turns_used(listings->turns);
        return n;
}

/* Whether all bytes of the read were rendered before. */
static bool listing_is_at_hand(const struct listing_state *at, size_t size, uint64_t offset) {
        uint64_t left = at->carry_length - at->carry_at, skip = offset - at->at;

        return skip <= left && (size <= left - skip || (at->phase == PHASE_OVER && skip < left));
}

static ssize_t listing_from_carry(struct listings *listings, struct handle *handle, char *buffer,
                                  size_t size, uint64_t offset) {
        struct listing_state *at = &handle->listing;
        uint32_t from = at->carry_at + (uint32_t)(offset - at->at);

        if (size > at->carry_length - from)
                size = at->carry_length - from;
        chain_load(listings->journal, at->carry, from, buffer, size);
        at->carry_at = from + (uint32_t)size;
        at->at = offset + size;
        if (at->carry_at == at->carry_length)
                listing_keep(listings, handle, NULL, 0);
        return (ssize_t)size;
}

ssize_t listing_read(struct listings *listings, struct handle *handle, char *buffer, size_t size,
                     uint64_t offset, bool again) {
        struct listing_state *at = &handle->listing;
        ssize_t n;

        if (size == 0)
                return 0;
        journal_touch(listings->journal, at, sizeof(*at));
        if (handle->kind == CTL_STATS && at->phase == PHASE_START)
                regions_look_at_asking(listings->volume->regions, LAYOUT_MOUNT_LIMIT);
        if ((offset == 0 && !again) || offset < at->at)
                listing_reset(listings, handle);
        if (at->phase == PHASE_START && !listing_top(listings, handle))
                return -ESTALE;
        if (listing_is_at_hand(at, size, offset))
                return listing_from_carry(listings, handle, buffer, size, offset);
        if (*turns_left(listings->turns) <= 0)
                return -EINPROGRESS;
        n = listing_render(listings, handle, buffer, size, offset);
        if (n < 0 && n != -EINPROGRESS) {
                /* The records that the walk has visited are not kept, so begin anew. */
                listing_reset(listings, handle);
                return n == -ENOMEM ? -ENFILE : n;
        }
        return n;
}

/* For the socket */

int listing_open(struct listings *listings, const struct caller *caller, const struct node *dir,
                 bool of_limits, uint32_t *out) {
        struct handle *handle;
        int r;

        r = handles_add(listings->handles, caller, &handle);
        if (r < 0)
                return r;
        handle->kind = of_limits ? CTL_LIMITS_JSON : CTL_REGIONS_JSON;
        handle->dir = dir->id;
        handle->dir_generation = dir->generation;
        handle->flags |= HANDLE_ONE_LINE;
        *out = handle->id;
        return 0;
}

ssize_t listing_continue(struct listings *listings, uint32_t id, char *buffer, size_t size) {
        struct handle *handle = handles_get(listings->handles, id);

        return handle ? listing_read(listings, handle, buffer, size, handle->listing.at, true)
                      : -EBADF;
}

void listing_close(struct listings *listings, uint32_t id) {
        struct handle *handle = handles_get(listings->handles, id);

        if (handle)
                handles_delete(listings->handles, handle);
}

int listing_wait_turn(struct listings *listings, struct turns_job *job) {
        return turns_wait(listings->turns, job);
}

void listing_cancel_turn(struct listings *listings, struct turns_job *job) {
        turns_cancel(listings->turns, job);
}
