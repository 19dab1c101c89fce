package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	configv1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	protobufType = "application/vnd.kubernetes.protobuf"
	// resync is short, so that a test sees one.
	resync = 2 * time.Second
)

func discover(_ context.Context, c *client) error {
	version, err := c.typed.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	_, lists, err := c.typed.Discovery().ServerGroupsAndResources()
	if err != nil {
		return err
	}
	if len(lists) < 15 {
		return fmt.Errorf("only %d groups in %s", len(lists), version)
	}
	paths, err := c.typed.Discovery().OpenAPIV3().Paths()
	if err != nil {
		return err
	}
	apps, found := paths["apis/apps/v1"]
	if !found {
		return fmt.Errorf("no apps/v1 among %d documents", len(paths))
	}
	document, err := apps.Schema("application/json")
	if err != nil {
		return err
	}
	if len(document) < 100_000 {
		return fmt.Errorf("apps/v1 has %d bytes", len(document))
	}
	return nil
}

func pages(ctx context.Context, c *client) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	for number := range 12 {
		one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("page-%02d", number), Labels: map[string]string{"step": "pages"},
		}}
		if _, err := maps.Create(ctx, one, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	seen, rounds, next := 0, 0, ""
	for {
		list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "step=pages", Limit: 5, Continue: next})
		if err != nil {
			return err
		}
		seen, rounds, next = seen+len(list.Items), rounds+1, list.Continue
		if next == "" {
			break
		}
	}
	if seen != 12 || rounds != 3 {
		return fmt.Errorf("%d items in %d pages", seen, rounds)
	}
	return maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "step=pages"})
}

func protobuf(ctx context.Context, c *client) error {
	config := rest.CopyConfig(c.config)
	config.ContentType = protobufType
	config.AcceptContentTypes = protobufType
	var lock sync.Mutex
	var types []string
	config.Wrap(func(inner http.RoundTripper) http.RoundTripper {
		return answers{inner, func(response *http.Response) {
			lock.Lock()
			defer lock.Unlock()
			types = append(types, response.Header.Get("Content-Type"))
		}}
	})
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	maps := typed.CoreV1().ConfigMaps(c.namespace)
	one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "protobuf"}, BinaryData: map[string][]byte{"b": {0, 255, 10}}}
	if _, err := maps.Create(ctx, one, metav1.CreateOptions{}); err != nil {
		return err
	}
	watch, err := maps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=protobuf"})
	if err != nil {
		return err
	}
	defer watch.Stop()
	event, open := <-watch.ResultChan()
	got, right := event.Object.(*corev1.ConfigMap)
	if !open || !right || string(got.BinaryData["b"]) != "\x00\xff\n" {
		return fmt.Errorf("watched %#v", event.Object)
	}
	if err := maps.Delete(ctx, "protobuf", metav1.DeleteOptions{}); err != nil {
		return err
	}
	lock.Lock()
	defer lock.Unlock()
	for _, kind := range types {
		if !strings.HasPrefix(kind, protobufType) {
			return fmt.Errorf("answers were %q", types)
		}
	}
	return nil
}

func dynamicClient(ctx context.Context, c *client) error {
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return err
	}
	maps := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(c.namespace)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "dynamic"}, "data": map[string]any{"a": "1"},
	}}
	if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	patched, err := maps.Patch(ctx, "dynamic", types.MergePatchType, []byte(`{"data":{"b":"2"}}`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	data, _, err := unstructured.NestedStringMap(patched.Object, "data")
	if err != nil || len(data) != 2 {
		return fmt.Errorf("data is %v: %w", data, err)
	}
	return maps.Delete(ctx, "dynamic", metav1.DeleteOptions{})
}

func apply(ctx context.Context, c *client) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	with := func(value, manager string, force bool) error {
		config := configv1.ConfigMap("applied", c.namespace).WithData(map[string]string{"a": value})
		_, err := maps.Apply(ctx, config, metav1.ApplyOptions{FieldManager: manager, Force: force})
		return err
	}
	if err := with("1", "first", false); err != nil {
		return err
	}
	if err := with("2", "second", false); !apierrors.IsConflict(err) {
		return fmt.Errorf("no conflict: %w", err)
	}
	if err := with("2", "second", true); err != nil {
		return err
	}
	return maps.Delete(ctx, "applied", metav1.DeleteOptions{})
}

// informer counts what an informer tells: each change once, and a resync.
func informer(ctx context.Context, c *client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(c.typed, resync, informers.WithNamespace(c.namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = "step=informer" }))
	watched := factory.Core().V1().ConfigMaps().Informer()
	var lock sync.Mutex
	added, updated, deleted, resynced := map[string]int{}, 0, 0, 0
	_, err := watched.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			lock.Lock()
			defer lock.Unlock()
			added[object.(*corev1.ConfigMap).Name]++
		},
		UpdateFunc: func(before, after any) {
			lock.Lock()
			defer lock.Unlock()
			if before.(*corev1.ConfigMap).ResourceVersion == after.(*corev1.ConfigMap).ResourceVersion {
				resynced++
			} else {
				updated++
			}
		},
		DeleteFunc: func(any) {
			lock.Lock()
			defer lock.Unlock()
			deleted++
		},
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), watched.HasSynced) {
		return errors.New("the informer did not sync")
	}
	const objects = 100
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	for number := range objects {
		one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("informed-%03d", number), Labels: map[string]string{"step": "informer"},
		}}
		made, err := maps.Create(ctx, one, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		made.Data = map[string]string{"a": "1"}
		if _, err := maps.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	seen := func(enough func() bool) error {
		err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, limit/3, true, func(context.Context) (bool, error) {
			lock.Lock()
			defer lock.Unlock()
			return enough(), nil
		})
		if err != nil {
			return fmt.Errorf("%d added, %d updated, %d deleted, %d resynced: %w", len(added), updated, deleted, resynced, err)
		}
		return nil
	}
	if err := seen(func() bool { return len(added) == objects && updated == objects && resynced >= objects }); err != nil {
		return err
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "step=informer"}); err != nil {
		return err
	}
	if err := seen(func() bool { return deleted == objects }); err != nil {
		return err
	}
	for name, times := range added {
		if times != 1 {
			return fmt.Errorf("%s was added %d times", name, times)
		}
	}
	return nil
}

// scale goes through a sub-resource.
func scale(ctx context.Context, c *client) error {
	one := int32(1)
	labels := map[string]string{"app": "scaled"}
	deployments := c.typed.AppsV1().Deployments(c.namespace)
	_, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "scaled"},
		Spec: appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	now, err := deployments.GetScale(ctx, "scaled", metav1.GetOptions{})
	if err != nil {
		return err
	}
	now.Spec.Replicas = 3
	// Whatever a controller wrote meanwhile.
	now.ResourceVersion = ""
	if _, err := deployments.UpdateScale(ctx, "scaled", now, metav1.UpdateOptions{}); err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		deployment, err := deployments.Get(ctx, "scaled", metav1.GetOptions{})
		return err == nil && deployment.Status.AvailableReplicas == 3, err
	})
}

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "roadstead.dev/simulated:1"}}}
}

func pod(ctx context.Context, c *client) error {
	pods := c.typed.CoreV1().Pods(c.namespace)
	one := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: podName}, Spec: podSpec()}
	if _, err := pods.Create(ctx, one, metav1.CreateOptions{}); err != nil {
		return err
	}
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		got, err := pods.Get(ctx, podName, metav1.GetOptions{})
		return err == nil && got.Status.Phase == corev1.PodRunning, err
	})
	if err != nil {
		return err
	}
	return nil
}
