package seal

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// scope is the name under which OpenTelemetry has what is counted here.
const scope = "github.com/atrest/atrest/seal"

// counts are what an operator watches.
type counts struct {
	unseals metric.Int64Counter
	states  metric.Int64Counter
}

func newCounts(provider metric.MeterProvider) (*counts, error) {
	if provider == nil {
		provider = noop.NewMeterProvider()
	}
	meter := provider.Meter(scope)
	unseals, err := meter.Int64Counter("atrest.seal.unseals",
		metric.WithDescription("Attempts to unseal this node's Vault, by outcome."), metric.WithUnit("{attempt}"))
	if err != nil {
		return nil, fmt.Errorf("counting unseals: %w", err)
	}
	states, err := meter.Int64Counter("atrest.seal.state_changes",
		metric.WithDescription("Changes of this node's Vault, by the state that it came to."), metric.WithUnit("{change}"))
	if err != nil {
		return nil, fmt.Errorf("counting changes of state: %w", err)
	}
	return &counts{unseals, states}, nil
}

func (c *counts) unsealed(ctx context.Context, err error) {
	outcome := "unsealed"
	if err != nil {
		outcome = "failed"
	}
	c.unseals.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
}

func (c *counts) became(ctx context.Context, state VaultState) {
	c.states.Add(ctx, 1, metric.WithAttributes(attribute.String("state", string(state))))
}
