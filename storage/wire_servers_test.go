package storage_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/s3"
	"github.com/atrest/atrest/internal/devs3"
	"github.com/atrest/atrest/internal/faultproxy"
	"github.com/atrest/atrest/storage"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5/pgxpool"
)

// wireServerCases have a storage engine behind the proxy.
func wireServerCases() []wireCase {
	engine := wireCase{
		unavailable: atrest.ErrUnavailable,
		inDoubt:     true,
		offsets:     []int64{1 << 20}, // in the midst of a large body
		piece:       16 << 10,
		large:       6 << 20, // two parts in S3
	}
	onPostgres := engine
	onPostgres.large = 5 << 19 // three chunks
	onPostgres.name, onPostgres.open = "postgres", newWirePostgres
	cases := []wireCase{onPostgres}
	for _, kind := range devs3.Kinds() {
		onS3 := engine
		onS3.name, onS3.open = fmt.Sprint(kind), func(t *testing.T) *wireRig { return newWireS3(t, kind) }
		if kind == devs3.VersityGW {
			onS3.refused = []string{"rename"} // see deletesOnCondition
		}
		cases = append(cases, onS3)
	}
	return cases
}

// newWireRig has the storage engine behind the proxy, and a Vault that is sound.
func newWireRig(t *testing.T, proxy *faultproxy.Proxy, through, direct backend.Blobs) *wireRig {
	keys := newKeys(t, vault)
	return &wireRig{
		proxy:  proxy,
		keys:   keys,
		store:  newStore(t, storage.Config{Backend: through, Keys: keys}),
		direct: newStore(t, storage.Config{Backend: direct, Keys: keys}),
	}
}

func newWirePostgres(t *testing.T) *wireRig {
	t.Helper()
	server := database.get(t)
	proxy := faultproxy.New(t, server.Host())
	pool := newPool(t, server.URL())
	schema := newSchema(t, pool)
	direct := openPostgres(t, pool, schema)
	proxied := newPool(t, strings.Replace(server.URL(), server.Host(), proxy.Addr(), 1))
	rig := newWireRig(t, proxy, openPostgres(t, proxied, schema), direct)
	rig.hangUp = proxied.Reset
	// pgx asks the server to cancel what a connection was doing, on another
	// connection, and waits up to 15 s for both.
	rig.lingers = true
	rig.residue = func(t *testing.T) []string {
		left := orphanChunks(t, pool, schema)
		if n := proxied.Stat().AcquiredConns(); n > 0 {
			left = append(left, fmt.Sprintf("%d connections in use", n))
		}
		return left
	}
	return rig
}

// orphanChunks lists the chunks that belong to no object.
func orphanChunks(t *testing.T, pool *pgxpool.Pool, schema string) (left []string) {
	t.Helper()
	rows, err := pool.Query(t.Context(), fmt.Sprintf(
		`SELECT version::text, seq FROM %[1]s.chunks c WHERE NOT EXISTS (SELECT FROM %[1]s.objects o WHERE o.version = c.version)`, schema))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var version string
		var seq int
		if err := rows.Scan(&version, &seq); err != nil {
			t.Fatal(err)
		}
		left = append(left, fmt.Sprintf("chunk %s/%d", version, seq))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return left
}

func newWireS3(t *testing.T, kind devs3.Kind) *wireRig {
	t.Helper()
	server := objectStores[kind].get(t)
	target, err := url.Parse(server.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	proxy := faultproxy.New(t, target.Host)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	proxied := awss3.New(server.Client().Options(), func(o *awss3.Options) {
		endpoint := "http://" + proxy.Addr()
		o.BaseEndpoint = &endpoint
		o.HTTPClient = &http.Client{Transport: transport}
	})
	prefix := "wire-" + strings.ToLower(rand.Text()[:12]) + "/"
	open := func(client *awss3.Client) *s3.Store {
		blobs, err := s3.New(t.Context(), s3.Config{
			Client: client, Bucket: server.bucket, Prefix: prefix, PartSize: 5 << 20, SoleWriter: kind == devs3.MinIO,
		})
		if err != nil {
			t.Fatal(err)
		}
		return blobs
	}
	rig := newWireRig(t, proxy, open(proxied), open(server.Client()))
	rig.hangUp = transport.CloseIdleConnections
	// When its caller has gone, what is left on the server is being removed for
	// some seconds more, and a sole writer's last request goes on under the lock of
	// the name until it is answered.
	rig.lingers = true
	rig.residue = func(t *testing.T) (left []string) {
		server.eachUpload(t, prefix, func(key, id string) { left = append(left, "upload of "+key) })
		return left
	}
	// An upload can be aborted only once the server can be reached again.
	rig.sweep = func(t *testing.T) {
		server.eachUpload(t, prefix, func(key, id string) {
			_, err := server.Client().AbortMultipartUpload(t.Context(), &awss3.AbortMultipartUploadInput{
				Bucket: &server.bucket, Key: &key, UploadId: &id,
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	return rig
}

// eachUpload calls f for each unfinished upload of an object that the operations
// may write. MinIO lists uploads only to those who ask for the very key.
func (s *bucketServer) eachUpload(t *testing.T, prefix string, f func(key, id string)) {
	t.Helper()
	for _, name := range []string{"new", "new large", "over", "over large", "copy", "to", "from", "rewrap/1", "rewrap/2"} {
		escaped, err := backend.Escape(name)
		if err != nil {
			t.Fatal(err)
		}
		key := prefix + escaped + "!"
		out, err := s.Client().ListMultipartUploads(context.WithoutCancel(t.Context()), &awss3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &key})
		if err != nil {
			t.Fatal(err)
		}
		for _, upload := range out.Uploads {
			f(*upload.Key, *upload.UploadId)
		}
	}
}
