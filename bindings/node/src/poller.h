/* SPDX-License-Identifier: MIT */
#pragma once

#include <node_api.h>

/* Adds pollNew, pollStart, pollStop and pollClose to the addon. */
napi_status poller_export(napi_env env, napi_value exports);
