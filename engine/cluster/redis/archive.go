package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
)

// A channel's history is three keys, which are in one slot of a Redis Cluster: {C}:log, a
// stream whose ids are numbers; {C}:at, the position of its end; and for each node
// {C}:by:NODE, its last batch and where that is. A script changes all at once.

const (
	// rememberAt is for how much longer the end of a history is known than its messages:
	// who comes back meanwhile is told no gap where there is none.
	rememberAt = 24 * time.Hour

	// rememberBatch is for how long a batch that is tried again is known.
	rememberBatch = time.Hour

	pageMessages = 256
	pageBytes    = 1 << 20
)

// appendScript appends a batch. Its arguments are the batch's name, the epoch and the number
// that have been seen, an epoch for a beginning, how many messages are kept, for how many
// milliseconds (0: for ever) and for how many longer the end is known, for how many the
// batch is; and messages.
var appendScript = redis.NewScript(`
local mark = redis.call('GET', KEYS[3])
if mark then
	local name, was = string.match(mark, '^(%S+) (%S+)$')
	if name == ARGV[1] then return was end
end
local epoch, last
local at = redis.call('GET', KEYS[2])
if at then
	epoch, last = string.match(at, '^(%x+)-(%d+)$')
	last = tonumber(last)
end
if not epoch or (epoch == ARGV[2] and tonumber(ARGV[3]) > last) then
	if #ARGV == 8 and not epoch then return '0-0' end
	redis.call('DEL', KEYS[1])
	epoch, last = ARGV[4], 0
end
local first = string.format('%s-%.0f', epoch, last + 1)
for i = 9, #ARGV do
	last = last + 1
	redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[5], string.format('%.0f-0', last), 'm', ARGV[i])
end
at = string.format('%s-%.0f', epoch, last)
local ttl = tonumber(ARGV[6])
if ttl > 0 then
	redis.call('PEXPIRE', KEYS[1], ttl)
	redis.call('SET', KEYS[2], at, 'PX', ttl + tonumber(ARGV[7]))
else
	redis.call('PERSIST', KEYS[1])
	redis.call('SET', KEYS[2], at)
end
redis.call('SET', KEYS[3], ARGV[1] .. ' ' .. first, 'PX', ARGV[8])
return first
`)

// readScript returns the position of the end, and ids and messages, of some bytes.
var readScript = redis.NewScript(`
local at = redis.call('GET', KEYS[2])
if not at then return {'0-0'} end
local page, size = {at}, 0
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])) do
	page[#page + 1], page[#page + 2] = entry[1], entry[2][2]
	size = size + #entry[2][2]
	if size > tonumber(ARGV[3]) then break end
end
return page
`)

func keysOf(channel string) []string {
	return []string{"{" + channel + "}:log", "{" + channel + "}:at"}
}

// Append is as cluster.Archive says. It is as durable as the server's appendonly and
// appendfsync; a replica may not have it yet.
func (b *Broker) Append(ctx context.Context, channel string, batch cluster.Batch) (first hub.Position, err error) {
	ttl := max(batch.Limits.Age, 0).Milliseconds()
	args := []any{
		fmt.Sprintf("%s.%x", batch.By, batch.Number), strconv.FormatUint(batch.Seen.Epoch, 16), batch.Seen.Seq,
		strconv.FormatUint(rand.Uint64()|1, 16), max(batch.Limits.Messages, 1), ttl, rememberAt.Milliseconds(), rememberBatch.Milliseconds(),
	}
	for _, m := range batch.Messages {
		args = append(args, m.AppendTo(nil))
	}
	keys := append(keysOf(channel), "{"+channel+"}:by:"+batch.By)
	reply, err := appendScript.Run(ctx, b.client, keys, args...).Text()
	switch {
	case err != nil && isRefusal(err):
		return first, &cluster.RefusedError{Err: err}
	case err != nil:
		return first, b.verdict(ctx, err)
	}
	return hub.ParsePosition(reply)
}

// Read is as cluster.Archive says.
func (b *Broker) Read(ctx context.Context, channel string, after uint64) (p cluster.Page, err error) {
	from := strconv.FormatUint(after+1, 10) + "-0"
	reply, err := readScript.Run(ctx, b.client, keysOf(channel), from, pageMessages, pageBytes).StringSlice()
	if err != nil {
		return p, b.verdict(ctx, err)
	}
	if len(reply)%2 != 1 {
		return p, errForeign
	}
	if p.Last, err = hub.ParsePosition(reply[0]); err != nil {
		return p, err
	}
	for i := 1; i < len(reply); i += 2 {
		number, err := numberOf(reply[i])
		k, ok := cluster.ParseKept([]byte(reply[i+1]))
		if err != nil || !ok || i > 1 && number != p.First+uint64(len(p.Messages)) {
			return p, errForeign
		}
		if i == 1 {
			p.First = number
		}
		p.Messages = append(p.Messages, k)
	}
	return p, nil
}

var errForeign = errors.New("redis: a history's keys hold what is none")

// numberOf reads the id of an entry of the stream.
func numberOf(id string) (uint64, error) {
	number, _, _ := strings.Cut(id, "-")
	return strconv.ParseUint(number, 10, 64)
}
