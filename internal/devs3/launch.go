package devs3

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest/internal/child"
)

// launch starts a process and waits until it answers. The first launch fixes
// the server's address.
//
// Neither server can be given port 0 and asked what it got, so we choose the port.
func (s *Server) launch(ctx context.Context) error {
	return child.TryAddresses(ctx, strings.TrimPrefix(s.endpoint, "http://"), func(address string) error {
		return s.launchAt(ctx, address)
	})
}

func (s *Server) launchAt(ctx context.Context, address string) error {
	args, env := s.program(s, address)
	client := s.clientAt("http://" + address)
	p, err := child.StartServer(ctx, child.Command{
		Path: s.binary,
		Args: args,
		Env:  append(s.baseEnv(), env...),
		Dir:  s.tempDir,
		Log:  s.log,
	}, func(ctx context.Context) error { return listBuckets(ctx, client) })
	if err != nil {
		return err
	}
	s.endpoint, s.process = "http://"+address, p
	return nil
}

// listBuckets sends the simplest request that needs the credentials. Another server
// that has the port does not know them, and so is not taken for ours.
func listBuckets(ctx context.Context, client *s3.Client) error {
	_, err := client.ListBuckets(ctx, &s3.ListBucketsInput{})
	return err
}
