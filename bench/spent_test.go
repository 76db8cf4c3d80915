package main

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 7 4 4 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 100 1000 10\n"
	p, err := parseStat("42 (a (b) c)" + rest)
	if want := (usage{42, 7, "a (b) c", 3 * time.Second}); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "42", "42 (a", ") 42 (", "x (a)" + rest, "42 (a) S 7 4 4", "42 (a) S x 4 4 0 -1 4194560 100 0 0 0 250 50 9"} {
		if p, err := parseStat(bad); err == nil {
			t.Errorf("%q is %+v", bad, p)
		}
	}
}

// TestSpent lets a child, and a child of that, work for a while.
func TestSpent(t *testing.T) {
	before := spentUntilNow()
	if before[clientName] <= 0 {
		t.Fatalf("%v", before)
	}
	cmd := exec.Command("sh", "-c", "sh -c 'while :; do :; done' & echo $!; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	grandchild := make([]byte, 16)
	n, err := out.Read(grandchild)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := exec.Command("kill", string(grandchild[:n-1])).Run(); err != nil {
			t.Error(err)
		}
		cmd.Wait() // its status is that of the one that was ended
	}()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		per := spentUntilNow().each(before, 1)
		if per["sh"] > 0 {
			break
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("nothing of the children: %v, %+v", per, descendants(os.Getpid()))
		}
	}
	if text := spentText(map[string]float64{"vault": 2, clientName: 1, "postgres": 30}); text != "client 1, postgres 30, vault 2" {
		t.Error(text)
	}
}
