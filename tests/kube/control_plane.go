package main

import (
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	_ "time/tzdata" // CronJobs with a time zone, on machines without tzdata

	_ "k8s.io/client-go/plugin/pkg/client/auth"           // kubectl's login plugins
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics on /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info on /metrics
)

// components are the programs this binary holds, by sub-command. Each reads os.Args as if it were
// alone. They are made only when asked for, because their commands register global feature gates.
var components = map[string]func() int{
	"etcd": func() int {
		etcdmain.Main(os.Args)
		return 0
	},
	"kube-apiserver":          func() int { return runServer(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return runServer(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return runServer(scheduler.NewSchedulerCommand()) },
	"kubectl":                 runKubectl,
}

func runServer(command *cobra.Command) int {
	return cli.Run(command)
}

// runKubectl is what kubectl's own main does: it must set the verbosity before the command is made,
// and it prints errors in kubectl's way.
func runKubectl() int {
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
	return 0
}
