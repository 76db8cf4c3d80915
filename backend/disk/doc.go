// Package disk keeps ciphertext in a directory of a local file system: a [Store]
// implements [backend.Blobs], and [Records], in a directory of their own,
// [backend.Records]. What follows is about a Store; the comment of Records and
// README.md are about those.
//
// An object is a small header file, whose atomic rename is the moment at which
// a change happens, and an immutable body file. Small bodies are part of the
// header file. Several processes may use one directory at the same time.
//
// # Layout
//
//	DIR/FORMAT                  "atrest disk 1\n"
//	DIR/objects/<escaped>!      header files; <escaped> is backend.Escape(name)
//	DIR/bodies/xx/<id>          bodies; xx are the first two digits of id
//	DIR/work/<session>.lock     held with flock as long as the process lives
//	DIR/work/<session>/h-<id>   header files in the making
//	DIR/work/<session>/j-<id>   journal: body <id> may be without an object
//	DIR/locks/00 … ff           held with flock while a change is decided
//
// Directories have mode 0700 and files 0600, whatever the umask says.
//
// # What is promised
//
// That is the contract of [backend.Blobs], for a file system that keeps the
// promises of POSIX: rename is atomic, and what fsync has returned for survives
// the death of the machine. README.md says what is on disk after a death at
// each step, and how that was tested.
package disk
