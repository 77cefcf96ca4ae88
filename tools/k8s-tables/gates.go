package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"reflect"
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

// dropping returns the feature gate that makes the server drop the field, given the field's marker, or nothing.
func (r *reader) dropping(field, marker string) (string, error) {
	gate := marker
	if actual, ok := renamed[marker]; ok {
		gate = actual
	}
	if gate == "" {
		return "", nil
	}
	off, known := r.off[gate]
	if !known {
		return "", fmt.Errorf("feature gate %s is not in kube_features.go: add it to renamed, in gates.go", gate)
	}
	if _, ok := kept[field]; ok || !off {
		return "", nil
	}
	return gate, nil
}

// gatesOff reads kube_features.go: each gate, and whether it is off unless somebody turns it on. The package itself is
// not imported, since it depends on most of Kubernetes.
func gatesOff(file string) (map[string]bool, error) {
	syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	off := map[string]bool{}
	ast.Inspect(syntax, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "defaultVersionedKubernetesFeatureGates" {
			return true
		}
		for _, entry := range spec.Values[0].(*ast.CompositeLit).Elts {
			entry := entry.(*ast.KeyValueExpr)
			if gate, ok := entry.Key.(*ast.Ident); ok {
				// The versions ascend, and the release's own is the last.
				versions := entry.Value.(*ast.CompositeLit).Elts
				off[gate.Name] = !isOn(versions[len(versions)-1].(*ast.CompositeLit))
			}
		}
		return false
	})
	if len(off) == 0 {
		return nil, fmt.Errorf("%s: expected the feature gates in defaultVersionedKubernetesFeatureGates, and found none", file)
	}
	return off, nil
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
