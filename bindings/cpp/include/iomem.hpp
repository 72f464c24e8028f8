/* SPDX-License-Identifier: MIT */
#ifndef IOMEM_HPP
#define IOMEM_HPP

/**
 * @file
 * Shared memory of an iomemfs for C++17: the functions of libiomem with owners, spans and errors.
 *
 *     iomem::connection mem;                                     // $IOMEMFS, or /mnt/mem
 *     auto frames = mem.create("frames", 64 << 20, iomem::fixed);
 *     frames.as<float>()[0] = 1;
 *
 * Each function that can fail throws iomem::error, a std::system_error with the daemon's words;
 * beside it is one with a std::error_code& as its last argument that does not.
 *
 * Link with -liomem.  Threads: as in iomem(3).  What is moved from can be assigned to and destroyed.
 */

#include <atomic>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <exception>
#include <linux/futex.h>
#include <memory>
#include <optional>
#include <string>
#include <sys/syscall.h>
#include <system_error>
#include <type_traits>
#include <unistd.h>
#include <utility>

#include "iomem.h"

namespace iomem {

/** What failed, in words; code() is the errno in std::generic_category(). */
class error : public std::system_error {
      public:
        error(std::error_code code, std::string text)
            : std::system_error(code), text_(std::move(text)) {
        }
        const char *what() const noexcept override {
                return text_.c_str();
        }

      private:
        std::string text_;
};

namespace detail {

/** What a C function returned: sets code; true if it succeeded. */
inline bool succeeded(long result, std::error_code &code) noexcept {
        if (result >= 0)
                code.clear();
        else
                code.assign(static_cast<int>(-result), std::generic_category());
        return result >= 0;
}

/** The call, whose last argument is a std::error_code&, with an exception for an error. */
template <typename F> auto or_throw(F &&call) {
        std::error_code code;

        if constexpr (std::is_void_v<decltype(call(code))>) {
                call(code);
                if (code)
                        throw error(code, iomem_error());
        } else {
                auto result = call(code);

                if (code)
                        throw error(code, iomem_error());
                return result;
        }
}

inline int milliseconds(std::optional<std::chrono::milliseconds> timeout) noexcept {
        if (!timeout)
                return -1;
        if (timeout->count() <= 0)
                return 0;
        return timeout->count() > INT32_MAX ? INT32_MAX : static_cast<int>(timeout->count());
}

} // namespace detail

/** Memory that is somebody else's: std::span, before C++20, which it converts to from there on. */
template <typename T> class span {
      public:
        using element_type = T;
        using value_type = std::remove_cv_t<T>;

        constexpr span() noexcept = default;
        constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {
        }

        constexpr T *data() const noexcept {
                return data_;
        }
        constexpr std::size_t size() const noexcept {
                return size_;
        }
        constexpr std::size_t size_bytes() const noexcept {
                return size_ * sizeof(T);
        }
        constexpr bool empty() const noexcept {
                return size_ == 0;
        }
        constexpr T &operator[](std::size_t i) const noexcept {
                return data_[i];
        }
        constexpr T *begin() const noexcept {
                return data_;
        }
        constexpr T *end() const noexcept {
                return data_ + size_;
        }
        /** Of `size` elements from one on; what is beyond the end is cut off. */
        constexpr span subspan(std::size_t from, std::size_t size = SIZE_MAX) const noexcept {
                from = from < size_ ? from : size_;
                return {data_ + from, size < size_ - from ? size : size_ - from};
        }

      private:
        T *data_ = nullptr;
        std::size_t size_ = 0;
};

/** What may lie in a region: other processes see bytes, and no locks but those that are there, too. */
template <typename T> struct is_shareable : std::is_trivially_copyable<T> {};
template <typename T> struct is_shareable<const T> : is_shareable<T> {};
template <typename T>
struct is_shareable<std::atomic<T>> : std::bool_constant<std::atomic<T>::is_always_lock_free> {};

/** How a region is opened. */
enum class access { read = IOMEM_READ, write = IOMEM_WRITE };

/** How a region is made: an or of these. */
enum class option : unsigned int {
        none = 0,
        fixed = IOMEM_FIXED,         /**< its size never changes: nobody can take pages away */
        ephemeral = IOMEM_EPHEMERAL, /**< the name goes with the last reference */
        populate = IOMEM_POPULATE,   /**< all pages are there from the start */
        huge = IOMEM_HUGE,           /**< the same with huge pages */
        /* The name goes when this process, its control group or its PID namespace has ended, and the
         * last reference is gone. */
        owner_process = IOMEM_OWNER_PROCESS,
        owner_service = IOMEM_OWNER_SERVICE,
        owner_container = IOMEM_OWNER_CONTAINER,
};
inline constexpr option fixed = option::fixed;
inline constexpr option ephemeral = option::ephemeral;
inline constexpr option populate = option::populate;
inline constexpr option huge = option::huge;
inline constexpr option owner_process = option::owner_process;
inline constexpr option owner_service = option::owner_service;
inline constexpr option owner_container = option::owner_container;

/** What cannot be done any more: an or of these. */
enum class seal : unsigned int {
        shrink = IOMEM_SEAL_SHRINK,
        grow = IOMEM_SEAL_GROW,
        write = IOMEM_SEAL_WRITE,
};

constexpr option operator|(option a, option b) noexcept {
        return static_cast<option>(static_cast<unsigned int>(a) | static_cast<unsigned int>(b));
}
constexpr seal operator|(seal a, seal b) noexcept {
        return static_cast<seal>(static_cast<unsigned int>(a) | static_cast<unsigned int>(b));
}

/**
 * A region in a program's hands: a descriptor, and all of its memory mapped at the size that it had
 * then.  Owns both.
 */
class region {
      public:
        /** No region. */
        region() noexcept = default;

