// Command withservers runs a command beside a PostgreSQL and an S3 server of
// its own, each on request.
//
//	withservers [-postgres] [-s3 KIND] [-quiet] -- COMMAND ARGS...
//
// With -postgres, COMMAND has an empty database, at DATABASE_URL. With -s3, KIND
// being minio or versitygw, it has an empty bucket, S3_BUCKET, and
// AWS_ENDPOINT_URL_S3, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
// which the AWS libraries read. When the command ends, so do the servers, their
// data is removed, and withservers exits with the command's code. It starts no
// Vault. For one, run it in withvault:
//
//	withvault -- withservers -postgres -- go run ./examples/secrets list
//
// They are two commands because a newcomer's first one, the demo, needs a Vault
// only, and would wait for the clients of all the others to compile.
//
// Exit codes of its own follow the shell and its like: 2 for a bad command
// line, 125 if a server failed, 126 or 127 if COMMAND cannot be run, 128 plus
// the signal's number if a signal ended COMMAND.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"

	"github.com/atrest/atrest/internal/beside"
	"github.com/atrest/atrest/internal/devpostgres"
	"github.com/atrest/atrest/internal/devs3"
)

func main() {
	flags := flag.NewFlagSet("withservers", flag.ContinueOnError)
	postgres := flags.Bool("postgres", false, "start a PostgreSQL and set DATABASE_URL")
	var s3 devs3.Kind
	flags.Func("s3", "start an S3 server of this `KIND`, minio or versitygw, and set S3_BUCKET and the AWS_ variables", func(text string) error {
		s3 = devs3.Kind(text)
		if kinds := devs3.Kinds(); !slices.Contains(kinds, s3) {
			return fmt.Errorf("it is one of %q", kinds)
		}
		return nil
	})
	program := beside.Program{
		Flags:    flags,
		Synopsis: "[-postgres] [-s3 KIND]",
		Start: func(ctx context.Context, servers *beside.Servers) error {
			return start(ctx, servers, *postgres, s3)
		},
	}
	os.Exit(program.Run(os.Args[1:]))
}

// start starts what the command line asks for.
func start(ctx context.Context, servers *beside.Servers, postgres bool, s3 devs3.Kind) error {
	if postgres {
		if err := startPostgres(ctx, servers); err != nil {
			return err
		}
	}
	if s3 == "" {
		return nil
	}
	return startS3(ctx, servers, s3)
}

// startPostgres gives the command an empty database.
func startPostgres(ctx context.Context, servers *beside.Servers) error {
	server, err := devpostgres.Start(ctx, devpostgres.Options{})
	if err != nil {
		return err
	}
	servers.OnStop(server.Stop)
	database, err := server.Database(ctx, "withservers")
	if err != nil {
		return err
	}
	servers.Describe("PostgreSQL at " + server.Host())
	servers.Replace("PG", "DATABASE_URL=")
	servers.Set("DATABASE_URL=" + database)
	return nil
}

// startS3 gives the command an empty bucket.
func startS3(ctx context.Context, servers *beside.Servers, kind devs3.Kind) error {
	server, err := devs3.Start(ctx, devs3.Options{Kind: kind})
	if err != nil {
		return err
	}
	servers.OnStop(server.Stop)
	bucket, err := server.NewBucket(ctx)
	if err != nil {
		return err
	}
	options := server.Client().Options()
	keys, err := options.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("credentials for S3: %w", err)
	}
	servers.Describe(fmt.Sprintf("S3 (%s) at %s", kind, server.Endpoint()))
	servers.Replace("AWS_", "S3_BUCKET=")
	servers.Set("AWS_ENDPOINT_URL_S3="+server.Endpoint(), "AWS_REGION="+options.Region,
		"AWS_ACCESS_KEY_ID="+keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+keys.SecretAccessKey, "S3_BUCKET="+bucket)
	return nil
}
