/* SPDX-License-Identifier: MIT */

/*
 * iomem: works with the regions of an iomemfs from the command line.
 */

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include "base/errno_text.h"
#include "cli.h"

/* The options of the commands, for --help. */
#define JSON_OPTION " -J, --json             use JSON output format\n"
#define TABLE_HELP                                                                          \
        " -b, --bytes            print sizes in bytes\n"                                    \
        "     --color[=WHEN]     use colors: auto (default), always or never\n" JSON_OPTION \
        " -n, --noheadings       don't print headings\n"                                    \
        " -o, --output LIST      columns to print; +LIST adds to the default\n"             \
        " -r, --raw              use raw output format\n"
#define CREATE_HELP                                                                          \
        " -M, --mode MODE        permissions (default: what the umask leaves of 0666)\n"     \
        "     --fixed            its size never changes\n"                                   \
        "     --ephemeral        the name goes with the last reference\n"                    \
        "     --owner OWNER      the name goes after the end of this service or container\n" \
        "     --populate         all memory is there from the start\n"                       \
        "     --huge             use huge pages\n"
#define RESIZE_HELP " -f, --force            shrink it although somebody has it open or mapped\n"
#define WAIT_HELP " -t, --timeout SECONDS  give up after that time\n"
#define EXEC_HELP " -r, --read-only        hand on a descriptor for reading only\n"
#define MOUNT_OPTION " -m, --mount PATH       mount point or socket\n"
#define TOP_HELP                                                                          \
        " -b, --batch            write text, and no colors, for a file or a pipe\n"       \
        " -d, --delay SECONDS    time between two looks (default: 2)\n"                   \
        " -F, --filter TEXT      show only names that contain this\n"                     \
        " -n, --iterations N     end after so many looks\n"                               \
        " -r, --reverse          reverse the order\n"                                     \
        " -s, --sort KEY         size (default), allocated, growth, users, age or name\n" \
        " -t, --tree             show directories, with their sums\n"
#define UMOUNT_HELP \
        " -l, --lazy             detach it now, and end it when it is not used any more\n"
#define HELP_OPTION " -h, --help             display this help\n"
#define REGION_COLUMNS                                                    \
        "NAME SIZE ALLOCATED MODE USER GROUP SEALS FLAGS REFS\n CREATED " \
        "CREATOR INODE LINKS"
#define WHO_COLUMNS "PID USER COMMAND FD ACCESS VIA NAME"
#define DF_COLUMNS "DIRECTORY SIZE USED AVAIL USE% FILES FUSED FAVAIL\n FUSE% OVERCOMMIT"

static int cli_help(int argc, char **argv);

static const struct command {
        const char *name;
        const char *arguments;
        const char *summary;
        const char *options;
        const char *columns;
        cli_fn fn;
} commands[] = {
        {"ls", "[DIRECTORY]", "list regions", TABLE_HELP, REGION_COLUMNS, cli_ls},
        {"stat", "NAME...", "show all there is to know of regions", TABLE_HELP, REGION_COLUMNS,
         cli_stat},
        {"who", "[NAME]", "show who uses a region, or the whole mount", TABLE_HELP, WHO_COLUMNS,
         cli_who},
        {"df", "[DIRECTORY]", "show the space of the mount and of each limit", TABLE_HELP,
         DF_COLUMNS, cli_df},
        {"create", "NAME SIZE", "make a region", CREATE_HELP, NULL, cli_create},
        {"resize", "NAME SIZE", "change the size of a region", RESIZE_HELP, NULL, cli_resize},
        {"seal", "NAME SEALS", "forbid for good: shrink, grow, write, with commas", "", NULL,
         cli_seal},
        {"rm", "NAME...", "remove regions", "", NULL, cli_rm},
        {"limit", "DIRECTORY [LIMIT]...", "set size= and nr_inodes= of a directory, or none", "",
         NULL, cli_limit},
        {"wait", "NAME...", "wait until regions exist", WAIT_HELP, NULL, cli_wait},
        {"events", "[DIRECTORY]", "show what happens, as it happens", JSON_OPTION, NULL,
         cli_events},
        {"exec", "NAME [--] COMMAND", "run a command with the region's descriptor in $IOMEM_FD",
         EXEC_HELP, NULL, cli_exec},
        {"top", "[DIRECTORY]", "show regions and what happens, live", TOP_HELP, NULL, cli_top},
        {"umount", "[DIRECTORY]", "unmount, or show who is in the way", UMOUNT_HELP, NULL,
         cli_umount},
        {"help", "[COMMAND]", "show how a command is used", "", NULL, cli_help},
        {NULL},
};

/* Other words for commands. */
static const struct {
        const char *alias, *name;
} aliases[] = {
        {"list", "ls"},
        {"remove", "rm"},
        {"del", "rm"},
};

