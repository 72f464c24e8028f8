/* SPDX-License-Identifier: MIT */

/* The line of a request: tag, verb, names and sizes. */

#include <string.h>
#include "base/size.h"
#include "base/words.h"
#include "fuzz.h"
#include "socket/protocol.h"

/* What was understood as a name must survive being written and read again. */
static void check_name(const struct command *command) {
        static struct command again;
        static char line[4 * PATH_MAX + 1];
        struct command_error error;
        size_t length;

        if (command->name[0] == '\0')
                return;
        length = words_escape(line, command->name, strlen(command->name));
        FUZZ_CHECK(command_parse(&again, COMMAND_STAT, line, length, &error) == 0);
        FUZZ_CHECK(strcmp(again.name, command->name) == 0);
}

static void check_answer(const struct request *request) {
        char buffer[LAYOUT_REPLY_MAX];
        size_t length;

        length = protocol_answer(buffer, sizeof(buffer), request->tag, request->error,
                                 request->error_text.text);
        FUZZ_CHECK(length >= 3 && length < sizeof(buffer));
        FUZZ_CHECK(memchr(buffer, '\n', length) == buffer + length - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct request request;
        static struct command command;
        struct command_error error;
        uint64_t bytes;

        protocol_parse(&request, (const char *)data, size);
        FUZZ_CHECK(request.error <= 0);
        FUZZ_CHECK(memchr(request.error_text.text, '\0', sizeof(request.error_text.text)));
        if (request.error == 0)
                check_name(&request.command);
        check_answer(&request);
        for (int verb = 0; verb < _COMMAND_N; verb++)
                if (command_parse(&command, verb, (const char *)data, size, &error) == 0)
                        check_name(&command);
        if (size_parse((const char *)data, size, &bytes) == 0)
                FUZZ_CHECK(bytes <= INT64_MAX);
        return 0;
}
