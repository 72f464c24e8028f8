/* SPDX-License-Identifier: MIT */
#include "volumed/api.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "volumed/store.h"

enum { ID_MAX = 256, IDS_MAX = 4096, DEPTH_MAX = 8 };

/* A request and its answer. */
struct call {
        struct json_object *body; /* an object, NULL if there was none */
        const char *name, *id;    /* NULL: not given */
        struct json_object *answer;
        struct volume_error error;
};

static void say(const char *what, const char *name, const char *more) {
        fprintf(stderr, "iomemfs-volumed: %s %s%s%s\n", what, name, more[0] ? ": " : "", more);
}

/* Parts of the body */

static const char *text_of(struct json_object *body, const char *name) {
        struct json_object *value;

        if (!json_object_object_get_ex(body, name, &value) ||
            !json_object_is_type(value, json_type_string))
                return NULL;
        /* A NUL byte would hide the rest. */
        if (strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value))
                return NULL;
        return json_object_get_string(value);
}

/* Opts: an object, or null, or nothing. */
static int options_of(struct call *call, struct json_object **out) {
        *out = NULL;
        if (!json_object_object_get_ex(call->body, "Opts", out) || !*out)
                return 0;
        if (!json_object_is_type(*out, json_type_object))
                return volume_fail(&call->error, "Opts is no object");
        return 0;
}

static void put(struct call *call, const char *name, const char *value) {
        json_object_object_add(call->answer, name, json_object_new_string(value));
}

static void put_path(struct call *call, const struct definition *definition) {
        char path[PATH_MAX];

        volume_path(path, sizeof(path), definition->name, &definition->options);
        put(call, "Mountpoint", path);
}

/* The volume that the request is about; NULL and the text. */
static struct definition *volume_of(struct call *call) {
        struct definition *definition = call->name ? store_find(call->name) : NULL;

        if (!definition)
                volume_fail(&call->error, "no such volume: %.200s", call->name ? call->name : "");
        return definition;
}

static size_t count_ids(const struct definition *definition) {
        return (size_t)json_object_object_length(definition->ids);
}

/* Volumes */

static int make(const struct definition *definition, struct volume_error *error) {
        bool is_new;
        int r = volume_make(definition->name, &definition->options, &is_new, error);

        if (r == 0 && is_new)
                say("made", definition->name, definition->options.limit);
        return r;
}

static int call_create(struct call *call) {
        struct definition *definition = call->name ? store_find(call->name) : NULL;
        struct json_object *options;

        if (!call->name || !volume_is_name(call->name))
                return volume_fail(
                        &call->error,
                        "a name has letters, digits, _, . and -, and at most 200 of them");
        if (options_of(call, &options) < 0)
                return -1;
        if (definition && !store_is_same(definition, options))
                return volume_fail(&call->error, "%s exists, with other options", call->name);
        if (definition)
                return make(definition, &call->error);
        /* First the definition: if we are killed in between, the next process makes the volume. */
        definition = store_add(call->name, options, &call->error);
        if (!definition)
                return -1;
        if (make(definition, &call->error) == 0)
                return 0;
        store_remove(definition);
        return -1;
}

static int call_remove(struct call *call) {
        struct definition *definition = volume_of(call);
        char name[VOLUME_NAME_MAX + 1];

        if (!definition)
                return -1;
        /* IDs of those who are gone keep nothing: what counts is whether it is mounted anywhere. */
        if (volume_is_used(definition->name))
                return volume_fail(&call->error, "%s is in use", definition->name);
        snprintf(name, sizeof(name), "%s", definition->name);
        volume_hide(name);
        if (volume_remove(name, &call->error) < 0)
                return -1;
        store_remove(definition);
        say("removed", name, "");
        return 0;
}

static int call_mount(struct call *call) {
        struct definition *definition = volume_of(call);

        if (!definition)
                return -1;
        if (!call->id || !call->id[0] || strlen(call->id) > ID_MAX)
                return volume_fail(&call->error, "the ID is missing, or too long");
        if (count_ids(definition) >= IDS_MAX)
                return volume_fail(&call->error, "%s is mounted too often", definition->name);
        if (make(definition, &call->error) < 0 ||
            volume_show(definition->name, &definition->options, &call->error) < 0)
                return -1;
        if (!json_object_object_get_ex(definition->ids, call->id, NULL)) {
                json_object_object_add(definition->ids, call->id, json_object_new_boolean(1));
                if (store_save(definition, &call->error) < 0) {
                        json_object_object_del(definition->ids, call->id);
                        return -1;
                }
        }
        put_path(call, definition);
        return 0;
}

static int call_unmount(struct call *call) {
        struct definition *definition = volume_of(call);

        if (!definition)
                return -1;
        if (!call->id)
                return volume_fail(&call->error, "the ID is missing");
        if (json_object_object_get_ex(definition->ids, call->id, NULL)) {
                json_object_object_del(definition->ids, call->id);
                if (store_save(definition, &call->error) < 0)
                        return -1;
        }
        if (count_ids(definition) == 0)
                volume_hide(definition->name);
        return 0;
}

