// SPDX-License-Identifier: MIT

package iomem

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const piece = 64 * 1024

// Event is something that happened.
type Event struct {
	Sequence uint64
	// Kind is "create", "resize", "seal", "rename", "remove", "last-close", "restart", "overflow", or one
	// that this version does not know.
	Kind string
	// Name is empty if it is not about a region.
	Name string
	Size int64
	// UID and PID are who did it; PID is 0, and UID meaningless, if that is not told.
	UID uint32
	PID int
	// Lost is how many events are missing, of "overflow".
	Lost uint64
}

func parseEvent(line string) (Event, error) {
	words := strings.Split(line, " ")
	if len(words) < 3 {
		return Event{}, &Error{Op: "events", Name: line, Errno: syscall.EBADMSG}
	}
	event := Event{Kind: words[1]}
	event.Sequence, _ = strconv.ParseUint(words[0], 10, 64)
	if words[2] != "-" {
		event.Name = unescapeName(words[2])
	}
	for _, pair := range words[3:] {
		key, value, _ := strings.Cut(pair, "=")
		number, _ := strconv.ParseUint(value, 10, 64)
		switch key {
		case "size":
			event.Size = int64(number)
		case "uid":
			event.UID = uint32(number)
		case "pid":
			event.PID = int(number)
		case "lost":
			event.Lost = number
		}
	}
	return event, nil
}

// Events is what happens below a directory, from the moment at which it was made.
type Events struct {
	file *os.File
	lock sync.Mutex // of one Next at a time
	text []byte
}

func openEvents(directory string) (*Events, error) {
	where := directory + "/.ctl/events"
	fd, err := syscall.Open(where, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, wrap("events", directory, err)
	}
	// Non-blocking: Go's poller waits, and no thread does.
	return &Events{file: os.NewFile(uintptr(fd), where)}, nil
}

// Next is the next event.  It waits until there is one, Close is called (os.ErrClosed), or the context
// has ended: then its error.
func (e *Events) Next(ctx context.Context) (Event, error) {
	e.lock.Lock()
	defer e.lock.Unlock()
	for {
		if end := bytes.IndexByte(e.text, '\n'); end >= 0 {
			line := string(e.text[:end])
			e.text = e.text[end+1:]
			return parseEvent(line)
		}
		if err := e.receive(ctx); err != nil {
			return Event{}, err
		}
	}
}

// receive reads at least something.
func (e *Events) receive(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.file.SetReadDeadline(time.Time{}); errors.Is(err, os.ErrNoDeadline) {
		return err
	} else if err != nil {
		// It has no other error, and says it in words of its own.
		return os.ErrClosed
	}
	ended := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		select {
		case <-ctx.Done():
			e.file.SetReadDeadline(time.Unix(1, 0))
		case <-ended:
		}
	}()
	buffer := make([]byte, piece)
	n, err := e.file.Read(buffer)
	close(ended)
	<-finished
	e.text = append(e.text, buffer[:n]...)
	if n > 0 {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	return err
}

// discard drops what is there.
func (e *Events) discard() {
	e.lock.Lock()
	defer e.lock.Unlock()
	e.text = nil
}

// Close ends it, and a Next that waits.
func (e *Events) Close() error {
	if e == nil {
		return nil
	}
	return e.file.Close()
}
