package s3_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest/backend/s3"
)

func Example() {
	ctx := context.Background()
	// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or a profile or a role
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client := awss3.NewFromConfig(cfg, func(o *awss3.Options) {
		// Both for MinIO, VersityGW and the like, neither for AWS:
		o.BaseEndpoint = aws.String("https://s3.example.com")
		o.UsePathStyle = true // the bucket is in the path, not in the host's name
	})
	store, err := s3.New(ctx, s3.Config{
		Client: client,
		Bucket: "secrets", // which exists
		Prefix: "atrest/prod/",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.Capabilities(ctx))
}
