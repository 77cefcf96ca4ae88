package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// words are the types of docs/spec/spec-hash-v1.md, by the kinds of shape.rs.
var words = map[string]string{
	"Any": "any", "Bool": "bool", "Int32": "int32", "Int64": "int64", "IntOrString": "int-or-string",
	"Quantity": "quantity", "Resources": "resources", "Text": "string", "Time": "time",
}

// writeJSON writes the tables as docs/spec/spec-hash-v1/fields.json has them: for implementations in other languages, and
// with one line per field, so that an upgrade is a diff to read.
func writeJSON(out io.Writer, kubernetes string, tables []table) error {
	names := map[string]string{}
	for _, t := range tables {
		names[constName(t.goType.Name())] = goName(t.goType)
	}
	fmt.Fprintf(out, "{\n  \"kubernetes\": %q,\n  \"kinds\": {", kubernetes)
	for i, root := range roots {
		fmt.Fprintf(out, "%s\n    %q: %q", comma(i), strings.TrimSuffix(root.Name(), "Spec"), goName(root))
	}
	fmt.Fprint(out, "\n  },\n  \"types\": {")
	for i, t := range tables {
		fmt.Fprintf(out, "%s\n    %q: [", comma(i), goName(t.goType))
		for j, f := range t.fields {
			word, err := specType(f.kind, names)
			if err != nil {
				return fmt.Errorf("%s.%s: %w", goName(t.goType), f.name, err)
			}
			rule := strings.ReplaceAll(f.rule, "_", "-")
			if f.gate != "" {
				rule = "gated"
			}
			line, err := json.Marshal(struct {
				Name string `json:"name"`
				Type string `json:"type"`
				Rule string `json:"rule"`
			}{f.name, word, rule})
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s\n      %s", comma(j), line)
		}
		fmt.Fprint(out, "\n    ]")
	}
	fmt.Fprint(out, "\n  }\n}\n")
	return nil
}

func comma(index int) string {
	if index == 0 {
		return ""
	}
	return ","
}

// specType turns List(&Object(CONTAINER)) into "list of core/v1.Container".
func specType(kind string, names map[string]string) (string, error) {
	for prefix, word := range map[string]string{"List(&": "list of ", "Map(&": "map of "} {
		if item, ok := strings.CutPrefix(kind, prefix); ok {
			of, err := specType(strings.TrimSuffix(item, ")"), names)
			return word + of, err
		}
	}
	if object, ok := strings.CutPrefix(kind, "Object("); ok {
		if name, known := names[strings.TrimSuffix(object, ")")]; known {
			return name, nil
		}
	}
	if word, known := words[kind]; known {
		return word, nil
	}
	return "", fmt.Errorf("kind %s has no word in docs/spec/spec-hash-v1.md", kind)
}
