/* SPDX-License-Identifier: MIT */

/* iomem.hpp on the mount that $IOMEMFS names. */

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <map>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

#include "iomem.hpp"

using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<iomem::region>);
static_assert(std::is_nothrow_move_constructible_v<iomem::region>);
static_assert(std::is_nothrow_move_assignable_v<iomem::region>);
static_assert(!std::is_copy_constructible_v<iomem::connection>);
static_assert(std::is_nothrow_move_constructible_v<iomem::events>);

namespace {

std::size_t open_descriptors() {
        std::size_t n = 0;

        for (int fd = 0; fd < 1024; fd++)
                n += ::fcntl(fd, F_GETFD) >= 0;
        return n;
}

std::vector<std::string> names(iomem::connection &mem, const std::string &directory = "") {
        std::vector<std::string> found;

        mem.list([&](const char *name, const struct iomem_stat &) { found.emplace_back(name); },
                 directory);
        std::sort(found.begin(), found.end());
        return found;
}

/* Waits for what comes after a close or an end, in at most half a minute. */
template <typename F> void eventually(F condition) {
        for (int i = 0; i < 6000 && !condition(); i++)
                std::this_thread::sleep_for(5ms);
        REQUIRE(condition());
}

template <typename F> std::error_code code_of(F function) {
        try {
                function();
        } catch (const iomem::error &error) {
                CHECK(std::strlen(error.what()) > 0);
                return error.code();
        }
        return {};
}

} // namespace

TEST_CASE("a region is made, opened, mapped, and removed") {
        iomem::connection mem;
        std::size_t before = open_descriptors();
        {
                auto made = mem.create("frames", 10000, iomem::fixed, 0640);
                CHECK(made.size() == 10000);
                CHECK(made.writable());
                CHECK(made.as<double>().size() == 1250);
                made.as<std::uint32_t>()[100] = 42;

                auto reader = mem.open("frames", iomem::access::read);
                CHECK(reader.as<const std::uint32_t>()[100] == 42);
                CHECK(code_of([&] { reader.as<char>(); }) == std::errc::permission_denied);

                auto known = mem.stat("frames");
                CHECK(known.size == 10000);
                CHECK(known.mode == 0640);
                CHECK(known.flags == IOMEM_FIXED);
                CHECK(names(mem) == std::vector<std::string>{"frames"});
        }
        CHECK(open_descriptors() == before);
        mem.remove("frames");
        CHECK(names(mem).empty());
}

TEST_CASE("regions move") {
        auto one = iomem::region::anonymous(4096);
        int fd = one.fd();
        auto other = std::move(one);
        CHECK(other.fd() == fd);
        CHECK_FALSE(one); // NOLINT: this is what is tested
        other.bytes()[0] = std::byte{7};
        one = std::move(other);
        CHECK(one.bytes()[0] == std::byte{7});
        one = iomem::region::anonymous(1);
        CHECK(one.size() == 1);
        one.close_descriptor();
        CHECK(one.bytes().size() == 1);
        one.reset();
        CHECK(one.size() == 0);
}

TEST_CASE("size 0") {
        iomem::connection mem;
        CHECK(iomem::region::anonymous(0).as<int>().empty());
        CHECK(mem.create("empty", 0).bytes().empty());
        mem.remove("empty");
}

TEST_CASE("spans") {
        auto memory = iomem::region::anonymous(16);
        auto all = memory.as<std::uint32_t>();
        std::uint32_t n = 0;
        for (auto &value : all)
                value = n++;
        CHECK(all.subspan(1, 2)[1] == 2);
        CHECK(all.subspan(3).size() == 1);
        CHECK(all.subspan(9).empty());
        CHECK(all.size_bytes() == 16);
#if __cplusplus >= 202002L
        std::span<std::uint32_t> standard = all;
        CHECK(standard.back() == 3);
#endif
}

TEST_CASE("what may lie in a region") {
        static_assert(iomem::is_shareable<std::atomic<std::uint64_t>>::value);
        static_assert(!iomem::is_shareable<std::string>::value);
        auto memory = iomem::region::anonymous(16);
        auto &counter = memory.as<std::atomic<std::uint32_t>>()[1];
        counter.fetch_add(7);
        CHECK(memory.as<std::uint32_t>()[1] == 7);
}

TEST_CASE("a futex wakes") {
        auto memory = iomem::region::anonymous(4);
        auto &word = memory.as<std::atomic<std::uint32_t>>()[0];
        std::thread waiter([&] {
                while (word == 0)
                        iomem::futex_wait(word, 0);
        });
        word = 1;
        iomem::futex_wake(word);
        waiter.join();
        iomem::futex_wait(word, 0);
        iomem::futex_wait(word, 1, 1ms);
}

