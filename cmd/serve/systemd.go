package serve

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

// firstFd is the number of the first socket that systemd hands over: sd_listen_fds(3).
const firstFd = 3

// inherited returns the listener that systemd has handed over, or nil if there is none.
// The variables are meant for the process whose number they name, and no other.
func inherited(getenv func(string) string) (net.Listener, error) {
	if getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	if n := getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("LISTEN_FDS=%q: allowed is 1, a single listening socket", n)
	}
	f := os.NewFile(firstFd, "LISTEN_FDS")
	defer func() { _ = f.Close() }() // the listener has a copy
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the socket of LISTEN_FDS: %w", err)
	}
	return ln, nil
}

// notify tells systemd how the service is: sd_notify(3). Without a NOTIFY_SOCKET nobody
// has asked.
func notify(getenv func(string) string, state string) error {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte(state))
	return err
}
