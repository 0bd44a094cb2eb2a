// A back end on Go's net/http: a token, an OTP process, and the codes that come on standard input.
//
//	go_net_http URL CLIENT_ID CLIENT_SECRET TYPE EMAIL
//
// Prints the uuid of the process, then for each code whether it was accepted.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

var client = &http.Client{Timeout: 20 * time.Second}

type envelope struct {
	Status string `json:"status"`
	Data   struct {
		UUID     string `json:"uuid"`
		Accepted bool   `json:"accepted"`
	} `json:"data"`
	Error struct {
		Code string `json:"code"`
	} `json:"error"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	base, id, secret, kind, email := args[0], args[1], args[2], args[3], args[4]
	token, err := tokenOf(base, id, secret)
	if err != nil {
		return err
	}
	started, err := call(http.MethodPost, base+"/otp/init", token, map[string]any{
		"type":     kind,
		"email":    email,
		"entities": []map[string]any{{"type": "client", "id": 338}},
	})
	if err != nil {
		return err
	}
	fmt.Println(started.Data.UUID)
	codes := bufio.NewScanner(os.Stdin)
	for codes.Scan() {
		place := base + "/otp/" + url.PathEscape(started.Data.UUID) + "/attempt"
		tried, err := call(http.MethodPut, place, token, map[string]any{"code": codes.Text()})
		if err != nil {
			return err
		}
		fmt.Println(tried.Data.Accepted)
	}
	return codes.Err()
}

func tokenOf(base, id, secret string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"otp.run"}}
	request, err := http.NewRequest(http.MethodPost, base+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var said struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		Error       string `json:"error"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK || said.TokenType != "Bearer" {
		return "", fmt.Errorf("token: %s %s", answer.Status, said.Error)
	}
	return said.AccessToken, nil
}

func call(method, place, token string, body any) (envelope, error) {
	var said envelope
	text, err := json.Marshal(body)
	if err != nil {
		return said, err
	}
	request, err := http.NewRequest(method, place, bytes.NewReader(text))
	if err != nil {
		return said, err
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := client.Do(request)
	if err != nil {
		return said, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return said, err
	}
	if answer.StatusCode != http.StatusOK || said.Status != "ok" {
		return said, fmt.Errorf("%s: %s %s", place, answer.Status, said.Error.Code)
	}
	return said, nil
}