static int call_path(struct call *call) {
        const struct definition *definition = volume_of(call);

        if (!definition)
                return -1;
        put_path(call, definition);
        return 0;
}

static struct json_object *describe(const struct definition *definition) {
        struct json_object *volume = json_object_new_object();
        char path[PATH_MAX];

        volume_path(path, sizeof(path), definition->name, &definition->options);
        json_object_object_add(volume, "Name", json_object_new_string(definition->name));
        json_object_object_add(volume, "Mountpoint", json_object_new_string(path));
        json_object_object_add(volume, "CreatedAt", json_object_new_string(definition->created));
        json_object_object_add(volume, "Status", json_object_new_object());
        return volume;
}

static int call_get(struct call *call) {
        const struct definition *definition = volume_of(call);

        if (!definition)
                return -1;
        json_object_object_add(call->answer, "Volume", describe(definition));
        return 0;
}

static int call_list(struct call *call) {
        struct json_object *volumes = json_object_new_array();

        for (const struct definition *one = store_first(); one; one = one->next)
                json_object_array_add(volumes, describe(one));
        json_object_object_add(call->answer, "Volumes", volumes);
        return 0;
}

static int call_capabilities(struct call *call) {
        struct json_object *capabilities = json_object_new_object();

        json_object_object_add(capabilities, "Scope", json_object_new_string("local"));
        json_object_object_add(call->answer, "Capabilities", capabilities);
        return 0;
}

static int call_activate(struct call *call) {
        struct json_object *implements = json_object_new_array();

        json_object_array_add(implements, json_object_new_string("VolumeDriver"));
        json_object_object_add(call->answer, "Implements", implements);
        return 0;
}

static const struct {
        const char *path;
        int (*fn)(struct call *call);
        bool has_error; /* its answer has a member Err */
} calls[] = {
        {"/Plugin.Activate", call_activate, false},
        {"/VolumeDriver.Capabilities", call_capabilities, false},
        {"/VolumeDriver.Create", call_create, true},
        {"/VolumeDriver.Remove", call_remove, true},
        {"/VolumeDriver.Mount", call_mount, true},
        {"/VolumeDriver.Unmount", call_unmount, true},
        {"/VolumeDriver.Path", call_path, true},
        {"/VolumeDriver.Get", call_get, true},
        {"/VolumeDriver.List", call_list, true},
};

/* Requests */

static bool is_blank(const char *body, size_t length) {
        for (size_t i = 0; i < length; i++)
                if (!strchr(" \t\r\n", body[i]) || body[i] == '\0')
                        return false;
        return true;
}

/* The body: an object; null or nothing stands for an empty one. */
static int body_parse(struct call *call, const char *body, size_t length) {
        struct json_tokener *tokener;
        enum json_tokener_error result;
        size_t used;

        if (is_blank(body, length))
                return 0;
        tokener = json_tokener_new_ex(DEPTH_MAX);
        if (!tokener)
                return volume_fail(&call->error, "out of memory");
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 |
                                                JSON_TOKENER_ALLOW_TRAILING_CHARS);
        call->body = json_tokener_parse_ex(tokener, body, (int)length);
        result = json_tokener_get_error(tokener);
        used = json_tokener_get_parse_end(tokener);
        json_tokener_free(tokener);
        /* A word such as null may go on, unless the text ends there. */
        if (result == json_tokener_continue && length >= 4 && strncmp(body, "null", 4) == 0 &&
            is_blank(body + 4, length - 4))
                return 0;
        if (result != json_tokener_success || !is_blank(body + used, length - used))
                return volume_fail(&call->error, "the body is not JSON");
        if (call->body && !json_object_is_type(call->body, json_type_object))
                return volume_fail(&call->error, "the body is not an object");
        call->name = text_of(call->body, "Name");
        call->id = text_of(call->body, "ID");
        return 0;
}

static unsigned int call_run(struct call *call, const char *path, const char *body, size_t length) {
        for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
                if (strcmp(calls[i].path, path) != 0)
                        continue;
                if (body_parse(call, body, length) < 0)
                        return 400;
                if (calls[i].fn(call) < 0)
                        return 500;
                if (calls[i].has_error)
                        put(call, "Err", "");
                return 200;
        }
        volume_fail(&call->error, "unknown request: %.100s", path);
        return 404;
}

void api_answer(const char *path, const char *body, size_t length, struct api_answer *out) {
        struct call call = {.answer = json_object_new_object()};

        out->status = call_run(&call, path, body, length);
        if (out->status != 200) {
                json_object_put(call.answer);
                call.answer = json_object_new_object();
                put(&call, "Err", call.error.text);
                if (out->status == 500)
                        say("refused", path + 1, call.error.text);
        }
        out->text = strdup(json_object_to_json_string_ext(call.answer, JSON_C_TO_STRING_PLAIN));
        json_object_put(call.answer);
        json_object_put(call.body);
}

void api_start(void) {
        struct volume_error error;

        volumes_tidy();
        for (const struct definition *one = store_first(); one; one = one->next)
                if (make(one, &error) < 0 ||
                    (count_ids(one) > 0 && volume_show(one->name, &one->options, &error) < 0))
                        say("cannot make", one->name, error.text);
}
