/* SPDX-License-Identifier: MIT */

/*
 * Tells JavaScript that a descriptor can be read.  It keeps the program running while it is started,
 * and only then.  Node.js itself reads files in threads of its pool, each of which would be held by
 * one reader of events for ever.
 *
 * A poller has two owners: the object in JavaScript, and libuv until its handle is closed.  It never
 * closes the descriptor.
 */

#include "poller.h"

#include <stdbool.h>
#include <stdlib.h>
#include <uv.h>

struct poller {
        uv_poll_t handle;
        napi_env env;
        napi_ref callback;
        napi_async_cleanup_hook_handle hook;
        unsigned int owners;
        bool closing;
};

static void poller_unref(struct poller *poller) {
        if (--poller->owners == 0)
                free(poller);
}

static void on_closed(uv_handle_t *handle) {
        struct poller *poller = handle->data;

        napi_remove_async_cleanup_hook(poller->hook);
        poller_unref(poller);
}

static void poller_close(struct poller *poller) {
        if (poller->closing)
                return;
        poller->closing = true;
        napi_delete_reference(poller->env, poller->callback);
        uv_close((uv_handle_t *)&poller->handle, on_closed);
}

/* The thread of JavaScript ends: a handle that is left open would abort the program. */
static void on_teardown(napi_async_cleanup_hook_handle hook, void *data) {
        (void)hook;
        poller_close(data);
}

static void on_collected(napi_env env, void *data, void *hint) {
        (void)env;
        (void)hint;
        poller_close(data);
        poller_unref(data);
}

static void on_readable(uv_poll_t *handle, int status, int events) {
        struct poller *poller = handle->data;
        napi_handle_scope scope;
        napi_value callback, global, argument, ignored;

        (void)events;
        if (poller->closing || napi_open_handle_scope(poller->env, &scope) != napi_ok)
                return;
        if (napi_get_reference_value(poller->env, poller->callback, &callback) == napi_ok &&
            napi_get_global(poller->env, &global) == napi_ok &&
            napi_create_int32(poller->env, status, &argument) == napi_ok)
                napi_make_callback(poller->env, NULL, global, callback, 1, &argument, &ignored);
        napi_close_handle_scope(poller->env, scope);
}

static napi_value throw_uv(napi_env env, int r) {
        napi_throw_error(env, uv_err_name(r), uv_strerror(r));
        return NULL;
}

/* pollNew(fd, callback): an object for the others. */
static napi_value poll_new(napi_env env, napi_callback_info info) {
        napi_value arguments[2], result;
        struct uv_loop_s *loop;
        struct poller *poller;
        size_t count = 2;
        int32_t fd;
        int r;

        if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok ||
            napi_get_value_int32(env, arguments[0], &fd) != napi_ok ||
            napi_get_uv_event_loop(env, &loop) != napi_ok)
                return throw_uv(env, UV_EINVAL);
        poller = calloc(1, sizeof(*poller));
        if (!poller)
                return throw_uv(env, UV_ENOMEM);
        r = uv_poll_init(loop, &poller->handle, fd);
        if (r < 0) {
                free(poller);
                return throw_uv(env, r);
        }
        *poller = (struct poller){.handle = poller->handle, .env = env, .owners = 2};
        poller->handle.data = poller;
        napi_create_reference(env, arguments[1], 1, &poller->callback);
        napi_add_async_cleanup_hook(env, on_teardown, poller, &poller->hook);
        if (napi_create_external(env, poller, on_collected, NULL, &result) != napi_ok) {
                poller_close(poller);
                poller_unref(poller);
                return throw_uv(env, UV_ENOMEM);
        }
        return result;
}

static struct poller *poller_of(napi_env env, napi_callback_info info) {
        napi_value argument;
        size_t count = 1;
        void *poller;

        if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) == napi_ok &&
            napi_get_value_external(env, argument, &poller) == napi_ok)
                return poller;
        throw_uv(env, UV_EINVAL);
        return NULL;
}

static napi_value poll_start(napi_env env, napi_callback_info info) {
        struct poller *poller = poller_of(env, info);
        int r;

        if (!poller || poller->closing)
                return NULL;
        r = uv_poll_start(&poller->handle, UV_READABLE, on_readable);
        return r < 0 ? throw_uv(env, r) : NULL;
}

static napi_value poll_stop(napi_env env, napi_callback_info info) {
        struct poller *poller = poller_of(env, info);

        if (poller && !poller->closing)
                uv_poll_stop(&poller->handle);
        return NULL;
}

static napi_value poll_close(napi_env env, napi_callback_info info) {
        struct poller *poller = poller_of(env, info);

        if (poller)
                poller_close(poller);
        return NULL;
}

napi_status poller_export(napi_env env, napi_value exports) {
        const napi_property_descriptor functions[] = {
                {.utf8name = "pollNew", .method = poll_new, .attributes = napi_enumerable},
                {.utf8name = "pollStart", .method = poll_start, .attributes = napi_enumerable},
                {.utf8name = "pollStop", .method = poll_stop, .attributes = napi_enumerable},
                {.utf8name = "pollClose", .method = poll_close, .attributes = napi_enumerable},
        };

        return napi_define_properties(env, exports, sizeof(functions) / sizeof(*functions),
                                      functions);
}
