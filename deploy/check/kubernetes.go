package main

import (
	"bytes"
	"fmt"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Decodes each document into Kubernetes' own type; an unknown or repeated field is an error.
func kubernetes(path string) error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, document := range bytes.Split(file, []byte("\n---\n")) {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal(document, &head); err != nil {
			return err
		}
		kinds := map[string]metav1.Object{
			"v1 ConfigMap":                       &corev1.ConfigMap{},
			"batch/v1 Job":                       &batchv1.Job{},
			"apps/v1 StatefulSet":                &appsv1.StatefulSet{},
			"apps/v1 Deployment":                 &appsv1.Deployment{},
			"networking.k8s.io/v1 NetworkPolicy": &networkingv1.NetworkPolicy{},
		}
		kind := head.APIVersion + " " + head.Kind
		object, ok := kinds[kind]
		if !ok {
			return fmt.Errorf("unknown kind %s", kind)
		}
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		fmt.Printf("kubernetes: %s %s\n", kind, object.GetName())
	}
	return nil
}
