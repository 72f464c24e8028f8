/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * store: the definitions of volumes, in memory and on disk.
 *
 * Each is a file NAME.json, written beside and renamed, so that whatever happens the old or the new
 * one is there.  A definition has the options as they were given, when it was made, and the IDs of
 * those who have it mounted.
 *
 * Owns the folder of the files.  Never: makes volumes.
 */

#include <json-c/json.h>
#include "volumed/volume.h"

struct definition {
        char name[VOLUME_NAME_MAX + 1];
        char created[32]; /* RFC 3339 */
        struct volume_options options;
        struct json_object *given; /* the options as they were given: an object of strings */
        struct json_object *ids;   /* an object with a member for each ID */
        struct definition *next;
};

/* Reads all definitions.  A file that cannot be understood is left alone, and logged.  0 or -1. */
int store_open(const char *folder, struct volume_error *error);
void store_close(void);

struct definition *store_first(void);
struct definition *store_find(const char *name);

/* Makes a definition, and writes it down.  options: as of Create, or NULL.  NULL and the text: an
 * option is wrong, or it cannot be written. */
struct definition *store_add(const char *name, struct json_object *options,
                             struct volume_error *error);
/* Whether the options are those of the definition. */
bool store_is_same(const struct definition *definition, struct json_object *options);
/* Writes the definition down after a change of its IDs. */
int store_save(const struct definition *definition, struct volume_error *error);
void store_remove(struct definition *definition);
