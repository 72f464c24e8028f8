// SPDX-License-Identifier: MIT

//go:build !amd64 && !arm64

package iomem

// Package syscall has no number for it: Anonymous fails with ENOSYS.
const sysMemfdCreate = ^uintptr(0)
