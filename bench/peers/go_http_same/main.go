// Go's net/http doing what our server does for a handshake.
//
//	go_http_same FILE        of the installation that FILE describes (installation.go)
//
// Prints "listening port=N". Run it with GOMAXPROCS=1 beside servers that have one core. It is no
// part of go_http: the tables of phone numbers would burden the garbage collector of that one.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("go_http_same FILE")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	here, err := newInstallation(text)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening port=%d\n", listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: here.mux(), ErrorLog: log.New(os.Stderr, "", 0)}
	log.Fatal(server.Serve(listener))
}
