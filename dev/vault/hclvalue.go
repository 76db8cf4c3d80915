package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/token"
)

// keyName is the i-th key of an item, unquoted. A top-level setting has one
// key, a labelled block such as storage "file" has two.
func keyName(item *ast.ObjectItem, i int) string {
	key := item.Keys[i].Token
	if key.Type == token.STRING {
		if text, ok := key.Value().(string); ok {
			return text
		}
	}
	return key.Text
}

// blockLabel is the one label of a block.
func blockLabel(item *ast.ObjectItem) (string, error) {
	if len(item.Keys) != 2 {
		return "", errors.New("want a block with one label, its type")
	}
	return keyName(item, 1), nil
}

// decodeBlock reads the settings in a block. A key given twice is refused
// here, for decoding into a map would keep only the last.
func decodeBlock(item *ast.ObjectItem) (map[string]any, error) {
	object, ok := item.Val.(*ast.ObjectType)
	if !ok {
		return nil, errors.New("want a block in braces")
	}
	body := make(map[string]any)
	for _, inner := range object.List.Items {
		key := keyName(inner, 0)
		if _, twice := body[key]; twice {
			return nil, fmt.Errorf("%q is given twice", key)
		}
		value, err := decodeScalar(inner)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", key, err)
		}
		body[key] = value
	}
	return body, nil
}

// decodeScalar reads the value of a setting: a string, a number or a bool.
func decodeScalar(item *ast.ObjectItem) (any, error) {
	if len(item.Keys) != 1 {
		return nil, errors.New("want a setting, not a block")
	}
	if _, ok := item.Val.(*ast.LiteralType); !ok {
		return nil, errors.New("want a string, a number or a bool")
	}
	var value any
	if err := hcl.DecodeObject(&value, item.Val); err != nil {
		return nil, err
	}
	return value, nil
}

// scalarText writes a value the way storage backends expect to read it.
func scalarText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	default:
		return "", fmt.Errorf("want a string, a number or a bool, not %T", value)
	}
}

// scalarBool reads true, "true", 1 and their like, as Vault does.
func scalarBool(value any) (bool, error) {
	b, err := parseutil.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("want true or false: %w", err)
	}
	return b, nil
}

func decodeString(item *ast.ObjectItem, to *string) error {
	value, err := decodeScalar(item)
	if err != nil {
		return err
	}
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("want a string, not %v", value)
	}
	*to = text
	return nil
}

func decodeBool(item *ast.ObjectItem, to *bool) error {
	value, err := decodeScalar(item)
	if err != nil {
		return err
	}
	*to, err = scalarBool(value)
	return err
}

// decodeDuration reads "1h30m" or a number of seconds.
func decodeDuration(item *ast.ObjectItem, to *time.Duration) error {
	value, err := decodeScalar(item)
	if err != nil {
		return err
	}
	d, err := parseutil.ParseDurationSecond(value)
	if err != nil {
		return fmt.Errorf("want a duration such as \"1h\": %w", err)
	}
	if d < 0 {
		return fmt.Errorf("negative duration %v", d)
	}
	*to = d
	return nil
}
