// SPDX-License-Identifier: MIT

package iomem_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"sort"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"iomem"
)

const limit = 30 * time.Second

// TestMain is also the process that TestKilledHolder kills.
func TestMain(m *testing.M) {
	if os.Getenv("IOMEM_TEST_HOLDS") != "" {
		hold()
	}
	os.Exit(m.Run())
}

func hold() {
	mount, err := iomem.Default()
	for _, name := range []string{"alone", "shared"} {
		if err == nil {
			var region *iomem.Region
			region, err = mount.Create(name, 4096, iomem.Ephemeral)
			if err == nil {
				var memory *iomem.Mapping
				memory, err = region.Map()
				memory.Bytes()[0] = 42
			}
		}
	}
	fmt.Println("ready", err)
	select {}
}

// empty is the mount that $IOMEMFS names, which must be empty, and is again afterwards.
func empty(t *testing.T) *iomem.Mount {
	t.Helper()
	mount, err := iomem.Default()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		infos, _ := mount.List("")
		for _, info := range infos {
			if !reflect.DeepEqual(info.Flags, []string{"ephemeral"}) {
				must(t, mount.Remove(info.Name))
			}
		}
		eventually(t, "an empty mount", func() bool { return len(names(t, mount, "")) == 0 })
		entries, _ := os.ReadDir(mount.Path())
		for _, entry := range entries {
			os.Remove(filepath.Join(mount.Path(), entry.Name()))
		}
	})
	return mount
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%#v is not %#v", got, want)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func names(t *testing.T, mount *iomem.Mount, directory string) []string {
	t.Helper()
	infos, err := mount.List(directory)
	must(t, err)
	found := []string{}
	for _, info := range infos {
		found = append(found, info.Name)
	}
	sort.Strings(found)
	return found
}

func fails(t *testing.T, err error, want error, words string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
		t.Fatalf("%v is not %v with %q", err, want, words)
	}
}

func create(t *testing.T, mount *iomem.Mount, name string, size int64, options ...iomem.Option) *iomem.Region {
	t.Helper()
	region, err := mount.Create(name, size, options...)
	must(t, err)
	t.Cleanup(func() { region.Close() })
	return region
}

func mapped(t *testing.T, region *iomem.Region) *iomem.Mapping {
	t.Helper()
	memory, err := region.Map()
	must(t, err)
	t.Cleanup(func() { must(t, memory.Close()) })
	return memory
}

func TestMadeOpenedMapped(t *testing.T) {
	mount := empty(t)
	made := create(t, mount, "frames", 10000, iomem.Fixed, iomem.Mode(0o640))
	memory := mapped(t, made)
	copy(memory.Bytes()[9996:], "seen")
	atomic.StoreUint64(memory.Uint64(8), math.MaxUint64)
	must(t, made.Close())
	opened, err := mount.OpenReadOnly("frames")
	must(t, err)
	defer opened.Close()
	size, err := opened.Size()
	must(t, err)
	seen := mapped(t, opened)
	equal(t, []any{size, opened.Name(), seen.Writable()}, []any{int64(10000), "frames", false})
	equal(t, string(seen.Bytes()[9996:]), "seen")
	equal(t, atomic.LoadUint32(seen.Uint32(12)), uint32(math.MaxUint32))
	info, err := mount.Stat("frames")
	must(t, err)
	equal(t, []any{info.Size, info.Mode, info.Flags}, []any{int64(10000), fs.FileMode(0o640), []string{"fixed"}})
	equal(t, info.Seals, []iomem.Seal{iomem.SealShrink, iomem.SealGrow})
	if age := time.Since(info.Created); age < 0 || age > 5*time.Minute {
		t.Error(info.Created)
	}
	infos, err := mount.List("")
	must(t, err)
	equal(t, infos, []iomem.Info{info})
	fails(t, mount.Resize("frames", 1), syscall.EPERM, "fixed")
}

func TestBounds(t *testing.T) {
	region, err := iomem.Anonymous(10, true)
	must(t, err)
	memory := mapped(t, region)
	fails(t, region.File().Truncate(1), syscall.EPERM, "")
	must(t, region.Close())
	panics := func(offset int) (panicked bool) {
		defer func() { panicked = recover() != nil }()
		memory.Uint32(offset)
		return
	}
	equal(t, []bool{panics(0), panics(4), panics(8), panics(2), panics(-4)}, []bool{false, false, true, true, true})
	none, err := iomem.Anonymous(0, false)
	must(t, err)
	equal(t, len(mapped(t, none).Bytes()), 0)
	_, err = iomem.Anonymous(-1, false)
	fails(t, err, syscall.EINVAL, "")
}

