// Command kubectl-old is kubectl of Kubernetes 1.32, four minors behind the control plane of tests/kube: what people still have on
// their machines. It is `cmd/kubectl` of Kubernetes, without the module that holds all else of it.
package main

import (
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
