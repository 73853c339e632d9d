// Reads our files by compose's own loader, BuildKit's own parser and Kubernetes' own types.
// go run . (in deploy/check): prints what was loaded; exit code 1 and the loader's error otherwise.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func main() {
	if err := compose("../.."); err != nil {
		fail("docker-compose.yml", err)
	}
	if err := dockerfile("../Dockerfile"); err != nil {
		fail("deploy/Dockerfile", err)
	}
	if err := kubernetes("../../docs/deploy/kubernetes.yaml"); err != nil {
		fail("docs/deploy/kubernetes.yaml", err)
	}
}

func fail(file string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
	os.Exit(1)
}

func compose(top string) error {
	options, err := cli.NewProjectOptions(
		[]string{top + "/docker-compose.yml"},
		cli.WithWorkingDirectory(top),
		cli.WithEnvFiles(top+"/.env.example"),
		cli.WithDotEnv,
		cli.WithInterpolation(true),
		cli.WithResolvedPaths(true),
		cli.WithProfiles([]string{"*"}),
	)
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	names := project.ServiceNames()
	sort.Strings(names)
	for _, name := range names {
		service, err := project.GetService(name)
		if err != nil {
			return err
		}
		fmt.Printf("compose: %s %s\n", name, service.Image)
	}
	return nil
}

func dockerfile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		return err
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return err
	}
	for _, stage := range stages {
		fmt.Printf("dockerfile: from %s, %d steps\n", stage.BaseName, len(stage.Commands))
	}
	return nil
}