func TestSizeZero(t *testing.T) {
	mount := empty(t)
	region := create(t, mount, "a", 0)
	equal(t, len(mapped(t, region).Bytes()), 0)
	must(t, mount.Resize("a", 8192))
	equal(t, len(mapped(t, region).Bytes()), 8192)
}

func TestChangesAndErrors(t *testing.T) {
	mount := empty(t)
	region := create(t, mount, "a", 4096, iomem.Mode(0o444))
	must(t, region.Close())
	must(t, mount.Resize("a", 8192))
	must(t, mount.Seal("a", iomem.SealShrink, iomem.SealWrite))
	info, err := mount.Stat("a")
	must(t, err)
	equal(t, info.Seals, []iomem.Seal{iomem.SealShrink, iomem.SealWrite})
	fails(t, mount.Resize("a", 1), syscall.EPERM, "sealed")
	fails(t, mount.Seal("a", "thaw"), syscall.EINVAL, "seals are")
	_, err = mount.Create("a", 1)
	fails(t, err, fs.ErrExist, "create a: exists already")
	_, err = mount.Create("b", 1, iomem.Mode(0o7777))
	fails(t, err, syscall.EINVAL, "mode=")
	_, err = mount.Create("b", 1, iomem.Owner("nobody"))
	fails(t, err, syscall.EINVAL, "owner=nobody")
	owned, err := mount.Create("b", 1, iomem.Owner("process"))
	must(t, err)
	must(t, owned.Close())
	info, err = mount.Stat("b")
	must(t, err)
	equal(t, info.Flags, []string{"owner=process"})
	must(t, mount.Remove("b"))
	_, err = mount.Create("b", 2<<30)
	fails(t, err, syscall.ENOSPC, "size=")
	_, err = mount.Create("b", -1)
	fails(t, err, syscall.EINVAL, "")
	must(t, mount.Remove("a"))
	fails(t, mount.Remove("a"), fs.ErrNotExist, "a")
	_, err = mount.Stat("a")
	fails(t, err, fs.ErrNotExist, "stat a")
	_, err = mount.Open("a")
	fails(t, err, fs.ErrNotExist, "open a")
	create(t, mount, "b", 65536, iomem.Populate)
	info, err = mount.Stat("b")
	must(t, err)
	equal(t, info.Allocated, int64(65536))
}

func TestNames(t *testing.T) {
	mount := empty(t)
	strange := []string{"with space", "tab\tnew\nline", `back\slash`, "häßlich", "\xff\xfe", "-", "a: b", `"q"`}
	for _, name := range strange {
		create(t, mount, name, 1)
		info, err := mount.Stat(name)
		must(t, err)
		equal(t, info.Name, name)
	}
	sort.Strings(strange)
	equal(t, names(t, mount, ""), strange)
	for _, name := range []string{"", "/a", "a/", "a//b", "..", "a/../b", ".ctl", ".ctl/create", "a\x00b"} {
		_, err := mount.Create(name, 1)
		fails(t, err, syscall.EINVAL, "not a path")
		_, err = mount.Open(name)
		fails(t, err, syscall.EINVAL, "not a path")
	}
}

func TestDirectories(t *testing.T) {
	mount := empty(t)
	must(t, os.Mkdir(mount.Path()+"/d", 0o777))
	create(t, mount, "d/a", 1)
	create(t, mount, "b", 1)
	equal(t, names(t, mount, ""), []string{"b", "d/a"})
	equal(t, names(t, mount, "d"), []string{"a"})
	below, err := iomem.At(mount.Path() + "/d")
	must(t, err)
	equal(t, names(t, below, ""), []string{"a"})
	info, err := mount.Stat("d/a")
	must(t, err)
	equal(t, info.Name, "d/a")
	fails(t, mount.Wait(context.Background(), "d"), syscall.EISDIR, "d")
	_, err = mount.Stat("d")
	fails(t, err, syscall.EINVAL, "not a region")
}

