package postgres

import (
	"fmt"
	"testing"

	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TestPlans counts how often the server plans what small calls send. After the
// fifth time it takes a plan for any values, unless one for the values at hand seems
// better, and then it makes a new one each time. (So it does for listings and for batches of
// headers, of which each is of many rows.)
func TestPlans(t *testing.T) {
	t.Parallel()
	s := newStore(t, newPool(t, server.URL(), func(cfg *pgxpool.Config) { cfg.MaxConns, cfg.MinConns = 2, 0 }))
	v, w := mustPut(t, s, "name", 100), mustPut(t, s, "large", 2*chunkSize)
	execSQL(t, s, `INSERT INTO @schema@.objects (name, version, size, header, body)
		SELECT 'many/' || i, gen_random_uuid(), 0, '', '' FROM generate_series(1, 10000) i`)
	execSQL(t, s, `ANALYZE @schema@.objects`)
	var lookups []lookup
	for i := range 3 {
		lookups = append(lookups, newLookup(fmt.Sprint("name", i), backend.All))
	}
	const calls = 50
	for i := range calls {
		for _, cond := range []backend.Condition{{}, {IfAbsent: true}} {
			var objects []object
			for j := range 3 {
				objects = append(objects, object{name: fmt.Sprint("name", cond.IfAbsent, i, j), id: newContentID(), header: []byte("header"), body: bodyOf(100)})
			}
			for _, err := range s.putTogether(t.Context(), objects, cond) {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, errs := s.getTogether(t.Context(), lookups); errs[0] != nil {
			t.Fatal(errs[0])
		}
		mustPut(t, s, "alone", 100)
		wantObject(t, s, "name", v, 100)
		u := backend.HeaderUpdate{Name: "name", Version: v, Old: []byte("header"), New: []byte("header")}
		if err := s.SetHeader(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), "none", backend.Condition{}); err != nil {
			t.Fatal(err)
		}
		wantObject(t, s, "large", w, 2*chunkSize)
		if _, err := s.Copy(t.Context(), "copy", "name", v, nil, backend.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	conn := s.pool.AcquireAllIdle(t.Context())
	if len(conn) != 1 {
		t.Fatalf("%d connections were used", len(conn))
	}
	defer conn[0].Release()
	for what, st := range map[string]*statement{
		"puts": s.sql.putBatch, "puts if absent": s.sql.putBatchIfAbsent, "gets": s.sql.getBatch, "put": s.sql.put, "get": s.sql.get,
		"set header": s.sql.setHeader, "delete": s.sql.delete, "page": s.sql.page, "copy": s.sql.copy,
	} {
		var generic, custom int
		err := conn[0].QueryRow(t.Context(), `SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1`, st.sql).Scan(&generic, &custom)
		if err != nil {
			t.Fatal(what, err)
		}
		if custom != 5 || generic < calls-5 {
			t.Errorf("%s: %d executions of a plan for any values and %d of one for those at hand, of which there are to be 5", what, generic, custom)
		}
	}
}
