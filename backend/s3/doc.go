// Package s3 keeps ciphertext in a bucket of S3, or of any server that speaks
// its protocol. It implements [backend.Blobs].
//
// An object is one object of S3: the body is its content, header and content
// version are one entry of its user metadata, so that they change together.
//
// # Layout
//
//	<prefix><escaped>!            an object; <escaped> is backend.Escape(name)
//	<prefix>!probe-<random>!      for a moment, while the server is being probed
//	x-amz-meta-atrest             1.<content version>.<header in base64>
//
// Everything else under the prefix is ignored.
//
// # What is promised
//
// That depends on the server, as servers differ in which conditions on writes
// they honour. They are asked once, by a probe, before the first change that
// needs one; [Store.Capabilities] tells the outcome. What a server can't decide
// atomically is ErrUnsupported, unless [Config.SoleWriter] promises that there
// is nobody else to decide against. README.md has the details.
package s3