        /** Takes over a descriptor, whatever comes of it, and maps it. */
        explicit region(int fd, access how = access::write) {
                std::error_code code;

                *this = region(fd, how, code);
                if (code)
                        throw error(code, iomem_error());
        }
        region(int fd, access how, std::error_code &code) noexcept : fd_(fd), access_(how) {
                if (!detail::succeeded(iomem_map(&data_, &size_, fd, static_cast<int>(how)), code))
                        reset();
        }

        region(region &&other) noexcept {
                swap(other);
        }
        region &operator=(region &&other) noexcept {
                region(std::move(other)).swap(*this);
                return *this;
        }
        region(const region &) = delete;
        region &operator=(const region &) = delete;
        ~region() {
                reset();
        }

        /** Memory without a name, which needs no file system. */
        static region anonymous(std::uint64_t size, option options = option::none) {
                return detail::or_throw(
                        [&](std::error_code &code) { return anonymous(size, options, code); });
        }
        static region anonymous(std::uint64_t size, option options,
                                std::error_code &code) noexcept {
                int fd = iomem_anonymous(size, static_cast<unsigned int>(options));

                return detail::succeeded(fd, code) ? region(fd, access::write, code) : region();
        }

        /** Receives one over a Unix socket. */
        static region receive(int socket, access how = access::write) {
                return detail::or_throw(
                        [&](std::error_code &code) { return receive(socket, how, code); });
        }
        static region receive(int socket, access how, std::error_code &code) noexcept {
                int fd = iomem_recv_fd(socket);

                return detail::succeeded(fd, code) ? region(fd, how, code) : region();
        }

        /** Sends it over a Unix socket. */
        void send(int socket) const {
                detail::or_throw([&](std::error_code &code) { send(socket, code); });
        }
        void send(int socket, std::error_code &code) const noexcept {
                detail::succeeded(iomem_send_fd(socket, fd_), code);
        }

        explicit operator bool() const noexcept {
                return fd_ >= 0;
        }
        /** The descriptor, which stays the region's. */
        int fd() const noexcept {
                return fd_;
        }
        /** Bytes that are mapped. */
        std::size_t size() const noexcept {
                return size_;
        }
        bool writable() const noexcept {
                return access_ == access::write;
        }
        void *data() const noexcept {
                return data_;
        }

        /**
         * The memory as objects that can be copied as bytes, or as std::atomic ones without a lock;
         * as const ones if it was opened for reading only (std::errc::permission_denied otherwise).
         * Others may write to it at any time: what they and we write without an order of its own
         * (std::atomic, a lock) is a data race.
         */
        template <typename T> span<T> as() const {
                static_assert(is_shareable<T>::value,
                              "other processes see its bytes and nothing else");
                if (!std::is_const_v<T> && !writable())
                        throw error(std::make_error_code(std::errc::permission_denied),
                                    "the region was opened for reading only");
                return {static_cast<T *>(data_), size_ / sizeof(T)};
        }
        span<std::byte> bytes() const {
                return as<std::byte>();
        }

