package devs3

import (
	"os"
	"path/filepath"
)

// program makes the command line and the environment of one kind of server.
// Secrets are in the environment: everyone can read a command line.
type program func(s *Server, address string) (args, env []string)

func programs() map[Kind]program {
	return map[Kind]program{MinIO: minio, VersityGW: versitygw}
}

func minio(s *Server, address string) (args, env []string) {
	args = []string{
		"server", "--anonymous", // print no credentials
		"--address", address,
		"--certs-dir", filepath.Join(s.tempDir, "certs"), // else below the home directory
		s.objectDir(),
	}
	env = []string{
		"MINIO_ROOT_USER=" + s.credentials.AccessKeyID,
		"MINIO_ROOT_PASSWORD=" + s.credentials.SecretAccessKey,
		"MINIO_BROWSER=off",
		"MINIO_UPDATE=off", // else it asks its maker's server for a newer version
	}
	return args, env
}

func versitygw(s *Server, address string) (args, env []string) {
	args = []string{
		"--port", address,
		"--region", s.region,
		"--quiet",      // print no line for each request
		"--keep-alive", // as other servers do; else each request takes a connection
		"posix",
	}
	// Metadata go to extended attributes, where a write of an object shows as
	// it does in production. No versioning directory is given: versioning is off.
	if !hasUserAttributes(s.dataDir) {
		args = append(args, "--sidecar", s.sidecarDir())
	}
	env = []string{
		"ROOT_ACCESS_KEY=" + s.credentials.AccessKeyID,
		"ROOT_SECRET_KEY=" + s.credentials.SecretAccessKey,
	}
	return append(args, s.objectDir()), env
}

// baseEnv is what every server gets of our environment: little, since each of
// them lets variables override its command line.
func (s *Server) baseEnv() []string {
	env := []string{"HOME=" + s.tempDir}
	for _, name := range []string{"PATH", "TMPDIR", "SYSTEMROOT"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
