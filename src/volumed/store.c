/* SPDX-License-Identifier: MIT */
#include "volumed/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char SUFFIX[] = ".json";
static struct definition *definitions;
static int folder_fd = -1;

struct definition *store_first(void) {
        return definitions;
}

struct definition *store_find(const char *name) {
        struct definition *definition = definitions;

        while (definition && strcmp(definition->name, name) != 0)
                definition = definition->next;
        return definition;
}

static struct definition *definition_free(struct definition *definition) {
        json_object_put(definition->given);
        json_object_put(definition->ids);
        free(definition);
        return NULL;
}

static int options_parse(struct volume_options *out, struct json_object *given,
                         struct volume_error *error) {
        volume_options_init(out);
        json_object_object_foreach(given, name, value) {
                if (!json_object_is_type(value, json_type_string))
                        return volume_fail(error, "%.40s: not a string", name);
                if (volume_option(out, name, json_object_get_string(value), error) < 0)
                        return -1;
        }
        return 0;
}

/* Takes over given and ids.  NULL and the text: the options are wrong. */
static struct definition *definition_new(const char *name, const char *created,
                                         struct json_object *given, struct json_object *ids,
                                         struct volume_error *error) {
        struct definition *definition = calloc(1, sizeof(*definition));

        if (!definition || !given || !ids) {
                json_object_put(given);
                json_object_put(ids);
                free(definition);
                volume_fail(error, "out of memory");
                return NULL;
        }
        definition->given = given;
        definition->ids = ids;
        snprintf(definition->name, sizeof(definition->name), "%s", name);
        snprintf(definition->created, sizeof(definition->created), "%s", created);
        if (options_parse(&definition->options, given, error) < 0)
                return definition_free(definition);
        return definition;
}

/* Files */

static int write_all(int fd, const char *bytes) {
        size_t length = strlen(bytes);

        while (length > 0) {
                ssize_t n = write(fd, bytes, length);

                if (n < 0)
                        return -1;
                bytes += n;
                length -= (size_t)n;
        }
        return fsync(fd);
}

static int file_write(const char *name, const char *text) {
        char path[VOLUME_NAME_MAX + 16];
        static const char fresh[] = ".new"; /* one at a time */
        int fd = openat(folder_fd, fresh, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600), r;

        if (fd < 0)
                return -1;
        r = write_all(fd, text);
        close(fd);
        snprintf(path, sizeof(path), "%s%s", name, SUFFIX);
        if (r == 0)
                r = renameat(folder_fd, fresh, folder_fd, path);
        return r == 0 ? fsync(folder_fd) : r;
}

int store_save(const struct definition *definition, struct volume_error *error) {
        struct json_object *file = json_object_new_object();
        const char *text;
        int r = -1;

        if (!file)
                return volume_fail(error, "out of memory");
        json_object_object_add(file, "name", json_object_new_string(definition->name));
        json_object_object_add(file, "created", json_object_new_string(definition->created));
        json_object_object_add(file, "options", json_object_get(definition->given));
        json_object_object_add(file, "ids", json_object_get(definition->ids));
        text = json_object_to_json_string_ext(file, JSON_C_TO_STRING_PRETTY);
        if (text)
                r = file_write(definition->name, text);
        if (r < 0)
                volume_fail(error, "%s: cannot be written down: %s", definition->name,
                            strerror(errno));
        json_object_put(file);
        return r;
}

static struct json_object *member(struct json_object *object, const char *name, json_type type) {
        struct json_object *value;

        return json_object_object_get_ex(object, name, &value) && json_object_is_type(value, type)
                       ? value
                       : NULL;
}

static struct definition *file_read(const char *file, struct volume_error *error) {
        int fd = openat(folder_fd, file, O_RDONLY | O_CLOEXEC);
        struct json_object *object = fd < 0 ? NULL : json_object_from_fd(fd);
        struct json_object *name, *created, *options, *ids;
        struct definition *definition = NULL;

        if (fd >= 0)
                close(fd);
        name = member(object, "name", json_type_string);
        created = member(object, "created", json_type_string);
        options = member(object, "options", json_type_object);
        ids = member(object, "ids", json_type_object);
        if (name && created && options && ids && volume_is_name(json_object_get_string(name)))
                definition = definition_new(json_object_get_string(name),
                                            json_object_get_string(created),
                                            json_object_get(options), json_object_get(ids), error);
        else
                volume_fail(error, "not a definition");
        json_object_put(object);
        return definition;
}

static bool is_definition(const char *name) {
        size_t length = strlen(name);

        return length > strlen(SUFFIX) && name[0] != '.' &&
               strcmp(name + length - strlen(SUFFIX), SUFFIX) == 0;
}

int store_open(const char *path, struct volume_error *error) {
        struct definition *definition;
        const struct dirent *entry;
        DIR *folder;

        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return volume_fail(error, "%s: %s", path, strerror(errno));
        folder = opendir(path);
        folder_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (!folder || folder_fd < 0) {
                volume_fail(error, "%s: %s", path, strerror(errno));
                if (folder)
                        closedir(folder);
                return -1;
        }
        while ((entry = readdir(folder))) {
                if (!is_definition(entry->d_name))
                        continue;
                definition = file_read(entry->d_name, error);
                if (definition) {
                        definition->next = definitions;
                        definitions = definition;
                } else {
                        fprintf(stderr, "iomemfs-volumed: %s/%s: %s; it is left alone\n", path,
                                entry->d_name, error->text);
                }
        }
        closedir(folder);
        return 0;
}

void store_close(void) {
        while (definitions) {
                struct definition *next = definitions->next;

                definition_free(definitions);
                definitions = next;
        }
        if (folder_fd >= 0)
                close(folder_fd);
        folder_fd = -1;
}

/* Changes */

static void now(char out[32]) {
        time_t seconds = time(NULL);
        struct tm tm;

        gmtime_r(&seconds, &tm);
        strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

struct definition *store_add(const char *name, struct json_object *options,
                             struct volume_error *error) {
        struct json_object *given = options ? json_object_get(options) : json_object_new_object();
        struct definition *definition;
        char created[32];

        now(created);
        definition = definition_new(name, created, given, json_object_new_object(), error);
        if (!definition)
                return NULL;
        if (store_save(definition, error) < 0)
                return definition_free(definition);
        definition->next = definitions;
        definitions = definition;
        return definition;
}

bool store_is_same(const struct definition *definition, struct json_object *options) {
        struct json_object *none = options ? NULL : json_object_new_object();
        bool same = json_object_equal(definition->given, options ? options : none);

        json_object_put(none);
        return same;
}

void store_remove(struct definition *definition) {
        struct definition **at = &definitions;
        char path[VOLUME_NAME_MAX + 16];

        while (*at != definition)
                at = &(*at)->next;
        *at = definition->next;
        snprintf(path, sizeof(path), "%s%s", definition->name, SUFFIX);
        unlinkat(folder_fd, path, 0);
        fsync(folder_fd);
        definition_free(definition);
}
