// Files, goroutines that the runtime preempts with SIGURG, a TCP exchange and a child process.
package main

import (
	"io"
	"net"
	"os"
	"os/exec"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	done := make(chan bool)
	for _, name := range []string{"a", "b", "c"} {
		go func(name string) {
			must(os.WriteFile(name, []byte(name), 0o644))
			must(os.Rename(name, name+".done"))
			for n, sum := 0, 0; n < 100000000; n++ {
				sum += n
			}
			done <- true
		}(name)
	}
	for i := 0; i < 3; i++ {
		<-done
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go func() {
		server, err := listener.Accept()
		must(err)
		server.Write([]byte("hello"))
		server.Close()
	}()
	client, err := net.Dial("tcp", listener.Addr().String())
	must(err)
	io.ReadAll(client)
	must(exec.Command("/bin/true").Run())
}
