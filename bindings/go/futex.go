// SPDX-License-Identifier: MIT

package iomem

import (
	"syscall"
	"time"
	"unsafe"
)

const (
	futexWait = 0
	futexWake = 1
)

// FutexWait sleeps for as long as the word has that value, until somebody wakes, at most for that time
// (0: for ever).  It holds a thread meanwhile, and may return early: look at the word in a loop.  Who
// wakes may be any process and any language that has the word mapped.
func FutexWait(word *uint32, value uint32, timeout time.Duration) {
	var limit *syscall.Timespec
	if timeout > 0 {
		t := syscall.NsecToTimespec(timeout.Nanoseconds())
		limit = &t
	}
	syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(value),
		uintptr(unsafe.Pointer(limit)), 0, 0)
}

// FutexWake wakes up to so many of those who wait.
func FutexWake(word *uint32, count int) {
	syscall.Syscall(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, uintptr(count))
}
