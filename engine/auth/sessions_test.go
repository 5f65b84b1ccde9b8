package auth

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// C9: a connection is closed when its token expires, within a second, with the code.
func TestExpiry(t *testing.T) {
	for _, codes := range []Codes{{}, {Expired: 4001}} {
		a := newAuth(t, Config{Codes: codes, Refresh: RefreshJSON})
		s := serve(t, a, engine.Config{})
		exp := time.Now().Add(1500 * time.Millisecond)
		stays := open(t, s, good(t, nil))
		goes := open(t, s, good(t, jwt.MapClaims{"exp": float64(exp.UnixMilli()) / 1000}))
		end := closed(t, goes)
		assert.WithinRange(t, time.Now(), exp.Add(-2*time.Millisecond), exp.Add(time.Second))
		assert.Equal(t, int(a.cfg.Codes.Expired), end.Code)
		assert.Equal(t, "token expired", end.Text)
		send(t, stays, "x")
		assert.Equal(t, "x", read(t, stays))
	}
}

// C9: refresh in band; it never reaches the handler.
func TestRefresh(t *testing.T) {
	a := newAuth(t, Config{Refresh: RefreshJSON})
	s := serve(t, a, engine.Config{}, func(ep *engine.Endpoint) {
		ep.Handler.OnMessage = func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			id, _ := From(ctx)
			return c.SendText(fmt.Sprintf("%s in %s", m.Data, id.Session))
		}
	})
	first := time.Now().Add(5 * time.Second)
	short := func(change jwt.MapClaims) string {
		c := jwt.MapClaims{"exp": first.Unix() + 1}
		for name, value := range change {
			c[name] = value
		}
		return good(t, c)
	}
	kept, lost := open(t, s, short(nil)), open(t, s, short(nil))

	for text, want := range map[string]string{
		refreshWith(good(t, jwt.MapClaims{"sub": "bob"})): `{"type":"error","status":403,"message":"not allowed"}`,
		refreshWith("bad"): `{"type":"error","status":401,"message":"token refused"}`,
		refreshWith(good(t, jwt.MapClaims{"exp": time.Now().Unix() - 1})): `{"type":"error","status":401,"message":"token expired"}`,
		refreshWith(string(make64K())):                                    `{"type":"error","status":400,"message":"malformed token"}`,
		`{"type":"auth","token":"a","token":"` + good(t, nil) + `"}`:      `{"type":"error","status":401,"message":"token refused"}`,
		`{"type":"refresh","token":""}`:                                   `{"type":"error","status":401,"message":"token refused"}`,
	} {
		send(t, lost, text)
		assert.JSONEq(t, want, read(t, lost))
	}
	for _, text := range []string{`{"type":"auth"}`, `{"type":"chat","token":"auth","x":"auth"}`, `["auth","token"]`, `{"type":"auth","token":7}`, "hello"} {
		send(t, lost, text)
		assert.Equal(t, text+" in s1", read(t, lost), "messages like others")
	}

	later := time.Now().Add(time.Hour).Unix()
	send(t, kept, ` {"extra":[1], "type":"refresh", "token":"`+good(t, jwt.MapClaims{"sid": "s2", "exp": later})+`"}`)
	assert.JSONEq(t, fmt.Sprintf(`{"type":"auth","status":200,"expires":%d}`, later), read(t, kept))
	send(t, kept, "hello")
	assert.Equal(t, "hello in s2", read(t, kept))

	assert.Equal(t, 1008, closed(t, lost).Code, "the old expiry stays")
	send(t, kept, "hello")
	assert.Equal(t, "hello in s2", read(t, kept), "it outlives the first token")
	assert.Equal(t, 0, a.RevokeSession("s1"))
	assert.Equal(t, 1, a.RevokeSession("s2"))
	assert.Equal(t, "token refused", closed(t, kept).Text)
}

