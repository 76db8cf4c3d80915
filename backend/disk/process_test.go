package disk

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/atrest/atrest/backend"
)

// TestProcessesCompareAndSwap has four processes count together.
func TestProcessesCompareAndSwap(t *testing.T) {
	const processes, each = 4, 15
	for _, way := range []string{"put", "header"} {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir() + "/store"
			s := openStore(t, Config{Dir: dir})
			if _, err := s.Put(t.Context(), "counter", []byte("0"), strings.NewReader(""), backend.Condition{}); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range processes {
				cmd := child(t, order{Dir: dir, Task: "increment", KillAt: each, Arg: way})
				wg.Go(func() {
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%v: %s", err, out)
					}
				})
			}
			wg.Wait()
			o, err := s.Get(t.Context(), "counter", backend.Range{}, "")
			if err != nil {
				t.Fatal(err)
			}
			o.Body.Close()
			if got := fmt.Sprint(string(o.Header), " ", o.Size); way == "put" && got != fmt.Sprint("0 ", 2000*processes*each) ||
				way == "header" && got != fmt.Sprint(processes*each, " 0") {
				t.Errorf("header and size are %s", got)
			}
			wantResidue(t, dir)
		})
	}
}

// TestProcessesPutIfAbsent has processes race for the same new names.
func TestProcessesPutIfAbsent(t *testing.T) {
	dir := t.TempDir() + "/store"
	var mu sync.Mutex
	winners := map[string]string{}
	var wg sync.WaitGroup
	for i := range 3 {
		who := fmt.Sprint(i)
		cmd := child(t, order{Dir: dir, Task: "absent", Arg: who})
		wg.Go(func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			mu.Lock()
			defer mu.Unlock()
			for line := range strings.Lines(string(out)) {
				name := strings.TrimSpace(strings.TrimPrefix(line, "won "))
				if was, ok := winners[name]; ok {
					t.Errorf("both %s and %s won %s", was, who, name)
				}
				winners[name] = who
			}
		})
	}
	wg.Wait()
	s := openStore(t, Config{Dir: dir})
	n := 0
	for e, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if n++; winners[e.Name] != string(e.Header) {
			t.Errorf("%s is of %q, but %q won", e.Name, e.Header, winners[e.Name])
		}
	}
	if n != 60 || len(winners) != 60 {
		t.Errorf("%d objects, %d winners", n, len(winners))
	}
	wantResidue(t, dir)
}

// TestSweepSparesTheLiving sweeps while another process is in the middle of a
// put, and again after that process was killed.
func TestSweepSparesTheLiving(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprint("kill ", kill), func(t *testing.T) {
			dir := prepareScenario(t, scenarios[5])
			s := openStore(t, Config{Dir: dir})
			cmd := child(t, order{Dir: dir, Task: "slowPut"})
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "waiting\n" {
				t.Fatalf("%q, %v", line, err)
			}
			before := residue(t, dir)
			if len(before) != 2 { // journal entry and body
				t.Errorf("in the middle of a put there are %q", before)
			}
			if err := s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if after := residue(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("after the sweep there are %q of %q", after, before)
			}
			want := newBig
			if kill {
				want = oldBig
				cmd.Process.Kill()
			}
			in.Close()
			io.Copy(io.Discard, out)
			if err := cmd.Wait(); err != nil && !kill {
				t.Fatal(err)
			}
			if err := s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantResidue(t, dir)
			if err := is(t.Context(), s, target, want); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSweepersAndStartersMeet opens, sweeps and closes the same directory from
// many goroutines, each with its own Store, so that sessions are made and swept
// at the same time.
func TestSweepersAndStartersMeet(t *testing.T) {
	dir := t.TempDir() + "/store"
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 10 {
				s, err := New(t.Context(), Config{Dir: dir})
				if err != nil {
					t.Error(err)
					return
				}
				name := fmt.Sprintf("d%d/e/f", (i+j)%3)
				if _, err := s.Put(t.Context(), name, nil, strings.NewReader(strings.Repeat("x", big)), backend.Condition{}); err != nil {
					t.Error(err)
				}
				if err := s.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
				if err := s.Delete(t.Context(), name, backend.Condition{}); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	openStore(t, Config{Dir: dir})
	wantResidue(t, dir)
}

// TestDiskFull writes under a limit that makes write fail half way.
func TestDiskFull(t *testing.T) {
	dir := prepareScenario(t, scenarios[5])
	if out, err := child(t, order{Dir: dir, Task: "fileSize"}).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantResidue(t, dir) // with nothing swept
	checkScenario(t, dir, oldBig)
}
