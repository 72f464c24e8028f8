// SPDX-License-Identifier: MIT

package iomem

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	attemptsMax  = 100
	defaultMount = "/mnt/mem"
	pauseFirst   = time.Millisecond
	pauseLongest = 50 * time.Millisecond
	// Events tell of regions; this is for what they do not tell, such as directories.
	pauseWithEvents = 500 * time.Millisecond
)

// Mount is an iomemfs, or a directory in it, that names are relative to.  It has no state: any
// goroutine may use it, and there is nothing to close.
type Mount struct {
	path string
}

// Default is the mount at $IOMEMFS, or at /mnt/mem.  ENODEV if there is no iomemfs.
func Default() (*Mount, error) {
	if where := os.Getenv("IOMEMFS"); where != "" {
		return At(where)
	}
	return At(defaultMount)
}

// At is the mount, or the directory in it, at that path.
func At(where string) (*Mount, error) {
	if _, err := os.Stat(where + "/.ctl/create"); err != nil {
		return nil, &Error{Op: "open", Name: where, Errno: syscall.ENODEV, Text: "no iomemfs is mounted there"}
	}
	return &Mount{path: where}, nil
}

// Path is where it is.
func (m *Mount) Path() string {
	return m.path
}

// Option is how a region is made: Fixed, Ephemeral, Populate, Huge, Mode(0o640), Owner("process").
type Option struct {
	word    string
	hasMode bool
}

var (
	// Fixed: the size never changes, so that nobody can take pages away from those who map it.
	Fixed = Option{word: "fixed"}
	// Ephemeral: the name goes with the last reference, however its holder ended.
	Ephemeral = Option{word: "ephemeral"}
	// Populate: all pages are there when the name appears.
	Populate = Option{word: "populate"}
	// Huge: the same with huge pages.
	Huge = Option{word: "huge"}
)

// Mode is permissions; by default what the umask leaves of 0666.
func Mode(mode fs.FileMode) Option {
	return Option{word: fmt.Sprintf("mode=%o", uint32(mode)), hasMode: true}
}

// Owner is "process", "service" or "container": the name goes when that one, of this process, has ended,
// and the last reference is gone.
func Owner(owner string) Option {
	return Option{word: "owner=" + owner}
}

// Seal is what cannot be done to a region any more.
type Seal string

// What there is to forbid.
const (
	SealShrink Seal = "shrink"
	SealGrow   Seal = "grow"
	SealWrite  Seal = "write"
)

// Info is what is known of a region; see iomemfs-ctl(7).
type Info struct {
	Name           string
	Size           int64
	Allocated      int64
	Mode           fs.FileMode
	UID, GID       uint32
	Inode          uint64
	Links, Refs    int
	Flags          []string
	Seals          []Seal
	Created        time.Time
	CreatorUID     uint32
	CreatorPID     int
	CreatorCommand string
}

// member is a region in the daemon's JSON.
type member struct {
	Name           string    `json:"name"`
	NameEscaped    *string   `json:"name_escaped"`
	Size           int64     `json:"size"`
	Allocated      int64     `json:"allocated"`
	Mode           string    `json:"mode"`
	UID            uint32    `json:"uid"`
	GID            uint32    `json:"gid"`
	Inode          uint64    `json:"inode"`
	Links          int       `json:"links"`
	Refs           int       `json:"refs"`
	Flags          []string  `json:"flags"`
	Seals          []Seal    `json:"seals"`
	Created        time.Time `json:"created"`
	CreatorUID     uint32    `json:"creator_uid"`
	CreatorPID     int       `json:"creator_pid"`
	CreatorCommand string    `json:"creator_command"`
	CommandEscaped *string   `json:"creator_command_escaped"`
}

// nameIn is a name in JSON, which has no bytes that are not UTF-8: such a name is there a second time,
// escaped.
func nameIn(name string, escaped *string) string {
	if escaped == nil {
		return name
	}
	return unescapeName(*escaped)
}

