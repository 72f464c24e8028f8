/* SPDX-License-Identifier: MIT */
#include "process/options.h"
#include <errno.h>
#include <grp.h>
#include <fuse_opt.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysinfo.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/size.h"
#include "records/layout.h"

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

enum {
        OPTIONS_SPIN_DEFAULT_US = 100,
        OPTIONS_SPIN_MAX_US = 1000,
        OPTIONS_GRACE_DEFAULT_S = 60,
        OPTIONS_GRACE_MAX_S = 86400 * 365,
        OPTIONS_MODE_DEFAULT = 01777, /* like /dev/shm */
        OPTIONS_CLIENTS_DEFAULT = 1024,
        OPTIONS_WAITS_DEFAULT = 256,
        OPTIONS_UNFINISHED_DEFAULT = 1024 * 1024,
        OPTIONS_UNREAD_DEFAULT = 64 * 1024 * 1024,
};

enum options_key {
        KEY_HELP,
        KEY_VERSION,
        KEY_VERBOSE,
        KEY_F, /* foreground, or mount(8)'s fake */
        KEY_IGNORED,
        KEY_UPGRADE,
        KEY_LAYOUT,
        KEY_CONVERT,
        KEY_RESUME,
};

static const struct fuse_opt options_spec[] = {
        FUSE_OPT_KEY("-h", KEY_HELP),
        FUSE_OPT_KEY("--help", KEY_HELP),
        FUSE_OPT_KEY("-V", KEY_VERSION),
        FUSE_OPT_KEY("--version", KEY_VERSION),
        FUSE_OPT_KEY("-v", KEY_VERBOSE),
        FUSE_OPT_KEY("--verbose", KEY_VERBOSE),
        FUSE_OPT_KEY("-f", KEY_F),
        FUSE_OPT_KEY("--foreground", KEY_F),
        FUSE_OPT_KEY("-s", KEY_IGNORED), /* mount(8): be tolerant of unknown options */
        FUSE_OPT_KEY("-n", KEY_IGNORED), /* mount(8): do not write /etc/mtab */
        FUSE_OPT_KEY("-t ", KEY_IGNORED),
        FUSE_OPT_KEY("--upgrade", KEY_UPGRADE),
        FUSE_OPT_KEY("--layout", KEY_LAYOUT),
        FUSE_OPT_KEY("--convert", KEY_CONVERT),
        FUSE_OPT_KEY("--resume ", KEY_RESUME),
        FUSE_OPT_END,
};

/* State while fuse_opt_parse() runs. */
struct parse {
        struct options *options;
        bool helper;          /* called as mount.iomemfs */
        bool allow_other;     /* an ordinary user has asked for it */
        char *positionals[2]; /* source and mount point */
        unsigned int n_positionals;
        char *remount_only; /* the first option seen that is valid in a remount only */
};

static int options_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int options_complain(const char *format, ...) {
        va_list arguments;

        fputs("iomemfs: ", stderr);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputc('\n', stderr);
        return -EINVAL;
}

/* Options of mount(8) that are flags of the mount. */
static const struct options_flag {
        const char *name;
        unsigned long flag;
        bool clears;
} options_flags[] = {
        {"ro", MS_RDONLY, false},
        {"rw", MS_RDONLY, true},
        {"nosuid", MS_NOSUID, false},
        {"suid", MS_NOSUID, true},
        {"nodev", MS_NODEV, false},
        {"dev", MS_NODEV, true},
        {"noexec", MS_NOEXEC, false},
        {"exec", MS_NOEXEC, true},
        {"sync", MS_SYNCHRONOUS, false},
        {"async", MS_SYNCHRONOUS, true},
        {"dirsync", MS_DIRSYNC, false},
        {"noatime", MS_NOATIME, false},
        {"atime", MS_NOATIME, true},
        {"nosymfollow", MS_NOSYMFOLLOW, false},
        {"symfollow", MS_NOSYMFOLLOW, true},
};

/* Options that mount(8) and fstab add and that have no effect here.  One that ends in '-' or '='
 * stands for all options that begin like it. */
