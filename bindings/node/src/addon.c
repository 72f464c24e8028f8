/* SPDX-License-Identifier: MIT */

/*
 * What Node.js cannot do by itself: map a file, make a memfd, and read an extended attribute.
 * Everything else is in lib/.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <uv.h>
#include "poller.h"

enum { XATTR_MAX = 64 * 1024 };

static napi_value throw_errno(napi_env env, int error, const char *what) {
        char text[256];

        snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
        napi_throw_error(env, uv_err_name(-error), text);
        return NULL;
}

/* False after an exception. */
static bool arguments_of(napi_env env, napi_callback_info info, napi_value *arguments,
                         size_t expected) {
        size_t count = expected;

        if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) == napi_ok &&
            count == expected)
                return true;
        napi_throw_type_error(env, NULL, "wrong number of arguments");
        return false;
}

static void on_collected(napi_env env, void *address, void *hint) {
        size_t *size = hint;

        (void)env;
        munmap(address, *size);
        free(size);
}

/*
 * JavaScript has no memory that cannot be written, and a store would be SIGSEGV: who may only read
 * gets a private mapping, in which a store is to a copy of the page and nobody else sees it.
 */
static napi_value map_fd(napi_env env, int fd, size_t length, bool writable) {
        size_t *size = malloc(sizeof(*size));
        napi_value result;
        napi_status status;
        void *address;

        if (!size)
                return throw_errno(env, ENOMEM, "map");
        *size = length;
        address = mmap(NULL, length, PROT_READ | PROT_WRITE, writable ? MAP_SHARED : MAP_PRIVATE,
                       fd, 0);
        if (address == MAP_FAILED) {
                free(size);
                return throw_errno(env, errno, "mmap");
        }
        status =
                napi_create_external_arraybuffer(env, address, length, on_collected, size, &result);
        if (status == napi_ok)
                return result;
        munmap(address, length);
        free(size);
        if (status == napi_no_external_buffers_allowed)
                napi_throw_error(env, "ENOTSUP",
                                 "this runtime allows no ArrayBuffer on memory of others");
        else
                napi_throw_error(env, "ENOMEM", "no ArrayBuffer of that size");
        return NULL;
}

/* map(fd, size, writable): an ArrayBuffer on the memory; unmapped when it is collected. */
static napi_value map(napi_env env, napi_callback_info info) {
        napi_value arguments[3];
        int64_t size;
        bool writable;
        int32_t fd;

        if (!arguments_of(env, info, arguments, 3))
                return NULL;
        if (napi_get_value_int32(env, arguments[0], &fd) != napi_ok ||
            napi_get_value_int64(env, arguments[1], &size) != napi_ok || size <= 0 ||
            napi_get_value_bool(env, arguments[2], &writable) != napi_ok)
                return throw_errno(env, EINVAL, "map");
        return map_fd(env, fd, (size_t)size, writable);
}

/* detach(buffer): the ArrayBuffer is empty from now on, and the memory unmapped. */
static napi_value detach(napi_env env, napi_callback_info info) {
        napi_value argument;

        if (arguments_of(env, info, &argument, 1) &&
            napi_detach_arraybuffer(env, argument) != napi_ok)
                return throw_errno(env, EINVAL, "unmap");
        return NULL;
}

/* memfd(size, fixed): a descriptor. */
static napi_value memfd(napi_env env, napi_callback_info info) {
        napi_value arguments[2], result;
        bool fixed;
        int64_t size;
        int fd, error;

        if (!arguments_of(env, info, arguments, 2))
                return NULL;
        if (napi_get_value_int64(env, arguments[0], &size) != napi_ok || size < 0 ||
            napi_get_value_bool(env, arguments[1], &fixed) != napi_ok)
                return throw_errno(env, EINVAL, "anonymous memory");
        fd = memfd_create("iomem", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return throw_errno(env, errno, "memfd_create");
        if (ftruncate(fd, size) < 0 ||
            (fixed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)) {
                error = errno;
                close(fd);
                return throw_errno(env, error, "anonymous memory");
        }
        napi_create_int32(env, fd, &result);
        return result;
}

/* attribute(path): the text of user.iomemfs; undefined if the mount has no attributes. */
static napi_value attribute(napi_env env, napi_callback_info info) {
        char path[2 * 4096], text[XATTR_MAX];
        napi_value argument, result;
        ssize_t length;
        size_t size;
        void *bytes;

        if (!arguments_of(env, info, &argument, 1))
                return NULL;
        if (napi_get_buffer_info(env, argument, &bytes, &size) != napi_ok || size >= sizeof(path))
                return throw_errno(env, ENAMETOOLONG, "getxattr");
        memcpy(path, bytes, size);
        path[size] = '\0';
        length = lgetxattr(path, "user.iomemfs", text, sizeof(text));
        if (length < 0) {
                if (errno == EOPNOTSUPP || errno == ENODATA)
                        return NULL;
                return throw_errno(env, errno, "getxattr");
        }
        napi_create_string_utf8(env, text, (size_t)length, &result);
        return result;
}

/* openFlags(fd): of fcntl(2); a writable descriptor is told by them. */
static napi_value open_flags(napi_env env, napi_callback_info info) {
        napi_value argument, result;
        int32_t fd;
        int flags;

        if (!arguments_of(env, info, &argument, 1))
                return NULL;
        if (napi_get_value_int32(env, argument, &fd) != napi_ok)
                return throw_errno(env, EINVAL, "fcntl");
        flags = fcntl(fd, F_GETFL);
        if (flags < 0)
                return throw_errno(env, errno, "fcntl");
        napi_create_int32(env, flags, &result);
        return result;
}

NAPI_MODULE_INIT() {
        const napi_property_descriptor functions[] = {
                {.utf8name = "map", .method = map, .attributes = napi_enumerable},
                {.utf8name = "detach", .method = detach, .attributes = napi_enumerable},
                {.utf8name = "memfd", .method = memfd, .attributes = napi_enumerable},
                {.utf8name = "attribute", .method = attribute, .attributes = napi_enumerable},
                {.utf8name = "openFlags", .method = open_flags, .attributes = napi_enumerable},
        };

        if (napi_define_properties(env, exports, sizeof(functions) / sizeof(*functions),
                                   functions) != napi_ok ||
            poller_export(env, exports) != napi_ok)
                return NULL;
        return exports;
}