func make64K() []byte {
	b := make([]byte, 64<<10)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

// A refresh to a token without expiry, and to one that expires sooner: the new one counts.
func TestRefreshReplaces(t *testing.T) {
	a := newAuth(t, Config{Refresh: RefreshJSON, Verifiers: []Verifier{newJWT(t, JWTConfig{AllowNoExpiry: true})}})
	s := serve(t, a, engine.Config{})
	ws := open(t, s, good(t, nil))
	send(t, ws, refreshWith(good(t, jwt.MapClaims{"exp": nil})))
	assert.JSONEq(t, `{"type":"auth","status":200,"expires":0}`, read(t, ws))
	a.sessions.mu.Lock()
	assert.Empty(t, a.sessions.heap)
	a.sessions.mu.Unlock()
	soon := time.Now().Unix() + 2
	send(t, ws, refreshWith(good(t, jwt.MapClaims{"exp": soon})))
	assert.JSONEq(t, fmt.Sprintf(`{"type":"auth","status":200,"expires":%d}`, soon), read(t, ws))
	assert.Equal(t, "token expired", closed(t, ws).Text)
}

// A refresh that comes with the expiry either holds or is refused; what was answered
// with 200 is not closed.
func TestRefreshRacesWithExpiry(t *testing.T) {
	a := newAuth(t, Config{Refresh: RefreshJSON})
	s := serve(t, a, engine.Config{})
	exp := time.Now().Add(4 * time.Second)
	token := good(t, jwt.MapClaims{"exp": float64(exp.UnixMilli()) / 1000})
	fresh := good(t, nil)
	var all sync.WaitGroup
	for i := range 40 {
		ws := open(t, s, token)
		all.Go(func() {
			time.Sleep(time.Until(exp) + time.Duration(i-20)*100*time.Microsecond) // around it
			_ = ws.WriteMessage(websocket.TextMessage, []byte(refreshWith(fresh)))
			_, b, err := ws.ReadMessage()
			if err != nil {
				assert.True(t, websocket.IsCloseError(err, 1008), "%v", err)
				return
			}
			if !assert.Contains(t, []string{"200", "401"}, statusOf(b), string(b)) || statusOf(b) == "401" {
				return
			}
			_ = ws.WriteMessage(websocket.TextMessage, []byte("still here"))
			_, b, err = ws.ReadMessage()
			assert.NoError(t, err)
			assert.Equal(t, "still here", string(b))
		})
	}
	all.Wait()
}

func statusOf(b []byte) string {
	object, _ := parseObject(b)
	return fmt.Sprint(object["status"])
}

// Revoke closes at once, with a thousand connections of two users, and nobody else's.
func TestRevokeUser(t *testing.T) {
	a := newAuth(t, Config{Codes: Codes{Revoked: 4002}})
	s := serve(t, a, engine.Config{})
	ann, bob := good(t, nil), good(t, jwt.MapClaims{"sub": "bob"})
	const each = 500
	var mine, others []*enginetest.Client
	for range each {
		mine = append(mine, s.DialWith(enginetest.Handshake{Target: "/?token=" + ann}))
		others = append(others, s.DialWith(enginetest.Handshake{Target: "/?token=" + bob}))
	}
	s.AwaitOpen(2 * each)
	start := time.Now()
	assert.Equal(t, each, a.RevokeUser("ann"))
	for _, c := range mine {
		c.ExpectClose(4002)
	}
	assert.Less(t, time.Since(start), 5*time.Second)
	s.AwaitOpen(each)
	for _, c := range others {
		c.ReadText() // connected
		c.SendText("x")
		assert.Equal(t, "x", c.ReadText())
	}
	for _, token := range []string{ann, good(t, jwt.MapClaims{"iat": start.Unix()}), good(t, jwt.MapClaims{"iat": nil})} {
		_, res, err := dial(t, s, "/", bearer(token))
		require.Error(t, err)
		assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
	}
	assert.Zero(t, a.RevokeUser("ann"))
	assert.Zero(t, a.RevokeUser(""))
	_, err := a.Verify(good(t, jwt.MapClaims{"iat": time.Now().Unix() - 60}))
	assert.ErrorIs(t, err, ErrRevoked)
	enginetest.Await(t, func() bool { return sessionsOf(a) == each }, "the others are left")
}

// Handshakes, refreshes and revocations at once: when RevokeUser has returned, nobody is
// left that began before it.
func TestRevokeBesideHandshakes(t *testing.T) {
	a := newAuth(t, Config{Refresh: RefreshJSON})
	s := serve(t, a, engine.Config{})
	token := good(t, nil)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				ws, res, err := dial(t, s, "/", bearer(token))
				if err != nil {
					assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
					return
				}
				_ = ws.WriteMessage(websocket.TextMessage, []byte(refreshWith(token)))
			}
		})
	}
	enginetest.Await(t, func() bool { return s.Open() > 50 }, "some are open")
	a.RevokeUser("ann")
	assert.Zero(t, sessionsOf(a))
	clients.Wait()
	assert.Zero(t, sessionsOf(a), "those whose token was verified before, too")
}

