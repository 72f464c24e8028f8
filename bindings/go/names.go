// SPDX-License-Identifier: MIT

package iomem

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf16"
	"unicode/utf8"
)

// checkName refuses what is not a path below the mount.
func checkName(op, name string) error {
	bad := strings.Contains(name, "\x00")
	for _, part := range strings.Split(name, "/") {
		bad = bad || part == "" || part == "." || part == ".." || part == ".ctl"
	}
	if bad {
		return &Error{Op: op, Name: strconv.Quote(name), Errno: syscall.EINVAL, Text: "not a path below the mount"}
	}
	return nil
}

// escapeName is as commands have it: \040 for a space.
func escapeName(name string) string {
	var escaped strings.Builder
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c == '\\' || c == 0x7f {
			fmt.Fprintf(&escaped, "\\%03o", c)
		} else {
			escaped.WriteByte(c)
		}
	}
	return escaped.String()
}

func unescapeName(escaped string) string {
	var name strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] == '\\' && i+4 <= len(escaped) {
			if c, err := strconv.ParseUint(escaped[i+1:i+4], 8, 8); err == nil {
				name.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		name.WriteByte(escaped[i])
	}
	return name.String()
}

// rawName is a name in the daemon's JSON.  A byte that is not UTF-8 is \udc80 to \udcff there, of which
// encoding/json would make U+FFFD, and is itself in a string of Go.
type rawName string

var simpleEscapes = map[byte]byte{
	'"': '"', '\\': '\\', '/': '/', 'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f',
}

// UnmarshalJSON is called with a string that encoding/json has found well-formed.
func (n *rawName) UnmarshalJSON(text []byte) error {
	var name strings.Builder
	if len(text) < 2 || text[0] != '"' {
		return errors.New("iomem: a name is a string")
	}
	text = text[1 : len(text)-1]
	for len(text) > 0 {
		if text[0] != '\\' {
			name.WriteByte(text[0])
			text = text[1:]
			continue
		}
		if c, ok := simpleEscapes[text[1]]; ok {
			name.WriteByte(c)
			text = text[2:]
			continue
		}
		first := codeUnit(text)
		if first >= 0xdc80 && first <= 0xdcff {
			name.WriteByte(byte(first - 0xdc00))
			text = text[6:]
			continue
		}
		text = text[6:]
		if pair := utf16.DecodeRune(first, codeUnit(text)); pair != utf8.RuneError {
			first = pair
			text = text[6:]
		}
		name.WriteRune(first)
	}
	*n = rawName(name.String())
	return nil
}

// codeUnit is what text begins with, if that is \uXXXX; else U+FFFD.
func codeUnit(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return utf8.RuneError
	}
	code, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(code)
}
