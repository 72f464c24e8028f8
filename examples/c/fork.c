/* SPDX-License-Identifier: MIT */

/* Parent and child on one region across fork. */

#include <iomem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(void) {
        fprintf(stderr, "fork: %s\n", iomem_error());
        return EXIT_FAILURE;
}

int main(void) {
        struct iomem_connection *mem;
        void *memory;
        size_t size;
        int fd;

        if (iomem_connect(&mem, NULL) < 0)
                return fail();
        fd = iomem_create(mem, "example-fork", 4096, -1, 0);
        if (fd < 0 || iomem_map(&memory, &size, fd, IOMEM_WRITE) < 0)
                return fail();
        strcpy(memory, "from the parent");

        if (fork() == 0) {
                printf("child reads: %s\n", (char *)memory);
                fflush(stdout);
                strcpy(memory, "from the child!");
                _exit(0);
        }
        wait(NULL);
        printf("parent reads: %s\n", (char *)memory);

        iomem_unmap(memory, size);
        close(fd);
        if (iomem_remove(mem, "example-fork") < 0)
                return fail();
        iomem_disconnect(mem);
        return EXIT_SUCCESS;
}
