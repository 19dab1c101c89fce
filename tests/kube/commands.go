package main

import (
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

const (
	// stateVariable names the folder that holds one folder for each cluster.
	stateVariable = "ROADSTEAD_KUBE_STATE"
	// callersVariable names a kubeconfig of the caller's own; then no cluster is started.
	callersVariable = "ROADSTEAD_TEST_KUBECONFIG"
)

func newRootCommand() *cobra.Command {
	var folder string
	root := &cobra.Command{
		Use:           "roadstead-kube",
		Short:         "Throw-away Kubernetes clusters for tests",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&folder, "state", "",
		"folder of all clusters (default $"+stateVariable+", else roadstead/kube in the user's cache folder)")
	open := func() (*store, error) { return openStore(folder) }

	root.AddCommand(upCommand(open), downCommand(open), listCommand(open), kubeconfigCommand(open),
		loadCommand(open), killCommand(open), resumeCommand(open))
	for name := range components {
		root.AddCommand(&cobra.Command{
			Use:                name,
			Short:              "run " + name + " itself, with its own flags",
			DisableFlagParsing: true,
			// main hands these over before cobra runs; reached only behind one of our own flags.
			RunE: func(*cobra.Command, []string) error {
				return fmt.Errorf("%s must be the first argument", name)
			},
		})
	}
	return root
}

type opener func() (*store, error)

func upCommand(open opener) *cobra.Command {
	options := upOptions{}
	command := &cobra.Command{
		Use:   "up NAME",
		Short: "start a cluster, or find it running; prints the path of its kubeconfig",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			if path := os.Getenv(callersVariable); path != "" {
				return printCallersKubeconfig(path)
			}
			store, err := open()
			if err != nil {
				return err
			}
			path, err := up(command.Context(), store, arguments[0], options)
			if err != nil {
				return err
			}
			fmt.Println(path)
			return nil
		},
	}
	command.Flags().IntVar(&options.nodes, "nodes", 2, "simulated nodes the cluster has at least")
	command.Flags().IntVar(&options.pods, "pods", 0, "simulated pods to run from the start, see load")
	command.Flags().BoolVar(&options.auditLog, "audit-log", true, "write audit.log in the cluster's folder")
	command.Flags().DurationVar(&options.timeout, "timeout", 3*time.Minute, "how long to wait until it is ready")
	return command
}

func downCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "down NAME",
		Short: "stop a cluster and remove its folder; nothing to do is no error",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			store, err := open()
			if err != nil {
				return err
			}
			return down(store, arguments[0])
		},
	}
}

func listCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "clusters, their processes and their kubeconfigs",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			store, err := open()
			if err != nil {
				return err
			}
			clusters, err := store.all()
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "NAME\tSTATE\tPROCESSES\tMEMORY\tSERVER\tKUBECONFIG")
			for _, cluster := range clusters {
				running, memory := 0, int64(0)
				for _, process := range cluster.Processes {
					if process.alive() {
						running++
						memory += process.residentBytes()
					}
				}
				fmt.Fprintf(table, "%s\t%s\t%d/%d\t%d MiB\t%s\t%s\n", cluster.Name, cluster.state(),
					running, len(cluster.Processes), memory>>20, cluster.server(), cluster.kubeconfig())
			}
			return table.Flush()
		},
	}
}

func kubeconfigCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig NAME",
		Short: "print the path of a cluster's kubeconfig",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			if path := os.Getenv(callersVariable); path != "" {
				return printCallersKubeconfig(path)
			}
			store, err := open()
			if err != nil {
				return err
			}
			cluster, err := store.existing(arguments[0])
			if err != nil {
				return err
			}
			fmt.Println(cluster.kubeconfig())
			return nil
		},
	}
}

func loadCommand(open opener) *cobra.Command {
	options := loadOptions{}
	command := &cobra.Command{
		Use:   "load NAME --pods N",
		Short: "run N simulated pods in a namespace, by Deployments; 0 takes them away",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			store, err := open()
			if err != nil {
				return err
			}
			cluster, err := store.existing(arguments[0])
			if err != nil {
				return err
			}
			return load(command.Context(), cluster, options)
		},
	}
	command.Flags().IntVar(&options.pods, "pods", 0, "how many pods there shall be in all")
	command.Flags().StringVar(&options.namespace, "namespace", "load", "namespace of the pods, made when missing")
	command.Flags().BoolVar(&options.wait, "wait", true, "wait until they run")
	command.Flags().DurationVar(&options.timeout, "timeout", 10*time.Minute, "how long to wait")
	_ = command.MarkFlagRequired("pods")
	return command
}

func killCommand(open opener) *cobra.Command {
	var process string
	command := &cobra.Command{
		Use:   "kill NAME",
		Short: "end the API server as a crash would (SIGKILL), to test faults",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			store, err := open()
			if err != nil {
				return err
			}
			return kill(store, arguments[0], process)
		},
	}
	command.Flags().StringVar(&process, "process", "kube-apiserver", "which process of the cluster")
	return command
}

func resumeCommand(open opener) *cobra.Command {
	timeout := 2 * time.Minute
	command := &cobra.Command{
		Use:   "resume NAME",
		Short: "start what kill ended, with the same ports and data, and wait until ready",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			store, err := open()
			if err != nil {
				return err
			}
			return resume(command.Context(), store, arguments[0], timeout)
		},
	}
	command.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait until it is ready")
	return command
}

func printCallersKubeconfig(path string) error {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(absolute); err != nil {
		return fmt.Errorf("failed to find the kubeconfig that %s names: %w", callersVariable, err)
	}
	fmt.Println(absolute)
	return nil
}

func note(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
}