TEST_CASE("errors by exception and by code") {
        iomem::connection mem;
        std::error_code code;

        CHECK(code_of([&] { mem.open("none"); }) == std::errc::no_such_file_or_directory);
        CHECK_FALSE(mem.open("none", iomem::access::read, code));
        CHECK(code == std::errc::no_such_file_or_directory);
        auto made = mem.create("a", 4096, iomem::option::none, -1, code);
        CHECK_FALSE(code);
        CHECK(made);
        CHECK_FALSE(mem.create("a", 4096, iomem::option::none, -1, code));
        CHECK(code == std::errc::file_exists);
        try {
                mem.create("a", 4096);
                FAIL("no exception");
        } catch (const std::system_error &error) {
                CHECK(std::string(error.what()).find("a: exists already") != std::string::npos);
        }
        CHECK(code_of([&] { mem.create("b", std::uint64_t{2} << 30); }) ==
              std::errc::no_space_on_device);
        CHECK(code_of([&] { mem.wait("b", 20ms); }) == std::errc::timed_out);
        CHECK(code_of([] { iomem::connection none("/"); }) == std::errc::no_such_device);
        iomem::connection nowhere("/", code);
        CHECK(code == std::errc::no_such_device);
        mem.remove("a", code);
        CHECK_FALSE(code);
}

TEST_CASE("resize and seals") {
        iomem::connection mem;
        mem.create("a", 4096);
        mem.resize("a", 8192);
        mem.add_seals("a", iomem::seal::shrink | iomem::seal::grow | iomem::seal::write);
        CHECK(mem.stat("a").seals ==
              (IOMEM_SEAL_SHRINK | IOMEM_SEAL_GROW | IOMEM_SEAL_WRITE));
        CHECK(code_of([&] { mem.resize("a", 1); }) == std::errc::operation_not_permitted);
        mem.remove("a");
}

TEST_CASE("a list ends with an exception of its function") {
        iomem::connection mem;
        mem.create("a", 1);
        CHECK_THROWS_AS(mem.list([](const char *, const struct iomem_stat &) {
                throw std::runtime_error("enough");
        }),
                        std::runtime_error);
        mem.remove("a");
}

TEST_CASE("waiting in one thread, making in another") {
        iomem::connection mem;
        std::atomic<int> seen{0};
        std::thread waiter([&] {
                mem.wait("late", 30s);
                seen = mem.open("late").as<int>()[0];
        });
        auto early = mem.create("early", 4096);
        early.as<int>()[0] = 42;
        std::string mount = std::getenv("IOMEMFS");
        REQUIRE(std::rename((mount + "/early").c_str(), (mount + "/late").c_str()) == 0);
        waiter.join();
        CHECK(seen == 42);
        mem.remove("late");
}

TEST_CASE("events") {
        iomem::connection mem;
        auto events = mem.events();
        CHECK_FALSE(events.next(0ms));
        mem.create("a b", 4096);
        auto first = events.next(30s);
        REQUIRE(first);
        CHECK(first->kind == IOMEM_EVENT_CREATE);
        CHECK(first->name == "a b");
        CHECK(first->size == 4096);
        CHECK(first->pid == ::getpid());
        mem.remove("a b");
        pollfd fd = {events.fd(), POLLIN, 0};
        CHECK(::poll(&fd, 1, 30000) == 1);
        std::optional<iomem::event> last;
        while ((last = events.next(30s)) && last->kind != IOMEM_EVENT_REMOVE)
                ;
        CHECK(last);
        CHECK(code_of([&] { mem.events("none"); }) == std::errc::no_such_file_or_directory);
}

TEST_CASE("regions go through sockets") {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        auto sent = iomem::region::anonymous(4096, iomem::fixed);
        sent.send(ends[0]);
        auto received = iomem::region::receive(ends[1]);
        received.as<int>()[1023] = 7;
        CHECK(sent.as<int>()[1023] == 7);
        ::close(ends[0]);
        CHECK(code_of([&] { iomem::region::receive(ends[1]); }) == std::errc::broken_pipe);
        ::close(ends[1]);
}

TEST_CASE("a region goes after the end of its owner, and not before") {
        iomem::connection mem;
        int ready[2];
        REQUIRE(::pipe(ready) == 0);
        pid_t child = ::fork();
        if (child == 0) {
                iomem::connection own;
                { auto made = own.create("owned", 4096, iomem::owner_process | iomem::fixed); }
                { auto again = own.open("owned"); }
                if (::write(ready[1], "1", 1) == 1)
                        ::pause();
                ::_exit(1);
        }
        char byte;
        REQUIRE(::read(ready[0], &byte, 1) == 1);
        CHECK(names(mem) == std::vector<std::string>{"owned"});
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        eventually([&] { return names(mem).empty(); });
        ::close(ready[0]);
        ::close(ready[1]);
}

TEST_CASE("a killed holder leaves nothing, and takes nothing from others") {
        iomem::connection mem;
        int ready[2];
        REQUIRE(::pipe(ready) == 0);
        pid_t child = ::fork();
        if (child == 0) {
                iomem::connection own;
                auto alone = own.create("alone", 4096, iomem::ephemeral);
                auto shared = own.create("shared", 4096, iomem::ephemeral);
                shared.as<int>()[0] = 42;
                if (::write(ready[1], "1", 1) == 1)
                        ::pause();
                ::_exit(1);
        }
        char byte;
        REQUIRE(::read(ready[0], &byte, 1) == 1);
        {
                auto shared = mem.open("shared");
                ::kill(child, SIGKILL);
                ::waitpid(child, nullptr, 0);
                eventually([&] { return names(mem) == std::vector<std::string>{"shared"}; });
                shared.close_descriptor();
                CHECK(shared.as<int>()[0] == 42);
                CHECK(names(mem).size() == 1);
        }
        eventually([&] { return names(mem).empty(); });
        ::close(ready[0]);
        ::close(ready[1]);
}