func TestWait(t *testing.T) {
	mount := empty(t)
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	fails(t, mount.Wait(short, "late"), context.DeadlineExceeded, "")
	// In a directory that is not there yet.
	fails(t, mount.Wait(short, "d/late"), context.DeadlineExceeded, "")
	result := make(chan error)
	go func() { result <- mount.Wait(context.Background(), "d/late") }()
	early := create(t, mount, "early", 4096)
	copy(mapped(t, early).Bytes(), "here")
	must(t, os.Mkdir(mount.Path()+"/d", 0o777))
	must(t, os.Rename(mount.Path()+"/early", mount.Path()+"/d/late"))
	must(t, <-result)
	late, err := mount.OpenReadOnly("d/late")
	must(t, err)
	defer late.Close()
	equal(t, string(mapped(t, late).Bytes()[:4]), "here")
	given, up := context.WithCancel(context.Background())
	go func() { result <- mount.Wait(given, "never") }()
	up()
	fails(t, <-result, context.Canceled, "")
}

func next(t *testing.T, events *iomem.Events) iomem.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	event, err := events.Next(ctx)
	must(t, err)
	return event
}

func TestEvents(t *testing.T) {
	mount := empty(t)
	events, err := mount.Events("")
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err = events.Next(ctx)
	fails(t, err, context.DeadlineExceeded, "")
	// One after the other, so that each has to wake the poller, which is edge-triggered.
	for i := 0; i < 20; i++ {
		name := fmt.Sprintf("a %d", i)
		must(t, create(t, mount, name, 4096).Close())
		event := next(t, events)
		equal(t, []any{event.Kind, event.Name, event.Size}, []any{"create", name, int64(4096)})
		must(t, mount.Remove(name))
		for event.Kind != "remove" {
			event = next(t, events)
		}
	}
	_, err = mount.Events("none")
	fails(t, err, fs.ErrNotExist, "")
	result := make(chan error)
	go func() {
		_, err := events.Next(context.Background())
		result <- err
	}()
	must(t, events.Close())
	fails(t, <-result, os.ErrClosed, "")
}

func TestFutex(t *testing.T) {
	region, err := iomem.Anonymous(4096, true)
	must(t, err)
	word := mapped(t, region).Uint32(0)
	done := make(chan struct{})
	go func() {
		for atomic.LoadUint32(word) == 0 {
			iomem.FutexWait(word, 0, 0)
		}
		close(done)
	}()
	atomic.StoreUint32(word, 1)
	iomem.FutexWake(word, math.MaxInt32)
	<-done
	iomem.FutexWait(word, 0, 0)
	iomem.FutexWait(word, 1, time.Millisecond)
	must(t, region.Close())
}

func TestFromFile(t *testing.T) {
	region, err := iomem.Anonymous(4096, false)
	must(t, err)
	fd, err := syscall.Dup(int(region.File().Fd()))
	must(t, err)
	other, err := iomem.FromFile(os.NewFile(uintptr(fd), "passed"))
	must(t, err)
	mapped(t, other).Bytes()[0] = 42
	equal(t, mapped(t, region).Bytes()[0], byte(42))
	must(t, other.Close())
	must(t, region.Close())
}

// What doc.go says of regions that are not fixed.
func TestTakenAway(t *testing.T) {
	mount := empty(t)
	memory := mapped(t, create(t, mount, "a", 8192))
	must(t, mount.Resize("a", 0))
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() == nil {
			t.Error("the memory is still there")
		}
	}()
	memory.Bytes()[5000] = 1
}

func TestWithoutAMount(t *testing.T) {
	t.Setenv("IOMEMFS", t.TempDir())
	_, err := iomem.Default()
	fails(t, err, syscall.ENODEV, "no iomemfs is mounted there")
}

func TestKilledHolder(t *testing.T) {
	mount := empty(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "IOMEM_TEST_HOLDS=1")
	output, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	must(t, err)
	equal(t, line, "ready <nil>\n")
	region, err := mount.Open("shared")
	must(t, err)
	shared, err := region.Map()
	must(t, err)
	must(t, child.Process.Kill())
	child.Wait()
	eventually(t, "the end of what only it had", func() bool {
		return reflect.DeepEqual(names(t, mount, ""), []string{"shared"})
	})
	must(t, region.Close())
	equal(t, shared.Bytes()[0], byte(42))
	equal(t, names(t, mount, ""), []string{"shared"})
	must(t, shared.Close())
}
