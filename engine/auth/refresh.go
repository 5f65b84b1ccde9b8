package auth

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// mostRefresh is the length of the longest message that RefreshJSON looks at: room for
// the longest token with an escape for every byte of it.
const mostRefresh = 6*mostToken + 1<<10

// RefreshJSON is for Config.Refresh. It recognises a text message that is a JSON object
// with the strings "type", which is "auth" or "refresh", and "token", all spelt without
// escapes. Other members are ignored. An object in which one of them occurs twice is
// recognised, and its token is none.
func RefreshJSON(m interceptors.Inbound) (token string, ok bool) {
	if m.Type != frame.Text || len(m.Data) > mostRefresh || !mayRefresh(m.Data) {
		return "", false
	}
	object, err := parseObject(m.Data)
	if err == errTwice {
		return "", true
	}
	if kind := object["type"]; err != nil || kind != "auth" && kind != "refresh" {
		return "", false
	}
	token, ok = object["token"].(string)
	return token, ok
}

// mayRefresh is for the messages that are none: it allocates nothing.
func mayRefresh(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n")
	return len(text) > 0 && text[0] == '{' && bytes.Contains(text, []byte(`"token"`)) &&
		(bytes.Contains(text, []byte(`"auth"`)) || bytes.Contains(text, []byte(`"refresh"`)))
}

// InterceptInbound takes refreshes out of the messages. A good one is answered by
//
//	{"type": "auth", "status": 200, "expires": 1767225600}
//
// with the new token's expiry in Unix seconds, 0 for never; another one like every
// refusal, and the old expiry stays.
func (i interceptor) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	token, ok := i.a.cfg.Refresh(in)
	if !ok {
		return next.Run(ctx, in)
	}
	c := engine.FromContext(ctx)
	id, err := i.a.renew(c, token)
	if err != nil {
		i.a.log("auth: refresh refused", err, id, "conn", c.ID())
		status, text := told(err)
		return interceptors.Refuse(status, text)
	}
	expires := int64(0)
	if !id.Expires.IsZero() {
		expires = id.Expires.Unix()
	}
	return c.SendText(fmt.Sprintf(`{"type":"auth","status":200,"expires":%d}`, expires))
}

// renew has a connection go on with another token of the same user. The identity that
// it returns with an error is for the log.
func (a *Auth) renew(c *engine.Conn, token string) (Identity, error) {
	s, ok := c.Get(a).(*session)
	if !ok {
		return Identity{}, ErrOtherUser // nobody's connection
	}
	id, err := a.verify(token, time.Now())
	if err != nil {
		return id, err
	}
	return id, a.sessions.renew(s, &id)
}
