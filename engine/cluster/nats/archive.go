package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
)

// ArchiveConfig says how JetStream keeps histories: in one stream, which is made if it is
// not there, and left as it is if it is.
type ArchiveConfig struct {
	// Stream is its name, and the beginning of its subjects. Default "PENSTOCK_HISTORIES".
	Stream string

	// Messages is how many each room keeps, at least, and Age for how long. A room that
	// wants to keep more is refused. Default 1000, and 24 h.
	Messages int
	Age      time.Duration

	// Replicas is on how many servers of a cluster it is. Default 1.
	Replicas int
}

// Archive keeps histories in JetStream, in files. A batch is one message of the stream: it
// holds its number, and the stream takes it only if it is right behind the one that its
// publisher has seen last.
type Archive struct {
	// immutable
	b   *Broker
	cfg ArchiveConfig

	mu      sync.Mutex
	conn    *nats.Conn
	stream  *stream               // of conn
	attempt map[[2]string]attempt // by channel and by whom, the last batch
	begin   map[string]mark       // by channel, where to read on
}

// A stream is that of one connection.
type stream struct {
	js jetstream.JetStream
	jetstream.Stream
}

// An attempt is a batch. Unless it is known where it is nobody knows whether it has been
// taken.
type attempt struct {
	name  string
	first hub.Position // zero: not known
}

// A mark is a place in a channel: the record at seq is the first behind number.
type mark struct {
	after hub.Position
	seq   uint64
}

// mostMarks is how many are remembered; without one a channel is read from its beginning.
const mostMarks = 1 << 14

// Archive returns an archive on b's connection. It works while b runs.
func (b *Broker) Archive(cfg ArchiveConfig) *Archive {
	if cfg.Stream == "" {
		cfg.Stream = "PENSTOCK_HISTORIES"
	}
	if cfg.Messages == 0 {
		cfg.Messages = 1000
	}
	if cfg.Age == 0 {
		cfg.Age = 24 * time.Hour
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	return &Archive{b: b, cfg: cfg, attempt: make(map[[2]string]attempt), begin: make(map[string]mark)}
}

func (a *Archive) subject(channel string) string { return a.cfg.Stream + "." + channel }

// open returns the stream on the connection of the moment.
func (a *Archive) open(ctx context.Context) (*stream, error) {
	nc := a.b.conn.Load()
	if nc == nil {
		return nil, cluster.ErrAway
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nc {
		return a.stream, nil
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s, err := js.Stream(ctx, a.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: a.cfg.Stream, Description: "Histories of Penstock's rooms", Subjects: []string{a.cfg.Stream + ".>"},
			MaxMsgsPerSubject: int64(a.cfg.Messages), MaxAge: a.cfg.Age, Storage: jetstream.FileStorage,
			Replicas: a.cfg.Replicas, AllowDirect: true,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("nats: the stream %s: %w", a.cfg.Stream, err)
	}
	a.conn, a.stream = nc, &stream{js, s}
	return a.stream, nil
}

// Append is as cluster.Archive says.
func (a *Archive) Append(ctx context.Context, channel string, batch cluster.Batch) (first hub.Position, err error) {
	if batch.Limits.Messages > a.cfg.Messages {
		return first, &cluster.RefusedError{Err: fmt.Errorf("nats: the room keeps %d messages, and ArchiveConfig.Messages is %d", batch.Limits.Messages, a.cfg.Messages)}
	}
	s, err := a.open(ctx)
	if err != nil {
		return first, err
	}
	name := fmt.Sprintf("%s.%x", batch.By, batch.Number)
	lane := [2]string{channel, batch.By}
	for was := a.attempted(lane, name); ; was.name = name {
		if was.first != (hub.Position{}) {
			return was.first, nil
		}
		if was.name == name {
			if r, ok, err := a.find(ctx, s, channel, name); ok || err != nil {
				return r.first, err
			}
		}
		first, err = a.appendOnce(ctx, s, channel, name, batch)
		if !isConflict(err) {
			break
		}
		time.Sleep(rand.N(2 * time.Millisecond)) // another node was first
	}
	if err == nil {
		a.settled(lane, name, first)
	}
	return first, err
}

// attempted notes that a batch is tried, and returns what is known of it, zero if it has
// not been tried before.
func (a *Archive) attempted(lane [2]string, name string) attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	if was := a.attempt[lane]; was.name == name {
		return was
	}
	if len(a.attempt) >= mostMarks {
		maps.DeleteFunc(a.attempt, func(_ [2]string, was attempt) bool { return was.first != hub.Position{} })
	}
	a.attempt[lane] = attempt{name: name}
	return attempt{}
}

func (a *Archive) settled(lane [2]string, name string, first hub.Position) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attempt[lane] = attempt{name, first}
}

// appendOnce publishes a batch behind the last one.
func (a *Archive) appendOnce(ctx context.Context, s *stream, channel, name string, batch cluster.Batch) (hub.Position, error) {
	last, seq, err := a.last(ctx, s, channel)
	if err != nil {
		return hub.Position{}, err
	}
	goesBack := last.first.Epoch == batch.Seen.Epoch && last.end().Seq < batch.Seen.Seq
	if len(batch.Messages) == 0 && !goesBack {
		return last.end(), nil
	}
	next := record{first: hub.Position{Epoch: last.first.Epoch, Seq: last.end().Seq + 1}, by: name, messages: batch.Messages}
	if seq == 0 || goesBack {
		next.first = hub.Position{Epoch: rand.Uint64() | 1, Seq: 1}
	}
	ack, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: a.subject(channel), Data: next.append(nil)},
		jetstream.WithExpectStream(a.cfg.Stream), jetstream.WithExpectLastSequencePerSubject(seq), jetstream.WithRetryAttempts(0))
	if errors.Is(err, nats.ErrMaxPayload) {
		return hub.Position{}, &cluster.RefusedError{Err: err}
	}
	if err != nil {
		return hub.Position{}, err
	}
	a.remember(channel, mark{next.end(), ack.Sequence + 1})
	return next.first, nil
}

