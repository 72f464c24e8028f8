/* SPDX-License-Identifier: MIT */
#include "control/command_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/errno_text.h"
#include "base/size.h"
#include "base/words.h"

static const struct verb {
        const char *name;
        const char *usage;
} verbs[_COMMAND_N] = {
        [COMMAND_CREATE] = {"create", "usage: NAME SIZE [mode=0640] [fixed] [ephemeral] "
                                      "[owner=process|service|container] [populate] [huge]\n"},
        [COMMAND_RESIZE] = {"resize", "usage: NAME SIZE [unused]\n"},
        [COMMAND_SEAL] = {"seal", "usage: NAME shrink,grow,write\n"},
        [COMMAND_REMOVE] = {"remove", "usage: NAME\n"},
        [COMMAND_DEFAULT] = {"default", "usage: none | [mode=0640] [ephemeral] "
                                        "[owner=process|service|container] [huge] [sparse]\n"},
        [COMMAND_LIMIT_OF] = {"limit",
                              "usage: DIRECTORY none | DIRECTORY [size=SIZE] [nr_inodes=COUNT]\n"},
        [COMMAND_LIMIT] = {"limit", "usage: none | [size=SIZE] [nr_inodes=COUNT]\n"},
        [COMMAND_LIMITS] = {"limits", "usage: [DIRECTORY]\n"},
        [COMMAND_OPEN] = {"open", "usage: [ro|rw] NAME\n"},
        [COMMAND_LIST] = {"list", "usage: [DIRECTORY]\n"},
        [COMMAND_STAT] = {"stat", "usage: NAME\n"},
        [COMMAND_WAIT] = {"wait", "usage: NAME [SECONDS]\n"},
        [COMMAND_ADMIN] = {"admin",
                           "usage: remount [size=SIZE] [nr_inodes=COUNT] [ro|rw] | upgrade\n"},
};

static const struct flag {
        const char *name;
        uint32_t value;
} create_flags[] =
        {
                {"fixed", NODE_FIXED},
                {"ephemeral", NODE_EPHEMERAL},
                {"populate", NODE_POPULATE},
                {"huge", NODE_HUGE},
                {NULL, 0},
},
  owner_flags[] =
          {
                  {"process", NODE_OWNER_PROCESS},
                  {"service", NODE_OWNER_SERVICE},
                  {"container", NODE_OWNER_CONTAINER},
                  {NULL, 0},
},
  seal_flags[] = {
          {"shrink", F_SEAL_SHRINK},
          {"grow", F_SEAL_GROW},
          {"write", F_SEAL_WRITE},
          {NULL, 0},
};

/* Errors */

int command_fail(struct command_error *error, int r, const char *format, ...) {
        va_list args;

        va_start(args, format);
        vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
        return r;
}

struct command_shown command_show(const char *word, size_t length) {
        struct command_shown shown = {0};
        size_t used = 0, n;
        uint32_t code;

        for (size_t i = 0; i < length; i += n) {
                n = words_character(word + i, length - i, &code);
                if (n == 0)
                        n = 1;
                if (used + 4 * n + sizeof("...") > sizeof(shown.text)) {
                        memcpy(shown.text + used, "...", sizeof("..."));
                        break;
                }
                used += words_escape(shown.text + used, word + i, n);
        }
        return shown;
}

static const char *reason(int r) {
        switch (-r) {
        case EEXIST:
                return "exists already";
        case EFBIG:
                return "too large";
        case EINVAL:
                return "not a region";
        case ELOOP:
                return "leads through a symbolic link";
        case ENAMETOOLONG:
                return "name too long (255 bytes a component, 4095 in all)";
        case ENOMEM:
                return "out of memory";
        case ENOTDIR:
                return "leads through something that is no directory";
        case EOPNOTSUPP:
                return "not supported";
        default:
                return errno_text(r);
        }
}

int command_fail_name(struct command_error *error, int r, const struct command *command) {
        return command_fail(error, r, "%s: %s",
                            command_show(command->name, strlen(command->name)).text, reason(r));
}

/* Words */

struct words {
        const char *at;
        const char *end;
};

static bool is_blank(char c) {
        return c == ' ' || c == '\t';
}

