// SPDX-License-Identifier: MIT

// Package iomem is for shared memory of an iomemfs: regions by name, mapped, without cgo.
//
//	mount, err := iomem.Default()                  // $IOMEMFS, or /mnt/mem
//	frames, err := mount.Create("frames", 64<<20, iomem.Fixed)
//	memory, err := frames.Map()
//	copy(memory.Bytes()[64:], "hello")
//	atomic.StoreUint32(memory.Uint32(0), 1)
//
// and in any other program, in any language:
//
//	err = mount.Wait(ctx, "frames")
//	seen, err := mount.OpenReadOnly("frames")
//
// # Lifetimes
//
// A Mapping stays until Close, which the garbage collector never does by itself: it cannot know of
// slices of the memory.  No slice and no pointer into it may be used after Close.  A Region that nobody
// closed is closed when it is collected, as any os.File.
//
// # Memory that others hold, too
//
// Others may write at any time: what they and this program write without an order of its own
// (sync/atomic on pointers of Mapping.Uint32 and its kin) is a data race.  Memory of a region that is
// not Fixed can be taken away by whoever may write to it; touching it then is SIGBUS, which ends the
// program, or is a panic after debug.SetPanicOnFault(true).
//
// # Errors
//
// Errors are *Error, with an errno that errors.Is knows (fs.ErrNotExist, syscall.ENOSPC, ...), and the
// daemon's words.  ENODEV: there is no iomemfs.
package iomem
