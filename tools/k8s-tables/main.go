// Command k8s-tables prints tables of the fields of Kubernetes API types: as Rust, or with the argument json as JSON.
//
// The tables say how a field looks on the wire after the API server has decoded and encoded it. They come from the
// types of k8s.io/api, from their +featureGate markers, and from the feature gates' defaults in the Kubernetes release
// that tests/controlplane pins. The defaults that the API server fills in are not here: they are code, in
// crates/core/src/kube/defaults.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// controlPlane is the module that pins the Kubernetes version, relative to this one.
const controlPlane = "../../tests/controlplane"

// roots are the specs that have a hash. Every type that one of them reaches gets a table.
var roots = []reflect.Type{
	reflect.TypeFor[appsv1.DaemonSetSpec](),
	reflect.TypeFor[appsv1.DeploymentSpec](),
	reflect.TypeFor[appsv1.ReplicaSetSpec](),
	reflect.TypeFor[appsv1.StatefulSetSpec](),
	reflect.TypeFor[batchv1.CronJobSpec](),
	reflect.TypeFor[batchv1.JobSpec](),
	reflect.TypeFor[corev1.ReplicationControllerSpec](),
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("k8s-tables: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	kubernetes, err := pinnedKubernetes()
	if err != nil {
		return err
	}
	api, err := pinnedAPI(kubernetes.Version)
	if err != nil {
		return err
	}
	gates, err := readGates(filepath.Join(kubernetes.Dir, "pkg/features/kube_features.go"))
	if err != nil {
		return err
	}
	tables, err := tablesOf(roots, gates)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	if len(os.Args) > 1 && os.Args[1] == "json" {
		if err := writeJSON(out, kubernetes.Version, tables); err != nil {
			return err
		}
	} else {
		writeRust(out, api, kubernetes.Version, tables)
	}
	return out.Flush()
}

type module struct {
	Version, Dir, Error string
}

// pinnedKubernetes returns the source of the Kubernetes release that tests/controlplane builds.
func pinnedKubernetes() (module, error) {
	command := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes")
	command.Dir = controlPlane
	out, err := command.Output()
	var found module
	if json.Unmarshal(out, &found) == nil && found.Error != "" {
		err = errors.New(found.Error)
	}
	if err != nil {
		return module{}, fmt.Errorf("download k8s.io/kubernetes as %s/go.mod pins it: %w", controlPlane, err)
	}
	return found, nil
}

// pinnedAPI returns the version of k8s.io/api that this program is built with, if it belongs to the Kubernetes release.
func pinnedAPI(kubernetes string) (string, error) {
	want := "v0." + strings.TrimPrefix(kubernetes, "v1.")
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("this binary has no build information: build it in its module, with go run")
	}
	for _, dependency := range build.Deps {
		if (dependency.Path == "k8s.io/api" || dependency.Path == "k8s.io/apimachinery") && dependency.Version != want {
			return "", fmt.Errorf("go.mod pins %s %s, but tests/controlplane pins Kubernetes %s, whose %s is %s: run make k8s-tables KUBERNETES=%s",
				dependency.Path, dependency.Version, kubernetes, dependency.Path, want, kubernetes)
		}
	}
	return want, nil
}
