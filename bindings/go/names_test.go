// SPDX-License-Identifier: MIT

package iomem

import (
	"encoding/json"
	"testing"
)

func TestEscapesAreUndone(t *testing.T) {
	var every []byte
	for c := 1; c < 256; c++ {
		every = append(every, byte(c))
	}
	if got := unescapeName(escapeName(string(every))); got != string(every) {
		t.Errorf("%q", got)
	}
	for _, name := range []string{`a\04`, `\999\`, `\`, `\4`} {
		if got := unescapeName(name); got != name {
			t.Errorf("%q became %q", name, got)
		}
	}
}

func TestNamesInJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"mode":"0640","name":"plain\\377"}`:                     `plain\377`,
		`{"mode":"0640","name":"?","name_escaped":"a\\377\\134"}`: "a\xff\\",
	} {
		var found member
		if err := json.Unmarshal([]byte(text), &found); err != nil {
			t.Fatal(err)
		}
		if info, err := found.info(); err != nil || info.Name != want {
			t.Errorf("%s: %q, %v", text, info.Name, err)
		}
	}
}
