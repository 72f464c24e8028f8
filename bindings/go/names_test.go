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
		`"plain"`:                    "plain",
		`"häß\u00e4\n\"\\"`:          "häßä\n\"\\",
		`"\udcff\udcfe"`:             "\xff\xfe",
		`"\\udcff"`:                  `\udcff`,
		`"\ud83d\ude00\udc80\ud83d"`: "😀\x80\uFFFD",
		`""`:                         "",
	} {
		var name rawName
		if err := json.Unmarshal([]byte(text), &name); err != nil || string(name) != want {
			t.Errorf("%s: %q, %v", text, string(name), err)
		}
	}
	var name rawName
	if err := json.Unmarshal([]byte("5"), &name); err == nil {
		t.Error("5 is no name")
	}
}
