// The program of every container in the single-node cluster except the webhook's. It waits until it is stopped, as a Deployment's
// container and the sandbox of a Pod do. With an argument it prints the argument and ends, as a Job's container does.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println(os.Args[1])
		return
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
}
