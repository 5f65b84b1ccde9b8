package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLicences: what is under an unknown licence, or one that is not allowed, is refused, and
// so is what is under an allowed one and another.
func TestLicences(t *testing.T) {
	l, err := newLicences()
	require.NoError(t, err)
	ours, err := repository()
	require.NoError(t, err)
	apache := string(read(t, filepath.Join(ours, "LICENSE")))
	const isc = `Permission to use, copy, modify, and/or distribute this software for any purpose with or
without fee is hereby granted, provided that the above copyright notice and this permission notice
appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE
INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE
LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING
FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS
ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.
`
	const gpl = `This program is free software: you can redistribute it and/or modify it under the terms of
the GNU General Public License as published by the Free Software Foundation, either version 3 of the
License, or (at your option) any later version.

This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even
the implied warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE. See the GNU General
Public License for more details.

You should have received a copy of the GNU General Public License along with this program. If not, see
<https://www.gnu.org/licenses/>.
`
	for name, tc := range map[string]struct {
		files map[string]string
		want  []string
		says  string // empty: it is allowed
	}{
		"Apache":       {map[string]string{"LICENSE": apache}, []string{"Apache-2.0"}, ""},
		"two":          {map[string]string{"LICENSE-APACHE": apache, "Licence.txt": isc}, []string{"Apache-2.0", "ISC"}, ""},
		"with a GPL":   {map[string]string{"LICENSE": isc, "COPYING": gpl}, nil, "GPL-3.0"},
		"unknown":      {map[string]string{"LICENSE": "Ask me first."}, nil, "no licence has been recognised"},
		"none":         {map[string]string{"main.go": apache}, nil, "no licence has been recognised"},
		"not a folder": {nil, nil, "is not here"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tc.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
			}
			if tc.files == nil {
				dir = filepath.Join(dir, "nothing")
			}
			p, err := l.of("example.com/a", "v1.0.0", dir)
			if tc.says != "" {
				require.ErrorContains(t, err, tc.says)
				require.ErrorContains(t, err, "example.com/a v1.0.0")
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, p.licences)
			require.Len(t, p.texts, len(tc.files))
			for _, text := range tc.files {
				require.Contains(t, string(notices([]part{p})), strings.TrimSpace(text))
			}
		})
	}
}
