// A device in Go, after the maker's example: asks for two codes and prints each answer as JSON.
//
//	go_gorilla URL TOKEN
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	"otp-server/tests/interop/go_gorilla/entities"
	"otp-server/tests/interop/go_gorilla/protocol"
)

const deadline = 25 * time.Second

type answer struct {
	Otp         string `json:"otp"`
	ExpiresAtMs uint64 `json:"expires_at_ms"`
	Error       string `json:"error"`
}

func requestOtp(stream *protocol.Stream, otpReq *entities.OTPRequest) error {
	// --- Request ---
	data, err := proto.Marshal(otpReq)
	if err != nil {
		return err
	}
	frame := protocol.NewHapticFrame(entities.FrameType_OTP_REQUEST, data)
	if err := frame.WriteFrame(stream); err != nil {
		return err
	}

	// --- Response ---
	respFrame, err := protocol.ReadNextFrame(stream)
	if err != nil {
		return err
	}
	if respFrame.Type != entities.FrameType_OTP_RESPONSE {
		return fmt.Errorf("unexpected frame type: %v", respFrame.Type)
	}
	otpResp := &entities.OTPResponse{}
	if err := proto.Unmarshal(respFrame.Data, otpResp); err != nil {
		return err
	}

	line, err := json.Marshal(answer{otpResp.Otp, otpResp.ExpiresAtMs, otpResp.Error})
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	if otpResp.Error != "" {
		return fmt.Errorf("OTP generation failed: %s", otpResp.Error)
	}
	return nil
}

func run(url, token string) error {
	header := http.Header{"Authorization": {"Bearer " + token}}
	dialer := websocket.Dialer{HandshakeTimeout: deadline}
	conn, _, err := dialer.Dial(url, header)
	if err != nil {
		return err
	}
	defer conn.Close()
	end := time.Now().Add(deadline)
	if err := conn.SetReadDeadline(end); err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(end); err != nil {
		return err
	}
	stream := &protocol.Stream{Conn: conn}
	for _, otpReq := range []*entities.OTPRequest{{}, {Reserved: true}} {
		if err := requestOtp(stream, otpReq); err != nil {
			return err
		}
	}
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	return conn.WriteControl(websocket.CloseMessage, goodbye, end)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go_gorilla URL TOKEN")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "go_gorilla:", err)
		os.Exit(1)
	}
}
