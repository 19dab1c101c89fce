package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	loadLabel = "roadstead.dev/load"
	// podsEach keeps several Deployments growing side by side, which is faster than one large one.
	podsEach = 250
)

type loadOptions struct {
	pods      int
	namespace string
	wait      bool
	timeout   time.Duration
}

// load brings the number of simulated pods to what was asked, up or down, and prints nothing on stdout.
func load(ctx context.Context, c *cluster, options loadOptions) error {
	if options.pods < 0 {
		return fmt.Errorf("%d is no number of pods", options.pods)
	}
	ctx, cancel := context.WithTimeout(ctx, options.timeout)
	defer cancel()
	client, err := c.client()
	if err != nil {
		return err
	}
	begin := time.Now()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: options.namespace}}
	_, err = client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("failed to create namespace %s: %w", options.namespace, err)
	}

	wanted := map[string]int{}
	for index, left := 0, options.pods; left > 0; index, left = index+1, left-podsEach {
		wanted[fmt.Sprintf("load-%03d", index)] = min(left, podsEach)
	}
	if err := applyLoad(ctx, client, options.namespace, wanted); err != nil {
		return err
	}
	if !options.wait {
		return nil
	}
	if err := waitLoad(ctx, client, options, len(wanted)); err != nil {
		return err
	}
	note("%d pods run in namespace %s of cluster %s after %.1f s", options.pods, options.namespace, c.Name,
		time.Since(begin).Seconds())
	return nil
}

func applyLoad(ctx context.Context, client kubernetes.Interface, namespace string, wanted map[string]int) error {
	deployments := client.AppsV1().Deployments(namespace)
	existing, err := deployments.List(ctx, metav1.ListOptions{LabelSelector: loadLabel})
	if err != nil {
		return fmt.Errorf("failed to list deployments of namespace %s: %w", namespace, err)
	}
	missing := map[string]int{}
	for name, replicas := range wanted {
		missing[name] = replicas
	}
	for _, deployment := range existing.Items {
		replicas, keep := wanted[deployment.Name]
		delete(missing, deployment.Name)
		if !keep {
			// In the foreground, so that the Deployment goes after its last pod.
			policy := metav1.DeletePropagationForeground
			err = deployments.Delete(ctx, deployment.Name, metav1.DeleteOptions{PropagationPolicy: &policy})
			if apierrors.IsNotFound(err) {
				err = nil
			}
		} else if *deployment.Spec.Replicas != int32(replicas) {
			*deployment.Spec.Replicas = int32(replicas)
			_, err = deployments.Update(ctx, &deployment, metav1.UpdateOptions{})
		}
		if err != nil {
			return fmt.Errorf("failed to change deployment %s: %w", deployment.Name, err)
		}
	}
	for name, replicas := range missing {
		_, err := deployments.Create(ctx, newDeployment(name, int32(replicas)), metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("failed to create deployment %s: %w", name, err)
		}
	}
	return nil
}

// waitLoad reads the Deployments' own counts: a list of thousands of pods in each poll would be the
// larger part of the load.
func waitLoad(ctx context.Context, client kubernetes.Interface, options loadOptions, count int) error {
	what := fmt.Sprintf("%d pods to run in namespace %s", options.pods, options.namespace)
	return poll(ctx, what, func() (bool, error) {
		deployments, err := client.AppsV1().Deployments(options.namespace).List(ctx,
			metav1.ListOptions{LabelSelector: loadLabel})
		if err != nil || len(deployments.Items) != count {
			return false, nil
		}
		exist, run := 0, 0
		for _, deployment := range deployments.Items {
			if deployment.Status.ObservedGeneration < deployment.Generation {
				return false, nil
			}
			exist += int(deployment.Status.Replicas)
			run += int(deployment.Status.AvailableReplicas)
		}
		return exist == options.pods && run == options.pods, nil
	})
}

func newDeployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name, loadLabel: "true"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name:  "main",
					Image: "roadstead.dev/simulated:1", // never pulled
				}}},
			},
		},
	}
}
