package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// readAll returns the tables as if every feature gate were on.
func readAll(t *testing.T) []table {
	t.Helper()
	tables, err := tablesOf(roots, everyGate(t, gate{since: oldest}))
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

func everyGate(t *testing.T, as gate) map[string]gate {
	t.Helper()
	kubernetes, err := pinnedKubernetes()
	if err != nil {
		t.Fatal(err)
	}
	gates, err := readGates(filepath.Join(kubernetes.Dir, "pkg/features/kube_features.go"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range gates {
		gates[name] = as
	}
	return gates
}

// The reference for rule is encoding/json: of a type's zero value it writes exactly the fields that are always written.
func TestZeroValueHasExactlyWhatIsAlwaysWritten(t *testing.T) {
	for _, table := range readAll(t) {
		text, err := json.Marshal(reflect.Zero(table.goType).Interface())
		if err != nil {
			t.Fatal(err)
		}
		var written map[string]json.RawMessage
		if err := json.Unmarshal(text, &written); err != nil {
			t.Fatal(err)
		}
		var always []string
		for _, f := range table.fields {
			if f.rule == "always" || f.rule == "nullable" {
				always = append(always, f.name)
			}
			if f.rule == "nullable" && string(written[f.name]) != "null" {
				t.Errorf("%s: %s is %s, expected null", goName(table.goType), f, written[f.name])
			}
		}
		slices.Sort(always)
		if got := slices.Sorted(maps.Keys(written)); !slices.Equal(got, always) {
			t.Errorf("%s: the zero value has %v, the table %v", goName(table.goType), got, always)
		}
	}
}

func TestEachTypeAndFieldIsThereOnce(t *testing.T) {
	types := map[string]bool{}
	for _, table := range readAll(t) {
		if name := constName(table.goType.Name()); types[name] {
			t.Errorf("two types are called %s", name)
		} else {
			types[name] = true
		}
		names := map[string]bool{}
		for _, f := range table.fields {
			if names[f.name] {
				t.Errorf("%s has two fields %s", goName(table.goType), f.name)
			}
			names[f.name] = true
		}
	}
}

func TestKeptFieldsAreBehindAGate(t *testing.T) {
	r := reader{gates: everyGate(t, gate{}), markers: markers{}, tables: map[reflect.Type]table{}}
	for _, root := range roots {
		if err := r.read(root); err != nil {
			t.Fatal(err)
		}
	}
	for field := range kept {
		dot := strings.LastIndex(field, ".")
		found := false
		for goType := range r.tables {
			found = found || goName(goType) == field[:dot] && r.markers[goType.PkgPath()][goType.Name()][field[dot+1:]] != ""
		}
		if !found {
			t.Errorf("kept names %s, which has no feature gate any more: remove it", field)
		}
	}
}

func TestWhatShapeCannotSayIsAnError(t *testing.T) {
	type sized struct{ Number int32 }
	if _, err := rule(reflect.TypeFor[sized](), []string{"omitzero"}); err == nil {
		t.Error("expected an error for omitzero on a struct")
	}
	for _, unknown := range []reflect.Type{
		reflect.TypeFor[[]byte](),
		reflect.TypeFor[float64](),
		reflect.TypeFor[map[int32]string](),
		reflect.TypeFor[[]*string](),
		reflect.TypeFor[metav1.MicroTime](),
	} {
		if kind, err := new(reader).kind(unknown); err == nil {
			t.Errorf("%s is %s, expected an error", unknown, kind)
		}
	}
}

func TestIntroducedFieldsExist(t *testing.T) {
	fields := map[string]bool{}
	for _, table := range readAll(t) {
		for f := range table.goType.Fields() {
			fields[goName(table.goType)+"."+f.Name] = true
			if f.Anonymous {
				for embedded := range f.Type.Fields() {
					fields[goName(f.Type)+"."+embedded.Name] = true
				}
			}
		}
	}
	for field := range introduced {
		if !fields[field] {
			t.Errorf("introduced names %s, which does not exist: remove it", field)
		}
	}
}

func TestGateIsOnSinceTheVersionThatTurnedItOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kube_features.go")
	source := `package features
var defaultVersionedKubernetesFeatureGates = map[Feature]Specs{
	Alpha: {{Version: v("1.37"), Default: false}},
	Beta:  {{Version: v("1.35"), Default: false}, {Version: v("1.36"), Default: true}, {Version: v("1.37"), Default: true}},
	Again: {{Version: v("1.34"), Default: true}, {Version: v("1.35"), Default: false}, {Version: v("1.37"), Default: true}},
	other.Imported: {{Version: v("1.0"), Default: true}},
}`
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	gates, err := readGates(file)
	if want := map[string]gate{"Alpha": {}, "Beta": {since: 36}, "Again": {since: 37}}; err != nil || !maps.Equal(gates, want) {
		t.Errorf("found %v, %v, expected %v", gates, err, want)
	}
}

func TestConstName(t *testing.T) {
	for name, want := range map[string]string{
		"Container":      "CONTAINER",
		"GRPCAction":     "GRPC_ACTION",
		"PodOS":          "POD_OS",
		"SELinuxOptions": "SE_LINUX_OPTIONS",
	} {
		if got := constName(name); got != want {
			t.Errorf("%s became %s, expected %s", name, got, want)
		}
	}
}