static int usage(void) {
        fputs("\n"
              "Usage:\n"
              " iomem [-m MOUNT|SOCKET] COMMAND [OPTIONS] [ARGUMENTS]\n"
              "\n"
              "Regions of shared memory of an iomemfs.\n"
              "\n"
              "Commands:\n",
              stdout);
        for (const struct command *command = commands; command->name; command++)
                printf(" %s %-*s %s\n", command->name, 21 - (int)strlen(command->name),
                       command->arguments, command->summary);
        fputs("\n"
              "Other words: list for ls; remove and del for rm.\n"
              "\n"
              "Options:\n"
              " -m, --mount PATH       mount point or socket (default: $IOMEMFS, the iomemfs of\n"
              "                        the working directory, or /mnt/mem)\n" HELP_OPTION
              " -V, --version          display version\n"
              "\n"
              "Options of ls, stat, who and df (and -J of events):\n" TABLE_HELP "\n"
              "Options of create:\n" CREATE_HELP "\n"
              "Option of resize:\n" RESIZE_HELP "\n"
              "Option of wait:\n" WAIT_HELP "\n"
              "Option of exec:\n" EXEC_HELP "\n"
              "Options of top:\n" TOP_HELP "\n"
              "Option of umount:\n" UMOUNT_HELP "\n"
              "Columns of ls and stat: " REGION_COLUMNS "; of who: " WHO_COLUMNS
              ";\n of df: " DF_COLUMNS "\n"
              "\n"
              "For more details see iomem(1).\n",
              stdout);
        return EXIT_SUCCESS;
}

static int command_usage(const struct command *command) {
        printf("\n"
               "Usage:\n"
               " iomem [-m MOUNT|SOCKET] %s [OPTIONS] %s\n"
               "\n"
               "%c%s.\n"
               "\n"
               "Options:\n"
               "%s" MOUNT_OPTION HELP_OPTION,
               command->name, command->arguments, toupper(command->summary[0]),
               command->summary + 1, command->options);
        if (command->columns)
                printf("\nColumns: %s\n", command->columns);
        puts("\nFor more details see iomem(1).");
        return EXIT_SUCCESS;
}

/* Finds a command by its name or another word for it. */
static const struct command *command_find(const char *name) {
        for (size_t i = 0; i < sizeof(aliases) / sizeof(*aliases); i++)
                if (strcmp(aliases[i].alias, name) == 0)
                        name = aliases[i].name;
        for (const struct command *command = commands; command->name; command++)
                if (strcmp(command->name, name) == 0)
                        return command;
        return NULL;
}

static int command_unknown(const char *name) {
        const char
                *names[sizeof(commands) / sizeof(*commands) + sizeof(aliases) / sizeof(*aliases)];
        const char *meant;
        size_t n = 0;

        for (const struct command *command = commands; command->name; command++)
                names[n++] = command->name;
        for (size_t i = 0; i < sizeof(aliases) / sizeof(*aliases); i++)
                names[n++] = aliases[i].alias;
        names[n] = NULL;
        meant = cli_suggest(name, names);
        if (meant)
                return cli_misuse("unknown command: %s; did you mean '%s'?", name, meant);
        return cli_misuse("unknown command: %s", name);
}

static int cli_help(int argc, char **argv) {
        static const struct option options[] = {{NULL, 0, NULL, 0}};
        const struct command *command;

        if (cli_getopt(argc, argv, "", options) != -1)
                return cli_try_help();
        if (optind == argc)
                return usage();
        command = command_find(argv[optind]);
        return command ? command_usage(command) : command_unknown(argv[optind]);
}

/* Options after the name belong to the program that exec runs. */
static bool wants_help(const struct command *command, int argc, char **argv) {
        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
                if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
                        return true;
                if (argv[i][0] != '-' && command->fn == cli_exec)
                        break;
        }
        return false;
}

static int dispatch(int argc, char **argv) {
        const struct command *command = command_find(argv[0]);

        if (!command)
                return command_unknown(argv[0]);
        if (wants_help(command, argc, argv))
                return command_usage(command);
        optind = 0;        /* the command parses its own options */
        argv[0] = "iomem"; /* messages of getopt_long(3) begin with it */
        return command->fn(argc, argv);
}

/*
 * Makes sure that all output was written, or changes the exit status.  A write may have failed
 * long before.  A reader that has gone, as of `iomem ls | head`, is no failure.
 */
static int finish(int status) {
        bool failed = ferror(stdout) != 0;

        errno = 0;
        if (fflush(stdout) != 0)
                failed = errno != EPIPE;
        if (!failed)
                return status;
        return errno ? cli_fail("write error: %s", errno_text(errno)) : cli_fail("write error");
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                {"mount", required_argument, NULL, 'm'},
                {"help", no_argument, NULL, 'h'},
                {"version", no_argument, NULL, 'V'},
                {NULL, 0, NULL, 0},
        };
        int option;

        setlocale(LC_ALL, "");
        while ((option = getopt_long(argc, argv, "+m:hV", options, NULL)) != -1) {
                switch (option) {
                case 'm':
                        cli_where = optarg;
                        break;
                case 'h':
                        return finish(usage());
                case 'V':
                        printf("iomem from iomemfs %s\n", IOMEMFS_VERSION);
                        return finish(EXIT_SUCCESS);
                default:
                        return cli_try_help();
                }
        }
        if (optind == argc)
                return cli_misuse("no command given");
        return finish(dispatch(argc - optind, argv + optind));
}