static const char *const options_ignored[] = {
        "defaults",   "auto",     "noauto",     "user",
        "nouser",     "users",    "nousers",    "owner",
        "noowner",    "group",    "nogroup",    "user=",
        "_netdev",    "nofail",   "comment=",   "x-",
        "X-",         "lazytime", "nolazytime", "diratime",
        "nodiratime", "silent",   "loud",       "mand",
        "nomand",     "iversion", "noiversion", "default_permissions",
};

/* Options that the kernel shows for a mount, so that mount(8) repeats them in a remount. */
static const char *const options_shown[] = {
        "user_id=", "group_id=", "rootmode=", "max_read=", "blksize=", "allow_other"};

static bool options_listed(const char *const *list, size_t n, const char *option) {
        for (size_t i = 0; i < n; i++) {
                size_t length = strlen(list[i]);
                bool prefix = list[i][length - 1] == '=' || list[i][length - 1] == '-';

                if (prefix ? !strncmp(option, list[i], length) : !strcmp(option, list[i]))
                        return true;
        }
        return false;
}

static uint64_t options_ram(void) {
        struct sysinfo info;

        if (sysinfo(&info) < 0 || info.totalram == 0)
                return 1;
        return (uint64_t)info.totalram * info.mem_unit;
}

uint64_t options_default_size(void) {
        return options_ram() / 2;
}

uint64_t options_default_nr_inodes(void) {
        uint64_t half = options_ram() / (uint64_t)sysconf(_SC_PAGESIZE) / 2;

        return half < LAYOUT_NODES_MAX ? half : LAYOUT_NODES_MAX;
}

/* `50%`; more than 100% is allowed, because there may be swap, but hardly what was meant. */
static int options_percent(struct options *options, const char *value, size_t digits) {
        uint64_t percent;

        if (size_parse_whole(value, digits, &percent) < 0)
                return options_complain("size=%s: not a size (50%%, or " SIZE_HOW ")", value);
        if (percent > UINT64_MAX / options_ram() ||
            options_ram() * percent / 100 > (uint64_t)INT64_MAX)
                return options_complain("size=%s: too large", value);
        if (percent > 100)
                options_complain("warning: size=%s is more than the memory of this machine", value);
        options->size = options_ram() * percent / 100;
        return 0;
}

static int options_size(struct options *options, const char *value) {
        size_t length = strlen(value);
        int r;

        options->has_size = true;
        if (length > 0 && value[length - 1] == '%')
                return options_percent(options, value, length - 1);
        r = size_parse(value, length, &options->size);
        if (r == -EFBIG)
                return options_complain("size=%s: too large", value);
        if (r < 0)
                return options_complain("size=%s: not a size (50%%, or " SIZE_HOW ")", value);
        return 0;
}

static int options_nr_inodes(struct options *options, const char *value) {
        if (size_parse_count(value, strlen(value), &options->nr_inodes) < 0)
                return options_complain("nr_inodes=%s: not a number; write it as 10000 or 100k",
                                        value);
        options->has_nr_inodes = true;
        return 0;
}

/* Parses a whole number in this base, up to max. */
static bool options_integer(const char *value, int base, unsigned long max, uint32_t *out) {
        char *end;

        if (value[0] < '0' || value[0] > '9')
                return false;
        errno = 0;
        unsigned long number = strtoul(value, &end, base);
        if (errno || *end || number > max)
                return false;
        *out = (uint32_t)number;
        return true;
}

static int options_mode(struct options *options, const char *value) {
        if (!options_integer(value, 8, 07777, &options->mode))
                return options_complain("mode=%s: not an octal mode; write it as 1777", value);
        return 0;
}

static int options_uid(struct options *options, const char *value) {
        if (options_integer(value, 10, UINT32_MAX - 1, &options->uid))
                return 0;
        const struct passwd *user = value[0] ? getpwnam(value) : NULL;
        if (!user)
                return options_complain("uid=%s: no such user", value);
        options->uid = user->pw_uid;
        return 0;
}

