/* SPDX-License-Identifier: MIT */

/*
 * A descriptor comes over a socket, is mapped, and the answer goes back through the memory.  The
 * region has no name, and no daemon is needed.
 */

#include <iomem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(void) {
        fprintf(stderr, "receive: %s\n", iomem_error());
        return EXIT_FAILURE;
}

static int child(int socket) {
        int fd = iomem_recv_fd(socket);
        void *memory;

        if (fd < 0 || iomem_map(&memory, NULL, fd, IOMEM_WRITE) < 0)
                return fail();
        printf("child is asked: %s\n", (char *)memory);
        fflush(stdout);
        strcpy((char *)memory + 64, "42");
        return write(socket, "!", 1) == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(void) {
        int fd, pair[2];
        void *memory;
        char byte;

        fd = iomem_anonymous(4096, IOMEM_FIXED);
        if (fd < 0 || iomem_map(&memory, NULL, fd, IOMEM_WRITE) < 0)
                return fail();
        strcpy(memory, "what is 6 * 7?");
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return EXIT_FAILURE;

        if (fork() == 0) {
                close(pair[0]);
                _exit(child(pair[1]));
        }
        close(pair[1]);
        if (iomem_send_fd(pair[0], fd) < 0)
                return fail();
        if (read(pair[0], &byte, 1) != 1)
                return EXIT_FAILURE;
        printf("parent is told: %s\n", (char *)memory + 64);
        wait(NULL);
        return EXIT_SUCCESS;
}
