package bench

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// chart is a line chart, in the units of its drawing, as the report's template draws it.
type chart struct {
	Width, Height            float64
	Left, Right, Top, Bottom float64 // the plot's edges
	X, Y                     []axisTick
	Lines                    []line
	Marks                    []mark
	Tags                     []tag
}

// TickEnd is where the marks below the plot end.
func (c *chart) TickEnd() float64 { return c.Bottom + 4 }

// axisTick is a value on an axis.
type axisTick struct {
	At    float64
	Label string
}

// line is one curve; Color counts the report's files.
type line struct {
	Color   int
	Path    string
	Thin    bool    // one round of several
	Opacity float64 // of a thin one
	Title   string
}

// mark is a point that tells its value.
type mark struct {
	Color int
	X, Y  float64
	Title string
}

// tag names a curve at its end.
type tag struct {
	Color int
	X, Y  float64
	Text  string
}

// point is a value to draw; NaN where there is none, which breaks the line.
type point struct{ x, y float64 }

// axis maps values to a plot's edge.
type axis struct {
	low, high float64
	log       bool
	ticks     []float64
}

// at returns where v lies, as a share of the axis.
func (a axis) at(v float64) float64 {
	if a.log {
		return math.Log(max(v, a.low)/a.low) / math.Log(a.high/a.low)
	}
	return (v - a.low) / (a.high - a.low)
}

// linearAxis goes from 0 to a round number from most on, in about four steps.
func linearAxis(most float64) axis {
	if most <= 0 {
		most = 1
	}
	most = sane(most)
	step := ceil125(most / 4)
	a := axis{high: step * math.Ceil(most/step-1e-9)}
	for v := 0.0; v <= a.high+step/2; v += step {
		a.ticks = append(a.ticks, v)
	}
	return a
}

// logAxis goes between round numbers around what is to be seen; it has a tick at every
// power of ten, and if these are few at 2 and 5 of it, too.
func logAxis(least, most float64) axis {
	a := axis{low: floor125(sane(least)), high: ceil125(sane(max(least, most))), log: true}
	if a.high <= a.low*1.0001 {
		a.high = ceil125(a.low * 1.5)
	}
	const wide = 1000 // three decades
	for decade := math.Pow(10, math.Floor(math.Log10(a.low)+1e-9)); decade <= a.high*1.0001; decade *= 10 {
		for _, digit := range []float64{1, 2, 5} {
			v := digit * decade
			if v > a.low*0.999 && v < a.high*1.001 && (digit == 1 || a.high/a.low < wide) {
				a.ticks = append(a.ticks, v)
			}
		}
	}
	return a
}

// sane keeps what a file may claim within what steps of an axis can be counted in.
func sane(x float64) float64 { return min(max(x, 1e-12), 1e18) }

// ceil125 is the next number of 1, 2 or 5 times a power of ten.
func ceil125(x float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(x)+1e-9))
	for _, digit := range []float64{1, 2, 5} {
		if digit*decade >= x*(1-1e-9) {
			return digit * decade
		}
	}
	return 10 * decade
}

func floor125(x float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(x)+1e-9))
	for _, digit := range []float64{5, 2} {
		if digit*decade <= x*(1+1e-9) {
			return digit * decade
		}
	}
	return decade
}

// place returns where a point is drawn.
func (c *chart) place(x, y axis, p point) (float64, float64) {
	return c.Left + x.at(p.x)*(c.Right-c.Left), c.Bottom - y.at(p.y)*(c.Bottom-c.Top)
}

// setAxes draws the ticks of both.
func (c *chart) setAxes(x, y axis, labelX, labelY func(float64) string) {
	for _, v := range x.ticks {
		at, _ := c.place(x, y, point{v, y.low})
		c.X = append(c.X, axisTick{at, labelOf(v, labelX)})
	}
	for _, v := range y.ticks {
		_, at := c.place(x, y, point{x.low, v})
		c.Y = append(c.Y, axisTick{at, labelOf(v, labelY)})
	}
}

// labelOf leaves zero without a unit.
func labelOf(v float64, label func(float64) string) string {
	if v == 0 {
		return "0"
	}
	return label(v)
}

// path is a curve through points as SVG has it.
func (c *chart) path(x, y axis, points []point) string {
	var d strings.Builder
	command := byte('M')
	for _, p := range points {
		if math.IsNaN(p.y) {
			command = 'M'
			continue
		}
		px, py := c.place(x, y, p)
		d.WriteByte(command)
		d.WriteString(strconv.FormatFloat(px, 'f', 1, 64) + " " + strconv.FormatFloat(py, 'f', 1, 64))
		command = 'L'
	}
	return d.String()
}

// spreadTags moves tags apart that would overlap.
func (c *chart) spreadTags() {
	const apart = 15
	for moved := 0; moved < 50; moved++ {
		calm := true
		for i := range c.Tags {
			for j := range c.Tags {
				a, b := &c.Tags[i], &c.Tags[j]
				if i < j && math.Abs(a.Y-b.Y) < apart-0.1 {
					upper, lower := a, b
					if a.Y > b.Y {
						upper, lower = b, a
					}
					by := (apart - (lower.Y - upper.Y)) / 2
					upper.Y, lower.Y, calm = upper.Y-by, lower.Y+by, false
				}
			}
		}
		if calm {
			return
		}
	}
}

// The labels of ticks: short, because they stand close.

func shortDuration(ns float64) string {
	for _, unit := range []struct {
		ns   float64
		name string
	}{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}} {
		if ns >= unit.ns {
			return brief(ns/unit.ns) + " " + unit.name
		}
	}
	return brief(ns) + " ns"
}

func shortCount(x float64) string {
	switch {
	case x >= 1e6:
		return brief(x/1e6) + " M"
	case x >= 1e3:
		return brief(x/1e3) + " k"
	}
	return brief(x)
}

func shortSeconds(s float64) string { return brief(s) + " s" }

func shortMemory(bytes float64) string { return brief(bytes/(1<<20)) + " MiB" }

func shortShare(x float64) string { return brief(100*x) + " %" }

func brief(x float64) string {
	return fmt.Sprintf("%.4g", math.Round(x*1e4)/1e4)
}
