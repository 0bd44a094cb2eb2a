// Go's net/http: each request's body is read, then a fixed answer is given from memory.
//
//	go_http ANSWERS
//
// ANSWERS is a JSON file, a list of method, rule, headers and body, as quart_bare's; rules have no
// parameters. Prints "listening port=N". Run it with GOMAXPROCS=1 beside servers that have one core.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

type row struct {
	Method  string
	Rule    string
	Headers [][2]string
	Body    string
}

func handler(answer row) http.HandlerFunc {
	body := []byte(answer.Body)
	return func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 65536)); err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		header := w.Header()
		for _, pair := range answer.Headers {
			header.Add(pair[0], pair[1])
		}
		w.Write(body)
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("go_http ANSWERS")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var answers []row
	if err := json.Unmarshal(text, &answers); err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, answer := range answers {
		mux.HandleFunc(answer.Method+" "+answer.Rule, handler(answer))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening port=%d\n", listener.Addr().(*net.TCPAddr).Port)
	log.SetOutput(os.Stderr)
	server := &http.Server{Handler: mux, ErrorLog: log.New(os.Stderr, "", 0)}
	log.Fatal(server.Serve(listener))
}
