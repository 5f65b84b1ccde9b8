package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// Sizes, in the picture's units: a letter of a line is some 7 wide, in the widest of usual fonts.
const (
	boxWidth  = 156
	boxHeight = 128
	mostLines = 4
	gap       = 20
	endWidth  = 96 // of the peer and the program
	margin    = 16
	headRoom  = 40 // of a row's title
	backPitch = 26
)

// Colours for light and dark pages: a picture on a page of the other kind has its own ground.
const style = `
    .page { fill: #ffffff } .box { fill: #f3f5f7; stroke: #57606a } .end { fill: #dbe7f5; stroke: #57606a }
    text { fill: #1f2328 } .head { font-weight: 600 } .code { font-family: ui-monospace, monospace; font-size: 9.6px; fill: #57606a }
    .way { stroke: #1f2328; fill: none; stroke-width: 1.5; marker-end: url(#tip) } .tip { fill: #1f2328 }
    .back { stroke: #57606a; fill: none; stroke-width: 1.2; stroke-dasharray: 5 4; marker-end: url(#tip) }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } .box { fill: #161b22; stroke: #8b949e } .end { fill: #1f3a5f; stroke: #8b949e }
      text { fill: #e6edf3 } .code { fill: #8b949e } .way { stroke: #e6edf3 } .tip { fill: #e6edf3 } .back { stroke: #8b949e }
    }
  `

// A canvas is the picture while it is drawn.
type canvas struct {
	*diagram
	out bytes.Buffer
}

func (d *diagram) svg() []byte {
	c := &canvas{diagram: d}
	width, height := c.left(len(d.rows[0].boxes))+endWidth+margin, c.top(1)+boxHeight+margin
	c.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="12.5">`, width, height)
	c.printf("\n  <!-- Made by make generate of the text beside it. Edit that, not this. -->")
	c.printf("\n  <title id=\"title\">%s</title>\n  <desc id=\"desc\">%s</desc>\n  <style>%s</style>", escaped(d.title), escaped(d.desc), style)
	c.printf("\n  <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path class=\"tip\" d=\"M0 0 8 4 0 8z\"/></marker></defs>")
	c.printf("\n  <rect class=\"page\" width=\"%d\" height=\"%d\" rx=\"8\"/>", width, height)
	c.ends(width)
	for i := range d.rows {
		c.row(i)
	}
	for i, b := range d.backs {
		c.back(i, b)
	}
	c.printf("\n</svg>\n")
	return c.out.Bytes()
}

func (c *canvas) printf(format string, args ...any) { fmt.Fprintf(&c.out, format, args...) }

func escaped(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return b.String()
}

// text writes a line; without a class it is plain.
func (c *canvas) text(class string, x, y int, s string) {
	c.printf("\n  <text class=\"%s\" x=\"%d\" y=\"%d\">%s</text>", class, x, y, escaped(s))
}

// left is where a column begins; that behind the last is the program's.
func (c *canvas) left(column int) int { return margin + endWidth + gap + column*(boxWidth+gap) }

// top is where the boxes of a row begin; between the two are the backs.
func (c *canvas) top(row int) int {
	return headRoom + row*(boxHeight+headRoom+(len(c.backs)+1)*backPitch)
}

// column is where a step is drawn: the second row runs to the left.
func (c *canvas) column(p place) int {
	if p.row == 1 {
		return len(c.rows[1].boxes) - 1 - p.box
	}
	return p.box
}

// ends draws the peer and the program, as high as both rows.
func (c *canvas) ends(width int) {
	height := c.top(1) + boxHeight - c.top(0)
	c.end(margin, height, c.diagram.left)
	c.end(width-margin-endWidth, height, c.right)
}

func (c *canvas) end(x, height int, s string) {
	c.printf("\n  <rect class=\"end\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\"/>", x, c.top(0), endWidth, height)
	c.printf("\n  <text class=\"head\" text-anchor=\"middle\" x=\"%d\" y=\"%d\">%s</text>", x+endWidth/2, c.top(0)+height/2, escaped(s))
}

// row draws a row of boxes, and the way through them.
func (c *canvas) row(i int) {
	r, y := c.rows[i], c.top(i)
	c.text("head", c.left(0), y-14, r.title)
	middle := y + boxHeight/2
	for j, b := range r.boxes {
		x := c.left(c.column(place{i, j}))
		c.printf("\n  <rect class=\"box\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\"/>", x, y, boxWidth, boxHeight)
		c.text("head", x+8, y+21, fmt.Sprintf("%d  %s", j+1, b.head))
		for k, line := range b.lines {
			c.text("", x+8, y+40+16*k, line)
		}
		c.text("code", x+8, y+boxHeight-20, b.file)
		c.text("code", x+8, y+boxHeight-8, b.fn)
	}
	for j := range len(r.boxes) + 1 {
		from, to := c.left(j)-gap+1, c.left(j)-2
		if i == 1 {
			from, to = c.left(j)-1, c.left(j)-gap+2
		}
		c.printf("\n  <path class=\"way\" d=\"M%d %dH%d\"/>", from, middle, to)
	}
}

// back draws an arrow around the way, each at a height of its own.
func (c *canvas) back(i int, b back) {
	y := c.top(0) + boxHeight + (i+1)*backPitch
	from, fromX := c.edge(b.from), c.left(c.column(b.from))+boxWidth/2+14*(i%3-1)
	to, toX := c.edge(b.to), c.left(c.column(b.to))+boxWidth/2+14*(i%3-1)
	c.printf("\n  <path class=\"back\" d=\"M%d %dV%dH%dV%d\"/>", fromX, from, y, toX, to)
	if fromX == toX {
		c.printf("\n  <text text-anchor=\"end\" x=\"%d\" y=\"%d\">%s</text>", fromX-8, y-5, escaped(b.label))
		return
	}
	c.text("", min(fromX, toX)+22, y-5, b.label)
}

// edge is the height of the side of a box that looks to the other row.
func (c *canvas) edge(p place) int {
	if p.row == 0 {
		return c.top(0) + boxHeight + 2
	}
	return c.top(1) - 2
}