static bool word_next(struct words *words, const char **word, size_t *length) {
        while (words->at < words->end && is_blank(*words->at))
                words->at++;
        *word = words->at;
        while (words->at < words->end && !is_blank(*words->at))
                words->at++;
        *length = (size_t)(words->at - *word);
        return *length > 0;
}

static bool word_is(const char *word, size_t length, const char *what) {
        return length == strlen(what) && memcmp(word, what, length) == 0;
}

/* The text after PREFIX in the word, or NULL. */
static const char *word_value(const char *word, size_t length, const char *prefix,
                              size_t *value_length) {
        size_t n = strlen(prefix);

        if (length < n || memcmp(word, prefix, n) != 0)
                return NULL;
        *value_length = length - n;
        return word + n;
}

static uint32_t flag_find(const struct flag *flags, const char *word, size_t length) {
        for (; flags->name; flags++)
                if (word_is(word, length, flags->name))
                        return flags->value;
        return 0;
}

/* Names */

/* The byte of an escape (`at` is its backslash), or -1: invalid, NUL or a slash. */
static int unescape(const char *at, const char *end) {
        int value = 0;

        if (end - at < 4 || at[1] > '3')
                return -1;
        for (int i = 1; i < 4; i++) {
                if (at[i] < '0' || at[i] > '7')
                        return -1;
                value = value * 8 + at[i] - '0';
        }
        return value == 0 || value == '/' ? -1 : value;
}

static int parse_name(struct command *out, const char *word, size_t length,
                      struct command_error *error) {
        const char *end = word + length;
        struct command_shown shown = command_show(word, length);
        size_t used = 0;
        int r;

        while (word < end) {
                int c = (unsigned char)*word;

                if (used == sizeof(out->name) - 1)
                        return command_fail(error, -ENAMETOOLONG, "%s: %s", shown.text,
                                            reason(-ENAMETOOLONG));
                if (c == '\\') {
                        c = unescape(word, end);
                        if (c < 0)
                                return command_fail(
                                        error, -EINVAL,
                                        "%s: a backslash must be followed by three octal "
                                        "digits",
                                        shown.text);
                        word += 3;
                } else if (c == '\0') {
                        return command_fail(error, -EINVAL, "a NUL byte in the name");
                }
                out->name[used++] = (char)c;
                word++;
        }
        out->name[used] = '\0';
        r = access_check_path(out->name);
        if (r == -EINVAL)
                return command_fail(error, r, "%s: not a path below this directory", shown.text);
        return r < 0 ? command_fail_name(error, r, out) : 0;
}

/* Parsing each verb */

static int parse_size(uint64_t *out, const char *word, size_t length, struct command_error *error) {
        int r = size_parse(word, length, out);

        if (r < 0)
                return command_fail(error, r, "%s: %s", command_show(word, length).text,
                                    r == -EFBIG ? "size too large (8E and more)"
                                                : "not a size (" SIZE_HOW ")");
        return 0;
}

/* A number of files, for example. */
static int parse_count(uint64_t *out, const char *word, size_t length,
                       struct command_error *error) {
        int r = size_parse_count(word, length, out);

        if (r < 0)
                return command_fail(error, r, "%s: %s", command_show(word, length).text,
                                    r == -EFBIG ? "too many"
                                                : "not a number (such as 10000 or 100k)");
        return 0;
}

static int parse_mode(struct command *out, const char *text, size_t length,
                      struct command_error *error) {
        uint32_t mode = 0;

        if (out->has_mode)
                return command_fail(error, -EINVAL, "mode= is given twice");
        for (size_t i = 0; i < length; i++) {
                if (text[i] < '0' || text[i] > '7' || mode > 0777)
                        length = 0;
                else
                        mode = mode * 8 + (uint32_t)(text[i] - '0');
        }
        if (length == 0 || mode > 0777)
                return command_fail(error, -EINVAL, "mode= wants permissions in octal, 0 to 0777");
        out->mode = mode;
        out->has_mode = true;
        return 0;
}

static int parse_owner(struct command *out, const char *word, size_t length, const char *text,
                       size_t text_length, struct command_error *error) {
        uint32_t owner = flag_find(owner_flags, text, text_length);

        if (!owner)
                return command_fail(error, -EINVAL, "%s: owners are process, service and container",
                                    command_show(word, length).text);
        if (out->flags & NODE_OWNER)
                return command_fail(error, -EINVAL, "owner= is given twice");
        out->flags |= owner;
        return 0;
}