        /** Gives up the region. */
        void reset() noexcept {
                iomem_unmap(data_, size_);
                if (fd_ >= 0)
                        ::close(fd_);
                fd_ = -1;
                data_ = nullptr;
                size_ = 0;
        }
        /** Closes the descriptor, and leaves the memory mapped. */
        void close_descriptor() noexcept {
                if (fd_ >= 0)
                        ::close(fd_);
                fd_ = -1;
        }
        void swap(region &other) noexcept {
                std::swap(fd_, other.fd_);
                std::swap(access_, other.access_);
                std::swap(data_, other.data_);
                std::swap(size_, other.size_);
        }

      private:
        int fd_ = -1;
        access access_ = access::read;
        void *data_ = nullptr;
        std::size_t size_ = 0;
};

/** Something that happened; see iomem_events_open(3). */
struct event {
        std::uint64_t sequence;
        iomem_event_kind kind;
        std::optional<std::string> name; /**< of a region, if it is about one */
        std::uint64_t size;
        seal seals;
        std::uint64_t lost;
        std::uint32_t uid;
        std::int32_t pid;
};

/** Events that come.  For one thread at a time. */
class events {
      public:
        /** The next one, or nothing after that time (std::nullopt: waits for ever). */
        std::optional<event> next(std::optional<std::chrono::milliseconds> timeout = std::nullopt) {
                return detail::or_throw([&](std::error_code &code) { return next(timeout, code); });
        }
        std::optional<event> next(std::optional<std::chrono::milliseconds> timeout,
                                  std::error_code &code) {
                iomem_event raw;
                int r = iomem_events_next(handle_.get(), &raw, detail::milliseconds(timeout));

                if (!detail::succeeded(r, code)) {
                        if (code == std::errc::timed_out)
                                code.clear();
                        return std::nullopt;
                }
                return event{raw.sequence,
                             raw.kind,
                             raw.name ? std::optional<std::string>(raw.name) : std::nullopt,
                             raw.size,
                             static_cast<seal>(raw.seals),
                             raw.lost,
                             raw.uid,
                             raw.pid};
        }
        /** For poll(2). */
        int fd() const noexcept {
                return iomem_events_fd(handle_.get());
        }

      private:
        friend class connection;
        struct closer {
                void operator()(iomem_events *handle) const noexcept {
                        iomem_events_close(handle);
                }
        };
        explicit events(iomem_events *handle) noexcept : handle_(handle) {
        }

        std::unique_ptr<iomem_events, closer> handle_;
};

/** A connection to an iomemfs.  Any thread may use it. */
class connection {
      public:
        /** To a mount point, a directory in it, or a socket; nullptr: $IOMEMFS, or /mnt/mem. */
        explicit connection(const char *where = nullptr) {
                std::error_code code;

                *this = connection(where, code);
                if (code)
                        throw error(code, iomem_error());
        }
        explicit connection(const std::string &where) : connection(where.c_str()) {
        }
        connection(const char *where, std::error_code &code) noexcept {
                iomem_connection *handle = nullptr;

                detail::succeeded(iomem_connect(&handle, where), code);
                handle_.reset(handle);
        }

        /** Makes a region.  mode: permissions; -1 for what umask(2) leaves. */
        region create(const std::string &name, std::uint64_t size, option options = option::none,
                      int mode = -1) {
                return detail::or_throw([&](std::error_code &code) {
                        return create(name, size, options, mode, code);
                });
        }
        region create(const std::string &name, std::uint64_t size, option options, int mode,
                      std::error_code &code) noexcept {
                int fd = iomem_create(handle_.get(), name.c_str(), size, mode,
                                      static_cast<unsigned int>(options));

                return detail::succeeded(fd, code) ? region(fd, access::write, code) : region();
        }

        region open(const std::string &name, access how = access::write) {
                return detail::or_throw(
                        [&](std::error_code &code) { return open(name, how, code); });
        }
        region open(const std::string &name, access how, std::error_code &code) noexcept {
                int fd = iomem_open(handle_.get(), name.c_str(), static_cast<int>(how));

                return detail::succeeded(fd, code) ? region(fd, how, code) : region();
        }

        void resize(const std::string &name, std::uint64_t size) {
                detail::or_throw([&](std::error_code &code) { resize(name, size, code); });
        }
        void resize(const std::string &name, std::uint64_t size, std::error_code &code) noexcept {
                detail::succeeded(iomem_resize(handle_.get(), name.c_str(), size), code);
        }

