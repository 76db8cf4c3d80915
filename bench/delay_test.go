package main

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestDelayProxy: an answer comes later by the delay, not sooner, and bytes do
// not wait for each other.
func TestDelayProxy(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	const delay = 40 * time.Millisecond
	proxy, err := newDelayProxy(echo.Addr().String(), delay)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", proxy.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	start := time.Now()
	const messages = 50
	go func() {
		for i := range byte(messages) {
			conn.Write([]byte{i})
			time.Sleep(time.Millisecond)
		}
	}()
	buf := make([]byte, 1)
	for i := range byte(messages) {
		if _, err := io.ReadFull(conn, buf); err != nil || buf[0] != i {
			t.Fatalf("message %d: %v, %v", i, buf, err)
		}
		if took := time.Since(start); i == 0 && took < delay {
			t.Errorf("the first answer came after %v", took)
		}
	}
	// One after the other they would take messages times the delay.
	if took := time.Since(start); took > messages*delay/2 {
		t.Errorf("all answers took %v", took)
	}
	if err := proxy.close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(buf); err == nil {
		t.Error("the connection is still open")
	}
}