func (m *member) info() (Info, error) {
	mode, err := strconv.ParseUint(m.Mode, 8, 12)
	return Info{
		Name: nameIn(m.Name, m.NameEscaped), Size: m.Size, Allocated: m.Allocated, Mode: fs.FileMode(mode),
		UID: m.UID, GID: m.GID, Inode: m.Inode, Links: m.Links, Refs: m.Refs,
		Flags: m.Flags, Seals: m.Seals, Created: m.Created,
		CreatorUID: m.CreatorUID, CreatorPID: m.CreatorPID, CreatorCommand: nameIn(m.CreatorCommand, m.CommandEscaped),
	}, err
}

func (m *Mount) pathOf(op, name string) (string, error) {
	if err := checkName(op, name); err != nil {
		return "", err
	}
	return m.path + "/" + name, nil
}

func (m *Mount) directory(op, directory string) (string, error) {
	if directory == "" {
		return m.path, nil
	}
	return m.pathOf(op, directory)
}

// command carries out one in one write(2); what the daemon says of an error is read from the same open
// file.
func (m *Mount) command(verb, name string, words ...string) error {
	if err := checkName(verb, name); err != nil {
		return err
	}
	line := strings.Join(append([]string{escapeName(name)}, words...), " ") + "\n"
	file, err := os.OpenFile(m.path+"/.ctl/"+verb, os.O_RDWR, 0)
	if err != nil {
		return wrap(verb, name, err)
	}
	defer file.Close()
	if _, err = file.WriteString(line); err != nil {
		err = wrap(verb, name, err)
		var failed *Error
		if errors.As(err, &failed) {
			failed.Text = reason(file, name)
		}
	}
	return err
}

func reason(file *os.File, name string) string {
	text := make([]byte, 512)
	n, _ := file.ReadAt(text, 0)
	return strings.TrimPrefix(strings.TrimSpace(string(text[:n])), name+": ")
}

// Create makes a region and opens it for reading and writing.
func (m *Mount) Create(name string, size int64, options ...Option) (*Region, error) {
	words := []string{strconv.FormatInt(size, 10)}
	attempts, hasMode := 1, false
	for _, option := range options {
		words = append(words, option.word)
		hasMode = hasMode || option.hasMode
		if option == Ephemeral {
			attempts = attemptsMax
		}
	}
	for {
		if err := m.command("create", name, words...); err != nil {
			return nil, err
		}
		region, err := m.openMade(name, hasMode)
		attempts--
		if attempts == 0 || !errors.Is(err, fs.ErrNotExist) {
			return region, err
		}
		// Whoever opened it in between and closed it again was its last user: it is gone.
	}
}

func (m *Mount) openMade(name string, hasMode bool) (*Region, error) {
	region, err := m.Open(name)
	if hasMode && errors.Is(err, fs.ErrPermission) {
		// Made with a mode that forbids its maker to write.
		return m.OpenReadOnly(name)
	}
	return region, err
}

