// Calls of both kinds, one after the other, by Go's net/http.
//
//	one_port URL
//
// Prints the status and the size of each answer.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

var client = &http.Client{Timeout: 20 * time.Second}

func main() {
	calls := [][2]string{
		{"/device/otp/confirm", `{"otp":"123456"}`},
		{"/device/otp/confirm", `{"otp":"123456"}`},
		{"/device/server-time", ""},
		{"/device/otp/confirm", `{"otp":"123456"}`},
		{"/-/reset", ""},
	}
	for _, call := range calls {
		if err := say(os.Args[1]+call[0], call[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func say(place, body string) error {
	var answer *http.Response
	var err error
	if body == "" {
		answer, err = client.Get(place)
	} else {
		answer, err = client.Post(place, "application/json", strings.NewReader(body))
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body) // to its end, so that the connection is used again
	if err != nil {
		return err
	}
	fmt.Println(answer.StatusCode, len(text))
	return nil
}
