// A handshake with all that our server does for one: token, body, contact, type and limits.
//
// Not here: metrics, the audit trail of refusals, shedding and deadlines. Refusals have a word for
// a body.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	bodyBytesMax        = 65536
	typeCharactersMax   = 63
	entitiesMax         = 64
	entityCharactersMax = 255
)

type contactBody struct {
	Type        string       `json:"type"`
	MobilePhone *string      `json:"mobilePhone"`
	Email       *string      `json:"email"`
	Entities    []entityBody `json:"entities"`
}

type entityBody struct {
	Type string   `json:"type"`
	ID   entityID `json:"id"`
}

// entityID is sent as a string or as a whole number.
type entityID string

func (id *entityID) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, (*string)(id))
	}
	number, err := strconv.ParseInt(string(text), 10, 64)
	if err == nil && number < 0 {
		err = strconv.ErrRange
	}
	*id = entityID(text)
	return err
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

// refused is a status and a word.
type refused struct {
	status int
	word   string
}

var (
	unauthorized = &refused{http.StatusUnauthorized, "unauthorized"}
	forbidden    = &refused{http.StatusForbidden, "forbidden"}
	media        = &refused{http.StatusUnsupportedMediaType, "unsupported_media_type"}
	tooLarge     = &refused{http.StatusRequestEntityTooLarge, "too_large"}
	malformed    = &refused{http.StatusBadRequest, "malformed"}
	invalid      = &refused{http.StatusUnprocessableEntity, "invalid_fields"}
	unknownType  = &refused{http.StatusNotFound, "type_not_found"}
	rateLimited  = &refused{http.StatusTooManyRequests, "rate_limited"}

	bodies       = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	noStore      = []string{"no-store"}
	nosniff      = []string{"nosniff"}
	jsonType     = []string{"application/json"}
	policyHeader = "RateLimit-Policy" // as it is written, which is not Go's way
	leftHeader   = "RateLimit"
)

// mux answers handshakes of this installation.
func (here *installation) mux() *http.ServeMux {
	policies := []string{policyText(here.told)}
	handle := func(w http.ResponseWriter, r *http.Request) {
		var room [8]quota
		answer, quotas, no := here.handshake(w, r, room[:0])
		if no != nil {
			http.Error(w, no.word, no.status)
			return
		}
		body, err := json.Marshal(envelope{"ok", nowMs(), answer})
		if err != nil {
			http.Error(w, "internal", http.StatusInternalServerError)
			return
		}
		header := w.Header()
		header["Content-Type"] = jsonType
		header["Cache-Control"] = noStore
		header["X-Content-Type-Options"] = nosniff
		header[policyHeader] = policies
		header[leftHeader] = []string{leftText(here.told, quotas)}
		w.Write(body)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /otp/handshake", handle)
	mux.HandleFunc("POST /api/otp/handshake", handle)
	return mux
}

// handshake judges one; of a good one it tells the quotas of contact, tenant and calls.
func (here *installation) handshake(
	w http.ResponseWriter, r *http.Request, quotas []quota,
) (told, []quota, *refused) {
	client, no := here.callerOf(r.Header)
	if no != nil {
		return told{}, nil, no
	}
	var room [4]quota
	calls, ok := here.calls.spend(client.ClientID, nowMs(), room[:0])
	if !ok {
		return told{}, nil, rateLimited
	}
	asked, no := contactBodyOf(w, r)
	if no != nil {
		return told{}, nil, no
	}
	answer, contacts, no := here.wayOf(asked)
	if no != nil {
		return told{}, nil, no
	}
	quotas, ok = here.foresee(client.Tenant, asked.Type, contacts, quotas)
	if !ok {
		return told{}, nil, rateLimited
	}
	return answer, append(quotas, calls...), nil
}

// callerOf finds whose token it is, in the header bsauth or as Authorization: Bearer.
func (here *installation) callerOf(header http.Header) (*client, *refused) {
	given := strings.TrimSpace(header.Get("Bsauth"))
	scheme, carried, _ := strings.Cut(header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		carried = ""
	}
	carried = strings.TrimSpace(carried)
	if given != "" && carried != "" && given != carried {
		return nil, unauthorized
	}
	if given == "" {
		given = carried
	}
	known, ok := here.clients[sha256.Sum256([]byte(given))]
	if !ok || nowMs() >= known.ExpiresAtMs {
		return nil, unauthorized
	}
	if !slices.Contains(known.Scopes, here.scope) {
		return nil, forbidden
	}
	return known, nil
}

// contactBodyOf reads the body, and judges it as far as its shape goes.
func contactBodyOf(w http.ResponseWriter, r *http.Request) (*contactBody, *refused) {
	if kind := r.Header.Get("Content-Type"); kind != "application/json" {
		kind, _, _ = strings.Cut(kind, ";")
		if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
			return nil, media
		}
	}
	if r.URL.RawQuery != "" {
		return nil, invalid
	}
	text := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(text)
	text.Reset()
	if _, err := text.ReadFrom(http.MaxBytesReader(w, r.Body, bodyBytesMax)); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, tooLarge
		}
		return nil, malformed
	}
	asked := new(contactBody)
	decoder := json.NewDecoder(text)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(asked); err != nil {
		return nil, malformed
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, malformed
	}
	if !asked.fits() {
		return nil, invalid
	}
	return asked, nil
}

func (asked *contactBody) fits() bool {
	length := utf8.RuneCountInString(asked.Type)
	if length < 1 || length > typeCharactersMax || len(asked.Entities) > entitiesMax {
		return false
	}
	for _, one := range asked.Entities {
		if !isName(one.Type) || !isName(string(one.ID)) {
			return false
		}
	}
	return asked.MobilePhone != nil || asked.Email != nil
}

func isName(text string) bool {
	length := utf8.RuneCountInString(text)
	unseen := func(c rune) bool { return !unicode.IsPrint(c) }
	return 0 < length && length <= entityCharactersMax && strings.IndexFunc(text, unseen) < 0
}
