// Contacts in their normal form, and the keyed index they are counted by.
//
// Written for what people write: e-mail addresses of plain characters (no quotes, no IDNA), phone
// numbers in ASCII. Our server reads the others too; here they are refused.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"strings"
	"sync"

	"github.com/nyaruka/phonenumbers"
)

const (
	emailCharactersMax  = 254
	domainCharactersMax = 63
	phoneCharactersMax  = 64
)

var (
	errContact = errors.New("not a contact that can be in use")

	// Top levels of names that mail cannot reach.
	reserved = map[string]bool{
		"arpa": true, "invalid": true, "local": true, "localhost": true, "onion": true, "test": true,
	}
	phoneMarks = strings.NewReplacer(" ", "", "(", "", ")", "", ".", "", "-", "", "/", "")
)

// normalEmail gives the address in lower case: words with single dots between them, "@", labels of
// letters and digits with single hyphens between them, a top level of letters.
func normalEmail(text string) (string, error) {
	if len(text) > emailCharactersMax {
		return "", errContact
	}
	for i := range len(text) {
		if text[i] >= 0x80 { // others turn into ASCII by ToLower, such as the sign of kelvin
			return "", errContact
		}
	}
	lower := strings.ToLower(text)
	local, domain, found := strings.Cut(lower, "@")
	dot := strings.LastIndexByte(domain, '.')
	if !found || dot < 1 || len(domain) > domainCharactersMax {
		return "", errContact
	}
	top := domain[dot+1:]
	if !isJoined(local, '.', isWord) || !isLabels(domain[:dot]) || top == "" || reserved[top] {
		return "", errContact
	}
	for i := range len(top) {
		if top[i] < 'a' || top[i] > 'z' {
			return "", errContact
		}
	}
	return lower, nil
}

func isWord(c byte) bool { return isAlnum(c) || c == '_' || c == '+' || c == '-' }

func isAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func isLabels(domain string) bool {
	for label := range strings.SplitSeq(domain, ".") {
		if !isJoined(label, '-', isAlnum) {
			return false
		}
	}
	return true
}

// isJoined says whether a text is one or more words with single marks between them.
func isJoined(text string, mark byte, inWord func(byte) bool) bool {
	before := mark
	for i := range len(text) {
		c := text[i]
		if c == mark && before == mark || c != mark && !inWord(c) {
			return false
		}
		before = c
	}
	return before != mark
}

// normalPhone gives the number in E.164 form, and whether an SMS may be sent to its line.
func normalPhone(text string) (e164 string, takesSMS bool, err error) {
	if len(text) > phoneCharactersMax {
		return "", false, errContact
	}
	written := phoneMarks.Replace(text)
	if strings.HasPrefix(written, "00") {
		written = "+" + written[2:]
	}
	digits, found := strings.CutPrefix(written, "+")
	if !found || len(digits) < 3 || len(digits) > 20 || strings.Trim(digits, "0123456789") != "" {
		return "", false, errContact
	}
	number, err := phonenumbers.Parse(written, "")
	if err != nil {
		return "", false, errContact
	}
	switch phonenumbers.GetNumberType(number) { // IsValidNumber asks the same once more
	case phonenumbers.UNKNOWN:
		return "", false, errContact
	case phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE, phonenumbers.VOIP:
		takesSMS = true
	}
	return phonenumbers.Format(number, phonenumbers.E164), takesSMS, nil
}

// contactIndex is HMAC-SHA-256 over tenant, channel and contact, each behind its length.
type contactIndex struct{ macs sync.Pool }

type mac struct {
	hash.Hash
	fields []byte
}

func newContactIndex(key []byte) *contactIndex {
	return &contactIndex{sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, key)} }}}
}

func (index *contactIndex) of(tenant, channel, contact string) (found [sha256.Size]byte) {
	m := index.macs.Get().(*mac)
	defer index.macs.Put(m)
	m.fields = putField(putField(putField(m.fields[:0], tenant), channel), contact)
	m.Reset()
	m.Write(m.fields)
	m.Sum(found[:0])
	return found
}

func putField(fields []byte, field string) []byte {
	return append(binary.BigEndian.AppendUint64(fields, uint64(len(field))), field...)
}
