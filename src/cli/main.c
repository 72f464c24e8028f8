/* SPDX-License-Identifier: MIT */

/*
 * iomem: regions of an iomemfs from the command line.
 */

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"

static const struct command {
        const char *name;
        cli_fn fn;
} commands[] = {
        {"ls", cli_ls},     {"stat", cli_stat},     {"who", cli_who}, {"create", cli_create},
        {"seal", cli_seal}, {"resize", cli_resize}, {"rm", cli_rm},   {"wait", cli_wait},
        {"exec", cli_exec}, {"events", cli_events}, {NULL, NULL},
};

static int usage(void) {
        fputs("\n"
              "Usage:\n"
              " iomem [-m MOUNT|SOCKET] COMMAND [OPTIONS] [ARGUMENTS]\n"
              "\n"
              "Regions of shared memory of an iomemfs.\n"
              "\n"
              "Commands:\n"
              " ls [DIRECTORY]         list regions\n"
              " stat NAME...           show all there is to know of regions\n"
              " who NAME               show who has a region open or mapped\n"
              " create NAME SIZE       make a region\n"
              " resize NAME SIZE       change its size\n"
              " seal NAME SEALS        forbid for good: shrink, grow, write, with commas\n"
              " rm NAME...             remove regions\n"
              " wait NAME...           wait until regions exist\n"
              " events [DIRECTORY]     show what happens, as it happens\n"
              " exec NAME [--] COMMAND run a command with the region's descriptor in $IOMEM_FD\n"
              "\n"
              "Options:\n"
              " -m, --mount PATH       mount point or socket (default: $IOMEMFS, or /mnt/mem)\n"
              " -h, --help             display this help\n"
              " -V, --version          display version\n"
              "\n"
              "Options of ls, stat and who (and -J of events):\n"
              " -b, --bytes            print sizes in bytes\n"
              " -J, --json             use JSON output format\n"
              " -n, --noheadings       don't print headings\n"
              " -o, --output LIST      columns to print; +LIST adds to the default\n"
              " -r, --raw              use raw output format\n"
              "\n"
              "Options of create:\n"
              " -M, --mode MODE        permissions (default: what the umask leaves of 0666)\n"
              "     --fixed            its size never changes\n"
              "     --ephemeral        the name goes with the last reference\n"
              "     --populate         all memory is there from the start\n"
              "     --huge             use huge pages\n"
              "\n"
              "Option of wait:\n"
              " -t, --timeout SECONDS  give up after that time\n"
              "\n"
              "Option of exec:\n"
              " -r, --read-only        hand on a descriptor for reading only\n"
              "\n"
              "Columns of ls and stat: NAME SIZE ALLOCATED MODE USER GROUP SEALS FLAGS REFS\n"
              " CREATED CREATOR INODE LINKS; of who: PID USER COMMAND FD ACCESS VIA\n"
              "\n"
              "For more details see iomem(1).\n",
              stdout);
        return EXIT_SUCCESS;
}

/* The command's own parse starts anew. */
static int dispatch(int argc, char **argv) {
        for (const struct command *command = commands; command->name; command++)
                if (strcmp(argv[0], command->name) == 0) {
                        optind = 0;
                        argv[0] = "iomem"; /* messages of getopt_long(3) begin with it */
                        return command->fn(argc, argv);
                }
        return cli_misuse("unknown command: %s", argv[0]);
}

/* What was printed is out, or the status says that it is not. */
static int finish(int status) {
        if (fflush(stdout) != 0 && errno != EPIPE)
                return cli_fail("write error: %s", strerror(errno));
        return status;
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
