package devs3

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest/internal/child"
)

// launch starts a process and waits until it answers. The first launch fixes
// the server's address.
//
// A port is never free for sure until the server itself has bound it, and
// neither server can be given port 0 and asked what it got. So it is given one
// that was free a moment ago, and if that is gone, the next one; on a restart
// the port is fixed, so we wait for whoever holds it, most likely the local end
// of a short connection, to let go.
func (s *Server) launch(ctx context.Context) error {
	for {
		address, err := s.nextAddress()
		if err != nil {
			return err
		}
		err = s.launchAt(ctx, address)
		if !errors.Is(err, errAddressInUse) {
			return err
		}
		if err := child.Poll(ctx); err != nil {
			return fmt.Errorf("no port to listen on: %w", err)
		}
	}
}

// nextAddress is the address for the next attempt to start.
func (s *Server) nextAddress() (string, error) {
	if s.endpoint == "" {
		return child.FreeAddress()
	}
	at, err := url.Parse(s.endpoint)
	if err != nil {
		return "", err
	}
	return at.Host, nil
}

func (s *Server) launchAt(ctx context.Context, address string) error {
	args, env := s.program(s, address)
	out := &child.Output{To: s.log}
	p, err := child.Start(child.Command{
		Path: s.binary,
		Args: args,
		Env:  append(s.baseEnv(), env...),
		Dir:  s.tempDir,
		Log:  out,
	})
	if err != nil {
		return err
	}
	if err := s.awaitReady(ctx, p, out, "http://"+address); err != nil {
		return errors.Join(err, p.Stop(stopTimeout))
	}
	s.endpoint, s.process = "http://"+address, p
	return nil
}

// errAddressInUse means that another process has the port.
var errAddressInUse = errors.New("address already in use")

// awaitReady asks the server for its buckets until it answers. Another server
// that has the port does not know the credentials, and so is not taken for ours.
func (s *Server) awaitReady(ctx context.Context, p *child.Process, out *child.Output, endpoint string) error {
	client := s.clientAt(endpoint)
	for {
		err := listBuckets(ctx, client)
		select {
		case <-p.Done():
			return startFailure(out)
		default:
		}
		if err == nil {
			return nil
		}
		if ended := child.Poll(ctx); ended != nil {
			return fmt.Errorf("the server did not get ready: %w; the last answer: %w; it printed:\n%s", ended, err, out.Tail())
		}
	}
}

// listBuckets sends the simplest request that needs the credentials. One that is
// never answered must not use up all the time there is.
func listBuckets(ctx context.Context, client *s3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := client.ListBuckets(ctx, &s3.ListBucketsInput{})
	return err
}

// startFailure makes an error of what a server printed before it gave up. Both
// say "already in use", each in its own way.
func startFailure(out *child.Output) error {
	tail := out.Tail()
	if strings.Contains(tail, "already in use") {
		return errAddressInUse
	}
	return fmt.Errorf("the server exited at once; it printed:\n%s", tail)
}