static int options_gid(struct options *options, const char *value) {
        if (options_integer(value, 10, UINT32_MAX - 1, &options->gid))
                return 0;
        const struct group *group = value[0] ? getgrnam(value) : NULL;
        if (!group)
                return options_complain("gid=%s: no such group", value);
        options->gid = group->gr_gid;
        return 0;
}

static int options_passthrough(struct options *options, const char *value) {
        static const char *const words[] = {
                [PASSTHROUGH_AUTO] = "auto", [PASSTHROUGH_ON] = "on", [PASSTHROUGH_OFF] = "off"};

        for (unsigned int i = 0; i < sizeof(words) / sizeof(*words); i++) {
                if (!strcmp(value, words[i])) {
                        options->passthrough = i;
                        return 0;
                }
        }
        return options_complain("passthrough=%s: say auto, on or off", value);
}

static int options_latency(struct options *options, const char *value) {
        static const char *const words[] = {
                [LATENCY_AUTO] = "auto", [LATENCY_LOW] = "low", [LATENCY_NORMAL] = "normal"};

        for (unsigned int i = 0; i < sizeof(words) / sizeof(*words); i++) {
                if (!strcmp(value, words[i])) {
                        options->latency = i;
                        return 0;
                }
        }
        return options_complain("latency=%s: say auto, low or normal", value);
}

static int options_socket(struct options *options, const char *value) {
        const struct sockaddr_un *address = NULL;
        bool none = !strcmp(value, "none");

        if (!none && value[0] != '/')
                return options_complain("socket=%s: say none or an absolute path", value);
        if (strlen(value) >= sizeof(address->sun_path))
                return options_complain(
                        "socket=%s: longer than the %zu bytes a socket's path may be", value,
                        sizeof(address->sun_path) - 1);
        free(options->socket);
        options->socket = strdup(none ? "" : value);
        return options->socket ? 0 : options_complain("out of memory");
}

/* Parses one of the limits for a user of the socket. */
static int options_limit(const char *name, const char *value, uint64_t max, uint64_t *out) {
        if (size_parse(value, strlen(value), out) < 0 || *out == 0 || *out > max)
                return options_complain("%s=%s: not a number from 1 to %llu", name, value,
                                        (unsigned long long)max);
        return 0;
}

static int options_clients(struct options *options, const char *value) {
        uint64_t number = 0;
        int r = options_limit("clients", value, UINT32_MAX, &number);

        options->limits.clients = (uint32_t)number;
        return r;
}

static int options_waits(struct options *options, const char *value) {
        uint64_t number = 0;
        int r = options_limit("waits", value, UINT32_MAX, &number);

        options->limits.waits = (uint32_t)number;
        return r;
}

static int options_unfinished(struct options *options, const char *value) {
        return options_limit("unfinished", value, INT64_MAX, &options->limits.unfinished);
}

static int options_unread(struct options *options, const char *value) {
        return options_limit("unread", value, INT64_MAX, &options->limits.unread);
}

static int options_spin(struct options *options, const char *value) {
        if (!options_integer(value, 10, OPTIONS_SPIN_MAX_US, &options->spin_us))
                return options_complain("spin=%s: not between 0 and %d microseconds", value,
                                        OPTIONS_SPIN_MAX_US);
        return 0;
}

static int options_grace(struct options *options, const char *value) {
        if (!options_integer(value, 10, OPTIONS_GRACE_MAX_S, &options->grace_s))
                return options_complain("grace=%s: not between 0 and %d seconds", value,
                                        OPTIONS_GRACE_MAX_S);
        return 0;
}

static int options_huge(struct options *options, const char *value) {
        if (strcmp(value, "always") && strcmp(value, "never"))
                return options_complain("huge=%s: neither never nor always", value);
        options->huge = !strcmp(value, "always");
        return 0;
}

static int options_xattr(struct options *options, const char *value) {
        if (strcmp(value, "on") && strcmp(value, "off"))
                return options_complain("xattr=%s: neither on nor off", value);
        options->xattr = !strcmp(value, "on");
        return 0;
}

static int options_acl(struct options *options, const char *value) {
        if (strcmp(value, "on") && strcmp(value, "off"))
                return options_complain("acl=%s: neither on nor off", value);
        options->acl = !strcmp(value, "on");
        return 0;
}

