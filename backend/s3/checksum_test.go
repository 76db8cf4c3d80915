package s3

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest/internal/devs3"
)

// TestChecksumsWhenSupported has the client that config.LoadDefaultConfig makes,
// which adds a checksum wherever the protocol allows one.
func TestChecksumsWhenSupported(t *testing.T) {
	eachServer(t, func(t *testing.T, server *devs3.Server) {
		cfg := config(t, server)
		cfg.PartSize = minPart
		cfg.Client = awss3.New(cfg.Client.Options(), func(o *awss3.Options) {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenSupported
		})
		s := newStore(t, cfg)
		if _, err := s.Capabilities(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 1000, minPart, minPart + 1, 3 * minPart} {
			version := mustPut(t, s, "name", "header", payload(size, size))
			want(t, s, "name", version, "header", payload(size, size))
		}
	})
}
