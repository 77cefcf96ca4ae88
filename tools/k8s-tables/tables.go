package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// table is one Go struct, with the structs that it embeds.
type table struct {
	goType reflect.Type
	fields []field
}

// field is one field on the wire. Rule and kind are words of crates/core/src/kube/defaults/shape.rs.
type field struct {
	name, rule, kind string
	gate             string // the gate that is off, so that the server drops the field; empty if there is none
	since            int    // the minor version of the first release that keeps the field; zero if all supported releases do
}

// kinds are the types whose JSON form does not follow from their Go kind.
var kinds = map[reflect.Type]string{
	reflect.TypeFor[metav1.Time]():         "Time",
	reflect.TypeFor[metav1.FieldsV1]():     "Any",
	reflect.TypeFor[intstr.IntOrString]():  "IntOrString",
	reflect.TypeFor[resource.Quantity]():   "Quantity",
	reflect.TypeFor[corev1.ResourceList](): "Resources",
}

// reader collects the tables of all types that it comes across.
type reader struct {
	tables  map[reflect.Type]table
	markers markers
	gates   map[string]gate
}

// tablesOf returns the tables of the roots and of every type below them, ordered by package and name.
func tablesOf(roots []reflect.Type, gates map[string]gate) ([]table, error) {
	r := reader{tables: map[reflect.Type]table{}, markers: markers{}, gates: gates}
	for _, root := range roots {
		if err := r.read(root); err != nil {
			return nil, err
		}
	}
	tables := make([]table, 0, len(r.tables))
	for _, table := range r.tables {
		tables = append(tables, table)
	}
	slices.SortFunc(tables, func(a, b table) int { return cmp.Compare(goName(a.goType), goName(b.goType)) })
	return tables, nil
}

func (r *reader) read(t reflect.Type) error {
	if _, known := r.tables[t]; known {
		return nil
	}
	r.tables[t] = table{} // ends the recursion if the type contains itself
	fields, err := r.fields(t)
	r.tables[t] = table{goType: t, fields: fields}
	return err
}

func (r *reader) fields(t reflect.Type) ([]field, error) {
	gates, err := r.markers.of(t)
	if err != nil {
		return nil, err
	}
	var fields []field
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if f.Anonymous && name == "" {
			embedded, err := r.fields(f.Type)
			if err != nil {
				return nil, err
			}
			fields = append(fields, embedded...)
			continue
		}
		path := goName(t) + "." + f.Name
		read, err := r.field(f.Type, name, strings.Split(options, ","))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if read.gate, err = r.dropping(path, gates[f.Name]); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		read.since = r.since(path, gates[f.Name])
		fields = append(fields, read)
	}
	return fields, nil
}

func (r *reader) field(t reflect.Type, name string, options []string) (field, error) {
	if name == "" {
		return field{}, errors.New("expected a name in the json tag")
	}
	rule, err := rule(t, options)
	if err != nil {
		return field{}, err
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	kind, err := r.kind(t)
	return field{name: name, rule: rule, kind: kind}, err
}

// rule says when encoding/json writes a field.
func rule(t reflect.Type, options []string) (string, error) {
	omitempty, omitzero := slices.Contains(options, "omitempty"), slices.Contains(options, "omitzero")
	switch {
	case omitzero && t != reflect.TypeFor[metav1.Time]():
		return "", fmt.Errorf("omitzero on %s: shape.rs has no rule for it", t)
	case t.Kind() == reflect.Pointer && omitempty:
		return "pointer", nil
	case t.Kind() == reflect.Pointer:
		return "nullable", nil
	// A struct is never empty, so its omitempty does nothing.
	case omitzero, omitempty && t.Kind() != reflect.Struct:
		return "non_zero", nil
	default:
		return "always", nil
	}
}

func (r *reader) kind(t reflect.Type) (string, error) {
	if kind, ok := kinds[t]; ok {
		return kind, nil
	}
	if p := reflect.PointerTo(t); p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return "", fmt.Errorf("%s has a JSON form of its own, and shape.rs has no kind for it", t)
	}
	switch t.Kind() {
	case reflect.String:
		return "Text", nil
	case reflect.Bool:
		return "Bool", nil
	case reflect.Int32:
		return "Int32", nil
	case reflect.Int64:
		return "Int64", nil
	case reflect.Slice:
		item, err := r.kind(t.Elem())
		return fmt.Sprintf("List(&%s)", item), err
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return "", fmt.Errorf("a map whose keys are %s", t.Key())
		}
		item, err := r.kind(t.Elem())
		return fmt.Sprintf("Map(&%s)", item), err
	case reflect.Struct:
		return fmt.Sprintf("Object(%s)", constName(t.Name())), r.read(t)
	default:
		return "", fmt.Errorf("shape.rs has no kind for %s", t)
	}
}

// goName is the name that Kubernetes' own documents use: core/v1.Container.
func goName(t reflect.Type) string {
	group, version := path.Split(t.PkgPath())
	return path.Join(path.Base(group), version) + "." + t.Name()
}
