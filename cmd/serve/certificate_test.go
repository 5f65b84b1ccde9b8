package serve

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// writePair writes a certificate with this number, valid for an hour from now on.
func writePair(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	require.NoError(t, err)
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}), 0o600))
}

// B6: the files are looked at once a second at most, a broken pair is told of once, and
// the one before it stays.
func TestB6CertificateIsCheckedOnceASecond(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		writePair(t, cert, key, 1)
		c, err := loadCertificate(cert, key, slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		served := func() int64 {
			got, err := c.get(nil)
			require.NoError(t, err)
			return got.Leaf.SerialNumber.Int64()
		}
		writePair(t, cert, key, 2)
		require.EqualValues(t, 1, served())
		time.Sleep(checkEvery - 1)
		require.EqualValues(t, 1, served(), "the second is not over")
		time.Sleep(1 * time.Nanosecond)
		require.EqualValues(t, 2, served())
		require.Equal(t, 1, strings.Count(log.String(), "read again"))

		for _, breaking := range []func() error{
			func() error { return os.WriteFile(key, []byte("half"), 0o600) },
			func() error { return os.Remove(cert) },
		} {
			log.Reset()
			require.NoError(t, breaking())
			for range 3 {
				time.Sleep(checkEvery)
				require.EqualValues(t, 2, served())
			}
			require.Equal(t, 1, strings.Count(log.String(), "the old one stays"), log.String())
		}
		writePair(t, cert, key, 3)
		time.Sleep(checkEvery)
		require.EqualValues(t, 3, served())
		log.Reset()
		time.Sleep(2 * time.Hour)
		served()
		require.Empty(t, log.String(), "nothing has changed")
		c.reload()
		require.Contains(t, log.String(), "not valid now")
	})
}
