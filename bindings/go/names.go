// SPDX-License-Identifier: MIT

package iomem

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
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
