// SPDX-License-Identifier: MIT

// frames write|read NAME: two programs, in two languages if you like, on the same memory.  The first
// makes a region, the other waits for it by name and answers.  docs/languages.md has the same program
// for the other languages.
package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"time"

	"iomem"
)

const (
	text   = 64
	answer = 128
	length = 64
)

// Not every language wakes those who wait.
func until(frames *iomem.Mapping, value uint32) {
	state := frames.Uint32(0)
	for now := atomic.LoadUint32(state); now != value; now = atomic.LoadUint32(state) {
		iomem.FutexWait(state, now, 10*time.Millisecond)
	}
}

func setState(frames *iomem.Mapping, value uint32) {
	atomic.StoreUint32(frames.Uint32(0), value)
	iomem.FutexWake(frames.Uint32(0), math.MaxInt32)
}

func textAt(frames *iomem.Mapping, offset int) string {
	line, _, _ := bytes.Cut(frames.Bytes()[offset:offset+length], []byte{0})
	return string(line)
}

func writes(mount *iomem.Mount, name string) error {
	region, err := mount.Create(name, 4096, iomem.Fixed, iomem.Ephemeral)
	if err != nil {
		return err
	}
	frames, err := region.Map()
	if err != nil {
		return err
	}
	copy(frames.Bytes()[text:], "hello from Go")
	setState(frames, 1)
	until(frames, 2)
	fmt.Println("Go is told:", textAt(frames, answer))
	return nil
}

func reads(mount *iomem.Mount, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := mount.Wait(ctx, name); err != nil {
		return err
	}
	region, err := mount.Open(name)
	if err != nil {
		return err
	}
	frames, err := region.Map()
	if err != nil {
		return err
	}
	until(frames, 1)
	fmt.Println("Go reads:", textAt(frames, text))
	copy(frames.Bytes()[answer:], "Go has read it")
	setState(frames, 2)
	return nil
}

// keeps has the region open for a moment only: its name goes when this process has ended.
func keeps(mount *iomem.Mount, name string) error {
	region, err := mount.Create(name, 4096, iomem.Owner("process"))
	if err != nil {
		return err
	}
	region.Close()
	fmt.Println("Go keeps it")
	time.Sleep(time.Minute)
	return nil
}

func main() {
	roles := map[string]func(*iomem.Mount, string) error{"write": writes, "read": reads, "keep": keeps}
	if len(os.Args) != 3 || roles[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: frames write|read|keep NAME")
		os.Exit(2)
	}
	mount, err := iomem.Default()
	if err == nil {
		err = roles[os.Args[1]](mount, os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
