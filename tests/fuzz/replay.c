/* SPDX-License-Identifier: MIT */

/*
 * replay: runs a fuzz target over the files of a corpus, without a fuzzer: an ordinary test.
 */

#include <dirent.h>
#include <string.h>
#include "fuzz.h"

enum { INPUT_MAX = 1024 * 1024 };

static int replay_file(const char *path) {
        static uint8_t input[INPUT_MAX];
        FILE *file = fopen(path, "rb");
        uint8_t *exact;
        size_t n;

        if (!file) {
                perror(path);
                return 1;
        }
        n = fread(input, 1, sizeof(input), file);
        fclose(file);
        /* Of its very size, so that a sanitizer sees reads beyond the end. */
        exact = malloc(n ? n : 1);
        FUZZ_CHECK(exact);
        memcpy(exact, input, n);
        LLVMFuzzerTestOneInput(exact, n);
        free(exact);
        return 0;
}

int main(int argc, char **argv) {
        DIR *corpus = argc == 2 ? opendir(argv[1]) : NULL;
        struct dirent *entry;
        int n = 0;

        if (!corpus) {
                fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
                return 2;
        }
        while ((entry = readdir(corpus))) {
                char path[4096];

                if (entry->d_name[0] == '.')
                        continue;
                snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
                if (replay_file(path) != 0)
                        return 1;
                n++;
        }
        closedir(corpus);
        printf("%d inputs\n", n);
        return n > 0 ? 0 : 1;
}
