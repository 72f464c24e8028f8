/* SPDX-License-Identifier: MIT */

/*
 * frames write|read NAME: two programs, in two languages if you like, on the same memory.  The
 * first makes a region, the other waits for it by name and answers.  docs/languages.md has the
 * same program for the other languages.
 */

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "iomem.hpp"

using namespace std::chrono_literals;

namespace {

enum { text = 64, answer = 128, length = 64 };

std::atomic<std::uint32_t> &state_of(const iomem::region &frames) {
        return frames.as<std::atomic<std::uint32_t>>()[0];
}

/* Not every language wakes those who wait. */
void await(const iomem::region &frames, std::uint32_t value) {
        for (std::uint32_t now; (now = state_of(frames)) != value;)
                iomem::futex_wait(state_of(frames), now, 10ms);
}

int writes(const std::string &name) {
        iomem::connection mem;
        auto frames = mem.create(name, 4096, iomem::fixed | iomem::ephemeral);
        auto chars = frames.as<char>();

        std::strcpy(&chars[text], "hello from C++");
        state_of(frames) = 1;
        iomem::futex_wake(state_of(frames));
        await(frames, 2);
        std::printf("C++ is told: %.*s\n", length, &chars[answer]);
        return 0;
}

int reads(const std::string &name) {
        iomem::connection mem;
        mem.wait(name, 30s);
        auto frames = mem.open(name);
        auto chars = frames.as<char>();

        await(frames, 1);
        std::printf("C++ reads: %.*s\n", length, &chars[text]);
        std::strcpy(&chars[answer], "C++ has read it");
        state_of(frames) = 2;
        iomem::futex_wake(state_of(frames));
        return 0;
}

/* Nobody needs to have the region open: its name goes when this process has ended. */
int keeps(const std::string &name) {
        iomem::connection mem;
        mem.create(name, 4096, iomem::owner_process);
        std::puts("C++ keeps it");
        std::fflush(stdout);
        std::this_thread::sleep_for(60s);
        return 0;
}

} // namespace

int main(int argc, char **argv) try {
        if (argc == 3 && std::strcmp(argv[1], "write") == 0)
                return writes(argv[2]);
        if (argc == 3 && std::strcmp(argv[1], "read") == 0)
                return reads(argv[2]);
        if (argc == 3 && std::strcmp(argv[1], "keep") == 0)
                return keeps(argv[2]);
        std::fprintf(stderr, "usage: %s write|read|keep NAME\n", argv[0]);
        return 2;
} catch (const iomem::error &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
}