static int options_ctl(struct options *options, const char *value) {
        bool off = !strcmp(value, "off");

        if (!value[0] || !strcmp(value, ".") || !strcmp(value, "..") ||
            strpbrk(value, "/ \t\n\\") || strlen(value) > LAYOUT_NAME_MAX)
                return options_complain("ctl=%s: say off or a name", value);
        snprintf(options->ctl, sizeof(options->ctl), "%s", off ? "" : value);
        return 0;
}

/* As for mount(8), which makes the directory itself: for calls without it. */
static int options_mkdir(struct options *options, const char *value) {
        options->make_directory = 0755;
        if (value[0] &&
            (value[0] != '=' || !options_integer(value + 1, 8, 07777, &options->make_directory)))
                return options_complain("x-mount.mkdir%s: say x-mount.mkdir=MODE", value);
        return 0;
}

/* Our own options, each with a value. */
static const struct options_own {
        const char *name; /* with '=', if it must have a value */
        int (*set)(struct options *options, const char *value);
} options_own[] = {
        {"size=", options_size},
        {"nr_inodes=", options_nr_inodes},
        {"mode=", options_mode},
        {"uid=", options_uid},
        {"gid=", options_gid},
        {"passthrough=", options_passthrough},
        {"socket=", options_socket},
        {"spin=", options_spin},
        {"grace=", options_grace},
        {"huge=", options_huge},
        {"xattr=", options_xattr},
        {"clients=", options_clients},
        {"waits=", options_waits},
        {"unfinished=", options_unfinished},
        {"unread=", options_unread},
        {"latency=", options_latency},
        {"ctl=", options_ctl},
        {"x-mount.mkdir", options_mkdir},
        {"X-mount.mkdir", options_mkdir},
        {"acl=", options_acl},
};

/* relatime is the default; the last of these options counts. */
static bool options_set_atime(struct options *options, const char *option) {
        bool strict = !strcmp(option, "strictatime") || !strcmp(option, "norelatime");

        if (!strict && strcmp(option, "relatime") && strcmp(option, "nostrictatime"))
                return false;
        options->strict_atime = strict;
        options->mount_flags &= ~(unsigned long)MS_NOATIME;
        return true;
}

static bool options_set_flag(struct options *options, const char *option) {
        for (size_t i = 0; i < sizeof(options_flags) / sizeof(*options_flags); i++) {
                const struct options_flag *flag = &options_flags[i];

                if (strcmp(option, flag->name))
                        continue;
                /* If options contradict each other, the last one counts. */
                if (flag->clears) {
                        options->mount_flags &= ~flag->flag;
                        options->mount_flags_cleared |= flag->flag;
                } else {
                        options->mount_flags |= flag->flag;
                        options->mount_flags_cleared &= ~flag->flag;
                }
                return true;
        }
        return false;
}

/* `--size 4g`: it is known, but as a mount option. */
static int options_unknown(const char *option) {
        const char *name = option + strspn(option, "-");
        size_t length = strcspn(name, "=");

        for (size_t i = 0; name > option && i < sizeof(options_own) / sizeof(*options_own); i++) {
                const char *own = options_own[i].name;

                if (strncmp(own, name, length) == 0 && own[length] == '=' &&
                    own[length + 1] == '\0')
                        return options_complain("%s: unknown option; write it as -o %s%s", option,
                                                own, name[length] ? name + length + 1 : "…");
        }
        return options_complain("%s: unknown option; `iomemfs --help` lists them", option);
}

/* Parses one word of -o. */
static int options_word(struct parse *parse, const char *option) {
        for (size_t i = 0; i < sizeof(options_own) / sizeof(*options_own); i++) {
                size_t length = strlen(options_own[i].name);

                if (!strncmp(option, options_own[i].name, length))
                        return options_own[i].set(parse->options, option + length);
        }
        if (!option[0])
                return 0;
        if (!strcmp(option, "remount")) {
                parse->options->remount = true;
                return 0;
        }
        if (!strcmp(option, "allow_other"))
                parse->allow_other = true;
        else if (options_listed(options_shown, sizeof(options_shown) / sizeof(char *), option)) {
                if (!parse->remount_only)
                        parse->remount_only = strdup(option);
        } else if (!options_set_flag(parse->options, option) &&
                   !options_set_atime(parse->options, option) &&
                   !options_listed(options_ignored, sizeof(options_ignored) / sizeof(char *),
                                   option))
                return options_unknown(option);
        return 0;
}

