/* SPDX-License-Identifier: MIT */
#include "json_out.h"

#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/words.h"

const char *const json_out_flags[] = {
        "fixed",         "ephemeral",     "populate",        "huge",        "populating", "sparse",
        "owner=process", "owner=service", "owner=container", "owner-ended", NULL};
const char *const json_out_seals[] = {"shrink", "grow", "write", NULL};

void json_out_string(FILE *stream, const char *text) {
        size_t length = strlen(text), n;
        uint32_t code;

        fputc('"', stream);
        for (; length > 0; text += n, length -= n) {
                n = words_character(text, length, &code);
                if (n == 0)
                        fputs("\xef\xbf\xbd", stream);
                else if (code == '"' || code == '\\')
                        fprintf(stream, "\\%c", (int)code);
                else if (words_is_control(code))
                        fprintf(stream, "\\u%04x", code);
                else
                        fwrite(text, 1, n, stream);
                n = n ? n : 1;
        }
        fputc('"', stream);
}

void json_out_key(struct json_out *out, const char *key) {
        if (out->comma)
                fputs(", ", out->stream);
        out->comma = true;
        json_out_string(out->stream, key);
        fputs(": ", out->stream);
}

void json_out_text(struct json_out *out, const char *key, const char *text) {
        json_out_key(out, key);
        json_out_string(out->stream, text);
}

void json_out_number(struct json_out *out, const char *key, int64_t number) {
        json_out_key(out, key);
        fprintf(out->stream, "%" PRId64, number);
}

void json_out_bytes(struct json_out *out, const char *key, const char *text) {
        char other[64], *escaped;

        json_out_text(out, key, text);
        if (words_is_utf8(text, strlen(text)))
                return;
        escaped = malloc(4 * strlen(text) + 1);
        if (!escaped)
                abort();
        words_escape(escaped, text, strlen(text));
        snprintf(other, sizeof(other), "%s_escaped", key);
        json_out_text(out, other, escaped);
        free(escaped);
}

void json_out_user(struct json_out *out, const char *key_number, const char *key_name, uid_t uid) {
        const struct passwd *user = getpwuid(uid);

        json_out_number(out, key_number, uid);
        if (user)
                json_out_text(out, key_name, user->pw_name);
}

void json_out_group(struct json_out *out, gid_t gid) {
        const struct group *group = getgrgid(gid);

        json_out_number(out, "gid", gid);
        if (group)
                json_out_text(out, "group", group->gr_name);
}

void json_out_words(struct json_out *out, const char *key, uint32_t bits,
                    const char *const *words) {
        bool comma = false;

        json_out_key(out, key);
        fputc('[', out->stream);
        for (unsigned int i = 0; words[i]; i++) {
                if (!(bits & 1u << i))
                        continue;
                fputs(comma ? ", " : "", out->stream);
                json_out_string(out->stream, words[i]);
                comma = true;
        }
        fputc(']', out->stream);
}

/* Regions */

struct region_out {
        struct json_out out;
        const char *name;
        const struct iomem_stat *region;
};

static void put_name(struct region_out *r) {
        json_out_bytes(&r->out, "name", r->name);
}

static void put_size(struct region_out *r) {
        json_out_number(&r->out, "size", (int64_t)r->region->size);
}

static void put_allocated(struct region_out *r) {
        json_out_number(&r->out, "allocated", (int64_t)r->region->allocated);
}

static void put_huge(struct region_out *r) {
        json_out_number(&r->out, "huge", (int64_t)r->region->huge);
}

static void put_mode(struct region_out *r) {
        char mode[16];

        snprintf(mode, sizeof(mode), "%04o", r->region->mode & 07777);
        json_out_text(&r->out, "mode", mode);
}

static void put_user(struct region_out *r) {
        json_out_user(&r->out, "uid", "user", r->region->uid);
}

static void put_group(struct region_out *r) {
        json_out_group(&r->out, r->region->gid);
}

static void put_inode(struct region_out *r) {
        json_out_number(&r->out, "inode", (int64_t)r->region->inode);
}

static void put_links(struct region_out *r) {
        json_out_number(&r->out, "links", r->region->links);
}

static void put_refs(struct region_out *r) {
        json_out_number(&r->out, "refs", r->region->refs);
        json_out_number(&r->out, "writers", r->region->writers);
}

static void put_flags(struct region_out *r) {
        json_out_words(&r->out, "flags", r->region->flags, json_out_flags);
}

static void put_seals(struct region_out *r) {
        json_out_words(&r->out, "seals", r->region->seals, json_out_seals);
}

static void put_created(struct region_out *r) {
        time_t created = (time_t)r->region->created;
        char text[64] = "";
        struct tm tm;
        size_t n;

        if (!gmtime_r(&created, &tm))
                return;
        n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(text + n, sizeof(text) - n, ".%06uZ", r->region->created_nsec / 1000);
        json_out_text(&r->out, "created", text);
}

static void put_creator(struct region_out *r) {
        json_out_user(&r->out, "creator_uid", "creator_user", r->region->creator_uid);
        json_out_number(&r->out, "creator_pid", r->region->creator_pid);
        json_out_bytes(&r->out, "creator_command", r->region->creator_command);
}

/* In the order of .ctl/regions.json.  Some have a companion, such as the name for a number. */
static const struct {
        const char *member;
        void (*put)(struct region_out *r);
} members[] = {
        {"name", put_name},       {"size", put_size},       {"allocated", put_allocated},
        {"huge", put_huge},       {"mode", put_mode},       {"user", put_user},
        {"group", put_group},     {"inode", put_inode},     {"links", put_links},
        {"refs", put_refs},       {"flags", put_flags},     {"seals", put_seals},
        {"created", put_created}, {"creator", put_creator},
};

void json_out_region(FILE *stream, const char *name, const struct iomem_stat *region,
                     json_out_wanted_fn wanted, void *userdata) {
        struct region_out r = {.out = {.stream = stream}, .name = name, .region = region};

        fputc('{', stream);
        for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++)
                if (wanted(userdata, members[i].member))
                        members[i].put(&r);
        fputc('}', stream);
}
