// SPDX-License-Identifier: MIT

package iomem

import (
	"errors"
	"syscall"
)

// Error is what failed.
type Error struct {
	// Op is what was tried: "create", "open", ...
	Op string
	// Name is that of the region, or a path.
	Name string
	// Errno says what happened; errors.Is(err, fs.ErrExist) and the like look at it.
	Errno syscall.Errno
	// Text is the daemon's words, if it had any.
	Text string
}

func (e *Error) Error() string {
	text := e.Text
	if text == "" {
		text = e.Errno.Error()
	}
	return e.Op + " " + e.Name + ": " + text
}

func (e *Error) Unwrap() error {
	return e.Errno
}

// Timeout is whether a time passed in which something did not happen.
func (e *Error) Timeout() bool {
	return e.Errno == syscall.ETIMEDOUT
}

// wrap makes an Error of one of package os.
func wrap(op, name string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &Error{Op: op, Name: name, Errno: errno}
	}
	return err
}
