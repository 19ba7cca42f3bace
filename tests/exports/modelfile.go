// Fills in a template as Ollama does, by Go's own package: {"template", "cases"} in, texts out.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type Case struct{ System, Prompt, Response string }

func main() {
	var asked struct {
		Template string
		Cases    []Case
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	parsed := template.Must(template.New("").Parse(asked.Template))
	texts := []string{}
	for _, one := range asked.Cases {
		var text strings.Builder
		if err := parsed.Execute(&text, one); err != nil {
			panic(err)
		}
		texts = append(texts, text.String())
	}
	if err := json.NewEncoder(os.Stdout).Encode(texts); err != nil {
		panic(err)
	}
}
