/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * json_out: writes the JSON of iomem.  docs/json.md describes it, docs/iomem.schema.json checks it;
 * .ctl/regions.json and the socket speak the same.
 *
 * Names are bytes: one that is no UTF-8 has U+FFFD for each byte that is not, and a second member
 * with its escapes.
 *
 * Owns nothing.  Never: writes what is no JSON, whatever the names are.
 */

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>
#include "iomem.h"

/* An object or array that is being written: knows whether a comma is due. */
struct json_out {
        FILE *stream;
        bool comma;
};

/* The words for flags and seals, by bit; they end in NULL. */
extern const char *const json_out_flags[], *const json_out_seals[];

void json_out_string(FILE *stream, const char *text);
/* Each writes `"KEY": ` and the value. */
void json_out_key(struct json_out *out, const char *key);
void json_out_text(struct json_out *out, const char *key, const char *text);
void json_out_number(struct json_out *out, const char *key, int64_t number);
/* A name of bytes; KEY_escaped if that is needed. */
void json_out_bytes(struct json_out *out, const char *key, const char *text);
/* `"uid": 0, "user": "root"`; without the second if the number has no name. */
void json_out_user(struct json_out *out, const char *key_number, const char *key_name, uid_t uid);
void json_out_group(struct json_out *out, gid_t gid);
/* Words for the bits, as an array. */
void json_out_words(struct json_out *out, const char *key, uint32_t bits, const char *const *words);

/* Whether a member is wanted. */
typedef bool (*json_out_wanted_fn)(void *userdata, const char *member);
/* Writes a region as an object, with the members that are wanted. */
void json_out_region(FILE *stream, const char *name, const struct iomem_stat *region,
                     json_out_wanted_fn wanted, void *userdata);