static int parse_create_option(struct command *out, const char *word, size_t length,
                               struct command_error *error) {
        uint32_t flag = flag_find(create_flags, word, length);
        size_t value_length;
        const char *value = word_value(word, length, "mode=", &value_length);

        if (value)
                return parse_mode(out, value, value_length, error);
        value = word_value(word, length, "owner=", &value_length);
        if (value)
                return parse_owner(out, word, length, value, value_length, error);
        if (!flag)
                return command_fail(error, -EINVAL, "%s: unknown option",
                                    command_show(word, length).text);
        out->flags |= flag;
        return 0;
}

/* A name that goes with the last reference cannot wait for an owner. */
static int check_lifetime(const struct command *command, struct command_error *error) {
        if ((command->flags & NODE_EPHEMERAL) && (command->flags & NODE_OWNER))
                return command_fail(error, -EINVAL, "ephemeral and owner= exclude each other");
        return 0;
}

static int parse_create(struct command *out, struct words *words, struct command_error *error) {
        const char *word;
        size_t length;
        int r;

        if (!word_next(words, &word, &length))
                return command_fail(error, -EINVAL, "the size is missing");
        r = parse_size(&out->size, word, length, error);
        while (r == 0 && word_next(words, &word, &length)) {
                if (word_is(word, length, "ro"))
                        out->read_only_fd = true;
                else
                        r = parse_create_option(out, word, length, error);
        }
        return r < 0 ? r : check_lifetime(out, error);
}

/* No name; only options of create that make sense for a file that is empty at first. */
static int parse_default(struct command *out, struct words *words, struct command_error *error) {
        const char *word;
        size_t length;
        int r = 0, n = 0;

        for (; r == 0 && word_next(words, &word, &length); n++) {
                if (word_is(word, length, "none"))
                        out->none = true;
                else if (word_is(word, length, "sparse"))
                        out->flags |= NODE_SPARSE;
                else
                        r = parse_create_option(out, word, length, error);
        }
        if (r < 0)
                return r;
        if (n == 0)
                return command_fail(error, -EINVAL, "options of create, or none, are missing");
        if (out->none && n > 1)
                return command_fail(error, -EINVAL, "none stands alone");
        if (out->flags & (NODE_FIXED | NODE_POPULATE))
                return command_fail(error, -EINVAL,
                                    "fixed and populate need a size: they cannot be defaults");
        return check_lifetime(out, error);
}

static int parse_resize(struct command *out, struct words *words, struct command_error *error) {
        const char *word;
        size_t length;
        int r;

        if (!word_next(words, &word, &length))
                return command_fail(error, -EINVAL, "the size is missing");
        r = parse_size(&out->size, word, length, error);
        if (r < 0 || !word_next(words, &word, &length))
                return r;
        out->unused = word_is(word, length, "unused");
        if (!out->unused)
                return command_fail(error, -EINVAL, "%s: unknown option",
                                    command_show(word, length).text);
        return 0;
}

static int parse_seal(struct command *out, struct words *words, struct command_error *error) {
        const char *word;
        size_t length;

        if (!word_next(words, &word, &length))
                return command_fail(error, -EINVAL, "the seals are missing: shrink, grow or write");
        while (length > 0) {
                const char *comma = memchr(word, ',', length);
                size_t n = comma ? (size_t)(comma - word) : length;
                uint32_t seal = flag_find(seal_flags, word, n);

                if (!seal || (comma && n + 1 == length))
                        return command_fail(error, -EINVAL, "%s: seals are shrink, grow and write",
                                            command_show(word, length).text);
                out->seals |= seal;
                n += comma ? 1 : 0;
                word += n;
                length -= n;
        }
        return 0;
}

