package filters

import "strings"

// nearest returns the name that was probably meant: one that begins with what was
// given, or the one with the fewest typing mistakes, up to a third of its length. Names
// are lower case with underscores, as the stock filters' are.
func nearest(given string, names []string) string {
	given = strings.ReplaceAll(strings.ToLower(given), "-", "_")
	best, fewest := "", 0
	for _, name := range names {
		if given != "" && strings.HasPrefix(name, given) {
			return name
		}
		d := distance(given, name)
		if d <= len(name)/3 && (best == "" || d < fewest) {
			best, fewest = name, d
		}
	}
	return best
}

// distance returns how many bytes must be inserted, deleted or replaced to make b
// of a (Levenshtein's distance).
func distance(a, b string) int {
	row := make([]int, len(b)+1) // distances of a's beginning to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
