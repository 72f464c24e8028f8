// SPDX-License-Identifier: MIT

package iomem

import (
	"math"
	"os"
	"syscall"
	"unsafe"
)

const (
	mfdCloexec      = 1
	mfdAllowSealing = 2
	fAddSeals       = 1033
	fSealShrink     = 2
	fSealGrow       = 4
)

// Region is an open region: a descriptor to map or to pass on.
type Region struct {
	file     *os.File
	name     string
	writable bool
}

// Anonymous is memory without a name, which needs no mount: a memfd.
func Anonymous(size int64, fixed bool) (*Region, error) {
	const op = "memfd_create"
	name := [...]byte{'i', 'o', 'm', 'e', 'm', 0}
	fd, _, errno := syscall.Syscall(sysMemfdCreate, uintptr(unsafe.Pointer(&name)), mfdCloexec|mfdAllowSealing, 0)
	if errno != 0 {
		return nil, &Error{Op: op, Errno: errno}
	}
	file := os.NewFile(fd, "memfd:iomem")
	if err := file.Truncate(size); err != nil {
		file.Close()
		return nil, wrap(op, "", err)
	}
	if fixed {
		_, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, fAddSeals, fSealShrink|fSealGrow)
		if errno != 0 {
			file.Close()
			return nil, &Error{Op: op, Errno: errno}
		}
	}
	return &Region{file: file, writable: true}, nil
}

// FromFile takes over an open file that came from elsewhere, such as one of a parent process.
func FromFile(file *os.File) (*Region, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var flags uintptr
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		flags, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
	})
	if err == nil && errno != 0 {
		err = &Error{Op: "fcntl", Name: file.Name(), Errno: errno}
	}
	if err != nil {
		return nil, err
	}
	return &Region{file: file, writable: flags&syscall.O_ACCMODE == syscall.O_RDWR}, nil
}

// Name is the name below the mount; empty for memory without one.
func (r *Region) Name() string {
	return r.name
}

// File is the open file, which stays the region's: for os/exec's ExtraFiles, SCM_RIGHTS and the like.
func (r *Region) File() *os.File {
	return r.file
}

// Size is bytes, now.
func (r *Region) Size() (int64, error) {
	found, err := r.file.Stat()
	if err != nil {
		return 0, wrap("stat", r.name, err)
	}
	return found.Size(), nil
}

// Close closes the descriptor.  Mappings stay.
func (r *Region) Close() error {
	return r.file.Close()
}

// Map maps all of it, at the size that it has now; for reading only if it was opened so.
func (r *Region) Map() (*Mapping, error) {
	size, err := r.Size()
	if err != nil || size == 0 {
		return &Mapping{writable: r.writable}, err
	}
	if size > math.MaxInt {
		return nil, &Error{Op: "mmap", Name: r.name, Errno: syscall.ENOMEM}
	}
	protection := syscall.PROT_READ
	if r.writable {
		protection |= syscall.PROT_WRITE
	}
	raw, err := r.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var memory []byte
	var failed error
	err = raw.Control(func(fd uintptr) {
		memory, failed = syscall.Mmap(int(fd), 0, int(size), protection, syscall.MAP_SHARED)
	})
	if err == nil && failed != nil {
		err = wrap("mmap", r.name, failed)
	}
	if err != nil {
		return nil, err
	}
	return &Mapping{memory: memory, writable: r.writable}, nil
}

// Mapping is memory of a region.
type Mapping struct {
	memory   []byte
	writable bool
}

// Bytes is the memory itself.  Storing into what was opened for reading ends the program.
func (m *Mapping) Bytes() []byte {
	return m.memory
}

// Writable is whether the region was opened for writing.
func (m *Mapping) Writable() bool {
	return m.writable
}

// at is a pointer to an aligned integer; it panics, as indexing does, if there is none.
func (m *Mapping) at(offset, size int) unsafe.Pointer {
	if offset%size != 0 {
		panic("iomem: offset is not aligned")
	}
	return unsafe.Pointer(&m.memory[offset : offset+size : offset+size][0])
}

// Uint32 is the one at that offset, for sync/atomic and for Futex.  It panics if the offset is not inside
// or not a multiple of 4.
func (m *Mapping) Uint32(offset int) *uint32 {
	return (*uint32)(m.at(offset, 4))
}

// Uint64 is the one at that offset, for sync/atomic.  It panics if the offset is not inside or not a
// multiple of 8.
func (m *Mapping) Uint64(offset int) *uint64 {
	return (*uint64)(m.at(offset, 8))
}

// Close ends the mapping.  Nothing that came from it may be used afterwards.
func (m *Mapping) Close() error {
	memory := m.memory
	m.memory = nil
	if memory == nil {
		return nil
	}
	return wrap("munmap", "", syscall.Munmap(memory))
}