/* Seconds with up to three decimals. */
static int parse_wait(struct command *out, struct words *words, struct command_error *error) {
        const char *word, *dot;
        size_t length, whole;
        uint64_t seconds, scale = 1000;

        if (!word_next(words, &word, &length))
                return 0;
        dot = memchr(word, '.', length);
        whole = dot ? (size_t)(dot - word) : length;
        if (size_parse_whole(word, whole, &seconds) < 0 || seconds > UINT32_MAX)
                return command_fail(error, -EINVAL, "%s: not a time in seconds",
                                    command_show(word, length).text);
        out->timeout_ms = seconds * 1000;
        for (size_t i = whole + 1; i < length; i++) {
                if (word[i] < '0' || word[i] > '9' || scale == 1)
                        return command_fail(error, -EINVAL, "%s: not a time in seconds",
                                            command_show(word, length).text);
                scale /= 10;
                out->timeout_ms += scale * (uint64_t)(word[i] - '0');
        }
        return 0;
}

/* size= or nr_inodes=; or *other, because it is neither. */
static int parse_limit_word(struct command *out, const char *word, size_t length, bool *other,
                            struct command_error *error) {
        const char *value;
        size_t n;

        *other = false;
        if ((value = word_value(word, length, "size=", &n))) {
                out->has_limit_bytes = true;
                return parse_size(&out->limit_bytes, value, n, error);
        }
        if ((value = word_value(word, length, "nr_inodes=", &n))) {
                out->has_limit_nodes = true;
                return parse_count(&out->limit_nodes, value, n, error);
        }
        *other = true;
        return 0;
}

static int parse_limit(struct command *out, struct words *words, struct command_error *error) {
        const char *word;
        size_t length;
        bool other;
        int r = 0, n = 0;

        for (; r == 0 && word_next(words, &word, &length); n++) {
                r = parse_limit_word(out, word, length, &other, error);
                if (other && word_is(word, length, "none"))
                        out->none = true;
                else if (other)
                        r = command_fail(error, -EINVAL, "%s: unknown option",
                                         command_show(word, length).text);
        }
        if (r < 0)
                return r;
        if (n == 0)
                return command_fail(error, -EINVAL, "size=, nr_inodes= or none is missing");
        if (out->none && n > 1)
                return command_fail(error, -EINVAL, "none stands alone");
        if ((out->has_limit_bytes && out->limit_bytes == 0) ||
            (out->has_limit_nodes && out->limit_nodes == 0))
                return command_fail(error, -EINVAL,
                                    "a limit is above 0; none takes all limits away");
        return 0;
}

static int parse_remount(struct command *out, struct words *words, struct command_error *error) {
        const char *word;
        size_t length;
        bool other;
        int r = 0;

        while (r == 0 && word_next(words, &word, &length)) {
                r = parse_limit_word(out, word, length, &other, error);
                if (!other)
                        continue;
                if (word_is(word, length, "ro") || word_is(word, length, "rw")) {
                        out->has_read_only = true;
                        out->read_only = word_is(word, length, "ro");
                } else {
                        r = command_fail(error, -EINVAL, "%s: cannot be changed by a remount",
                                         command_show(word, length).text);
                }
        }
        if (r == 0 && !out->has_limit_bytes && !out->has_limit_nodes && !out->has_read_only)
                r = command_fail(error, -EINVAL, "remount wants size=, nr_inodes=, ro or rw");
        return r;
}

/* `crash N [M]`: this worker dies at its N-th crash point, the next one at its M-th; `crash-opcode
 * N`. */
static int parse_crash(struct command *out, struct words *words, bool by_point,
                       struct command_error *error) {
        const char *word;
        size_t length;
        int r;

        if (!word_next(words, &word, &length))
                return command_fail(error, -EINVAL, "crash wants a number");
        out->has_crash = by_point;
        out->has_crash_opcode = !by_point;
        r = parse_count(by_point ? &out->crash_after : &out->crash_opcode, word, length, error);
        if (r == 0 && by_point && word_next(words, &word, &length))
                r = parse_count(&out->crash_again, word, length, error);
        return r;
}

/* `fault KIND N`: the N-th call of that kind fails; `fault off`. */
static int parse_fault(struct command *out, struct words *words, struct command_error *error) {
        const char *word;
        size_t length;

        out->has_fault = true;
        if (!word_next(words, &word, &length))
                return command_fail(error, -EINVAL, "fault wants a kind of call, or off");
        if (word_is(word, length, "off"))
                return 0;
        out->fault = fault_kind(word, length);
        if (out->fault == FAULT_NONE || !word_next(words, &word, &length))
                return command_fail(error, -EINVAL, "fault wants a kind of call, and a number");
        return parse_count(&out->fault_after, word, length, error);
}

