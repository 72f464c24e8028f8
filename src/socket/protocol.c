/* SPDX-License-Identifier: MIT */
#include "socket/protocol.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

size_t protocol_line(const char *buffer, size_t length) {
        const char *end = memchr(buffer, '\n', length);

        return end ? (size_t)(end - buffer) + 1 : 0;
}

static int request_fail(struct request *request, int error, const char *text) {
        request->error = error;
        snprintf(request->error_text.text, sizeof(request->error_text.text), "%s", text);
        return error;
}

static bool tag_is_good(const char *tag, size_t length) {
        for (size_t i = 0; i < length; i++)
                if (tag[i] <= ' ' || tag[i] > '~')
                        return false;
        return length > 0 && length <= PROTOCOL_TAG_MAX;
}

/* Takes the tag off the front of the line. */
static int request_take_tag(struct request *request, const char **line, size_t *length) {
        const char *end;
        size_t n;

        if (*length == 0 || (*line)[0] != '@')
                return 0;
        end = memchr(*line, ' ', *length);
        n = end ? (size_t)(end - *line) : *length;
        if (!tag_is_good(*line + 1, n - 1))
                return request_fail(request, -EINVAL, "a tag is 1 to 32 printable characters");
        memcpy(request->tag, *line, n);
        request->tag[n] = ' ';
        request->tag[n + 1] = '\0';
        *line += end ? n + 1 : n;
        *length -= end ? n + 1 : n;
        return 0;
}

void protocol_parse(struct request *out, const char *line, size_t length) {
        enum command_verb verb;
        const char *rest;
        size_t rest_length;

        memset(out, 0, sizeof(*out));
        if (memchr(line, '\0', length)) {
                request_fail(out, -EINVAL, "a line may not have a NUL byte");
                return;
        }
        if (length > 0 && line[length - 1] == '\r')
                length--; /* telnet and similar programs send a carriage return */
        if (request_take_tag(out, &line, &length) < 0)
                return;
        if (command_verb_of(line, length, &verb, &rest, &rest_length) < 0 ||
            verb == COMMAND_ADMIN || verb == COMMAND_DEFAULT) {
                request_fail(out, -EINVAL,
                             "say create, open, resize, seal, remove, limit, list, limits, stat or "
                             "wait");
                return;
        }
        out->error = command_parse(&out->command, verb, rest, rest_length, &out->error_text);
}

size_t protocol_answer(char *buffer, size_t size, const char *tag, int error, const char *text) {
        const char *name = error < 0 ? strerrorname_np(-error) : NULL;
        int n;

        if (error < 0)
                n = snprintf(buffer, size, "%serror %s %s", tag, name ? name : "EIO", text);
        else
                n = snprintf(buffer, size, "%sok%s%s", tag, text[0] ? " " : "", text);
        if (n < 0 || (size_t)n > size - 2)
                n = (int)size - 2;
        for (char *p = buffer; (p = memchr(p, '\n', (size_t)(buffer + n - p))); p++)
                *p = ' ';
        buffer[n] = '\n';
        buffer[n + 1] = '\0';
        return (size_t)n + 1;
}
