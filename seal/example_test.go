package seal_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend/postgres"
	"github.com/atrest/atrest/seal"
	"github.com/atrest/atrest/seal/vaultserver"
	"github.com/atrest/atrest/transit"
)

// A whole node: it runs a Vault, boots, keeps it unsealed, and uses it. The instance key
// was made once, when the machine was set up (CreateKeyFile).
func Example() {
	var (
		ctx      context.Context
		database = os.Getenv("DATABASE_URL")
	)
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	records, err := postgres.NewRecords(ctx, postgres.RecordsConfig{Pool: pool})
	if err != nil {
		log.Fatal(err)
	}
	server, err := vaultserver.Start(ctx, vaultserver.Config{
		Dir: "/var/lib/app/vault", Storage: vaultserver.PostgresTables(database, records.VaultTables(), 16),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Stop(ctx)
	client, err := server.Client()
	if err != nil {
		log.Fatal(err)
	}
	manager, err := seal.New(seal.Config{
		Vault:        client,
		Records:      records,
		InstanceKey:  seal.Credential("instance-key"), // or KeyFile
		PasswordFile: "/var/lib/app/password",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close()

	// nil takes the password on disk; an operator gives it the first time.
	if err := manager.Boot(ctx, nil); err != nil {
		log.Fatal(err)
	}
	go manager.KeepUnsealed(ctx) // from now on, also after a restart of Vault

	service, err := manager.Client() // logged in, and stays so
	if err != nil {
		log.Fatal(err)
	}
	keys, err := transit.Open(ctx, transit.Config{Client: service, Key: "atrest"})
	if err != nil {
		log.Fatal(err)
	}
	_ = keys // for storage.New
}

// The first boot of an installation makes the password, and shows it before anything is
// sealed under it: who dies in between has not lost it.
func ExampleManager_Boot() {
	var (
		ctx     context.Context
		manager *seal.Manager
	)
	err := manager.Boot(ctx, nil)
	if errors.Is(err, atrest.ErrPasswordMissing) && errors.Is(err, atrest.ErrRecordMissing) {
		password := seal.GeneratePassword()
		fmt.Printf("keep this in a safe place: %s\n", password)
		err = manager.Boot(ctx, password)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// One node changes the password, all others adopt it.
func ExampleManager_ChangePassword() {
	var (
		ctx        context.Context
		one, other *seal.Manager // on two machines
	)
	password := seal.GeneratePassword()
	fmt.Printf("from now on the password is %s; keep the old one with the backups of its time\n", password)
	if err := one.ChangePassword(ctx, password); err != nil {
		log.Fatal(err) // either may be in force: keep both until a boot has succeeded
	}
	if err := other.Boot(ctx, nil); errors.Is(err, atrest.ErrStalePassword) {
		if err := other.Adopt(ctx, password); err != nil {
			log.Fatal(err)
		}
	}
}

// A key file is replaced by one beside it.
func ExampleManager_ChangeInstanceKey() {
	var (
		ctx     context.Context
		manager *seal.Manager // with InstanceKey: KeyFile("/etc/app/instance.key")
	)
	const next = "/etc/app/instance.key.next"
	if err := seal.CreateKeyFile(next); err != nil && !errors.Is(err, atrest.ErrExists) { // of a run that died
		log.Fatal(err)
	}
	err := manager.ChangeInstanceKey(ctx, seal.KeyFile(next), func(context.Context) error {
		return os.Rename(next, "/etc/app/instance.key")
	})
	if err != nil {
		log.Fatal(err)
	}
}

// Status is for the log, and for who is on call.
func ExampleManager_Status() {
	var (
		ctx     context.Context
		manager *seal.Manager
	)
	status := manager.Status(ctx)
	switch {
	case status.Broken != "":
		fmt.Println("broken at the", status.Broken, "- what to do:", status.Remedy)
	case status.LostShares > 0:
		fmt.Println("works, without", status.LostShares, "shares")
	}
	fmt.Println(status) // or all of it, in one line
}

// A Vault that somebody else runs, with the policy that ExternalPolicy returns.
func ExampleOpenExternal() {
	var (
		ctx     context.Context
		records *postgres.Records // marks the transit key as this installation's
	)
	client, err := api.NewClient(nil) // VAULT_ADDR
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(seal.ExternalPolicy("transit", "orders")) // for who runs it
	external, err := seal.OpenExternal(ctx, seal.ExternalConfig{
		Vault:   client,
		Login:   seal.Kubernetes("", "orders", ""),
		Key:     "orders",
		Records: records,
	})
	if err != nil {
		log.Fatal(err) // lists all that the policy lacks
	}
	defer external.Close()
	service, err := external.Client()
	if err != nil {
		log.Fatal(err)
	}
	keys, err := transit.Open(ctx, transit.Config{Client: service, Key: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	_ = keys // for storage.New
}
