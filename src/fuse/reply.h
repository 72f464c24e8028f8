/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * reply: replies to requests, one function for each form.
 *
 * Each of them ends the request and commits the transaction with it; an error aborts it instead.
 * Never: decides anything.
 */

#include "fuse/channel.h"

/* error: 0, for a reply without a body, or negative errno.  -ENOSPC: first tries once more, see
 * channel_retry(). */
void reply_error(struct fuse_request *req, int error);
/* Replies with an error, but commits the changes. */
void reply_error_kept(struct fuse_request *req, int error);
void reply_bytes(struct fuse_request *req, const void *bytes, size_t size);
void reply_text(struct fuse_request *req, const char *text);
void reply_entry(struct fuse_request *req, const struct wire_entry *entry);
/* To GETATTR and SETATTR, or to STATX. */
void reply_attributes(struct fuse_request *req, const struct wire_attributes *attributes);
void reply_statx(struct fuse_request *req, const struct wire_attributes *attributes);
/* flags: WIRE_OPEN_…; ignored if backing, a backing id, is above 0: then passthrough is used. */
void reply_open(struct fuse_request *req, uint64_t handle, uint32_t flags, int backing);
/* The same to CREATE and TMPFILE. */
void reply_create(struct fuse_request *req, const struct wire_entry *entry, uint64_t handle,
                  uint32_t flags, int backing);
/* size: bytes that were written. */
void reply_written(struct fuse_request *req, size_t size);
void reply_statfs(struct fuse_request *req, const struct statvfs *st);
/* size: bytes of an extended attribute, or of their list. */
void reply_xattr_size(struct fuse_request *req, size_t size);
void reply_offset(struct fuse_request *req, uint64_t offset);
void reply_poll(struct fuse_request *req, uint32_t events);
