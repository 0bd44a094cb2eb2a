package protocol

import (
	"fmt"
	"io"

	"github.com/gorilla/websocket"
)

// Stream makes one stream of bytes of a WebSocket's binary messages.
//
// Each Write is one binary message; a Read does not care where a message ends.
type Stream struct {
	Conn    *websocket.Conn
	message io.Reader
}

// Write sends p as one binary message.
func (s *Stream) Write(p []byte) (int, error) {
	if err := s.Conn.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read gives the next bytes, of the present message or of the next.
func (s *Stream) Read(p []byte) (int, error) {
	for {
		if s.message == nil {
			kind, message, err := s.Conn.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, fmt.Errorf("unexpected message kind %d", kind)
			}
			s.message = message
		}
		n, err := s.message.Read(p)
		if err == io.EOF {
			s.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}
