// Go's net/http beside our server.
//
//	go_http ANSWERS          from memory: each request's body is read, then a fixed answer is given
//	go_http ANSWERS TOKEN    JSON in and out: the token is checked, the body is decoded, a fresh
//	                         answer is encoded (json.go)
//
// ANSWERS is a JSON file, a list of method, rule, headers and body, as quart_bare's; rules have no
// parameters. TOKEN is a file. Prints "listening port=N". Run it with GOMAXPROCS=1 beside servers
// that have one core.
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

const bodyBytesMax = 65536

type row struct {
	Method  string
	Rule    string
	Headers [][2]string
	Body    string
}

func (answer row) addHeaders(header http.Header) {
	for _, pair := range answer.Headers {
		header.Add(pair[0], pair[1])
	}
}

func fromMemory(answers []row) *http.ServeMux {
	mux := http.NewServeMux()
	for _, answer := range answers {
		mux.HandleFunc(answer.Method+" "+answer.Rule, repeated(answer))
	}
	return mux
}

func repeated(answer row) http.HandlerFunc {
	body := []byte(answer.Body)
	return func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, bodyBytesMax)); err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		answer.addHeaders(w.Header())
		w.Write(body)
	}
}

func main() {
	if len(os.Args) != 2 && len(os.Args) != 3 {
		log.Fatal("go_http ANSWERS [TOKEN]")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var answers []row
	if err := json.Unmarshal(text, &answers); err != nil {
		log.Fatal(err)
	}
	var mux *http.ServeMux
	if len(os.Args) == 2 {
		mux = fromMemory(answers)
	} else {
		token, err := os.ReadFile(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		mux = jsonInAndOut(answers, string(token))
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
