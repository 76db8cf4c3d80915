// Uploads is a service that keeps what its users upload in S3, and what it knows
// of the uploads in a table of its own in PostgreSQL. It needs DATABASE_URL,
// S3_BUCKET and the AWS_ variables, VAULT_ADDR and VAULT_TOKEN, and listens on
// LISTEN (default 127.0.0.1:8080). Try it with servers of its own:
//
//	make example NAME=uploads
//	curl --data-binary @README.md -H 'Content-Type: text/markdown' http://127.0.0.1:8080/uploads
//	curl http://127.0.0.1:8080/uploads/ID
//
// Needs: vault postgres s3
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	s, err := open(ctx)
	if err != nil {
		return err
	}
	defer s.db.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /uploads", s.upload)
	mux.HandleFunc("GET /uploads/{id}", s.download)
	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:8080"))
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	server := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { server.Shutdown(context.Background()) })
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// upload stores the object first and the row after it: a crash in between
// leaves an object that no row names, which costs space, and never a row whose
// object is missing.
func (s *service) upload(w http.ResponseWriter, r *http.Request) {
	id := rand.Text()
	info, err := s.store.Put(r.Context(), id, r.Body, nil)
	if err == nil {
		_, err = s.db.Exec(r.Context(), `INSERT INTO uploads (id, content_type, size) VALUES ($1, $2, $3)`,
			id, r.Header.Get("Content-Type"), info.Size)
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintln(w, id)
}

func (s *service) download(w http.ResponseWriter, r *http.Request) {
	var contentType string
	var size int64
	row := s.db.QueryRow(r.Context(), `SELECT content_type, size FROM uploads WHERE id = $1`, r.PathValue("id"))
	if err := row.Scan(&contentType, &size); err != nil {
		fail(w, err)
		return
	}
	object, err := s.store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		fail(w, err)
		return
	}
	defer object.Close()
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", fmt.Sprint(size))
	if _, err := object.WriteTo(w); err != nil {
		// Too late for a status: the client sees a body that is too short.
		panic(http.ErrAbortHandler)
	}
}
