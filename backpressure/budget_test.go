package backpressure_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/penstock-ws/penstock/backpressure"
)

// The marks: joining ends at six eighths, large holders at seven, all at the limit.
func TestBudgetMarks(t *testing.T) {
	const limit = 8 << 20
	b := backpressure.NewBudget(limit)
	pressure := b.Watch()
	assert.True(t, b.Join())
	assert.Equal(t, backpressure.Footprint, b.Used())
	b.Leave()
	assert.Zero(t, b.Used())
	filler, large, small := backpressure.NewAccount(b), backpressure.NewAccount(b), backpressure.NewAccount(b)
	filler.Add(6<<20 + backpressure.Allowance)
	assert.False(t, b.Tight())
	assert.Equal(t, 1<<20, b.Excess())
	assert.Empty(t, pressure)
	filler.Add(1)
	assert.True(t, b.Tight())
	assert.Len(t, pressure, 1)
	assert.False(t, b.Join())
	<-pressure
	b.Unwatch(pressure)
	filler.Add(backpressure.Grain)
	assert.Empty(t, pressure, "unwatched")
	filler.Add(-backpressure.Grain)
	assert.Equal(t, 1<<20, b.Share())
	assert.True(t, large.Fits(1<<19))
	filler.Add(1<<20 - 1) // seven eighths
	assert.True(t, small.Fits(1<<20))
	assert.False(t, large.Fits(1<<20+1), "above its share")
	filler.Add(1 << 20) // the limit
	assert.True(t, small.Fits(backpressure.Allowance))
	assert.False(t, small.Fits(backpressure.Allowance+1))
	filler.Add(-filler.Held())
	assert.Zero(t, b.Used())
	assert.Equal(t, limit, b.Limit())
	for range 4 {
		b.Join()
	}
	assert.Equal(t, 1<<18, b.Share())

	var none *backpressure.Budget
	free := backpressure.NewAccount(none)
	free.Add(1 << 30)
	assert.True(t, none.Join() && free.Fits(1<<29))
	none.Leave()
	assert.Zero(t, none.Used()+none.Limit()+none.Excess()+none.Share())
	assert.Nil(t, none.Watch())
	none.Unwatch(nil)
	assert.False(t, none.Tight())
}

// Whoever asks first never brings a budget above its limit, by not a byte, and all
// comes back.
func TestBudgetModel(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		b := backpressure.NewBudget(1<<20 + 5000) // no multiple of a grain
		accounts := make([]backpressure.Account, 30)
		for i := range accounts {
			accounts[i] = backpressure.NewAccount(b)
		}
		for range 2000 {
			a := &accounts[rnd.IntN(len(accounts))]
			n := rnd.IntN(60000)
			if rnd.IntN(3) == 0 {
				n = -rnd.IntN(a.Held() + 1)
			}
			if n <= 0 || a.Fits(n) {
				a.Add(n)
			}
			beyond := 0 // what the accounts hold without its knowing
			for i := range accounts {
				beyond += max(0, accounts[i].Held()-backpressure.Allowance)
			}
			assert.LessOrEqual(t, b.Used(), b.Limit(), "seed %d", seed)
			assert.GreaterOrEqual(t, b.Used(), beyond)
		}
		for i := range accounts {
			accounts[i].Add(-accounts[i].Held())
		}
		assert.Zero(t, b.Used())
	}
}

// The same from many goroutines: each may be one message ahead.
func TestBudgetConcurrent(t *testing.T) {
	const holders, largest = 16, 30000
	b := backpressure.NewBudget(1 << 20)
	var all sync.WaitGroup
	for id := range holders {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(id), 5))
			a := backpressure.NewAccount(b)
			joined := b.Join()
			for range 3000 {
				if n := rnd.IntN(largest); a.Fits(n) {
					a.Add(n)
				} else {
					a.Add(-rnd.IntN(a.Held() + 1))
				}
				if used := b.Used(); used > b.Limit()+holders*(largest+backpressure.Grain) {
					t.Error("above the limit:", used)
				}
			}
			a.Add(-a.Held())
			if joined {
				b.Leave()
			}
		})
	}
	all.Wait()
	assert.Zero(t, b.Used())
}
