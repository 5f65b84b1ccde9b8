package backpressure

// Bounds that tests go up to and beyond.
const (
	SmallMessage = smallMessage
	ControlLimit = controlLimit
	Turn         = turn
	Allowance    = allowance
	Grain        = grain
	ItemCost     = itemCost
)

// Fits is what the queue's account says to n bytes.
func (q *Queue) Fits(n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.account.Fits(n)
}

// CostOf is what the queue asks its account for a message.
func (q *Queue) CostOf(m Message) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m.Class == nil {
		m.Class = q.class
	}
	if q.cfg.Mask && m.Prepared != nil {
		m.unshare()
	}
	return q.costOf(&m)
}

// Gaps counts the gaps that wait in the queue, and Backlog says whether it still
// knows of messages that may be dropped or have been.
func (q *Queue) Gaps() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for it := q.head; it != nil; it = it.next {
		if it.gap != nil {
			n++
		}
	}
	return n
}

func (q *Queue) Backlog() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.backlog != nil
}

// Charge is what the account holds for the message that one with this class and
// key would replace.
func (q *Queue) Charge(c *Class, k string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it := q.backlog.waiting(&Message{Class: c, Key: k}); it != nil {
		return it.charge
	}
	return 0
}

// ClassNow is the class of messages that name none.
func (q *Queue) ClassNow() *Class {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.class
}

// Expire does what admission does when there is no room.
func (q *Queue) Expire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expireLocked()
}

// NewKey is what a frame gets.
func NewKey() [4]byte { return newKey() }

// ForgetKeys throws away the keys that have been drawn and not given out. Nobody may
// be sending.
func ForgetKeys() {
	for range 1000 {
		keyrings.Get()
	}
}