func (m *Mount) open(name string, flags int) (*Region, error) {
	where, err := m.pathOf("open", name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(where, flags, 0)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	return &Region{file: file, name: name, writable: flags == os.O_RDWR}, nil
}

// Open opens a region for reading and writing.
func (m *Mount) Open(name string) (*Region, error) {
	return m.open(name, os.O_RDWR)
}

// OpenReadOnly opens a region for reading.
func (m *Mount) OpenReadOnly(name string) (*Region, error) {
	return m.open(name, os.O_RDONLY)
}

// Resize changes the size of a region.
func (m *Mount) Resize(name string, size int64) error {
	return m.command("resize", name, strconv.FormatInt(size, 10))
}

// Seal forbids for good.
func (m *Mount) Seal(name string, seals ...Seal) error {
	words := make([]string, len(seals))
	for i, seal := range seals {
		words[i] = string(seal)
	}
	return m.command("seal", name, strings.Join(words, ","))
}

// Remove removes the name.  Who has the region open or mapped keeps it.
func (m *Mount) Remove(name string) error {
	return m.command("remove", name)
}

// List is the regions below a directory ("": all), with names relative to it.
func (m *Mount) List(directory string) ([]Info, error) {
	where, err := m.directory("list", directory)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(where + "/.ctl/regions.json")
	if err != nil {
		return nil, wrap("list", where, err)
	}
	var listing struct {
		Regions []member `json:"regions"`
	}
	if err = json.Unmarshal(text, &listing); err != nil {
		return nil, err
	}
	infos := make([]Info, len(listing.Regions))
	for i := range listing.Regions {
		if infos[i], err = listing.Regions[i].info(); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

// Stat is what is known of one region.
func (m *Mount) Stat(name string) (Info, error) {
	where, err := m.pathOf("stat", name)
	if err != nil {
		return Info{}, err
	}
	found, err := os.Lstat(where)
	if err != nil {
		return Info{}, wrap("stat", name, err)
	}
	if !found.Mode().IsRegular() {
		return Info{}, &Error{Op: "stat", Name: name, Errno: syscall.EINVAL, Text: "not a region"}
	}
	info, err := statAttribute(where)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENODATA) {
		// The mount has xattr=off.
		info, err = m.statFromList(name)
	}
	info.Name = name
	return info, wrap("stat", name, err)
}

func statAttribute(where string) (Info, error) {
	text := make([]byte, 64*1024)
	n, err := syscall.Getxattr(where, "user.iomemfs", text)
	if err != nil {
		return Info{}, err
	}
	var found member
	if err = json.NewDecoder(bytes.NewReader(text[:n])).Decode(&found); err != nil {
		return Info{}, err
	}
	return found.info()
}

func (m *Mount) statFromList(name string) (Info, error) {
	directory := path.Dir(name)
	if directory == "." {
		directory = ""
	}
	infos, err := m.List(directory)
	for _, info := range infos {
		if info.Name == path.Base(name) {
			return info, nil
		}
	}
	if err == nil {
		err = syscall.ENOENT
	}
	return Info{}, err
}

// Events is what happens to the regions below a directory ("": everywhere), from now on.
func (m *Mount) Events(directory string) (*Events, error) {
	where, err := m.directory("events", directory)
	if err != nil {
		return nil, err
	}
	return openEvents(where)
}

// Wait waits until there is a region of that name, or the context has ended: then its error.
func (m *Mount) Wait(ctx context.Context, name string) error {
	where, err := m.pathOf("wait", name)
	if err != nil {
		return err
	}
	directory := filepath.Dir(where)
	events, _ := openEvents(directory)
	defer func() { events.Close() }()
	for pause := pauseFirst; ; pause *= 2 {
		if there, err := isRegion(where, name); there || err != nil {
			return err
		}
		if err := pauseOrEvent(ctx, events, pause); err != nil {
			return err
		}
		if events == nil {
			// The directory may have been made meanwhile.
			events, _ = openEvents(directory)
		}
	}
}

func isRegion(where, name string) (bool, error) {
	found, err := os.Stat(where)
	switch {
	case err == nil && found.IsDir():
		return false, &Error{Op: "wait", Name: name, Errno: syscall.EISDIR}
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return false, nil
	}
	return err == nil, wrap("wait", name, err)
}

// pauseOrEvent returns when something happened, or it is time to look again.  The context's error if it
// has ended.
func pauseOrEvent(ctx context.Context, events *Events, pause time.Duration) error {
	if events != nil {
		pause = pauseWithEvents
	} else if pause > pauseLongest {
		pause = pauseLongest
	}
	short, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	if events == nil {
		<-short.Done()
	} else if _, err := events.Next(short); err == nil {
		events.discard()
	} else if !errors.Is(err, short.Err()) || short.Err() == nil {
		return err
	}
	return ctx.Err()
}