        void add_seals(const std::string &name, seal seals) {
                detail::or_throw([&](std::error_code &code) { add_seals(name, seals, code); });
        }
        void add_seals(const std::string &name, seal seals, std::error_code &code) noexcept {
                detail::succeeded(
                        iomem_seal(handle_.get(), name.c_str(), static_cast<unsigned int>(seals)),
                        code);
        }

        void remove(const std::string &name) {
                detail::or_throw([&](std::error_code &code) { remove(name, code); });
        }
        void remove(const std::string &name, std::error_code &code) noexcept {
                detail::succeeded(iomem_remove(handle_.get(), name.c_str()), code);
        }

        struct iomem_stat stat(const std::string &name) {
                return detail::or_throw([&](std::error_code &code) { return stat(name, code); });
        }
        struct iomem_stat stat(const std::string &name, std::error_code &code) noexcept {
                struct iomem_stat out = {};

                detail::succeeded(iomem_stat(handle_.get(), name.c_str(), &out), code);
                return out;
        }

        /** Waits until there is a region of that name; std::errc::timed_out if there is none in time. */
        void wait(const std::string &name,
                  std::optional<std::chrono::milliseconds> timeout = std::nullopt) {
                detail::or_throw([&](std::error_code &code) { wait(name, timeout, code); });
        }
        void wait(const std::string &name, std::optional<std::chrono::milliseconds> timeout,
                  std::error_code &code) noexcept {
                detail::succeeded(
                        iomem_wait(handle_.get(), name.c_str(), detail::milliseconds(timeout)),
                        code);
        }

        /** Calls fn(name, stat) for each region below a directory ("": all). */
        template <typename F> void list(F &&fn, const std::string &directory = std::string()) {
                detail::or_throw([&](std::error_code &code) { list(fn, directory, code); });
        }
        template <typename F>
        void list(F &&fn, const std::string &directory, std::error_code &code) {
                visitor<F> visit = {fn, nullptr};
                int r = iomem_list(handle_.get(), directory.empty() ? nullptr : directory.c_str(),
                                   0, &visitor<F>::call, &visit);

                if (visit.thrown)
                        std::rethrow_exception(visit.thrown);
                detail::succeeded(r, code);
        }

        /** What happens to the regions below a directory ("": all), from now on. */
        iomem::events events(const std::string &directory = std::string()) {
                return detail::or_throw(
                        [&](std::error_code &code) { return events(directory, code); });
        }
        iomem::events events(const std::string &directory, std::error_code &code) noexcept {
                iomem_events *out = nullptr;

                detail::succeeded(
                        iomem_events_open(&out, handle_.get(),
                                          directory.empty() ? nullptr : directory.c_str()),
                        code);
                return iomem::events(out);
        }

        /** For the functions of iomem.h. */
        iomem_connection *handle() const noexcept {
                return handle_.get();
        }

      private:
        struct closer {
                void operator()(iomem_connection *handle) const noexcept {
                        iomem_disconnect(handle);
                }
        };
        /** Exceptions do not go through the library, which is C. */
        template <typename F> struct visitor {
                F &fn;
                std::exception_ptr thrown;

                static int call(void *userdata, const char *name,
                                const struct iomem_stat *region) noexcept {
                        auto *self = static_cast<visitor *>(userdata);

                        try {
                                self->fn(name, *region);
                                return 0;
                        } catch (...) {
                                self->thrown = std::current_exception();
                                return 1;
                        }
                }
        };

        std::unique_ptr<iomem_connection, closer> handle_;
};

/**
 * Sleeps for as long as the word has that value, until somebody wakes, at most for that time.  It may
 * return early: look at the word in a loop.  Who wakes may be any process and any language that has
 * the word mapped.  (std::atomic's own wait is for threads of one process.)
 */
inline void futex_wait(const std::atomic<std::uint32_t> &word, std::uint32_t value,
                       std::optional<std::chrono::milliseconds> timeout = std::nullopt) noexcept {
        int ms = detail::milliseconds(timeout);
        std::timespec limit = {ms / 1000, ms % 1000 * 1000000L};

        ::syscall(SYS_futex, &word, FUTEX_WAIT, value, timeout ? &limit : nullptr, nullptr, 0);
}

/** Wakes up to so many of those who wait. */
inline void futex_wake(const std::atomic<std::uint32_t> &word, int count = INT_MAX) noexcept {
        ::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

} // namespace iomem

#endif