// A session whose token expires, or is revoked, between Admit and the opening.
func TestSessionBeginsTooLate(t *testing.T) {
	a := newAuth(t, Config{})
	id := Identity{User: "ann", Issued: time.Now().Add(-time.Minute), Expires: time.Now().Add(time.Minute)}
	s := new(session)
	s.identity.Store(&id)
	a.RevokeUser("ann")
	assert.ErrorIs(t, a.sessions.begin(s, nil), ErrRevoked)
	id.User, id.Expires = "bob", time.Now()
	assert.ErrorIs(t, a.sessions.begin(s, nil), ErrExpired)
	assert.Zero(t, sessionsOf(a))
	assert.ErrorIs(t, a.sessions.renew(s, &Identity{User: "bob"}), ErrExpired)
}

// A refresh holds neither after the expiry, though the timer may be late, nor after the end.
func TestRefreshTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, Config{})
		for _, ended := range []bool{false, true} {
			id := Identity{User: "ann", Expires: time.Now().Add(time.Second)}
			s := new(session)
			s.identity.Store(&id)
			require.NoError(t, a.sessions.begin(s, nil))
			a.sessions.timer.Stop()
			if ended {
				a.sessions.close(s)
			} else {
				time.Sleep(time.Second)
			}
			assert.ErrorIs(t, a.sessions.renew(s, &Identity{User: "ann"}), ErrExpired)
			a.sessions.close(s)
		}
	})
}

func TestRevokeNobody(t *testing.T) {
	v, err := Secrets(Secret{Token: canary + "-shared-secret", Group: "red"})
	require.NoError(t, err)
	a := newAuth(t, Config{Verifiers: []Verifier{v}})
	assert.Zero(t, a.RevokeUser("")+a.RevokeSession(""))
	_, err = a.Verify(canary + "-shared-secret")
	assert.NoError(t, err)
}

func TestRevocationsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, Config{MaxRevocations: 8, Verifiers: []Verifier{newJWT(t, JWTConfig{MaxLifetime: time.Hour, Leeway: -1})}})
		r := &a.sessions.revoked
		has := func(user string, issued time.Time) bool {
			return r.has(&Identity{User: user, Issued: issued}, time.Now())
		}
		revoked := time.Now()
		a.RevokeUser("ann")
		assert.True(t, has("ann", revoked.Add(-time.Second)))
		assert.True(t, has("ann", revoked))
		assert.True(t, has("ann", time.Time{}), "nobody knows when")
		assert.False(t, has("ann", revoked.Add(time.Second)))
		assert.False(t, has("bob", revoked.Add(-time.Second)))
		time.Sleep(time.Hour)
		assert.True(t, has("ann", revoked.Add(-time.Second)))
		time.Sleep(time.Nanosecond)
		assert.False(t, has("ann", revoked.Add(-time.Second)), "every such token has expired")
		for i := range 7 {
			a.RevokeUser(fmt.Sprint("u", i))
			time.Sleep(time.Second)
		}
		a.RevokeUser("more")
		assert.NotContains(t, r.at, revocation{user: "ann"})
		assert.Zero(t, r.floor)

		before := time.Now()
		time.Sleep(time.Second)
		for i := range 100 {
			a.RevokeSession(fmt.Sprint("s", i))
			time.Sleep(time.Second)
			assert.LessOrEqual(t, len(r.at), 8)
		}
		assert.True(t, has("bob", before), "the price of having no room")
		assert.True(t, has("u0", before))
		assert.True(t, has("bob", time.Time{}))
		assert.False(t, has("bob", time.Now()))
	})
}

