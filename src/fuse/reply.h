/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * reply: answers to requests, of each form.
 *
 * Each of these ends the request, and commits the transaction with it; an error aborts it first.
 * Never: decides anything.
 */

#include "fuse/channel.h"

/* 0, where there is nothing to say but that it was done; or negative errno. */
void reply_error(struct fuse_request *req, int error);
/* An error that goes with a change which stands. */
void reply_error_kept(struct fuse_request *req, int error);
void reply_bytes(struct fuse_request *req, const void *bytes, size_t size);
void reply_text(struct fuse_request *req, const char *text);
void reply_entry(struct fuse_request *req, const struct wire_entry *entry);
/* To GETATTR and SETATTR, or to STATX. */
void reply_attributes(struct fuse_request *req, const struct wire_attributes *attributes);
void reply_statx(struct fuse_request *req, const struct wire_attributes *attributes);
/* flags: WIRE_OPEN_…; with a backing id above 0 they do not count, and all goes through that. */
void reply_open(struct fuse_request *req, uint64_t handle, uint32_t flags, int backing);
/* The same to CREATE and TMPFILE. */
void reply_create(struct fuse_request *req, const struct wire_entry *entry, uint64_t handle,
                  uint32_t flags, int backing);
/* Bytes that were written. */
void reply_written(struct fuse_request *req, size_t size);
void reply_statfs(struct fuse_request *req, const struct statvfs *st);
/* Bytes that an extended attribute has, or their list. */
void reply_xattr_size(struct fuse_request *req, size_t size);
void reply_offset(struct fuse_request *req, uint64_t offset);
void reply_poll(struct fuse_request *req, uint32_t events);
