package engine

// A sideLane is a goroutine that reads messages which do not come whole, in the way
// of goroutine mode: it may wait.
type sideLane struct {
	lane
	loop *loop
	jobs chan *Conn
	wake chan struct{}
}

// idleSideLanes is how many of a loop wait for their next message instead of ending.
const idleSideLanes = 64

func (d *sideLane) run() {
	defer func() {
		if d.conn != nil { // an OnData has called runtime.Goexit
			d.giveBack(true)
		}
	}()
	for more := d.awaitJob(false); more; more = d.awaitJob(true) {
		d.lane.run()
		if d.conn == nil {
			return
		}
		d.giveBack(true)
	}
}

// read is the lane's source.
func (d *sideLane) read(p []byte) (int, error) {
	for {
		n, err := d.conn.transport.Read(p, &d.direct)
		if err != errAtRest {
			return n, err
		}
		c := d.conn
		c.transport.giveBack()
		c.settle()
		d.giveBack(false)
		if !d.awaitJob(true) {
			return 0, errLaneOver
		}
	}
}

// giveBack returns the connection to the loop; ended: gws gets no more of it.
func (d *sideLane) giveBack(ended bool) {
	s := d.conn.home
	d.conn.transport.side = false
	d.conn = nil
	s.sideEnded = ended
	s.post(todoSideOver)
}

func (d *sideLane) awaitJob(idle bool) bool {
	if idle {
		l := d.loop
		l.mu.Lock()
		enough := l.gone || len(l.idle) >= idleSideLanes
		if !enough {
			l.idle = append(l.idle, d)
		}
		l.mu.Unlock()
		if enough {
			return false
		}
	}
	d.conn = <-d.jobs // nil: it is closed
	return d.conn != nil
}

func (d *sideLane) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}
