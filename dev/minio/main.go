// Command minio is a real MinIO server, for tests of the S3 backend.
//
// It is MinIO as it was on 7 April 2021, under the Apache Licence 2.0: later that
// month MinIO went over to the AGPL, so nothing newer may be required in go.mod.
// It is old enough to ignore conditions on writes, and so shows what the backend
// does with a server that ignores them. MinIO's gateways to other stores are left
// out.
//
// It is its own Go module because MinIO's dependencies must not reach the
// library's go.mod.
package main

import (
	"os"

	minio "github.com/minio/minio/cmd"
)

func main() { minio.Main(os.Args) }
