/* SPDX-License-Identifier: MIT */
#include "event_json.h"

#include <stdlib.h>
#include <string.h>
#include "json_out.h"

/* Takes the next word off the line; NULL at its end. */
static char *take_word(char **line) {
        char *word = *line + strspn(*line, " ");

        if (!*word)
                return NULL;
        *line = word + strcspn(word, " ");
        if (**line)
                *(*line)++ = '\0';
        return word;
}

/* Replaces the escapes of a name by their bytes. */
static void unescape(char *name) {
        char *out = name;

        for (; *name; name++) {
                if (name[0] == '\\' && strspn(name + 1, "01234567") >= 3) {
                        *out++ = (char)((name[1] - '0') * 64 + (name[2] - '0') * 8 + name[3] - '0');
                        name += 3;
                } else {
                        *out++ = *name;
                }
        }
        *out = '\0';
}

static void put_name(struct json_out *out, const char *escaped) {
        char *name = strdup(escaped);

        if (!name)
                abort();
        unescape(name);
        json_out_bytes(out, "name", name);
        free(name);
}

/* `size=4096`: bytes, ids and counts are numbers, seals are words. */
static void put_detail(struct json_out *out, const char *key, const char *value) {
        bool number = *value && value[strspn(value, "0123456789")] == '\0';

        if (!number)
                json_out_text(out, key, value);
        else if (strcmp(key, "seals") == 0) /* the kernel's F_SEAL_SHRINK is 2 */
                json_out_words(out, key, (uint32_t)strtoul(value, NULL, 10) >> 1, json_out_seals);
        else if (strcmp(key, "uid") == 0)
                json_out_user(out, key, "user", (uid_t)strtoul(value, NULL, 10));
        else
                json_out_number(out, key, strtoll(value, NULL, 10));
}

void event_json(FILE *stream, char *line) {
        char *sequence = take_word(&line), *kind = take_word(&line), *name = take_word(&line);
        struct json_out out = {.stream = stream};
        char *pair;

        if (!name)
                return;
        fputc('{', stream);
        json_out_number(&out, "sequence", strtoll(sequence, NULL, 10));
        json_out_text(&out, "event", kind);
        if (strcmp(name, "-") != 0)
                put_name(&out, name);
        while ((pair = take_word(&line))) {
                char *value = strchr(pair, '=');

                if (!value)
                        continue;
                *value++ = '\0';
                put_detail(&out, pair, value);
        }
        fputs("}\n", stream);
}
