package main

// goals are the ratios that were promised, by the names of results. A result
// that is not here is for comparison only.
var goals = map[string]float64{
	"body/encrypt/1MiB/aesgcm":   0.95,
	"body/encrypt/64MiB/aesgcm":  0.95,
	"body/encrypt/1GiB/aesgcm":   0.95,
	"body/decrypt/1MiB/aesgcm":   0.95,
	"body/decrypt/64MiB/aesgcm":  0.95,
	"body/decrypt/1GiB/aesgcm":   0.95,
	"body/encrypt/1MiB/fastest":  1.6,
	"body/encrypt/64MiB/fastest": 1.6,
	"body/encrypt/1GiB/fastest":  1.6,
	"body/decrypt/1MiB/fastest":  1.6,
	"body/decrypt/64MiB/fastest": 1.6,
	"body/decrypt/1GiB/fastest":  1.6,

	"small/put/postgres/64/naive": 3,
	"small/put/postgres/64/bare":  0.9,
	"small/get/postgres/64/naive": 4,
	"small/get/postgres/64/bare":  0.5,
	"small/put/disk/64/bare":      0.8,

	// A single caller waits at most 1.15 times as long.
	"small/put/memory/1/naive":   0.87,
	"small/get/memory/1/naive":   0.87,
	"small/put/disk/1/naive":     0.87,
	"small/get/disk/1/naive":     0.87,
	"small/put/postgres/1/naive": 0.87,
	"small/get/postgres/1/naive": 0.87,
	"small/put/s3/1/naive":       0.87,
	"small/get/s3/1/naive":       0.87,

	"large/put/disk/plain":     0.9,
	"large/get/disk/plain":     0.9,
	"large/put/postgres/plain": 0.9,
	"large/get/postgres/plain": 0.9,
	"large/put/s3/plain":       0.95,
	"large/get/s3/plain":       0.95,
	"large/get-file/s3/plain":  0.95,

	"large/put/disk/heap":     1,
	"large/get/disk/heap":     1,
	"large/put/postgres/heap": 1,
	"large/get/postgres/heap": 1,
	"large/put/s3/heap":       1,
	"large/get/s3/heap":       1,
	"large/get-file/s3/heap":  1,

	"range/disk/plain":            0.5,
	"range/postgres/plain":        0.5,
	"range/s3/plain":              0.5,
	"range-cached/disk/plain":     0.5,
	"range-cached/postgres/plain": 0.5,
	"range-cached/s3/plain":       0.5,

	"small/get-cached/postgres/64/bare": 0.9,

	"rewrap/1KiB/absolute": 1,
	"rewrap/1KiB/vault":    0.5,

	"import/postgres/absolute": 1,

	// At most 1.2 times the cost.
	"growth/objects/put/postgres/x10/x1":   1 / 1.2,
	"growth/objects/put/postgres/x100/x1":  1 / 1.2,
	"growth/objects/get/postgres/x10/x1":   1 / 1.2,
	"growth/objects/get/postgres/x100/x1":  1 / 1.2,
	"growth/objects/stat/postgres/x10/x1":  1 / 1.2,
	"growth/objects/stat/postgres/x100/x1": 1 / 1.2,
	"growth/objects/list/postgres/x10/x1":  1 / 1.2,
	"growth/objects/list/postgres/x100/x1": 1 / 1.2,
	"growth/objects/put/disk/x10/x1":       1 / 1.2,
	"growth/objects/get/disk/x10/x1":       1 / 1.2,
	"growth/objects/stat/disk/x10/x1":      1 / 1.2,
	"growth/objects/list/disk/x10/x1":      1 / 1.2,
	"growth/bytes/put/disk/x64/x1":         1 / 1.2,
	"growth/bytes/put/disk/x1024/x1":       1 / 1.2,
	"growth/bytes/put/disk/x16384/x1":      1 / 1.2,
	"growth/bytes/get/disk/x64/x1":         1 / 1.2,
	"growth/bytes/get/disk/x1024/x1":       1 / 1.2,
	"growth/bytes/get/disk/x16384/x1":      1 / 1.2,

	"remote/vault/1ms/0ms":    0.8,
	"remote/vault/10ms/0ms":   0.8,
	"remote/postgres/1ms/0ms": 0.8,
}

// goalOf returns the goal of a result, or zero.
func goalOf(name string) float64 { return goals[name] }
