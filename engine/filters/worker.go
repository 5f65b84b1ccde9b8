package filters

import (
	"errors"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/relay"
)

// WorkerRelay is package relay: workers, which present the secret that the environment
// has in WORKER_SECRET, and clients, which get what workers say, on whichever nodes they
// are.
func WorkerRelay(env Env) (Filter, error) {
	secret := env.Getenv("WORKER_SECRET")
	if secret == "" {
		return Filter{}, errors.New("WORKER_SECRET is not set: it is what workers must present")
	}
	cfg := relay.Config{Secrets: []string{secret}, Logger: env.Logger}
	if env.Join != nil {
		cfg.Join = func(c cluster.Config) (*cluster.Node, error) { return env.Join("relay", c) }
	}
	r, err := relay.New(env.Engine, cfg)
	if err != nil {
		return Filter{}, err
	}
	return Filter{Handler: r.Handler()}, nil
}
