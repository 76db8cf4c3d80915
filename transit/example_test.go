package transit_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/transit"
)

func Example() {
	client, err := api.NewClient(nil) // VAULT_ADDR, VAULT_TOKEN
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	w, err := transit.Open(ctx, transit.Config{Client: client, Key: "documents", CreateKey: true})
	if err != nil {
		log.Fatal(err)
	}

	dataKey := make([]byte, 32)
	rand.Read(dataKey)
	wrapped, err := w.Wrap(ctx, dataKey, []byte("store 7, object invoice.pdf"))
	if err != nil {
		log.Fatal(err)
	}

	_, err = w.Unwrap(ctx, wrapped, []byte("store 7, object other.pdf"))
	if errors.Is(err, atrest.ErrTampered) {
		log.Print("a wrapped key opens nothing but its own object")
	}
}
