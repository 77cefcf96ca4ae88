package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// kept are fields that the server keeps in a template although their feature gate is off, with the reason.
var kept = map[string]string{
	"core/v1.PersistentVolumeClaimStatus.HealthStatus": "only the strategy of PersistentVolumeClaims drops it",
	"core/v1.TypedObjectReference.Namespace":           "only the strategy of PersistentVolumeClaims drops it",
}

// renamed maps the name of a gate in a marker to its name in kube_features.go, if the two differ. The name is empty if the gate has
// been removed, since its feature is always on.
var renamed = map[string]string{
	"PodCertificateProjection": "PodCertificateRequest",
}

// oldest is the minor version of the oldest release that Writgate supports.
const oldest = 30

// introduced are the minor versions of the first release that keeps a field by default, for fields whose marker does not say so: the
// field has no marker any more, or its marker's gate drops it somewhere else. "make hash-proof KUBERNETES=1.30.14" finds what is missing.
var introduced = map[string]int{
	"batch/v1.JobSpec.ManagedBy":                                           32, // JobManagedBy
	"batch/v1.JobSpec.SuccessPolicy":                                       31, // JobSuccessPolicy
	"core/v1.PersistentVolumeClaimSpec.VolumeAttributesClassName":          0,  // only the strategy of PersistentVolumeClaims drops it
	"core/v1.PersistentVolumeClaimStatus.CurrentVolumeAttributesClassName": 0,  // likewise
	"core/v1.PersistentVolumeClaimStatus.ModifyVolumeStatus":               0,  // likewise
	"core/v1.PodAffinityTerm.MatchLabelKeys":                               31, // MatchLabelKeysInPodAffinity
	"core/v1.PodAffinityTerm.MismatchLabelKeys":                            31, // MatchLabelKeysInPodAffinity
	"core/v1.PodSpec.HostUsers":                                            33, // UserNamespacesSupport
	"core/v1.SecurityContext.ProcMount":                                    33, // ProcMountType
	"core/v1.VolumeMount.RecursiveReadOnly":                                31, // RecursiveReadOnlyMounts
	"core/v1.VolumeSource.Image":                                           35, // ImageVolume
}

// since returns the minor version of the first release that keeps the field by default, or zero if the oldest supported release does.
func (r *reader) since(field, marker string) int {
	minor, known := introduced[field]
	if !known {
		minor = r.gates[cmp.Or(renamed[marker], marker)].since
	}
	if minor <= oldest {
		return 0
	}
	return minor
}

// dropping returns the feature gate that makes the server drop the field, given the field's marker, or nothing.
func (r *reader) dropping(field, marker string) (string, error) {
	gate := marker
	if actual, ok := renamed[marker]; ok {
		gate = actual
	}
	if gate == "" {
		return "", nil
	}
	found, known := r.gates[gate]
	if !known {
		return "", fmt.Errorf("feature gate %s is not in kube_features.go: add it to renamed, in gates.go", gate)
	}
	if _, ok := kept[field]; ok || found.since > 0 {
		return "", nil
	}
	return gate, nil
}

// gate is a feature gate.
type gate struct {
	since int // the minor version of the release from which on the gate is on by default; zero if it is off
}

// readGates reads kube_features.go. The package itself is not imported, since it depends on most of Kubernetes.
func readGates(file string) (map[string]gate, error) {
	syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	gates := map[string]gate{}
	ast.Inspect(syntax, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "defaultVersionedKubernetesFeatureGates" {
			return true
		}
		for _, entry := range spec.Values[0].(*ast.CompositeLit).Elts {
			entry := entry.(*ast.KeyValueExpr)
			name, ok := entry.Key.(*ast.Ident)
			if !ok {
				continue
			}
			var read gate
			// The versions ascend, and the release's own is the last.
			for _, version := range entry.Value.(*ast.CompositeLit).Elts {
				version := version.(*ast.CompositeLit)
				if !isOn(version) {
					read.since = 0
				} else if read.since == 0 {
					if read.since, err = minorOf(version); err != nil {
						err = fmt.Errorf("%s: feature gate %s: %w", file, name.Name, err)
						return false
					}
				}
			}
			gates[name.Name] = read
		}
		return false
	})
	if err == nil && len(gates) == 0 {
		err = fmt.Errorf("%s: expected the feature gates in defaultVersionedKubernetesFeatureGates, and found none", file)
	}
	return gates, err
}

// minorOf reads the 35 of {Version: version.MustParse("1.35"), …}.
func minorOf(version *ast.CompositeLit) (int, error) {
	for _, member := range version.Elts {
		member := member.(*ast.KeyValueExpr)
		call, ok := member.Value.(*ast.CallExpr)
		if member.Key.(*ast.Ident).Name != "Version" || !ok || len(call.Args) != 1 {
			continue
		}
		if text, ok := call.Args[0].(*ast.BasicLit); ok {
			return strconv.Atoi(strings.TrimPrefix(strings.Trim(text.Value, `"`), "1."))
		}
	}
	return 0, errors.New(`expected version.MustParse("1.N")`)
}

// isOn reads {Version: …, Default: true, …}.
func isOn(version *ast.CompositeLit) bool {
	for _, member := range version.Elts {
		member := member.(*ast.KeyValueExpr)
		if member.Key.(*ast.Ident).Name == "Default" {
			value, ok := member.Value.(*ast.Ident)
			return ok && value.Name == "true"
		}
	}
	return false
}

// markers are the feature gates of fields, by package, type and field. Reflection does not see them: they are comments.
type markers map[string]map[string]map[string]string

// of returns the gates of one type's fields, by their Go names.
func (m markers) of(t reflect.Type) (map[string]string, error) {
	if _, read := m[t.PkgPath()]; !read {
		types, err := readMarkers(t.PkgPath())
		if err != nil {
			return nil, err
		}
		m[t.PkgPath()] = types
	}
	gates, ok := m[t.PkgPath()][t.Name()]
	if !ok {
		return nil, fmt.Errorf("%s: expected the type in types.go of its package, where its feature gates are", goName(t))
	}
	return gates, nil
}

func readMarkers(pkg string) (map[string]map[string]string, error) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", pkg).Output()
	if err != nil {
		return nil, fmt.Errorf("find the source of %s: %w", pkg, err)
	}
	file := filepath.Join(strings.TrimSpace(string(dir)), "types.go")
	syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	types := map[string]map[string]string{}
	ast.Inspect(syntax, func(node ast.Node) bool {
		spec, ok := node.(*ast.TypeSpec)
		if !ok {
			return true
		}
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			return false
		}
		gates := map[string]string{}
		for _, f := range structure.Fields.List {
			for _, name := range f.Names {
				gates[name.Name] = markerIn(f.Doc)
			}
		}
		types[spec.Name.Name] = gates
		return false
	})
	return types, nil
}

func markerIn(doc *ast.CommentGroup) string {
	for line := range strings.Lines(doc.Text()) {
		if gate, ok := strings.CutPrefix(line, "+featureGate="); ok {
			return strings.TrimSpace(gate)
		}
	}
	return ""
}