// The heap and the indexes against a plain list, under random operations.
func TestSessionsAgainstAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	ended := map[*engine.Conn]error{}
	ss := &sessions{byUser: newIndex(0), bySession: newIndex(1), end: func(c *engine.Conn, why error) { ended[c] = why }}
	ss.revoked = revocations{most: 1 << 20, at: map[revocation]time.Time{}}
	model := map[*session]Identity{}
	all := map[*session]*engine.Conn{}
	identity := func() *Identity {
		id := &Identity{User: fmt.Sprint(rnd.IntN(5)), Session: fmt.Sprint(rnd.IntN(10)), Issued: time.Now().Add(time.Hour)}
		if rnd.IntN(3) > 0 {
			id.Expires = time.Now().Add(time.Hour + time.Duration(rnd.IntN(1000))*time.Second)
		}
		return id
	}
	pick := func() (s *session) {
		for s = range model {
			break
		}
		return s
	}
	for range 5000 {
		s := pick()
		switch n := rnd.IntN(20); {
		case n < 10:
			if len(model) == 64 {
				continue
			}
			id, s := identity(), new(session)
			s.identity.Store(id)
			c := new(engine.Conn) // only its address counts
			require.NoError(t, ss.begin(s, c))
			model[s], all[s] = *id, c
		case n < 15 && s != nil:
			ss.close(s)
			ss.close(s)
			delete(model, s)
		case n < 18 && s != nil:
			id := identity()
			id.User = model[s].User
			require.NoError(t, ss.renew(s, id))
			model[s] = *id
		case n < 20:
			clear(ended)
			user, session := fmt.Sprint(rnd.IntN(5)), fmt.Sprint(rnd.IntN(10))
			count := 0
			if n == 18 {
				count = ss.revokeUser(user)
			} else {
				count = ss.revokeSession(session)
			}
			clear(ss.revoked.at)
			want := 0
			for s, id := range model {
				if n == 18 && id.User == user || n == 19 && id.Session == session {
					want++
					assert.ErrorIs(t, ended[all[s]], ErrRevoked)
					delete(model, s)
				}
			}
			require.Equal(t, want, count)
			require.Len(t, ended, want)
		}
		expiring := 0
		for s, id := range model {
			if !id.Expires.IsZero() {
				expiring++
				require.Same(t, s, ss.heap[s.place])
			}
		}
		require.Len(t, ss.heap, expiring)
		require.Equal(t, len(model), ss.open)
		for i, s := range ss.heap {
			require.False(t, i > 0 && s.expires.Before(ss.heap[(i-1)/2].expires))
		}
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.timer.Stop()
}

// Many expiries, one timer: each within a second, by the clock of a bubble.
func TestExpiriesAreInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		due, late := map[*engine.Conn]time.Time{}, time.Duration(0)
		var mu sync.Mutex // of both: one firing may begin before the other has ended
		ss := &sessions{byUser: newIndex(0), bySession: newIndex(1), end: func(c *engine.Conn, why error) {
			mu.Lock()
			defer mu.Unlock()
			assert.Equal(t, ErrExpired, why)
			late = max(late, time.Since(due[c]))
			assert.False(t, time.Now().Before(due[c]))
			delete(due, c)
		}}
		for i := range 10_000 {
			s, c := new(session), new(engine.Conn)
			expires := time.Now().Add(time.Duration(1+(i*7919)%1_000_003) * time.Millisecond)
			mu.Lock()
			due[c] = expires
			mu.Unlock()
			s.identity.Store(&Identity{User: "ann", Expires: expires})
			require.NoError(t, ss.begin(s, c))
		}
		time.Sleep(2000 * time.Second)
		synctest.Wait()
		assert.Empty(t, due)
		assert.LessOrEqual(t, late, wakeAtMost)
		assert.Zero(t, ss.open)
		assert.True(t, ss.wake.IsZero(), "nothing runs any more")
	})
}

// clumsy panics when the first connection is closed.
type clumsy struct {
	interceptors.OutboundOnly
	once *sync.Once
}

func (p clumsy) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	if out.Type == frame.Close {
		p.once.Do(func() { panic("closing") })
	}
	return next.Run(ctx, out)
}

// What an interceptor of the program's does at an expiry ends neither the process nor
// the expiry of the others.
func TestExpiryPanics(t *testing.T) {
	l := new(logs)
	a := newAuth(t, Config{Logger: l.logger()})
	s := serve(t, a, engine.Config{CloseTimeout: 100 * time.Millisecond}, func(ep *engine.Endpoint) {
		ep.Interceptors = append(ep.Interceptors, clumsy{once: new(sync.Once)})
	})
	token := good(t, jwt.MapClaims{"exp": time.Now().Unix() + 2})
	for range 3 {
		open(t, s, token)
	}
	s.AwaitOpen(1)
	enginetest.Await(t, func() bool { return strings.Contains(l.String(), "closing a connection panicked") }, "the log tells")
}