// isConflict reports whether another batch has come first.
func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// last returns the last record of a channel and its place in the stream, 0 without any.
func (a *Archive) last(ctx context.Context, s *stream, channel string) (record, uint64, error) {
	m, err := s.GetLastMsgForSubject(ctx, a.subject(channel))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return record{}, 0, nil
	}
	if err != nil {
		return record{}, 0, err
	}
	r, ok := parseRecord(m.Data)
	if !ok {
		return record{}, 0, errForeign
	}
	return r, m.Sequence, nil
}

var errForeign = errors.New("nats: a history's stream holds what is none")

// next returns the first record of a channel at seq or behind it.
func (a *Archive) next(ctx context.Context, s *stream, channel string, seq uint64) (record, uint64, error) {
	m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(a.subject(channel)))
	if err != nil {
		return record{}, 0, err
	}
	r, ok := parseRecord(m.Data)
	if !ok {
		return record{}, 0, errForeign
	}
	return r, m.Sequence, nil
}

// find looks for a batch that may have been taken.
func (a *Archive) find(ctx context.Context, s *stream, channel, name string) (record, bool, error) {
	for seq := uint64(1); ; {
		r, at, err := a.next(ctx, s, channel, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return record{}, false, nil
		}
		if err != nil || r.by == name {
			return r, err == nil, err
		}
		seq = at + 1
	}
}

const pageBytes = 1 << 20

// Read is as cluster.Archive says.
func (a *Archive) Read(ctx context.Context, channel string, after uint64) (p cluster.Page, err error) {
	s, err := a.open(ctx)
	if err != nil {
		return p, err
	}
	last, end, err := a.last(ctx, s, channel)
	if err != nil || end == 0 {
		return p, err
	}
	p.Last = last.end()
	if p.Last.Seq <= after {
		return p, nil
	}
	seq := a.begins(channel, hub.Position{Epoch: p.Last.Epoch, Seq: after})
	for size := 0; seq <= end && size < pageBytes; {
		r, at, err := a.next(ctx, s, channel, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break // what was there is too old by now
		}
		if err != nil {
			return p, err
		}
		if seq = at + 1; r.first.Epoch == p.Last.Epoch {
			size += add(&p, r, after)
		}
	}
	if n := uint64(len(p.Messages)); n > 0 {
		a.remember(channel, mark{hub.Position{Epoch: p.Last.Epoch, Seq: p.First + n - 1}, seq})
	}
	return p, nil
}

// begins returns where what is behind a position may begin.
func (a *Archive) begins(channel string, after hub.Position) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.begin[channel]; m.after.Epoch == after.Epoch && m.after.Seq <= after.Seq {
		return max(m.seq, 1)
	}
	return 1
}

func (a *Archive) remember(channel string, m mark) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.begin) >= mostMarks {
		clear(a.begin)
	}
	a.begin[channel] = m
}
