// Package faultproxy is a TCP proxy for tests. It stands in the test's own
// process between a client under test and a real server, and makes on the wire
// the faults that a network makes: connections refused, reset, cut, closed in
// one direction, slow, or swallowed.
//
// A general tool such as toxiproxy would do for some of that. This one exists
// because tests here need a half-close, which toxiproxy does not have (its links
// end both directions), and need to see in their own process whether a
// connection or a goroutine is left behind. Nor does it need a dependency, where
// toxiproxy brings prometheus and zerolog.
//
// # Faults
//
// A [Proxy] has one [Fault] at a time, for new and for existing connections;
// at first it has none and is transparent: it passes on bytes, the end of each
// direction, and resets. A connection that it can't make to the server it
// resets.
//
//   - [Refuse] resets new connections at once. Existing ones go on.
//   - [Reset] ends a connection with RST on both sides.
//   - [Cut] ends it with FIN on both sides.
//   - [HalfClose] ends one direction with FIN; the other goes on.
//   - [Blackhole] swallows the bytes of one direction; nobody is told.
//   - [Latency] delays each chunk of one direction.
//   - [Drip] lets a few bytes of one direction through at a time.
//
// # Counting
//
// "After N bytes" counts the bytes that one connection has passed in the fault's
// direction since Set, or since the connection was made if that is later. N
// bytes are passed, and the fault strikes when there is another. So
//
//	Cut(Down, 3<<20)    cuts the answer to a large GET after 3 MiB
//	Cut(Up, 5<<20)      cuts a COPY or an upload after 5 MiB
//	Reset(Down, 0)      resets when the answer comes, so the server has done
//	                    what it was asked to do, and the client can't know
//	Reset(Up, 0)        resets when the request comes; the server has seen none
//
// Every connection is struck, also the next one, with which the client tries
// again; under [Once] only the first is. A stream that is exactly N bytes long
// is not struck. [Proxy.Strikes] tells whether the fault was made at all.
package faultproxy