static int options_positional(struct parse *parse, const char *argument) {
        if (parse->n_positionals == 2)
                return options_complain("%s: one argument too many; `iomemfs --help` shows how",
                                        argument);
        parse->positionals[parse->n_positionals] = strdup(argument);
        return parse->positionals[parse->n_positionals++] ? 0 : options_complain("out of memory");
}

static int options_resume(struct options *options, const char *argument) {
        uint32_t fd;

        if (!options_integer(argument + strlen("--resume"), 10, INT_MAX, &fd))
                return options_complain("--resume is used by the program itself only");
        options->resume_fd = (int)fd;
        return 0;
}

static int options_key(struct parse *parse, const char *argument, int key) {
        struct options *options = parse->options;

        switch (key) {
        case KEY_HELP:
                options->help = true;
                return 0;
        case KEY_VERSION:
                options->version = true;
                return 0;
        case KEY_VERBOSE:
                options->verbose = true;
                return 0;
        case KEY_F:
                *(parse->helper ? &options->fake : &options->foreground) = true;
                return 0;
        case KEY_IGNORED:
                return 0;
        case KEY_UPGRADE:
                options->upgrade = true;
                return 0;
        case KEY_LAYOUT:
                options->layout = true;
                return 0;
        case KEY_CONVERT:
                options->convert = true;
                return 0;
        case KEY_RESUME:
                return options_resume(options, argument);
        case FUSE_OPT_KEY_NONOPT:
                return options_positional(parse, argument);
        case FUSE_OPT_KEY_OPT:
                return options_word(parse, argument);
        default:
                return options_complain("%s: unknown option; `iomemfs --help` lists them",
                                        argument);
        }
}

/* A fuse_opt_proc_t; returns 0, which drops the argument, because it has been handled. */
static int options_process(void *data, const char *argument, int key, struct fuse_args *rest) {
        (void)rest;
        return options_key(data, argument, key) < 0 ? -1 : 0;
}

static bool options_is_helper(const char *argv0) {
        static const char name[] = "mount.iomemfs";
        const char *base = argv0 ? strrchr(argv0, '/') : NULL;

        base = base ? base + 1 : argv0;
        return base && !strcmp(base, name);
}

static void options_set_defaults(struct options *options) {
        cpu_set_t cpus;
        bool one_cpu = !sched_getaffinity(0, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) == 1;

        *options = (struct options){
                .resume_fd = -1,
                .mode = OPTIONS_MODE_DEFAULT,
                .uid = geteuid(),
                .gid = getegid(),
                .passthrough = PASSTHROUGH_AUTO,
                .latency = LATENCY_AUTO,
                /* With only one processor, spinning would keep the client from running. */
                .spin_us = one_cpu ? 0 : OPTIONS_SPIN_DEFAULT_US,
                .grace_s = OPTIONS_GRACE_DEFAULT_S,
                .xattr = true,
                .acl = true,
                .ctl = ".ctl",
                .limits = {OPTIONS_CLIENTS_DEFAULT, OPTIONS_WAITS_DEFAULT,
                           OPTIONS_UNFINISHED_DEFAULT, OPTIONS_UNREAD_DEFAULT},
        };
}

/* Whether libfuse must be given the flag.  nosuid and nodev are its own default, and fusermount3's;
 * an ordinary user may not ask for the opposite. */
static bool options_flag_matters(const struct options *options, const struct options_flag *flag) {
        if (flag->flag == MS_NOSYMFOLLOW)
                return false; /* see mount_attach() */
        if (!flag->clears)
                return options->mount_flags & flag->flag;
        return geteuid() == 0 && (flag->flag & (MS_NOSUID | MS_NODEV)) &&
               !(options->mount_flags & flag->flag);
}