static int parse_admin(struct command *out, struct words *words, struct command_error *error) {
        const char *word;
        size_t length;

        word_next(words, &word, &length);
        if (word_is(word, length, "remount"))
                return parse_remount(out, words, error);
        if (word_is(word, length, "upgrade")) {
                out->upgrade = true;
                return 0;
        }
        if (word_is(word, length, "crash") || word_is(word, length, "crash-opcode"))
                return parse_crash(out, words, word_is(word, length, "crash"), error);
        if (word_is(word, length, "fault"))
                return parse_fault(out, words, error);
        return command_fail(error, -EINVAL, "%s: unknown command", command_show(word, length).text);
}

/* `open NAME`, `open ro NAME`, `open rw NAME`.  A single word is the name, even if it is "ro". */
static int parse_open(struct command *out, struct words *words, struct command_error *error) {
        const char *access, *name;
        size_t access_length, name_length;

        if (!word_next(words, &access, &access_length))
                return command_fail(error, -EINVAL, "the name is missing");
        if (!word_next(words, &name, &name_length))
                return parse_name(out, access, access_length, error);
        out->writable = word_is(access, access_length, "rw");
        if (!out->writable && !word_is(access, access_length, "ro"))
                return command_fail(error, -EINVAL, "%s: access is ro or rw",
                                    command_show(access, access_length).text);
        return parse_name(out, name, name_length, error);
}

static int parse_named(struct command *out, struct words *words, struct command_error *error) {
        const char *word;
        size_t length;
        int r;

        if (!word_next(words, &word, &length)) {
                if (out->verb == COMMAND_LIST || out->verb == COMMAND_LIMITS)
                        return 0;
                return command_fail(error, -EINVAL, "the name is missing");
        }
        r = parse_name(out, word, length, error);
        if (r < 0)
                return r;
        switch (out->verb) {
        case COMMAND_CREATE:
                return parse_create(out, words, error);
        case COMMAND_RESIZE:
                return parse_resize(out, words, error);
        case COMMAND_SEAL:
                return parse_seal(out, words, error);
        case COMMAND_LIMIT_OF:
                return parse_limit(out, words, error);
        case COMMAND_WAIT:
                return parse_wait(out, words, error);
        default:
                return 0;
        }
}

int command_parse(struct command *out, enum command_verb verb, const char *line, size_t length,
                  struct command_error *error) {
        struct words words = {line, line + length};
        const char *word;
        int r;

        *out = (struct command){.verb = verb};
        if (memchr(line, '\0', length))
                return command_fail(error, -EINVAL, "a NUL byte in the command");
        if (verb == COMMAND_DEFAULT)
                return parse_default(out, &words, error);
        if (verb == COMMAND_LIMIT)
                return parse_limit(out, &words, error);
        if (verb == COMMAND_ADMIN)
                r = parse_admin(out, &words, error);
        else if (verb == COMMAND_OPEN)
                r = parse_open(out, &words, error);
        else
                r = parse_named(out, &words, error);
        if (r == 0 && word_next(&words, &word, &length))
                return command_fail(error, -EINVAL, "%s: one word too many",
                                    command_show(word, length).text);
        return r;
}

const char *command_usage(enum command_verb verb) {
        return verbs[verb].usage;
}

const char *command_owner(uint32_t flags) {
        const struct flag *flag = owner_flags;

        while (flag->name && !(flags & flag->value))
                flag++;
        return flag->name;
}

int command_verb_of(const char *line, size_t length, enum command_verb *verb, const char **rest,
                    size_t *rest_length) {
        struct words words = {line, line + length};
        const char *word;
        size_t n;

        if (!word_next(&words, &word, &n))
                return -EINVAL;
        for (int i = 0; i < COMMAND_ADMIN; i++) {
                if (!word_is(word, n, verbs[i].name))
                        continue;
                *verb = (enum command_verb)i;
                *rest = words.at;
                *rest_length = (size_t)(words.end - words.at);
                return 0;
        }
        return -EINVAL;
}
