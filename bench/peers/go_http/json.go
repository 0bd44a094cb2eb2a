// A handshake with JSON in and out: what our server does for one without its limits and its store.
package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"time"
)

type entity struct {
	Type string `json:"type"`
	ID   any    `json:"id"`
}

type asked struct {
	Type        string   `json:"type"`
	MobilePhone *string  `json:"mobilePhone"`
	Email       *string  `json:"email"`
	Entities    []entity `json:"entities"`
}

type told struct {
	Type        string `json:"type"`
	Channel     string `json:"channel"`
	AvailableIn int    `json:"availableIn"`
}

type envelope struct {
	Status    string `json:"status"`
	Timestamp int64  `json:"timestamp"`
	Data      told   `json:"data"`
}

// jsonInAndOut answers the one method and rule of all rows, each the answer for a type of its own:
// its data is what is told of the type. The headers are the first row's.
func jsonInAndOut(answers []row, token string) *http.ServeMux {
	types := map[string]told{}
	for _, answer := range answers {
		var said envelope
		if err := json.Unmarshal([]byte(answer.Body), &said); err != nil {
			log.Fatal(err)
		}
		types[said.Data.Type] = said.Data
	}
	mux := http.NewServeMux()
	mux.HandleFunc(answers[0].Method+" "+answers[0].Rule, func(w http.ResponseWriter, r *http.Request) {
		if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !ok || given != token {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		question, status := decode(w, r)
		if status != http.StatusOK {
			http.Error(w, "malformed", status)
			return
		}
		data, ok := types[question.Type]
		if !ok {
			http.Error(w, "type_not_found", http.StatusNotFound)
			return
		}
		body, err := json.Marshal(envelope{"ok", time.Now().UnixMilli(), data})
		if err != nil {
			http.Error(w, "internal", http.StatusInternalServerError)
			return
		}
		answers[0].addHeaders(w.Header())
		w.Write(body)
	})
	return mux
}

// decode reads the one JSON object of a body, and the status where it is none.
func decode(w http.ResponseWriter, r *http.Request) (asked, int) {
	var question asked
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&question)
	if err == nil {
		if _, err = decoder.Token(); err == io.EOF { // nothing behind it
			err = nil
		} else if err == nil {
			err = errors.New("more than one value")
		}
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return question, http.StatusRequestEntityTooLarge
	case err != nil:
		return question, http.StatusBadRequest
	case question.MobilePhone == nil && question.Email == nil:
		return question, http.StatusUnprocessableEntity
	}
	return question, http.StatusOK
}
