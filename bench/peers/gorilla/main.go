// Go's gorilla/websocket: a goroutine a connection, a fixed answer to each message.
//
//	gorilla [ANSWER_BYTES]
//
// Prints "listening port=N". Run it with GOMAXPROCS=1 beside servers that have one core.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/gorilla/websocket"
)

func answer() []byte {
	length := 40
	if len(os.Args) > 1 {
		if n, err := strconv.Atoi(os.Args[1]); err == nil && n >= 3 && n < 256 {
			length = n
		}
	}
	frame := []byte{20, byte(length), 0}
	for n := 3; n < length; n++ {
		frame = append(frame, byte(n%251))
	}
	return frame
}

func main() {
	fixed := answer()
	upgrader := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}
	handle := func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				return
			}
			if err := ws.WriteMessage(websocket.BinaryMessage, fixed); err != nil {
				return
			}
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening port=%d\n", listener.Addr().(*net.TCPAddr).Port)
	log.SetOutput(os.Stderr)
	server := &http.Server{Handler: http.HandlerFunc(handle), ErrorLog: log.New(os.Stderr, "", 0)}
	log.Fatal(server.Serve(listener))
}
