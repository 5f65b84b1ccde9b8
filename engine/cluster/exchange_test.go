package cluster_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/brokertest"
)

func exchange(testing.TB) brokertest.Harness {
	x := new(cluster.Exchange)
	return brokertest.Harness{
		New: func(testing.TB) cluster.Broker { return x.Broker() },
		Publish: func(t testing.TB, channel, payload string) {
			_, err := x.Broker().Publish(context.Background(), []cluster.Message{{Channel: channel, Payload: []byte(payload)}})
			require.NoError(t, err)
		},
	}
}

func TestExchangeContract(t *testing.T) { brokertest.Contract(t, exchange) }

func TestExchangeNodes(t *testing.T) { brokertest.Nodes(t, exchange) }

func BenchmarkCrossNode(b *testing.B) { brokertest.Cost(b, exchange(b)) }
