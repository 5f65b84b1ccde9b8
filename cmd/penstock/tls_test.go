package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// A pair is a certificate's two files.
type pair struct{ cert, key string }

func newPair(t *testing.T) pair {
	dir := t.TempDir()
	return pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

func (p pair) flags(more ...string) []string {
	return append([]string{"--cert", p.cert, "--key", p.key}, more...)
}

// write makes both files anew, for a certificate with this number. Their sizes are the
// same each time.
func (p pair) write(t *testing.T, serial int64) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	require.NoError(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	for file, block := range map[string]*pem.Block{p.cert: {Type: "CERTIFICATE", Bytes: der}, p.key: {Type: "PRIVATE KEY", Bytes: key}} {
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
}

// dialTLS returns a client and the number of the certificate that it has been shown.
func dialTLS(p *process) (*gorilla.Conn, int64, error) {
	d := gorilla.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, HandshakeTimeout: patience} //nolint:gosec // the number tells it
	ws, _, err := d.Dial(p.url, nil)
	if err != nil {
		return nil, 0, err
	}
	return ws, ws.NetConn().(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

// serial dials, echoes and returns the certificate's number.
func serial(t *testing.T, p *process) int64 {
	t.Helper()
	ws, n, err := dialTLS(p)
	require.NoError(t, err)
	defer func() { _ = ws.Close() }()
	echoGorilla(t, ws, gorilla.TextMessage, "x")
	return n
}

// awaitSerial dials until the certificate is another.
func awaitSerial(t *testing.T, p *process, want int64) {
	t.Helper()
	require.Eventually(t, func() bool { return serial(t, p) == want }, patience, 50*time.Millisecond)
}

// B6: wss:// with a real client that checks the certificate.
func TestB6TLS(t *testing.T) {
	files := newPair(t)
	files.write(t, 1)
	p := start(t, nil, files.flags("-f", "echo_messages")...)
	require.Regexp(t, "^wss://", p.url)
	roots := x509.NewCertPool()
	text, err := os.ReadFile(files.cert)
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(text))
	d := gorilla.Dialer{TLSClientConfig: &tls.Config{RootCAs: roots}}
	ws, _, err := d.Dial(p.url, nil)
	require.NoError(t, err)
	echoGorilla(t, ws, gorilla.TextMessage, "hello")
	_, _, err = gorilla.DefaultDialer.Dial(p.url, nil)
	require.Error(t, err, "it is not trusted without")
	_, _, err = gorilla.DefaultDialer.Dial("ws://"+p.addr, nil)
	require.Error(t, err, "there is no plain text beside it")
	p.signal(syscall.SIGTERM)
	_, _, err = ws.ReadMessage()
	require.True(t, gorilla.IsCloseError(err, gorilla.CloseGoingAway), "%v", err)
	_ = ws.Close()
	require.Equal(t, 0, p.wait(), "%s", &p.stderr)
}

// B6: the certificate is swapped under load, twice, with a broken pair between: nobody
// is dropped, nobody is refused, and new clients get the new one.
func TestB6CertificateUnderLoad(t *testing.T) {
	files := newPair(t)
	files.write(t, 1)
	p := start(t, nil, files.flags("-f", "echo_messages")...)
	var failures atomic.Int64
	var echoes [8]atomic.Int64
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range echoes { // open all the time
		ws, n, err := dialTLS(p)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		all.Go(func() {
			defer func() { _ = ws.Close() }()
			for text := bytes.Repeat([]byte("x"), 3000); ; echoes[i].Add(1) {
				select {
				case <-stop:
					return
				default:
				}
				if ws.WriteMessage(gorilla.TextMessage, text) != nil {
					failures.Add(1)
					return
				}
				if _, got, err := ws.ReadMessage(); err != nil || !bytes.Equal(got, text) {
					failures.Add(1)
					return
				}
			}
		})
	}
	all.Go(func() { // and others come and go
		for {
			select {
			case <-stop:
				return
			default:
			}
			ws, _, err := dialTLS(p)
			if err != nil {
				failures.Add(1)
				return
			}
			_ = ws.Close()
		}
	})
	files.write(t, 2)
	awaitSerial(t, p, 2)
	require.NoError(t, os.WriteFile(files.cert, []byte("broken"), 0o600))
	require.Eventually(t, func() bool { return bytes.Contains([]byte(p.stderr.String()), []byte("of no use")) }, patience, 20*time.Millisecond)
	require.EqualValues(t, 2, serial(t, p))
	files.write(t, 3)
	awaitSerial(t, p, 3)
	var before [len(echoes)]int64
	for i := range echoes {
		before[i] = echoes[i].Load()
	}
	for i := range echoes { // everybody is still there
		require.Eventually(t, func() bool { return echoes[i].Load() > before[i]+1 }, patience, time.Millisecond)
	}
	close(stop)
	all.Wait()
	require.Zero(t, failures.Load())
}

// B6: SIGHUP reads files that do not look changed, and ends nothing.
func TestB6CertificateOnHangup(t *testing.T) {
	files := newPair(t)
	files.write(t, 1)
	at := time.Now().Add(-time.Hour)
	touch := func() {
		require.NoError(t, os.Chtimes(files.cert, at, at))
		require.NoError(t, os.Chtimes(files.key, at, at))
	}
	touch()
	p := start(t, nil, files.flags("-f", "echo_messages")...)
	ws, _, err := dialTLS(p)
	require.NoError(t, err)
	defer func() { _ = ws.Close() }()
	files.write(t, 2)
	touch()
	p.signal(syscall.SIGHUP)
	awaitSerial(t, p, 2)
	require.NoError(t, os.WriteFile(files.key, []byte("broken"), 0o600))
	p.signal(syscall.SIGHUP)
	require.Eventually(t, func() bool { return bytes.Contains([]byte(p.stderr.String()), []byte("of no use")) }, patience, 20*time.Millisecond)
	require.EqualValues(t, 2, serial(t, p))
	echoGorilla(t, ws, gorilla.TextMessage, "still here")
}
