package filters

import (
	"errors"

	"github.com/penstock-ws/penstock/engine/relay"
)

// WorkerRelay is package relay: workers, which present the secret that the environment
// has in WORKER_SECRET, and clients, which get what workers say.
func WorkerRelay(env Env) (Filter, error) {
	secret := env.Getenv("WORKER_SECRET")
	if secret == "" {
		return Filter{}, errors.New("WORKER_SECRET is not set: it is what workers must present")
	}
	r, err := relay.New(env.Engine, relay.Config{Secrets: []string{secret}, Logger: env.Logger})
	if err != nil {
		return Filter{}, err
	}
	return Filter{Handler: r.Handler()}, nil
}