/* Builds the options for libfuse's mount. */
static int options_build_mount(struct options *options, bool allow_other) {
        char **out = &options->mount_options;
        char *fsname = NULL;
        int failed = 0;

        if (asprintf(&fsname, "fsname=%s", options->source) < 0)
                return options_complain("out of memory");
        failed |= fuse_opt_add_opt_escaped(out, fsname);
        free(fsname);
        failed |= fuse_opt_add_opt(out, "subtype=iomemfs");
        failed |= fuse_opt_add_opt(out, "default_permissions");
        if (allow_other || geteuid() == 0)
                failed |= fuse_opt_add_opt(out, "allow_other");
        for (size_t i = 0; i < sizeof(options_flags) / sizeof(*options_flags); i++) {
                if (options_flag_matters(options, &options_flags[i]))
                        failed |= fuse_opt_add_opt(out, options_flags[i].name);
        }
        return failed ? options_complain("out of memory") : 0;
}

/* Takes the positional arguments: [SOURCE] DIR, or only DIR for --upgrade. */
static int options_take_positionals(struct parse *parse) {
        struct options *options = parse->options;
        unsigned int n = parse->n_positionals;

        if (n == 0)
                return options_complain("no mount point given; `iomemfs --help` shows how");
        if (parse->helper && n != 2)
                return options_complain("usage: mount.iomemfs SOURCE DIR [-o OPTIONS]");
        options->mountpoint = parse->positionals[n - 1];
        parse->positionals[n - 1] = NULL;
        if (n == 2) {
                options->source = parse->positionals[0];
                parse->positionals[0] = NULL;
        } else {
                options->source = strdup("iomemfs");
        }
        return options->source ? 0 : options_complain("out of memory");
}

static int options_finish(struct parse *parse) {
        struct options *options = parse->options;

        if (options->help || options->version || options->layout || options->convert ||
            options->resume_fd >= 0)
                return 0;
        int r = options_take_positionals(parse);
        if (r < 0)
                return r;
        if (parse->remount_only && !options->remount)
                return options_complain("%s: unknown option; `iomemfs --help` lists them",
                                        parse->remount_only);
        return options_build_mount(options, parse->allow_other);
}

int options_parse(struct options *out, int argc, char **argv) {
        struct fuse_args arguments = FUSE_ARGS_INIT(argc, argv);
        struct parse parse = {.options = out, .helper = options_is_helper(argv[0])};

        options_set_defaults(out);
        int r = fuse_opt_parse(&arguments, &parse, options_spec, options_process) < 0 ? -EINVAL : 0;
        if (r == 0)
                r = options_finish(&parse);
        fuse_opt_free_args(&arguments);
        free(parse.positionals[0]);
        free(parse.positionals[1]);
        free(parse.remount_only);
        if (r < 0)
                options_clear(out);
        return r;
}

void options_clear(struct options *options) {
        free(options->source);
        free(options->mountpoint);
        free(options->socket);
        free(options->mount_options);
        *options = (struct options){.resume_fd = -1};
}

/* The directory for sockets: that of services, or that of the user's session. */
static const char *options_runtime_dir(void) {
        const char *dir = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");

        return dir && dir[0] == '/' ? dir : NULL;
}

bool options_socket_path(const struct options *options, char *path, size_t size) {
        const char *dir = options_runtime_dir();
        char name[PATH_MAX];
        size_t length = 0;

        if (options->socket) {
                snprintf(path, size, "%s", options->socket);
                return options->socket[0];
        }
        if (!dir)
                return false;
        /* As in systemd's unit names: '/' becomes '-', and '-' is escaped. */
        for (const char *p = options->mountpoint + 1; *p && length < sizeof(name) - 5; p++) {
                if (*p == '/')
                        name[length++] = '-';
                else if (*p == '-')
                        length += (size_t)sprintf(name + length, "\\x2d");
                else
                        name[length++] = *p;
        }
        name[length] = '\0';
        int n = snprintf(path, size, "%s/iomemfs/%s.sock", dir, name);
        return n > 0 && (size_t)n < size;
}
